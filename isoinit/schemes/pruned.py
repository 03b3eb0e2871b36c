"""Dense draws pruned at random: what an exactly orthogonal sparse network is compared with.

Random masks with a density for each layer, as the baselines in the public code of Nowak et al. 2024 (arXiv 2406.01755)
have; there every weight is drawn by itself and the density fluctuates, here the count is exact, so that layers of all
sparse schemes have as many weights. The weights that are left are divided by the root of their share, layer by layer,
which keeps the second moment of a signal; Evci et al. 2020 (arXiv 2010.03533, recalled, not re-read) do so unit by
unit. A unit may lose all its inputs. Not here: approximate isometry (Lee et al. 2020, arXiv 1906.06307, recalled too),
which makes the weights that are left as orthogonal as a thousand steps of gradient descent do.

Derived here: of inputs y to units that keep each with probability d, the variance of the pre-activations given the mask
has over units the relative variance v = u (1 - d) / d, u = sum y^4 / (sum y^2)^2. A ReLU layer of N Gaussian inputs
then multiplies the squared norm by a factor of relative variance (5 + 6 v) / N, if dense 5 / N. u is about 6 / N, and
grows with v: the norm spreads as in a dense network while a unit has many more than 6 weights, d N >> 6, and with at
most two all units are off after a few layers. `isoinit.theory.pruned` has the laws.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from isoinit.layers import set_mask
from isoinit.schemes.base import Draw, Scheme, Steps
from isoinit.schemes.classic import he, rectified
from isoinit.schemes.densities import run_densities
from isoinit.schemes.orthogonal import orthogonal
from isoinit.schemes.wiring import Wiring


def pruned(dense: Callable[[Wiring, Draw], Steps | None]) -> Callable[..., Steps]:
    """The scheme that fills all layers by `dense`, then keeps a share of each layer's weights, chosen at random and
    divided by the root of that share; the mask stays as a buffer.

    Its option `distribution`: the density of each layer, see `isoinit.schemes.densities`.
    """

    def apply(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform") -> Steps:
        yield from dense(wiring, draw) or ()
        targets = run_densities(wiring.runs, density, distribution)
        keys = draw.uniforms([run.stack for run in wiring.runs])
        for run, target, key in zip(wiring.runs, targets, keys, strict=True):
            size = run.shape.numel()
            count = max(1, round(target * size))
            masks = _lowest(key, count).unbind()
            for layer, weight, mask in zip(run.layers, run.weights, masks, strict=True):
                set_mask(layer, mask)
                there = layer._buffers["mask"]  # where the weight is
                assert there is not None
                weight.mul_(math.sqrt(size / count)).mul_(there)

    return apply


def _lowest(keys: Tensor, count: int) -> Tensor:
    """Where the `count` least numbers of each layer are, of keys (layers, *shape)."""
    flat = keys.flatten(1)
    places = flat.topk(count, largest=False, sorted=False).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True).view(keys.shape)


_SPARSE = "pruned at random as the baselines of arXiv 2406.01755, by an exact count"

SCHEMES = (
    Scheme(
        name="he_pruned",
        source=f"He et al. 2015, arXiv 1502.01852, {_SPARSE}",
        summary="N(0, 2/(density fan_in)) on random weights, the others zero: the mean squared norm of he_normal",
        apply=pruned(rectified()),
        by_runs=True,
        invariants=("weight_variance", "density"),
        options={"distribution": ("uniform", "erk")},
        sparse=True,
        variance=he,
    ),
    Scheme(
        name="orthogonal_pruned",
        source=f"Saxe et al. 2014, arXiv 1312.6120, {_SPARSE}",
        summary="orthogonal with random weights set to zero, the others over sqrt(density): orthogonal no more",
        apply=pruned(orthogonal),
        by_runs=True,
        invariants=("density",),
        options={"distribution": ("uniform", "erk")},
        sparse=True,
    ),
)
