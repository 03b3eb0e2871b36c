"""Train a pack: any mix of points, seeds and learning rates; out come curves, outcomes are judged elsewhere.

Common random numbers. Two generators per seed, `generator(seed, "init")` and `generator(seed, "order")`: the
initial draws depend on scheme, shapes and seed, the batch order on the seed alone; neither on the learning
rate nor on the pack. A point is initialized and probed once per seed and copied to its learning rates, and
a batch is gathered once per seed. So a replicate is the same alone, packed or replayed, and schemes and
learning rates are compared on paired seeds.

Denormal numbers are flushed to zero in the calling thread while it trains (`torch.set_flush_denormal`): a vanishing
network would otherwise run at a fraction of the speed.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.outcome import Criterion, Curve, Outcome, label
from analysis.schema import PROBES
from isoinit import networks, schemes
from isoinit.probe import probes
from sweeps import stack
from sweeps.data import Dataset
from sweeps.spec import Point, Training
from sweeps.stack import LOSS_BOUND, Batches, Start

PROBE_INPUTS: Final = 64
"""The probes, and the schemes that adapt to data, see the first so many training samples."""

_GATHERED_BYTES: Final = 2**25  # of one seed's batches held at once
_TEST_BATCH: Final = 2048


@dataclass(frozen=True)
class Member:
    """One network to be trained."""

    point: Point
    seed: int
    learning_rate: float


@dataclass(frozen=True)
class Replicate:
    """One trained network; the curve holds every `log_every` steps and the last, means since the previous one.

    Loss (nats) and accuracy are those of the minibatches before their updates. The curve of a network that
    diverged (loss not finite, or above `stack.LOSS_BOUND`: recorded as inf) ends with that step.
    """

    steps_run: int
    curve_step: list[int]
    curve_loss: list[float]
    curve_accuracy: list[float]
    final_train_loss: float
    final_train_accuracy: float
    test_accuracy: float | None
    """On the whole test split after training; None if the network diverged."""
    probes: dict[str, float | None]
    flops: float
    """Multiplications and additions of the weight layers, over the steps run."""


class _Prepared(NamedTuple):
    model: nn.Module
    probes: dict[str, float | None]


def train(
    members: Sequence[Member],
    dataset: Dataset,
    training: Training,
    *,
    criterion: Criterion | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Replicate]:
    """Train every member for `training.steps` steps; results in the order of the members.

    Args:
        criterion: ends a member at the recorded step that meets it, if `training.stop_on_success`.
        progress: called now and then with the number of steps done, up to `training.steps`.

    Raises:
        ValueError: a scheme does not apply to its network, or `train_samples` exceeds the data set.
    """
    with _flushed_denormals():
        return _train(members, dataset, training, criterion, torch.device(device), progress)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Flush denormals as long as it lasts; torch cannot be asked what it did before, arithmetic can."""
    before = bool((torch.tensor(1e-40) * 1).item() == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def _collected_later() -> Iterator[None]:
    """No search for unreachable objects as long as it lasts: a deep network is made of thousands, none of which is, and
    of the searches that they set off some go through all modules loaded, which took a millisecond a network."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _train(
    members: Sequence[Member],
    dataset: Dataset,
    training: Training,
    criterion: Criterion | None,
    device: torch.device,
    progress: Callable[[int], None] | None,
) -> list[Replicate]:
    goal = criterion if training.stop_on_success else None
    orders = {seed: order(seed, dataset, training) for seed in dict.fromkeys(m.seed for m in members)}
    prepared = _prepare([(m.point, m.seed) for m in members], dataset, device)
    starts = [Start(prepared[m.point, m.seed].model, m.learning_rate, m.seed) for m in members]
    stacks = stack.build(starts, training, device)
    histories = [_History(training) for _ in members]
    tested: dict[int, float] = {}
    factors = _factors(training)
    for start, stop in _spans(dataset, training):
        seeds = dict.fromkeys(starts[place].seed for group in stacks for place in group.places)
        batches = {seed: _gather(dataset, orders[seed][start:stop], device) for seed in seeds}
        for group in stacks:
            going = []
            series = group.advance(batches, factors[start:stop], start)
            for row, (place, *values) in enumerate(zip(group.places, *series, strict=True)):
                history = histories[place]
                history.extend(*values)
                if not (history.diverged or history.ended(goal)):
                    going.append(row)
                elif not history.diverged:
                    tested[place] = _test_accuracy(group.write(row, starts[place].model), dataset, device)
            if len(going) < len(group.places):
                group.keep(going)
        stacks = [group for group in stacks if group.places]
        if progress is not None:
            progress(stop)
    return [
        history.replicate(tested.get(place), prepared[m.point, m.seed].probes, flops(m.point, dataset, training))
        for place, (m, history) in enumerate(zip(members, histories, strict=True))
    ]


def generator(seed: int, purpose: str) -> torch.Generator:
    """The source of a seed's draws for a purpose, "init" or "order": seeded by 8 bytes of sha256("purpose:seed")."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def order(seed: int, dataset: Dataset, training: Training) -> Tensor:
    """Samples of every batch, (steps, batch_size): one permutation of the training split after another, cut up."""
    samples = train_samples(dataset, training)
    source = generator(seed, "order")
    wanted = training.steps * training.batch_size
    epochs = [torch.randperm(samples, generator=source) for _ in range(math.ceil(wanted / samples))]
    return torch.cat(epochs)[:wanted].view(training.steps, training.batch_size)


def train_samples(dataset: Dataset, training: Training) -> int:
    """Samples that a training uses.

    Raises:
        ValueError: the data set has fewer.
    """
    samples = len(dataset.x_train) if training.train_samples is None else training.train_samples
    if samples > len(dataset.x_train):
        raise ValueError(f"train_samples must be at most {len(dataset.x_train)} for {dataset.name}, but got {samples}")
    return samples


def flops(point: Point, dataset: Dataset, training: Training) -> float:
    """Multiplications and additions of the weight layers of one replicate that trains for all its steps.

    Per sample and weight (at each position, in a convolution) 2 forward, 2 for the weight's gradient and 2 for
    the input's, which the first layer does not need.
    """
    return training.steps * training.batch_size * _sample_flops(shape_of(point), dataset.input_shape, dataset.classes)


@lru_cache(maxsize=1024)
def _sample_flops(shape: Point, input_shape: tuple[int, ...], classes: int) -> float:
    model = network(shape, input_shape, classes)  # not on the meta device, which loads torch's compiler, in seconds
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    if all(isinstance(layer, nn.Linear) for layer in layers):  # at one position each
        products = [layer.weight.numel() for layer in layers]
    else:
        products = _products(model, layers, input_shape)
    return 2.0 * (3 * sum(products) - products[0])


@torch.no_grad()
def _products(model: nn.Module, layers: Sequence[nn.Module], input_shape: tuple[int, ...]) -> list[int]:
    """Multiplications per sample of every layer, in the order in which they are run."""
    found: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        found.append(layer.weight.numel() * output[0].numel() // output.shape[1])

    for layer in layers:
        layer.register_forward_hook(count)
    model.eval()(torch.empty(1, *input_shape))
    return found


def shape_of(point: Point) -> Point:
    """What a point says of its network's shape; the other axes at fixed values."""
    return point._replace(weight_scale=1.0, bias_mode="zero", bias_variance=0.0, density=1.0)


def network(point: Point, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of a point, not initialized."""
    return networks.build(
        point.architecture,
        input_shape,
        width=point.width,
        depth=point.depth,
        out_features=classes,
        activation=point.activation,
        normalization=point.normalization,
        scheme=point.scheme,
    )


@_collected_later()
def _prepare(
    wanted: Sequence[tuple[Point, int]], dataset: Dataset, device: torch.device
) -> dict[tuple[Point, int], _Prepared]:
    """Build, initialize and probe the networks, one of each point and seed. On the CPU, so that the draws are the same
    for every device."""
    x, y = dataset.x_train[:PROBE_INPUTS], dataset.y_train[:PROBE_INPUTS]
    models = {key: _initialized(*key, dataset, x) for key in dict.fromkeys(wanted)}
    measured = probes(list(models.values()), x, y)
    if device.type != "cpu":
        for model in models.values():
            model.to(device)
    return {
        key: _Prepared(model, {name: float(getattr(found, name)) for name in PROBES})
        for (key, model), found in zip(models.items(), measured, strict=True)
    }


def _initialized(point: Point, seed: int, dataset: Dataset, x: Tensor) -> nn.Module:
    return schemes.initialize(
        network(point, dataset.input_shape, dataset.classes),
        point.scheme,
        bias_variance=point.bias_variance,
        bias_mode=point.bias_mode,
        weight_scale=point.weight_scale,
        density=point.density,
        generator=generator(seed, "init"),
        data=x,
        compiled=True,
    )


def _factors(training: Training) -> list[float]:
    """(steps,) factors of the step schedule on the learning rate."""
    changes = [round(share * training.steps) for share in training.schedule.at]
    return [training.schedule.factor ** sum(step >= change for change in changes) for step in range(training.steps)]


def _recorded(training: Training) -> list[int]:
    """Steps at which a curve has a point: every `log_every` and the last."""
    return sorted({*range(training.log_every, training.steps, training.log_every), training.steps})


def _spans(dataset: Dataset, training: Training) -> Iterator[tuple[int, int]]:
    """(start, stop) of the steps made at a stretch: up to a recorded step, and no more than memory should hold."""
    most = max(1, _GATHERED_BYTES // (4 * training.batch_size * math.prod(dataset.input_shape)))
    start = 0
    for recorded in _recorded(training):
        while start < recorded:
            stop = min(recorded, start + most)
            yield start, stop
            start = stop


def _gather(dataset: Dataset, samples: Tensor, device: torch.device) -> Batches:
    flat = samples.flatten()
    x = dataset.x_train[flat].view(*samples.shape, *dataset.input_shape)
    return Batches(x.to(device), dataset.y_train[flat].view(samples.shape).to(device))


@torch.no_grad()
def _test_accuracy(model: nn.Module, dataset: Dataset, device: torch.device) -> float:
    model.eval()
    hits = sum(
        int((model(x.to(device)).argmax(1).cpu() == y).sum())
        for x, y in zip(dataset.x_test.split(_TEST_BATCH), dataset.y_test.split(_TEST_BATCH), strict=True)
    )
    return hits / len(dataset.y_test)


class _History:
    """What one member has done so far."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._loss: list[float] = []
        self._accuracy: list[float] = []
        self.diverged = False

    def extend(self, loss: NDArray[np.float64], accuracy: NDArray[np.float64]) -> None:
        broken = np.flatnonzero(~(loss <= LOSS_BOUND))
        self.diverged = len(broken) > 0
        end = broken[0] + 1 if self.diverged else len(loss)
        self._loss += loss[:end].tolist()
        self._accuracy += accuracy[:end].tolist()
        if self.diverged and math.isfinite(self._loss[-1]):
            self._loss[-1] = math.inf

    def ended(self, goal: Criterion | None) -> bool:
        """Whether the budget is used up, or the goal met at the last recorded step."""
        steps = len(self._loss)
        if steps == self._training.steps:
            return True
        if goal is None or steps % self._training.log_every:
            return False
        return label(Curve(*self._curve(), self._training.steps), goal).outcome is Outcome.TRAINED

    def _curve(self) -> tuple[list[int], list[float], list[float]]:
        run = len(self._loss)
        steps = [step for step in _recorded(self._training) if step < run] + [run]
        starts = [0, *steps[:-1]]
        loss, accuracy = (np.add.reduceat(v, starts) / np.diff([0, *steps]) for v in (self._loss, self._accuracy))
        return steps, loss.tolist(), accuracy.tolist()

    def replicate(self, test_accuracy: float | None, probes: dict[str, float | None], budget_flops: float) -> Replicate:
        steps, loss, accuracy = self._curve()
        share = len(self._loss) / self._training.steps
        return Replicate(
            len(self._loss), steps, loss, accuracy, loss[-1], accuracy[-1], test_accuracy, probes, share * budget_flops
        )
