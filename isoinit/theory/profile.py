"""Theory over depth for one scheme, as arrays ready to draw: norm quantiles, correlation, gradient, spectrum.

    p = profile("he_normal", depth=100, width=64, sigma_b2=0.01, bias_mode="iid")
    p.norm_quantiles[:, 2]      # the median of |x_l|^2 / |x_0|^2 over layers

`simulate` is its Monte-Carlo twin. Legend: N width, L = depth - 1 hidden layers.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.special import ndtri

from isoinit.theory import jacobian
from isoinit.theory.families import FAMILIES
from isoinit.theory.finite_width import Chain
from isoinit.theory.gaussian import Array
from isoinit.theory.maps import Bias
from isoinit.theory.norm_law import product_laws
from isoinit.theory.predict import DEFAULT, Prediction, Tolerance, predict, states
from isoinit.theory.trajectory import State

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SINGULAR_LEVELS = np.linspace(0.005, 0.995, 100)
DEEP = 0.5  # layers over width from which the deep limit is the closer one: chosen, from random products of N = 32
_LOST = 1400  # minus the log of a singular value that is zero: so large that half of it underflows
_SPECTRA = {
    "gaussian": "gaussian",
    "standardized": "gaussian",
    "kept_variance": "gaussian",
    "orthogonal": "orthogonal",
    "calibrated": "orthogonal",
    "mirrored_gaussian": "linear_gaussian",
    "mirrored_orthogonal": "linear_orthogonal",
    "still": "linear_orthogonal",
    "identity": "relu_once",
}


@dataclass(frozen=True, eq=False)
class Profile:
    """Predictions after hidden layers 1..L of an MLP with square layers (N_0 = N; N/2 in mirrored nets).

    layers            (L,) 1..L; layer l is weight layer l
    norm_quantiles    (L, 5) quantiles `LEVELS` over seeds of |x_l|^2 / |x_0|^2, after ReLU; 0 within the atom
    norm_route        how they were found: an exact law, or a log-normal one with the first two log-moments
    correlation       (L,) of two inputs in the pre-activations, mean field
    log_gradient      (L,) typical log |J_l v|^2 / |v|^2, J_l from the input to x_l
    log_gradient_sd   (L,) its standard deviation over seeds
    singular_levels   (K,) levels in (0, 1)
    singular_values   (K,) quantiles at these levels of the singular values of J_L; empty if no law is known
    spectrum_route    which limit they come from, or why there are none
    prediction        of the whole network
    """

    layers: Array
    norm_quantiles: Array
    norm_route: str
    correlation: Array
    log_gradient: Array
    log_gradient_sd: Array
    singular_levels: Array
    singular_values: Array
    spectrum_route: str
    prediction: Prediction


def profile(
    scheme: str,
    *,
    depth: int,
    width: int,
    activation: str = "relu",
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
    architecture: str = "mlp",
    tolerance: Tolerance = DEFAULT,
) -> Profile:
    """Everything theory says of `scheme` over depth; arguments and errors as `predict`. Takes 0.01 to 1 s."""
    prediction = predict(
        scheme,
        depth=depth,
        width=width,
        activation=activation,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        bias_mode=bias_mode,
        architecture=architecture,
        tolerance=tolerance,
    )
    family, gain, bias, all_states = states(prediction)
    walked = list(islice(all_states, depth - 1))
    quantiles, norm_route = _norm_quantiles(family, width, gain, bias, walked, tolerance.input_square.value)
    values, spectrum_route = _singular_values(family, width, bias, walked[-1])
    return Profile(
        layers=np.arange(1.0, depth),
        norm_quantiles=quantiles,
        norm_route=norm_route,
        correlation=np.array([s.correlation for s in walked]),
        log_gradient=np.array([s.log_gradient for s in walked]),
        log_gradient_sd=np.sqrt([s.gradient_variance for s in walked]),
        singular_levels=SINGULAR_LEVELS if len(values) else np.empty(0),
        singular_values=values,
        spectrum_route=spectrum_route,
        prediction=prediction,
    )


def _norm_quantiles(
    family: str, width: int, gain: float, bias: Bias, walked: list[State], input_square: float
) -> tuple[Array, str]:
    layers = len(walked)
    if family == "gaussian" and bias.variance > 0:
        start = width * input_square
        chain = Chain.equal(width, layers, 2 * gain, bias.variance, start)
        quantiles = [law.quantile(LEVELS) / start for law in chain.laws()]
        return np.array(quantiles), "exact law, transition matrix"
    if FAMILIES[family].forward(width, gain).log_variance > 0 and bias.variance == 0:
        factor = FAMILIES[family].forward(width, gain)
        return np.array([law.quantile(LEVELS) for law in product_laws([factor] * layers)]), "exact law, FFT"
    mean = np.array([s.log_signal for s in walked])[:, None]
    sd = np.sqrt([s.signal_variance for s in walked])[:, None]
    route = "log-normal, first two log-moments" if sd.any() else "no spread over seeds in the wide limit"
    return np.exp(mean + sd * ndtri(LEVELS)), route


def _singular_values(family: str, width: int, bias: Bias, last: State) -> tuple[Array, str]:
    if family not in _SPECTRA:
        return np.empty(0), f"no closed form is known for {family}; simulate it"
    if family.startswith("mirrored") and bias.mode == "iid" and bias.variance > 0:
        return np.empty(0), "no closed form is known for a mirrored net with an iid bias; simulate it"
    name = _SPECTRA[family]
    if name == "relu_once":
        return np.where(SINGULAR_LEVELS < 0.5, 0.0, np.exp(last.log_gradient / 2) * np.sqrt(2)), "exact: half are off"
    drift = FAMILIES[family].backward(width, 1.0).log_mean * last.layer
    scale = np.exp((last.log_gradient - drift) / 2)  # root of the mean squared singular value
    size = width // 2 if name.startswith("linear") else width
    if name != "linear_orthogonal" and last.layer > DEEP * size:
        typical = np.maximum(jacobian.deep_log_singular_values(name, size, last.layer)[::-1], -_LOST)
        logs = np.interp(SINGULAR_LEVELS, (np.arange(size) + 0.5) / size, typical)
        return np.where(logs < -_LOST / 2, 0.0, scale * np.exp(logs)), "deep limit, Lyapunov exponents at this width"
    return scale * jacobian.spectrum(name, last.layer).singular_values(SINGULAR_LEVELS), "wide limit"
