"""What a walk through the layers of a network tells of each."""

from math import nan
from typing import NamedTuple


class State(NamedTuple):
    """After `layer` hidden layers. Natural logs of squared norms, mean (of the log) and variance over nets.

    correlation         cosine of the pre-activations of two inputs, mean over nets, as `isoinit.probe` measures it
    distance            1 - |cosine| in the typical net: smaller where inputs align with random sign (Gaussian cores)
    nearest             the same of an input and the nearest of several others (`crowd`)
    classes             the same of the gradients of as many classes at the input (`crowd.Parted`); 1: not derived
    log_signal          |x_l|^2 / |x_0|^2 in a net of square layers (in a mirrored one: |x_0| has N/2 units)
    log_gradient        |J v|^2 / |v|^2 of the same net, v fixed, J from the input to x_l
    relative_variance   Var(e) / E(e)^2 of the eigenvalues e of J J^T, wide limit
    alive               probability that the signal lives: no layer is off altogether, or a bias restarted it; of pruned
                        weights, that a path of them through units that are on is left, which no bias restores
    log_sharpness       log of the sharpness of a net of which this is the last hidden layer (`sharpness`); nan: unknown
    log_sharpest        the same of the sharpest that it becomes until it is trained (`sharpening`)
    log_rise            log of by how much a step of gradient flow of rate 1 raises the right logit of an input over the
                        others at first, on account of the others of its class (`rising`); nan: unknown
    log_apart           log of the standard deviation of a logit over inputs, of what they do not all have in common
    log_shared          log of |x_l|^2 over that of a plain net without its biases, mean field; else 0
    """

    layer: int
    correlation: float
    distance: float
    nearest: float
    log_signal: float
    signal_variance: float
    log_gradient: float
    gradient_variance: float
    relative_variance: float
    alive: float
    log_sharpness: float = nan
    log_sharpest: float = nan
    log_shared: float = 0.0
    classes: float = 1.0
    log_rise: float = nan
    log_apart: float = nan
