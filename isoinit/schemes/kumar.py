"""Kumar 2017, arXiv 1704.08863: a variance of the weights for any activation that is differentiable at 0."""

import math

import torch
from torch import nn

from isoinit.activations import activation_name
from isoinit.schemes.base import Draw, Scheme
from isoinit.schemes.classic import he, independent
from isoinit.schemes.following import UNFIT
from isoinit.schemes.wiring import Wiring


def kumar_variance(activation: nn.Module) -> float:
    """fan_in * Var(w) = 1/(g'(0)^2 (1 + g(0)^2)) of a g differentiable at 0 (Kumar 2017); 2 for ReLU, where the paper
    is recalled, not re-read, to fall back on He.

    ValueError where the formula does not exist: what is no function of one number, a kink at 0 other than ReLU's, or
    g'(0) = 0. The formula linearizes g, so a sigmoid network is better than with Xavier but not critical (mean-field
    slope 0.354).
    """
    if activation_name(activation) in ("relu", "crelu"):
        return 2.0
    z = torch.tensor([0.0, -1e-7, 1e-7], dtype=torch.float64, requires_grad=True)
    name = type(activation).__name__
    try:
        with torch.enable_grad():
            value = activation.forward(z)  # past its hooks, which are for the numbers of the network
            (slope,) = torch.autograd.grad(value.sum(), z)
    except UNFIT as error:
        raise ValueError(f"kumar needs an activation of single numbers, and {name} takes none: {error}") from error
    at_zero, left, right = slope.tolist()
    if not math.isclose(left, right, abs_tol=1e-3):
        raise ValueError(f"kumar needs an activation differentiable at 0, and {name} has slopes {left:g} and {right:g}")
    if at_zero == 0:
        raise ValueError(f"kumar needs an activation with a slope at 0, and that of {name} is 0")
    return 1 / (at_zero**2 * (1 + value[0].item() ** 2))


def require_slope(wiring: Wiring) -> None:
    """ValueError unless `kumar_variance` exists."""
    kumar_variance(wiring.activation)


def kumar(wiring: Wiring, draw: Draw) -> None:
    scaled = kumar_variance(wiring.activation)
    independent(lambda fan_in, fan_out: scaled / fan_in)(wiring, draw)  # noqa: ARG005


SCHEMES = (
    Scheme(
        name="kumar",
        source="Kumar 2017, arXiv 1704.08863",
        summary="N(0, 1/(fan_in g'(0)^2 (1 + g(0)^2))) for any activation g differentiable at 0; 2/fan_in for ReLU",
        apply=kumar,
        by_runs=True,
        requires=require_slope,
        invariants=("weight_variance",),
        variance=he,
    ),
)
