"""Semi-orthogonal initializers: every layer on its own, all singular values of its matrix equal.

Saxe et al. 2014 arXiv 1312.6120 (orthogonal), Xiao et al. 2018 arXiv 1806.05393 (delta-orthogonal kernels; a kernel
for each group, and fewer outputs than inputs, are added here).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoinit.activations import activation_name
from isoinit.schemes.base import Draw, Scheme, Steps, kernel_of, refuse_even_kernels
from isoinit.schemes.classic import leak
from isoinit.schemes.wiring import Run, Wiring


def relu_gain(wiring: Wiring) -> float:
    """sqrt(2) where half of the second moment passes the activation (relu, crelu; of large signals gelu and silu, too),
    sqrt(2/(1 + a^2)) for a leaky ReLU of slope a, else 1.

    1 and not torch's 5/3 for tanh: with zero bias the mean-field critical value is exactly 1.
    """
    if isinstance(wiring.activation, nn.LeakyReLU):
        return math.sqrt(2 / (1 + leak(wiring.activation) ** 2))
    halves = activation_name(wiring.activation) in ("relu", "crelu")
    return math.sqrt(2) if halves or isinstance(wiring.activation, nn.GELU | nn.SiLU) else 1.0


def flat_shape(run: Run) -> tuple[int, ...]:
    """(layers, groups, rows, inputs * taps) of the matrices of a run."""
    rows, *into = run.shape
    return len(run.layers), run.groups, rows // run.groups, math.prod(into)


def core_shape(run: Run) -> tuple[int, ...]:
    """(layers, groups, rows, inputs) of the matrices at the centre tap of a run."""
    return flat_shape(run)[:3] + tuple(run.shape[1:2])


def orthogonal(wiring: Wiring, draw: Draw, gain: float | None = None) -> Steps:
    """Haar times `gain` (`relu_gain` if None) on the kernel flattened to (out, in * taps), as torch does.

    Of a convolution the rows of that matrix are orthonormal, but the operator is no isometry: see `delta_orthogonal`.
    """
    scale = relu_gain(wiring) if gain is None else gain
    matrices = yield from draw.haar([flat_shape(run) for run in wiring.runs])
    for run, stack in zip(wiring.runs, matrices, strict=True):
        run.fill(stack.mul_(scale).reshape(run.stack))


def delta_orthogonal(wiring: Wiring, draw: Draw) -> Steps:
    """Haar times `relu_gain` on the centre tap, zero elsewhere; the operator has the matrix's singular values even with
    zero padding. A co-isometry where channels are lost, and a stride drops pixels."""
    scale = relu_gain(wiring)
    matrices = yield from draw.haar([core_shape(run) for run in wiring.runs])
    for run, stack in zip(wiring.runs, matrices, strict=True):
        run.fill(kernel_of(stack.mul_(scale).flatten(1, 2), run.shape[2:]))


def ones_orthogonal(wiring: Wiring, draw: Draw) -> Steps:
    """e_m e_n^T + E_m Haar(m-1, n-1) E_n^T with e = ones/sqrt: semi-orthogonal, and keeps a mean that is positive.

    Derived here from the abstract of Lee, Kim & Choi 2025 (arXiv 2509.00362), whose closed form was not readable.
    """
    rests = yield from draw.haar([(len(run.layers), run.shape[0] - 1, run.shape[1] - 1) for run in wiring.runs])
    for run, rest in zip(wiring.runs, rests, strict=True):
        full = functional.pad(rest, (1, 0, 1, 0))
        full[:, 0, 0] = 1
        run.fill(_turned(_turned(full, 1), 2))


def _turned(matrices: Tensor, axis: int) -> Tensor:
    """A stack times the symmetric orthogonal matrix whose first column is ones/sqrt(n), on one side. By sums, since the
    last bits of a product depend on where in a line of the cache a matrix begins, so on how many there are."""
    n = matrices.shape[axis]
    if n == 1:
        return matrices
    unit = _normal_of_turn(n, matrices.dtype, matrices.device).view(*[-1 if d == axis else 1 for d in range(3)])
    return matrices - 2 * unit * (unit * matrices).sum(axis, keepdim=True)


@lru_cache(maxsize=64)
def _normal_of_turn(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The unit vector that the reflection takes away; not to be changed, as it is kept."""
    v = torch.full((n,), -1 / math.sqrt(n), dtype=dtype, device=device)
    v[0] += 1
    return v / v.norm()


SCHEMES = (
    Scheme(
        name="orthogonal",
        source="Saxe et al. 2014, arXiv 1312.6120",
        summary="Haar semi-orthogonal, gain sqrt(2) for ReLU: keeps a ReLU signal's norm on average only",
        apply=orthogonal,
        by_runs=True,
        invariants=("semi_orthogonal",),
        options={"gain": ()},
        gain=math.sqrt(2),
    ),
    Scheme(
        name="delta_orthogonal",
        source="Xiao et al. 2018, arXiv 1806.05393 (gain sqrt(2) for ReLU added here)",
        summary="Haar semi-orthogonal on the centre tap: exact for linear CNNs, near for critical tanh",
        apply=delta_orthogonal,
        by_runs=True,
        requires=refuse_even_kernels,
        invariants=("semi_orthogonal",),
        gain=math.sqrt(2),
    ),
    Scheme(
        name="ones_orthogonal",
        source="derived here after the abstract of Lee, Kim & Choi 2025, arXiv 2509.00362; not the paper's scheme",
        summary="semi-orthogonal with the mean direction mapped to itself: no dying ReLU at gain 1",
        apply=ones_orthogonal,
        by_runs=True,
        architectures=("mlp",),
        invariants=("semi_orthogonal",),
        gain=1.0,
    ),
)
