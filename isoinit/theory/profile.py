"""Theory over depth for one scheme, as arrays ready to draw: norm quantiles, correlation, gradient, spectrum.

    p = profile("he_normal", depth=100, width=64, sigma_b2=0.01, bias_mode="iid")
    p.log_norm[:, 2]      # the median of log |x_l|^2 / |x_0|^2 over layers

`simulate` is its Monte-Carlo twin. Legend: N width, L = depth - 1 hidden layers.
"""

from dataclasses import dataclass
from itertools import islice
from math import log
from numbers import Integral

import numpy as np
from scipy.special import ndtri

from isoinit.theory import jacobian, lyapunov
from isoinit.theory.asked import asks
from isoinit.theory.families import FAMILIES
from isoinit.theory.finite_width import Chain
from isoinit.theory.gaussian import Array, stretched
from isoinit.theory.norm_law import product_laws
from isoinit.theory.predict import DEFAULT, Prediction, Tolerance, predict, setting_of
from isoinit.theory.setting import Setting, Smooth
from isoinit.theory.state import State

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SINGULAR_LEVELS = np.linspace(0.005, 0.995, 100)
DEEP = 0.5  # layers over width from which the deep limit is the closer one: chosen, from random products of N = 32
DEEPEST = 2000
NO_SPREAD = "no spread over seeds in the wide limit"
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
    """Predictions after hidden layers 1..L of a net with square layers (N_0 = N; N/2 in mirrored nets).

    layers            (L,) 1..L; layer l is weight layer l
    log_norm          (L, 5) quantiles `LEVELS` over seeds of log |x_l|^2 / |x_0|^2, after the activation; -inf: dead
    norm_route        how they were found: an exact law, or a log-normal one with the first two log-moments; `NO_SPREAD`
                      where the spread of a finite width is not derived
    correlation       (L,) of two inputs in the pre-activations, the mean over nets, see `trajectory.walk`
    nearest           (L,) 1 - |cosine| of an input and the nearest of several others, of the typical net, see there
    log_gradient      (L,) typical log |J_l v|^2 / |v|^2, J_l from the input to x_l, of nets without a dead layer
    log_gradient_sd   (L,) its standard deviation over seeds
    gradient_bands    (L, 5) its quantiles `LEVELS`, log-normal; -inf: dead
    singular_levels   (K,) levels in (0, 1)
    singular_values   (K,) quantiles at these levels of the singular values of J_L; empty if no law is known
    spectrum_route    which limit they come from, or why there are none
    prediction        of the whole network
    """

    layers: Array
    log_norm: Array
    norm_route: str
    correlation: Array
    nearest: Array
    log_gradient: Array
    log_gradient_sd: Array
    gradient_bands: Array
    singular_levels: Array
    singular_values: Array
    spectrum_route: str
    prediction: Prediction


@asks()
def profile(
    scheme: str,
    *,
    depth: int,
    width: int,
    activation: str = "relu",
    normalization: str = "none",
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
    density: float = 1.0,
    architecture: str = "mlp",
    learning_rate: float | None = None,
    steps: int | None = None,
    greatest_rate: float | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Profile:
    """Everything theory says of `scheme` over depth; arguments and errors as `predict`.

    Takes 0.01 to 1 s up to 100 layers, some seconds at 1000, as exact laws are found layer by layer; a `depth` beyond
    `DEEPEST` is a ValueError.
    """
    if isinstance(depth, Integral) and depth > DEEPEST:
        raise ValueError(f"depth must be at most {DEEPEST} for a profile over all layers, but got {depth}.")
    prediction = predict(
        scheme, depth=depth, width=width, activation=activation, normalization=normalization, sigma_w2=sigma_w2,
        sigma_b2=sigma_b2, bias_mode=bias_mode, density=density, architecture=architecture,
        learning_rate=learning_rate, steps=steps, greatest_rate=greatest_rate, tolerance=tolerance,
    )  # fmt: skip
    setting = setting_of(prediction)
    walked = list(islice(setting.states(), depth - 1))
    quantiles, norm_route = _log_norms(setting, walked)
    values, spectrum_route = _singular_values(setting, walked[-1])
    return Profile(
        layers=np.arange(1.0, depth),
        log_norm=quantiles,
        norm_route=norm_route,
        correlation=np.array([s.correlation for s in walked]),
        nearest=np.array([s.nearest for s in walked]),
        log_gradient=np.array([s.log_gradient for s in walked]),
        log_gradient_sd=np.sqrt([s.gradient_variance for s in walked]),
        gradient_bands=_log_gradients(setting, walked),
        singular_levels=SINGULAR_LEVELS if len(values) else np.empty(0),
        singular_values=values,
        spectrum_route=spectrum_route,
        prediction=prediction,
    )


def _log_norms(setting: Setting | Smooth, walked: list[State]) -> tuple[Array, str]:
    """Quantiles (L, 5) of the log of the norm's growth, and how they were found."""
    layers = len(walked)
    if isinstance(setting, Setting) and setting.density == 1:
        start = setting.width * setting.tolerance.input_square.value
        if setting.family == "gaussian" and setting.bias.variance > 0:
            unit = max(1.0, setting.bias.variance)  # the chain has no scale of its own, and floats have
            chain = Chain.equal(setting.width, layers, 2 * setting.gain, setting.bias.variance / unit, start / unit)
            exact = [law.log_quantile(LEVELS) - log(chain.start) for law in chain.laws()]
            return np.array(exact), "exact law, transition matrix"
        factor = FAMILIES[setting.family].forward(setting.width, setting.gain)
        if factor.log_variance > 0 and setting.bias.variance == 0:
            exact = [law.log_quantile(LEVELS) for law in product_laws([factor] * layers)]
            return np.array(exact), "exact law, FFT"
        if setting.family == "mirrored_orthogonal" and setting.bias.variance == 0:
            return np.repeat([[s.log_signal] for s in walked], len(LEVELS), axis=1), "exact: an isometry"
    sd = np.sqrt([s.signal_variance for s in walked])
    route = "log-normal, first two log-moments" if sd.any() else NO_SPREAD
    alive = np.array([1.0 if _restored(setting) else s.alive for s in walked])
    return _log_normal(np.array([s.log_signal for s in walked]), sd, alive), route


def _log_gradients(setting: Setting | Smooth, walked: list[State]) -> Array:
    """A layer that is off stops the gradient for good, whatever a bias does for the signal behind it."""
    if isinstance(setting, Setting) and setting.density < 1:
        alive = np.array([s.alive for s in walked])
    else:
        death = FAMILIES[setting.family].backward(setting.width, 1.0).death if isinstance(setting, Setting) else 0.0
        alive = (1 - death) ** np.array([s.layer for s in walked])
    sd = np.sqrt([s.gradient_variance for s in walked])
    return _log_normal(np.array([s.log_gradient for s in walked]), sd, alive)


def _restored(setting: Setting | Smooth) -> bool:
    """Whether biases make a signal where no path of pruned weights is left from the input."""
    return isinstance(setting, Setting) and setting.density < 1 and setting.bias.variance > 0


def _log_normal(mean: Array, sd: Array, alive: Array) -> Array:
    """Quantiles (L, 5) of a normal law of which only the share `alive` is not -inf; arguments of shape (L,)."""
    level = (np.array(LEVELS) - 1 + alive[:, None]) / np.maximum(alive, 1e-300)[:, None]
    inside = mean[:, None] + sd[:, None] * ndtri(np.clip(level, 1e-300, 1))
    return np.where(level <= 0, -np.inf, inside)


def _singular_values(setting: Setting | Smooth, last: State) -> tuple[Array, str]:
    if isinstance(setting, Smooth):
        return np.empty(0), f"no closed form is known for {setting.net.activation}; simulate it"
    family, width, bias = setting.family, setting.width, setting.bias
    if setting.density < 1:
        return np.empty(0), "no closed form is known for pruned weights; simulate it"
    if family not in _SPECTRA:
        return np.empty(0), f"no closed form is known for {family}; simulate it"
    if family.startswith("mirrored") and bias.mode == "iid" and bias.variance > 0:
        return np.empty(0), "no closed form is known for a mirrored net with an iid bias; simulate it"
    name = _SPECTRA[family]
    if name == "relu_once":
        return stretched(np.where(SINGULAR_LEVELS < 0.5, 0.0, np.sqrt(2)), last.log_gradient / 2), "exact: half are off"
    drift = FAMILIES[family].backward(width, 1.0).log_mean * last.layer
    log_scale = (last.log_gradient - drift) / 2  # of the root of the mean squared singular value
    size = width // 2 if name.startswith("linear") else width
    if name != "linear_orthogonal" and last.layer > DEEP * size:
        typical = np.maximum(lyapunov.deep_log_singular_values(name, size, last.layer)[::-1], -_LOST)
        logs = np.interp(SINGULAR_LEVELS, (np.arange(size) + 0.5) / size, typical)
        values = stretched(np.where(logs < -_LOST / 2, 0.0, 1.0), logs + log_scale)
        return values, "deep limit, Lyapunov exponents at this width"
    return stretched(jacobian.spectrum(name, last.layer).singular_values(SINGULAR_LEVELS), log_scale), "wide limit"
