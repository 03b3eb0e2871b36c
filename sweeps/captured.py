"""Steps of a stack on a device, replayed as one graph where that is measured to be faster than launching them.

Small networks leave a GPU idle: to launch a step's operations from Python takes longer than to run them. A captured
step is launched as a whole. It repeats the same operations at the same addresses, so what changes from step to step
is copied to where the captured one reads it, and what comes out is copied away.

Not run on a GPU yet, for want of one: the tests replay recorded operations on a CPU in place of a device's graph. Of
`torch.cuda` we rely on what its documentation says. Its graphs and not `torch.accelerator.Graph`, which knows XPU but
not CUDA in torch 2.13.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""A step's batch, x (K, B, ...) and y (K, B), and the `stacking.step_numbers` of its update rule."""
Results: TypeAlias = tuple[Tensor, Tensor]
"""Losses and accuracies (K,)."""
Step: TypeAlias = Callable[[Tensor, Tensor, Tensor], Results]
"""Changes tensors in place that stay where they are; does not wait for the device, nor keep what it was given."""

_TRIED: Final = 8
"""Steps that are timed of either kind. Chosen: the first are slow, they load kernels and make workspaces (torch asks
for 3 before a capture), and the least time of the others counts."""
_LEAST: Final = 32
"""Replays to come from which on a first capture, of unknown cost, is tried; chosen: a few times `_TRIED`."""

_logger = logging.getLogger(__name__)


class Graph(Protocol):
    """Captured work; given up, it gives its memory back."""

    def replay(self) -> object: ...


class Graphs(Protocol):
    """What a device has to offer for a step to be captured there."""

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """Where work has to run a few times before it is captured; in order with what comes before and after."""
        ...

    def capture(self, work: Callable[[], Results]) -> tuple[Graph, Results]:
        """The work as a graph, and where its results will be. Nothing is computed yet.

        Raises:
            RuntimeError: the work cannot be captured.
        """
        ...


class CudaGraphs:
    """Those of `torch.cuda`.

    A graph holds memory of its own for what comes and goes within a step, which `memory` counts for every member
    anyway. It leaves none to a later graph: torch refuses to use that of one that is gone but for its results, and a
    stack has one graph at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self._stream.device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:  # out of memory, too: nobody may get tensors that are still being written
                current.wait_stream(self._stream)

    def capture(self, work: Callable[[], Results]) -> tuple[Graph, Results]:
        graph = torch.cuda.CUDAGraph()
        # the outer context, because `torch.cuda.graph` stays on its stream if the capture ends with an error
        with torch.cuda.stream(self._stream), torch.cuda.graph(graph, stream=self._stream):
            results = work()
        return graph, results


class Steps:
    """Runs the steps of one stack: eagerly for a while, then as replays for a while, then the faster way.

    All are real steps, of the same operations either way. After `renew` that begins anew if by the times taken so far
    the replays to come gain more than a capture costs; otherwise, and once a capture failed or replays were not
    faster, all further steps are eager.
    """

    def __init__(self, graphs: Graphs | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._graphs, self._clock = graphs, clock
        self._captured: _Captured | None = None
        self._tried = 0  # steps timed since the shapes are what they are
        self._eager = self._replay = math.inf  # least seconds of a step
        self._cost = 0.0  # seconds of the last capture

    def run(self, step: Step, inputs: Inputs, left: int) -> Results:
        """One step, of at most `left` to come, itself included."""
        if self._graphs is None or (self._tried == 0 and not self._pays(left)):
            self._graphs = None
            return step(*inputs)
        if self._tried < _TRIED:
            with self._graphs.aside():
                results, seconds = self._timed(self._graphs, lambda: step(*inputs))
            self._eager = min(self._eager, seconds)
            return results
        if self._captured is None and not self._capture(self._graphs, step, inputs):
            return self.run(step, inputs, left)
        assert self._captured is not None
        if self._tried < 2 * _TRIED:
            return self._try_replay(self._graphs, self._captured, inputs)
        return self._captured.run(inputs)

    def renew(self) -> None:
        """Forget the captured step: the next one has other shapes or addresses."""
        self._captured, self._tried = None, 0

    def _pays(self, left: int) -> bool:
        """Whether a capture is worth its cost, by what is known of it."""
        replays = left - _TRIED
        if math.isinf(self._replay):
            return replays >= _LEAST
        return replays * (self._eager - self._replay) > self._cost

    def _capture(self, graphs: Graphs, step: Step, inputs: Inputs) -> bool:
        """Whether the step could be captured."""
        started = self._clock()
        try:
            self._captured = _captured(graphs, step, inputs)
        except RuntimeError as error:  # nothing was computed, so nothing is lost
            cause = str(error.__context__ or error)  # to end the capture is an error of its own on CUDA
            _logger.warning("a step cannot be captured as a graph, so all are launched one by one: %s", cause)
            self._graphs = None
            return False
        self._cost = self._clock() - started
        return True

    def _try_replay(self, graphs: Graphs, captured: _Captured, inputs: Inputs) -> Results:
        results, seconds = self._timed(graphs, lambda: captured.run(inputs))
        self._replay = min(self._replay, seconds)
        if self._tried == 2 * _TRIED and self._replay >= self._eager:
            self._graphs = self._captured = None
        return results

    def _timed(self, graphs: Graphs, work: Callable[[], Results]) -> tuple[Results, float]:
        self._tried += 1
        graphs.synchronize()
        started = self._clock()
        results = work()
        graphs.synchronize()
        return results, self._clock() - started


class _Captured(NamedTuple):
    """A step's graph, and the tensors that it reads and fills."""

    graph: Graph
    inputs: Inputs
    results: Results

    def run(self, inputs: Inputs) -> Results:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        loss, hits = self.results
        return loss.clone(), hits.clone()


def _captured(graphs: Graphs, step: Step, inputs: Inputs) -> _Captured:
    x, y, numbers = (given.clone() for given in inputs)
    graph, results = graphs.capture(lambda: step(x, y, numbers))
    return _Captured(graph, (x, y, numbers), results)


def steps(device: torch.device) -> Steps:
    """How the steps of a stack on a device are run; eagerly where there are no graphs."""
    return Steps(CudaGraphs(device) if device.type == "cuda" else None)
