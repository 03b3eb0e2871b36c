"""What a scheme is: a frozen record and a function that fills the weights of a wired network in place."""

import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoinit.layers import WeightLayer
from isoinit.schemes.wiring import Wiring

PLAIN = ("mlp", "cnn")
ALL = ("mlp", "cnn", "resnet")
NORMALIZATIONS = ("none", "batch")
ANY_BIAS = ("zero", "iid", "mirrored")
_SINGLE = torch.float32  # whatever torch's default is
_CACHE_LINE = 64  # bytes

Steps = Generator[Sequence[Tensor], list[Tensor], None]
"""A network being initialized: it yields Gaussian matrices (..., r, c), to be sent those that `orthonormal` makes of
them, which `isoinit.schemes.together` asks for once for many networks."""

INVARIANTS: dict[str, str] = {
    "weight_variance": "every layer's weights have the declared variance",
    "semi_orthogonal": "every weight matrix has orthonormal rows or columns, times the declared gain",
    "mirror": "hidden weights are [[U, -U], [-U, U]] bitwise, [U; -U] at the input and [U, -U] at the head",
    "isometry": "all singular values of the input-output Jacobian are 1",
    "density": "the share of weights that may train is within 1/(2 t max(n, m)) of the target in an n x m layer or "
    "core of t taps",
    "identity": "the stream of a ResNet reaches the head as it left the stem",
    "unit_variance": "every layer's pre-activations have variance 1 over the given batch",
    "sample_variance": "every layer's pre-activations have sample variance 1 over the given batch",
    "deterministic": "nothing is drawn",
}


@dataclass(frozen=True)
class Draw:
    """The random numbers of one network: always drawn in float32 on the generator's device, so that a float64
    network has the float32 one's weights; computed on in `dtype`, by `compiled` code where there is any."""

    generator: torch.Generator
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def normal(self, *shape: int) -> Tensor:
        return self._typed(torch.randn(shape, generator=self.generator, device=self.generator.device, dtype=_SINGLE))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1)."""
        return self._typed(torch.rand(shape, generator=self.generator, device=self.generator.device, dtype=_SINGLE))

    def _typed(self, drawn: Tensor) -> Tensor:
        return drawn if self.dtype == _SINGLE else drawn.to(self.dtype)

    def normals(self, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """One standard normal tensor per shape, from a single draw."""
        return self._parts(Draw.normal, shapes)

    def uniforms(self, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """One tensor uniform on [0, 1) per shape, from a single draw."""
        return self._parts(Draw.uniform, shapes)

    def _parts(self, draw: "Callable[[Draw, int], Tensor]", shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        sizes = [math.prod(shape) for shape in shapes]
        if not sizes:
            return []
        return [part.view(shape) for part, shape in zip(draw(self, sum(sizes)).split(sizes), shapes, strict=True)]

    def haar(self, shapes: Sequence[tuple[int, ...]]) -> Generator[Sequence[Tensor], list[Tensor], list[Tensor]]:
        """`matrices = yield from draw.haar(shapes)`: a stack of Haar semi-orthogonal matrices (..., r, c) per shape,
        orthonormal columns if r >= c, else orthonormal rows. The scheme waits while the QR is done, at once for all
        networks that are initialized together."""
        return (yield self.normals(shapes)) if shapes else []

    def each(self, count: int) -> "list[tuple[slice, Draw]]":
        """Of so many layers, which draw from which source: all from this one."""
        return [(slice(count), self)]

    def haar_each(self, shapes: Sequence[tuple[int, int]]) -> Generator[Sequence[Tensor], list[Tensor], list[Tensor]]:
        """One matrix (r, c) per shape, those alike that follow each other as a stack."""
        stacks = yield from self.haar([(len(list(alike)), *shape) for shape, alike in groupby(shapes)])
        return [matrix for stack in stacks for matrix in stack.unbind()]


def orthonormal(gaussian: Sequence[Tensor]) -> list[Tensor]:
    """`haar_from_normal` of every stack (..., r, c), by one QR for all matrices of a shape."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, stack in enumerate(gaussian):
        alike.setdefault((stack.shape[-2:], stack.dtype, stack.device), []).append(i)
    results = list(gaussian)
    for indices in alike.values():
        stacks = [gaussian[i].flatten(0, -3) if gaussian[i].dim() > 2 else gaussian[i].unsqueeze(0) for i in indices]
        found = haar_from_normal(torch.cat(stacks) if len(stacks) > 1 else stacks[0])
        for i, part in zip(indices, found.split([len(stack) for stack in stacks]), strict=True):
            results[i] = part.view(gaussian[i].shape)
    return results


def haar_from_normal(gaussian: Tensor) -> Tensor:
    """Haar semi-orthogonal matrices from Gaussian ones, (..., r, c): QR with the signs of diag R (Mezzadri 2007).

    The last bits of a QR depend on where in a line of the cache a matrix begins. Rows of zeros, which change nothing
    else, let each begin a line, so that it has the same bits in any stack.
    """
    tall = gaussian if gaussian.shape[-2] >= gaussian.shape[-1] else gaussian.mT
    rows, columns = tall.shape[-2:]
    numbers = _CACHE_LINE // tall.element_size()
    spare = -rows % (numbers // math.gcd(numbers, columns))
    q, r = torch.linalg.qr(functional.pad(tall, (0, 0, 0, spare)) if spare else tall)
    q = q[..., :rows, :].mul_(torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2))
    return q if tall is gaussian else q.mT


def kernel_of(matrix: Tensor, kernel: Sequence[int]) -> Tensor:
    """The delta kernel (..., r, c, *kernel) with `matrix` (..., r, c) at its centre tap; itself for a linear layer."""
    if not kernel:
        return matrix
    delta = matrix.new_zeros(*matrix.shape, *kernel)
    delta[(..., *[k // 2 for k in kernel])] = matrix
    return delta


def refuse_even_kernels(wiring: Wiring, **_options: object) -> None:
    for run in wiring.runs:
        sizes = tuple(run.shape[2:])
        if any(k % 2 == 0 for k in sizes):
            raise ValueError(f"a delta kernel needs a centre tap, so odd kernel sizes; got {sizes}")


@dataclass(frozen=True)
class Scheme:
    """A named way to set all parameters of a network before training.

    `apply(wiring, draw, **options)` fills the weights in place, as a function or, if it needs Haar matrices, as a
    generator (`Draw.haar`); biases, normalizations, multipliers and offsets have their defaults (0, identity,
    `multiplier`, 0) before it runs. `requires(wiring, **options)` raises ValueError on
    what the record's fields cannot say. `options` maps each option to its choices, none for a number.
    `calibrate(model, wiring, data, compiled)` then adapts the parameters to a batch. `variance(fan_in, fan_out)` is the
    declared variance of one weight and `gain` the declared singular value, both for a ReLU network. `given` says under
    which conditions the invariants hold. `biased` are the layers that a bias variance reaches.

    `by_runs`: whether `apply` (and `calibrate`, if `wiring.each`) take MLPs alike but in depth as one, so that a pack's
    are set up by few calls (`isoinit.schemes.alike`): what is drawn and filled is of all layers of a run of
    `wiring.runs`, which have the first side of a shape, or of each of `draw.each`. Then `biased` are all layers.
    """

    name: str
    source: str
    summary: str
    apply: Callable[..., Steps | None]
    by_runs: bool = False
    architectures: tuple[str, ...] = ALL
    activations: tuple[str, ...] | None = None
    normalizations: tuple[str, ...] = NORMALIZATIONS
    bias_modes: tuple[str, ...] = ANY_BIAS
    blocks: tuple[str, ...] | None = None
    invariants: tuple[str, ...] = ()
    given: str = ""
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    requires: Callable[..., None] | None = None
    even_width: bool = False
    needs_data: bool = False
    sparse: bool = False
    multiplier: float = 1.0
    variance: Callable[[int, int], float] | None = None
    gain: float | None = None
    biased: Callable[[Wiring], Sequence[WeightLayer]] = lambda wiring: wiring.layers
    calibrate: Callable[[nn.Module, Wiring, Tensor, bool], None] | None = None

    def __post_init__(self) -> None:
        self._check("architectures", self.architectures, ALL)
        self._check("activations", self.activations or ())
        self._check("normalizations", self.normalizations, NORMALIZATIONS)
        self._check("bias_modes", self.bias_modes, ANY_BIAS)
        self._check("blocks", self.blocks or ())
        self._check("invariants", self.invariants, INVARIANTS)
        for option, choices in self.options.items():
            self._check(f"options[{option!r}]", choices)
        claims = set(self.invariants)
        self._check_pair("the invariant weight_variance", "weight_variance" in claims, "variance", self.variance)
        self._check_pair("the invariant semi_orthogonal", "semi_orthogonal" in claims, "gain", self.gain)
        self._check_pair("the invariant density", "density" in claims, "sparse=True", self.sparse or None)
        self._check_pair("needs_data=True", self.needs_data, "calibrate", self.calibrate)

    def _check(self, field: str, words: object, known: Collection[str] = ()) -> None:
        if not isinstance(words, tuple):  # a comma forgotten makes a text, whose letters are then looked up
            raise ValueError(f"scheme {self.name}: {field} must be a tuple, as ({words!r},), got {words!r}")
        if known and (unknown := [word for word in words if word not in known]):
            raise ValueError(f"scheme {self.name}: {field} must be of {', '.join(known)}, got {unknown[0]!r}")

    def _check_pair(self, one: str, given: bool, other: str, value: object) -> None:
        if given != (value is not None):
            first, second = (one, other) if given else (other, one)
            raise ValueError(f"scheme {self.name}: {first} needs {second} too, got none")

    @property
    def exact(self) -> str:
        """What holds exactly, and under which conditions, in one line."""
        holds = "; ".join(INVARIANTS[word] for word in self.invariants) or "nothing"
        return f"{holds} ({self.given})" if self.given else holds
