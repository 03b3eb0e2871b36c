"""A captured step trains like a launched one, bit for bit, whatever changes between steps; the faster of both is kept.

There was no GPU to run this on. In place of a device's graph stands a recording of all operations of a step, which are
repeated on the same tensors: that shows what a step bakes in, not what CUDA makes of it.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock, call

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from isoinit import networks, schemes
from isoinit.layers import set_mask
from sweeps import captured, data, kernel, stack, stacking, train
from sweeps.captured import Steps
from sweeps.ragged import RaggedStack
from sweeps.spec import Point, Training
from sweeps.stack import Batches, ModuleStack, Start

CPU = torch.device("cpu")
STEPS = 120
TRIED = captured._TRIED
RULES = {
    "sgd": Training(steps=STEPS, weight_decay=0.02),
    "momentum": Training(steps=STEPS, momentum=0.9),
    "nesterov": Training(steps=STEPS, momentum=0.9, nesterov=True, weight_decay=0.02),
    "adam": Training(steps=STEPS, optimizer="adam", weight_decay=0.02),
}
FACTORS = [1.0] * 45 + [0.3] * 40 + [0.09] * 35
aten = torch.ops.aten
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.lift_fresh.default}
"""What copies to the host, or waits for it to know a size, or (the last) copies numbers of Python to the device."""


class Recording(TorchDispatchMode):
    """All operations of a step, to be repeated on the same tensors; a graph keeps no more of it, numbers included."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor], list[Tensor]]] = []
        self._before: dict[int, tuple[Any, Any]] = {}  # storages of tensors made elsewhere, and what was in them
        self._made: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS:
            raise RuntimeError(f"simulated: {func} while capturing")
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._made and storage._cdata not in self._before:
                self._before[storage._cdata] = storage, storage.clone()
        out = func(*args, **kwargs)
        known = self._made.keys() | self._before.keys()
        fresh = [tensor for tensor in _tensors(out) if tensor.untyped_storage()._cdata not in known]
        self._made.update((tensor.untyped_storage()._cdata, tensor.untyped_storage()) for tensor in fresh)
        self._calls.append((func, args, kwargs, _tensors(out), fresh))
        return out

    @torch.no_grad()
    def undo(self) -> None:
        """As if nothing had been computed."""
        for storage, before in self._before.values():
            storage.copy_(before)
        for *_, fresh in self._calls:
            for tensor in fresh:
                tensor.fill_(torch.nan if tensor.is_floating_point() else 0)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outs, fresh in self._calls:
            again = _tensors(func(*args, **kwargs))
            for mine, new in zip(outs, again, strict=True):
                if any(mine is tensor for tensor in fresh):
                    mine.copy_(new)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and not leaf.is_meta]


class Launching(TorchDispatchMode):
    """Tells of every operation."""

    def __init__(self, launched: Callable[[], None]) -> None:
        super().__init__()
        self._launched = launched

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._launched()
        return func(*args, **(kwargs or {}))


class Simulated:
    """Graphs that are recordings, and the clock of a device: to launch an operation takes a second."""

    def __init__(self, replay: float = 1.0, capture: float = 100.0) -> None:
        self._replay, self._capture, self.now = replay, capture, 0.0
        self.replays, self.graphs = 0, list[weakref.ref[Any]]()

    def clock(self) -> float:
        return self.now

    def synchronize(self) -> None:
        pass

    @contextmanager
    def aside(self) -> Iterator[None]:
        with Launching(lambda: self._passes(1.0)):
            yield

    def capture(self, work: Callable[[], captured.Results]) -> tuple[captured.Graph, captured.Results]:
        self._passes(self._capture)
        recording = Recording()
        try:
            with recording:
                results = work()
        finally:
            recording.undo()
        graph = _Graph(self, recording)
        assert not any(other() for other in self.graphs), "a stack needs the memory of one graph at a time"
        self.graphs.append(weakref.ref(graph))
        return graph, results

    def launch(self, recording: Recording) -> None:
        self._passes(self._replay)
        self.replays += 1
        recording.replay()

    def _passes(self, seconds: float) -> None:
        self.now += seconds


class _Graph:
    def __init__(self, device: Simulated, recording: Recording) -> None:
        self._device, self._recording = device, recording

    def replay(self) -> None:
        self._device.launch(self._recording)


def steps_of(device: Simulated | None) -> Steps:
    return Steps(None) if device is None else Steps(device, device.clock)


def initialized(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return schemes.initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=generator)


def masked(model: nn.Module, seed: int) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(seed)) < 0.4)
    return model


def mlp(seed: int, depth: int = 4, activation: str = "tanh", normalization: str = "none", width: int = 9) -> nn.Module:
    return initialized(networks.MLP(48, width, depth, 5, activation, normalization), seed)


def cnn(seed: int) -> nn.Module:
    return initialized(networks.CNN((3, 4, 4), 4, 3, 5, "relu", "batch"), seed)


def resnet(seed: int) -> nn.Module:
    model = networks.build("resnet", (3, 4, 4), width=4, depth=4, out_features=5, scheme="fixup")
    return schemes.initialize(model, "fixup", generator=torch.Generator().manual_seed(seed))


def batches() -> dict[int, Batches]:
    source = torch.Generator().manual_seed(9)
    return {
        seed: Batches(torch.randn(STEPS, 6, 3, 4, 4, generator=source), torch.randint(5, (STEPS, 6), generator=source))
        for seed in (0, 1)
    }


def cut(start: int, stop: int) -> dict[int, Batches]:
    return {seed: Batches(x[start:stop], y[start:stop]) for seed, (x, y) in batches().items()}


def trained(one: RaggedStack | ModuleStack, models: Sequence[nn.Module]) -> tuple[list[np.ndarray], list[Tensor]]:
    """Everything that a training gives, in calls of few and of many steps, with members dropped on the way."""
    series = []
    for start, stop in [(0, 5), (5, 60), (60, 61), (61, STEPS)]:
        series += one.advance(cut(start, stop), FACTORS[start:stop], start)
        if stop == 60:
            one.keep([0, 2, 3])
    written = [one.write(row, models[place]) for row, place in enumerate(one.places)]
    return series, [tensor.clone() for model in written for tensor in model.state_dict().values()]


def assert_equal(mine: tuple[list[np.ndarray], list[Tensor]], other: tuple[list[np.ndarray], list[Tensor]]) -> None:
    assert all(np.isfinite(values).all() for values in other[0])
    for found, expected in zip(mine[0], other[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert all(torch.equal(found, expected) for found, expected in zip(mine[1], other[1], strict=True))


def ragged(device: Simulated | None, training: Training, sparse: bool = False) -> RaggedStack:
    models = [mlp(seed, depth) for seed, depth in enumerate((5, 2, 3, 3, 5))]
    rate = 0.01 if training.optimizer == "adam" else 0.05
    starts = [Start(masked(m, i) if sparse else m, rate * (1 + i), i % 2) for i, m in enumerate(models)]
    return RaggedStack(range(5), starts, training, CPU, steps_of(device))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("rule", RULES)
def test_captured_stacked_products_train_as_launched_ones(rule: str, sparse: bool) -> None:
    device, models = Simulated(), [mlp(9, depth) for depth in (5, 2, 3, 3, 5)]
    expected = trained(ragged(None, RULES[rule], sparse), models)
    assert_equal(trained(ragged(device, RULES[rule], sparse), models), expected)
    assert len(device.graphs) == 2
    assert device.replays == STEPS - 2 * TRIED


def test_captured_products_of_padded_networks_train_as_launched_ones() -> None:
    def models(first: int) -> list[nn.Module]:
        sizes = enumerate(((5, 7), (2, 12), (3, 4), (3, 12), (5, 9)), first)
        return [mlp(seed, depth, "sigmoid", width=width) for seed, (depth, width) in sizes]

    device, results = Simulated(), []
    for steps in (steps_of(device), steps_of(None)):
        starts = [Start(model, 0.05 * (1 + i), i % 2) for i, model in enumerate(models(0))]
        results.append(trained(RaggedStack(range(5), starts, RULES["adam"], CPU, steps), models(9)))
    assert_equal(*results)
    assert device.replays == STEPS - 2 * TRIED


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Module stacks on a CPU stay one network, as on other devices."""
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 1)
    monkeypatch.setattr(ModuleStack, "_streams", lambda *_: False)


MODULES: dict[str, Callable[[int], nn.Module]] = {
    "mlp": mlp,
    "normalized": lambda seed: mlp(seed, normalization="batch"),
    "sparse": lambda seed: masked(mlp(seed, activation="crelu"), seed),
    "cnn": cnn,
    "resnet": resnet,
}


def modules(device: Simulated | None, training: Training, kind: str) -> ModuleStack:
    rate = 0.003 if training.optimizer == "adam" else 0.01
    starts = [Start(MODULES[kind](seed), rate * (1 + seed), seed % 2) for seed in range(5)]
    return ModuleStack(range(5), starts, training, CPU, steps_of(device))


@pytest.mark.usefixtures("stacked")
@pytest.mark.parametrize(("kind", "rule"), [*((kind, "adam") for kind in MODULES), *(("cnn", rule) for rule in RULES)])
def test_captured_modules_train_as_launched_ones_statistics_included(kind: str, rule: str) -> None:
    device, results = Simulated(), []
    for one in (modules(device, RULES[rule], kind), modules(None, RULES[rule], kind)):
        results.append(trained(one, [MODULES[kind](9) for _ in range(5)]))
        assert one._loop is None
    assert_equal(*results)
    assert len(device.graphs) == 2
    assert device.replays == STEPS - 2 * TRIED


def test_the_tensors_of_an_update_are_the_numbers_of_the_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of other devices are those that a CPU makes, to rounding."""
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 1)
    for training in RULES.values():
        starts = [Start(mlp(seed, normalization="batch"), 0.003 * (1 + seed), seed % 2) for seed in range(5)]
        ours, theirs = (ModuleStack(range(5), starts, training, CPU, steps) for steps in (Steps(None), None))
        results = [one.advance(cut(0, 60), FACTORS[:60], 0) for one in (ours, theirs)]
        for mine, other in zip(*results, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=2e-5)


@pytest.mark.parametrize("training", RULES.values(), ids=RULES)
def test_the_tensors_of_an_update_are_torchs_optimizer(training: Training) -> None:
    """Also when it goes on after earlier steps, of which Adam's corrections know the number."""
    generator = torch.Generator().manual_seed(1)
    start, gradients = (torch.randn(*shape, generator=generator) for shape in ((2, 3, 4), (9, 2, 3, 4)))
    rates, rule = torch.tensor([0.1, 0.02]), kernel.rule(training)
    ours, kept = start.clone(), stacking.moments(rule, start)
    for steps in (range(4), range(4, 9)):
        rows = stacking.step_numbers([1.0] * len(steps), steps.start, CPU)
        for step, (factor, *corrections) in zip(steps, rows, strict=True):
            stacking.update(rule, ours, gradients[step].clone(), kept, rates * factor, corrections)
    for member, rate in enumerate(rates.tolist()):
        theirs = nn.Parameter(start[member].clone())
        optimizer = (
            torch.optim.Adam([theirs], rate, weight_decay=training.weight_decay)
            if training.optimizer == "adam"
            else torch.optim.SGD([theirs], rate, training.momentum, 0, training.weight_decay, training.nesterov)
        )
        for gradient in gradients[:, member]:
            theirs.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(ours[member], theirs.detach(), rtol=0, atol=2e-6)


def test_a_pack_with_networks_that_end_early_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    point = Point("he_normal", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.01, 1.0)
    points = [point, point._replace(depth=9), point._replace(scheme="orthogonal", width=7), point._replace(depth=2)]
    members = [train.Member(p, seed, rate) for p in points for seed in (0, 1) for rate in (0.05, 0.3, 1e6)]
    training = Training(steps=STEPS, log_every=25, batch_size=32, stop_on_success=True)
    criterion = train.Criterion("train_accuracy", 0.8, None)
    original = stack._group
    monkeypatch.setattr(stack, "_group", lambda model, _: original(model, torch.device("cuda")))
    devices: list[Simulated] = []

    def simulated(_: torch.device) -> Steps:
        devices.append(Simulated())
        return steps_of(devices[-1])

    launched = train.train(members, data.load("digits"), training, criterion=criterion)
    monkeypatch.setattr(captured, "steps", simulated)
    replayed = train.train(members, data.load("digits"), training, criterion=criterion)
    assert len({r.steps_run for r in launched}) > 2
    for mine, other in zip(replayed, launched, strict=True):
        np.testing.assert_array_equal(mine.curve_loss, other.curve_loss)
        assert mine.test_accuracy == other.test_accuracy
    assert all(device.replays for device in devices)
    assert any(len(device.graphs) > 1 for device in devices)


def test_a_step_that_waits_for_the_device_goes_on_launched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = RaggedStack._step

    def waiting(self: RaggedStack, x: Tensor, y: Tensor, numbers: Tensor) -> captured.Results:
        results = original(self, x, y, numbers)
        assert results[0].sum().item() > 0
        return results

    models = [mlp(9, depth) for depth in (5, 2, 3, 3, 5)]
    expected = trained(ragged(None, RULES["adam"]), models)
    monkeypatch.setattr(RaggedStack, "_step", waiting)
    device = Simulated()
    with caplog.at_level(logging.WARNING):
        assert_equal(trained(ragged(device, RULES["adam"]), models), expected)
    assert device.replays == len(device.graphs) == 0
    assert [record.name for record in caplog.records] == ["sweeps.captured"]
    assert "_local_scalar_dense" in caplog.text


def test_why_a_step_cannot_be_captured_is_told_and_not_that_the_capture_could_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        try:
            raise RuntimeError("the step waits")
        finally:
            raise RuntimeError("the capture is invalid")

    device = Simulated()
    monkeypatch.setattr(device, "capture", broken)
    ragged(device, RULES["sgd"]).advance(batches(), FACTORS, 0)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == ["the step waits"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_only_what_torch_refuses_is_overcome(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def broken(*_: object) -> None:
        raise error

    device = Simulated()
    monkeypatch.setattr(device, "capture", broken)
    with pytest.raises(error):
        ragged(device, RULES["sgd"]).advance(batches(), FACTORS, 0)


LAUNCHES = 3


def toy(state: Tensor) -> captured.Step:
    """A step of `LAUNCHES` operations."""

    def step(x: Tensor, y: Tensor, numbers: Tensor) -> captured.Results:
        state.add_(x)
        return state * numbers, state + y

    return step


def ran(steps: Steps, count: int, left: int) -> list[float]:
    """The states of the toy after adding 0, 1, ..., with `left` steps to come at first."""
    state = torch.zeros(3)
    xs = torch.arange(float(count))[:, None].expand(count, 3).clone()
    found = []
    for i, x in enumerate(xs):
        first, second = steps.run(toy(state), (x, torch.ones(3), torch.full((3,), 2.0)), left - i)
        assert torch.equal(first, 2 * state)
        assert torch.equal(second, state + 1)
        found.append(state[0].item())
    assert xs[:, 0].tolist() == list(range(count)), "what was given belongs to others"
    return found


@pytest.mark.parametrize(("replay", "faster"), [(LAUNCHES - 0.5, True), (LAUNCHES, False), (LAUNCHES + 0.5, False)])
def test_the_faster_way_is_kept(replay: float, faster: bool) -> None:
    device = Simulated(replay)
    steps = steps_of(device)
    assert ran(steps, 100, 100) == np.cumsum(np.arange(100.0)).tolist()
    assert device.replays == (100 - TRIED if faster else TRIED)
    assert [graph() is not None for graph in device.graphs] == [faster]


@pytest.mark.parametrize("faster", [True, False])
def test_slow_steps_at_either_end_decide_nothing(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    """The first ones of a kind load kernels, and others may have the machine for a while."""
    device = Simulated(LAUNCHES - 0.5 if faster else LAUNCHES + 0.5)
    launches = LAUNCHES * TRIED  # then comes the capture
    slow = {launches + 1, launches + TRIED} if faster else {0, launches - 1}
    passes, calls = device._passes, itertools.count()
    monkeypatch.setattr(device, "_passes", lambda seconds: passes(seconds + 1e6 * (next(calls) in slow)))
    ran(steps_of(device), 100, 100)
    assert device.replays == (100 - TRIED if faster else TRIED)


def test_results_are_not_overwritten_by_the_next_step() -> None:
    steps, state = steps_of(Simulated()), torch.zeros(3)
    given = torch.ones(3), torch.ones(3), torch.ones(3)
    results = [steps.run(toy(state), given, 100)[0] for _ in range(50)]
    assert [result[0].item() for result in results] == list(range(1, 51))


@pytest.mark.parametrize(("left", "captures"), [(TRIED + captured._LEAST, 1), (TRIED + captured._LEAST - 1, 0)])
def test_few_steps_are_not_worth_a_capture(left: int, captures: int) -> None:
    device = Simulated()
    ran(steps_of(device), left, left)
    assert len(device.graphs) == captures


@pytest.mark.usefixtures("stacked")
@pytest.mark.parametrize(("done", "captures"), [(STEPS - TRIED - captured._LEAST, 1), (STEPS - captured._LEAST, 0)])
def test_steps_to_come_end_with_the_training(done: int, captures: int) -> None:
    for make in (ragged, lambda device, training: modules(device, training, "mlp")):
        device = Simulated()
        one = make(device, RULES["sgd"])
        one.advance(cut(done, STEPS), FACTORS[done:], done)
        assert len(device.graphs) == captures


@pytest.mark.parametrize(("cost", "captures"), [(79.0, 2), (80.0, 1)])
def test_another_capture_must_be_paid_by_the_replays_to_come(cost: float, captures: int) -> None:
    """What is gained in 40 replays, 2 seconds each, or less than that."""
    device = Simulated(LAUNCHES - 2, cost)
    steps = steps_of(device)
    ran(steps, 60, 60 + TRIED + 40)
    steps.renew()
    assert not any(graph() for graph in device.graphs)
    ran(steps, 20, TRIED + 40)
    assert len(device.graphs) == captures


def test_a_slower_replay_is_not_tried_again_with_fewer_members() -> None:
    device = Simulated(1e6)
    steps = steps_of(device)
    for _ in range(3):
        ran(steps, 100, 1000)
        steps.renew()
    assert len(device.graphs) == 1


def test_a_capture_computes_nothing_and_a_replay_everything() -> None:
    """Of the simulation: otherwise all of the above would prove little."""
    state, x = torch.zeros(3), torch.ones(3)
    graph, (first, second) = Simulated().capture(lambda: toy(state)(x, x, x))
    assert state.tolist() == [0] * 3
    assert first.isnan().all()
    x.fill_(5)
    graph.replay()
    assert [t.tolist() for t in (state, first, second)] == [[5] * 3, [25] * 3, [10] * 3]


def test_a_number_of_python_would_be_baked_in() -> None:
    state, numbers = torch.zeros(3), [1.0]
    graph, _ = Simulated().capture(lambda: (state.add_(numbers[0]), state))
    numbers[0] = 2.0
    graph.replay()
    assert state.tolist() == [1.0] * 3


def test_a_cpu_has_no_graphs_and_cuda_has_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MagicMock()
    monkeypatch.setattr(captured, "CudaGraphs", made)
    assert [captured.steps(torch.device(kind))._graphs for kind in ("cpu", "mps", "xpu")] == [None] * 3
    made.assert_not_called()
    device = torch.device("cuda", 1)
    assert captured.steps(device)._graphs is made(device)


def test_work_is_tried_and_captured_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls to torch, in their order and with arguments that it takes; no more without a GPU."""
    signature, calls = inspect.signature(torch.cuda.graph), MagicMock()
    for name in ("Stream", "stream", "current_stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(calls, name))
    graphs = captured.CudaGraphs(torch.device("cuda"))
    own, current = calls.Stream(), calls.current_stream()
    calls.graph().__exit__.side_effect = RuntimeError("the capture was invalidated")
    calls.reset_mock()
    with graphs.aside():
        calls.work()
    assert calls.mock_calls[1:] == [
        call.Stream().wait_stream(current),
        call.stream(own),
        call.stream().__enter__(),
        call.work(),
        call.current_stream().wait_stream(own),
        call.stream().__exit__(None, None, None),
    ]
    calls.reset_mock()
    calls.stream().__exit__.return_value = False
    with pytest.raises(torch.OutOfMemoryError), graphs.aside():
        raise torch.OutOfMemoryError
    current.wait_stream.assert_called_once_with(own)
    calls.reset_mock()
    with pytest.raises(RuntimeError, match="invalidated"):
        graphs.capture(calls.work)
    graph = calls.CUDAGraph()
    assert [name for name, *_ in calls.mock_calls[:8]] == [
        "CUDAGraph",
        "stream",
        "stream().__enter__",
        "graph",
        "graph().__enter__",
        "work",
        "graph().__exit__",
        "stream().__exit__",
    ]
    calls.stream.assert_called_once_with(own)
    calls.graph.assert_called_once_with(graph, stream=own)
    assert signature.bind(graph, stream=own).arguments == {"cuda_graph": graph, "stream": own}


@pytest.mark.parametrize("kind", ["ragged", "cnn"])
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
    ],
)
def test_replays_on_a_device_train_as_launched_steps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, device: str
) -> None:
    """On a GPU with its own graphs. That was not run by the authors, who had none: the tolerance is a guess."""
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 1)
    there = torch.device(device)
    graphs = Simulated() if device == "cpu" else captured.CudaGraphs(there)
    later_is_faster = (-float(n * n) for n in itertools.count()).__next__  # so replays win
    models = (
        [mlp(i, depth) for i, depth in enumerate((5, 2, 3, 3, 5))] if kind == "ragged" else [cnn(i) for i in range(5)]
    )
    starts = [Start(model, 0.01 * (1 + i), i % 2) for i, model in enumerate(models)]
    given = {seed: Batches(x.to(there), y.to(there)) for seed, (x, y) in batches().items()}
    replaying, results = Steps(graphs, later_is_faster), []
    for steps in (replaying, Steps(None)):
        one = (RaggedStack if kind == "ragged" else ModuleStack)(range(5), starts, RULES["momentum"], there, steps)
        results.append(one.advance(given, FACTORS, 0))
    assert replaying._captured is not None
    assert "sweeps.captured" not in [record.name for record in caplog.records]
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=0 if device == "cpu" else 1e-3)


class _Single(torch.Tensor):
    """As on a device that has no float64, like Apple's."""

    def double(self) -> torch.Tensor:
        raise TypeError("the device has no float64")

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_what_comes_from_a_device_need_not_be_of_double_precision_there() -> None:
    loss, accuracy = stacking.series(torch.ones(2, 3).as_subclass(_Single), torch.zeros(2, 3).as_subclass(_Single))
    assert (loss.dtype, accuracy.dtype) == (np.float64, np.float64)
    assert (loss == 1).all()
