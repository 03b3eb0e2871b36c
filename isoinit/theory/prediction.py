"""What theory says of a network, as `predict` gives it."""

from dataclasses import dataclass
from math import exp, log

from isoinit.theory.rising import log_enough
from isoinit.theory.tolerance import Tolerance

_GREATEST = 700.0  # log of a float


@dataclass(frozen=True)
class Prediction:
    """What theory says of one grid point: natural logs of squared norms of the typical net; `depth` in weight layers.

    drift, spread        log |x_last|^2 / |x_0|^2 in a net of square layers, and its standard deviation over seeds;
                         exact for Gaussian and orthogonal weights without a bias, by `fluctuation` with one
    correlation          cosine of two inputs in the last hidden layer's pre-activations, mean over seeds
    alignment            1 - |cosine| of the typical seed
    nearest              the same of an input and the nearest of the others, of `tolerance.inputs` that are unrelated
    classes              the same of the gradients of as many classes at the input; 1: not derived
    log_gradient         log |J v|^2 / |v|^2 from the input to the last hidden layer,
    gradient_spread        and its standard deviation over seeds
    conditioning         Var(e) / E(e)^2 of the eigenvalues e of J J^T, wide limit (0: isometry)
    log_sharpness        log of the greatest eigenvalue of the Gauss-Newton matrix of the typical net
                         (`isoinit.theory.sharpness`); nan: not derived
    log_sharpest         the same of the sharpest that it becomes until it is trained (`isoinit.theory.sharpening`)
    log_rise, log_apart  logs of how fast the right logit rises at first, nan likewise, and of how far logits of inputs
                           are apart, see `state.State`
    dead_probability     that some layer is off altogether for a given input; of pruned weights, that no path of them
                           through units that are on is left
    probability          share of seeds that stay within tolerance in the signal and in the gradient, the lesser share
    outcome              of most seeds: "trained", "vanished", "diverged", or "stalled" (inputs or gradients aligned,
                         spectrum too wide, or layers dead); "diverged", too, beyond what the learning rate allows
    seed_dependent       whether fewer seeds agree on that than `tolerance.certainty` asks
    depth_limit          greatest depth predicted to train; inf: none up to `MAX_DEPTH`
    binding              what ends it: "signal", "gradient", "alignment", "classes", "conditioning", "death",
                         "stability", "rate" (too small for the steps) or "none"
    notes                caveats of this combination
    """

    scheme: str
    architecture: str
    activation: str
    normalization: str
    depth: int
    width: int
    sigma_w2: float
    sigma_b2: float
    bias_mode: str
    density: float
    learning_rate: float | None
    steps: int | None
    greatest_rate: float | None
    drift: float
    spread: float
    correlation: float
    alignment: float
    nearest: float
    classes: float
    log_gradient: float
    gradient_spread: float
    conditioning: float
    log_sharpness: float
    log_sharpest: float
    log_rise: float
    log_apart: float
    dead_probability: float
    probability: float
    outcome: str
    seed_dependent: bool
    depth_limit: float
    binding: str
    notes: tuple[str, ...]
    tolerance: Tolerance

    @property
    def stable_rate(self) -> float:
        """The greatest learning rate at which this net is stable until it is trained; nan: not derived."""
        return exp(min(log(self.tolerance.stable(self.activation)) - self.log_sharpest, _GREATEST))

    @property
    def least_rate(self) -> float:
        """The least learning rate that is enough for this net within `steps`, if they are given; nan: not derived."""
        return exp(min(log_enough(self.log_rise, self.log_apart, self.steps, self.tolerance), _GREATEST))
