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

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from analysis.outcome import Criterion
from sweeps import stack
from sweeps.data import Dataset
from sweeps.history import History, Replicate, recorded_steps
from sweeps.network import flops
from sweeps.preparing import generator, prepare
from sweeps.spec import Point, Training
from sweeps.stack import Batches, Start

_GATHERED_BYTES: Final = 2**25  # of one seed's batches held at once
_CACHED_BYTES: Final = 2**19  # of them, from which on more saved no time (widths 16 to 64, a script that was not kept)
_SOON: Final = 2.0**34  # multiplications and additions, some tenths of a second of a core
_TEST_BATCH: Final = 2048


@dataclass(frozen=True)
class Member:
    """One network to be trained."""

    point: Point
    seed: int
    learning_rate: float


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
    prepared = prepare([(m.point, m.seed) for m in members], dataset, device)
    starts = [Start(prepared[m.point, m.seed].model, m.learning_rate, m.seed) for m in members]
    stacks = stack.build(starts, training, device)
    histories = [History(training) for _ in members]
    tested: dict[int, float] = {}
    factors = _factors(training)
    budgets = [flops(m.point, dataset, training) for m in members]
    checked = goal is not None or not all(isinstance(group, stack.KernelStack) for group in stacks)
    for start, stop in _spans(dataset, training, None if checked else sum(budgets)):
        seeds = dict.fromkeys(starts[place].seed for group in stacks for place in group.places)
        batches = {seed: _gather(dataset, orders[seed][start:stop], device) for seed in seeds}
        for group in stacks:
            going: list[int] = []
            ended: list[int] = []
            series = group.advance(batches, factors[start:stop], start)
            for row, (place, *values) in enumerate(zip(group.places, *series, strict=True)):
                history = histories[place]
                history.extend(*values)
                if not (history.diverged or history.ended(goal)):
                    going.append(row)
                elif not history.diverged:
                    ended.append(row)
            tested.update(_tested(group, ended, starts, dataset, device))
            if len(going) < len(group.places):
                group.keep(going)
        stacks = [group for group in stacks if group.places]
        if progress is not None:
            progress(stop)
    return [
        history.replicate(tested.get(place), prepared[m.point, m.seed].probes, budget)
        for place, (m, history, budget) in enumerate(zip(members, histories, budgets, strict=True))
    ]


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


def _factors(training: Training) -> list[float]:
    """(steps,) factors of the step schedule on the learning rate."""
    changes = [round(share * training.steps) for share in training.schedule.at]
    return [training.schedule.factor ** sum(step >= change for change in changes) for step in range(training.steps)]


def _spans(dataset: Dataset, training: Training, work: float | None) -> Iterator[tuple[int, int]]:
    """(start, stop) of the steps made at a stretch: up to a recorded step, and no more than memory should hold.

    Up to the next recorded step, unless no member has to be looked at there, as compiled ones that diverge end by
    themselves. Then `work` is given, that of all steps, and what is done soon is done at a stretch.
    """
    size = 4 * training.batch_size * math.prod(dataset.input_shape)
    most, least = max(1, _GATHERED_BYTES // size), 1.0
    if work is not None:
        least = min(_CACHED_BYTES / size, training.steps * _SOON / work)
    start = 0
    for recorded in recorded_steps(training):
        if recorded - start < least and recorded < training.steps:
            continue
        while start < recorded:
            stop = min(recorded, start + most)
            yield start, stop
            start = stop


def _gather(dataset: Dataset, samples: Tensor, device: torch.device) -> Batches:
    flat = samples.flatten()
    x, y = (values.index_select(0, flat) for values in (dataset.x_train, dataset.y_train))  # x_train[flat] takes longer
    return Batches(x.view(*samples.shape, *dataset.input_shape).to(device), y.view(samples.shape).to(device))


def _tested(
    group: stack.Stack, rows: Sequence[int], starts: Sequence[Start], dataset: Dataset, device: torch.device
) -> dict[int, float]:
    """Accuracies on the test split of some members of a stack, by their places."""
    everyone = group.places if rows else []
    places = [everyone[row] for row in rows]
    if isinstance(group, stack.KernelStack):
        found = group.accuracies(rows, dataset.x_test, dataset.y_test)
    else:
        models = (group.write(row, starts[place].model) for row, place in zip(rows, places, strict=True))
        found = [_test_accuracy(model, dataset, device) for model in models]
    return dict(zip(places, found, strict=True))


@torch.no_grad()
def _test_accuracy(model: nn.Module, dataset: Dataset, device: torch.device) -> float:
    model.eval()
    hits = sum(
        int((model(x.to(device)).argmax(1).cpu() == y).sum())
        for x, y in zip(dataset.x_test.split(_TEST_BATCH), dataset.y_test.split(_TEST_BATCH), strict=True)
    )
    return hits / len(dataset.y_test)
