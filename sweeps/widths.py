"""How wide networks are trained: as they are, or padded with units that stay 0, whichever a model of the cost says.

A padded unit has weights and biases of 0 and gives 0 (which sigmoid has to be told), so that nothing that touches it
gets a gradient, and what the others learn is the same but for rounding. Only a network whose numbers overflow may end
some steps sooner, for infinity times 0 is not a number.

On a CPU every network is trained by itself (see `kernel`), and what a width costs depends on the products it makes:
registers hold whole `kernel.BLOCK`s of columns, and a BLAS takes its time for every call and for odd sizes. On a device
what costs is to launch operations: networks of unlike widths in one stack are launched once but multiply more zeros
(see `ragged`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import torch

from sweeps import kernel

_CALLED: Final = 700.0
_WHOLE, _EVEN, _ODD = 1.1, 1.13, 1.22
"""What a BLAS needs, in the time of a number's product that is made in registers: for a call, and for each number where
the width is a multiple of `_SIXTEEN`, of `kernel.BLOCK`, or of neither. Fitted to `tests/bench/widths.py`, widths 1 to
512 on an AMD EPYC (Zen 3), whose tiles are as fast as a BLAS at width 256."""
_SIXTEEN: Final = 16
_CROWDED_AT, _CROWDED = 256, 1.15
"""Rows of a multiple of so many numbers crowd the same sets of a cache. With AVX-512 (AMD EPYC, Zen 5) networks of
width 264 and 520 took 1 / 1.07 and 1 / 1.22 of the time that those of 256 and 512 did, with crelu 1 / 1.19 and 1 / 1.3
(medians of 3, interleaved, by a script that was not kept)."""


@lru_cache(maxsize=1024)
def stored(width: int) -> int:
    """The width with which the compiled kernel trains networks of this width on a CPU: the cheapest that holds it."""
    return min(range(width, width + _SIXTEEN), key=_cost)


def _cost(width: int) -> float:
    """Of one hidden layer's products, in the time of one number in registers."""
    if width % kernel.BLOCK == 0 and width <= kernel.NARROW:
        return width**2 * (_CROWDED if width % _CROWDED_AT == 0 else 1.0)
    slower = _WHOLE if width % _SIXTEEN == 0 else _EVEN if width % kernel.BLOCK == 0 else _ODD
    return _CALLED + slower * width**2


class Costs(NamedTuple):
    """Seconds that a device takes."""

    launch: float
    """For an operation, whatever its size."""
    product: float
    """For a multiplication and an addition, in a stack of small matrices."""


_LAYER, _STEP = 7, 30
"""Operations of a step of `ragged.RaggedStack`: of a layer, and beside them."""
_TRIED: Final = 20


@lru_cache
def costs(device: torch.device) -> Costs:
    """Measured once per process, in some hundredths of a second. To within a factor of 2, as powers of 4: so that noise
    seldom decides which networks are padded, which may change how their numbers are rounded."""
    small, stack = torch.zeros(8, device=device), torch.zeros(64, 64, 64, device=device)
    launch = _seconds(device, lambda: small.add_(1))
    product = max(_seconds(device, lambda: torch.bmm(stack, stack)) - launch, launch / 4) / 64**4
    return Costs(*(4.0 ** round(math.log(seconds, 4)) for seconds in (launch, product)))


def _seconds(device: torch.device, operation: Callable[[], object]) -> float:

    def wait() -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def once() -> float:
        wait()
        started = time.perf_counter()
        for _ in range(_TRIED):
            operation()
        wait()
        return (time.perf_counter() - started) / _TRIED

    return min(once() for _ in range(4))


class Sized(NamedTuple):
    """A network as far as its cost goes."""

    width: int
    depth: int


def stacked(networks: Sequence[Sized], sides: int, batch: int, costs: Costs) -> list[list[int]]:
    """Which networks to stack, by their places: neighbours in width, so that the sum of all steps' costs is least.

    Args:
        sides: inputs and classes.
        batch: samples of a step.
    """
    widths = sorted({n.width for n in networks})
    best: list[tuple[float, list[tuple[int, int]]]] = [(0.0, [])]  # of the narrowest so many widths
    for stop in range(1, len(widths) + 1):
        choices = []
        for start in range(stop):
            members = [n for n in networks if widths[start] <= n.width <= widths[stop - 1]]
            before, ranges = best[start]
            spent = before + _stack_cost(widths[stop - 1], [n.depth for n in members], sides, batch, costs)
            choices.append((spent, [*ranges, (widths[start], widths[stop - 1])]))
        best.append(min(choices, key=lambda choice: choice[0]))
    ranges = best[-1][1]
    return [[place for place, n in enumerate(networks) if low <= n.width <= high] for low, high in ranges]


def _stack_cost(width: int, depths: Sequence[int], sides: int, batch: int, costs: Costs) -> float:
    """Seconds of a step of networks of this width."""
    numbers = sum(width * sides + (depth - 2) * width**2 for depth in depths)
    return (_STEP + _LAYER * max(depths)) * costs.launch + 3 * batch * numbers * costs.product
