"""What a member has done: its losses and accuracies step by step, and the replicate that is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.outcome import Criterion, Curve, Outcome, label
from sweeps.spec import Training
from sweeps.stacking import LOSS_BOUND


@dataclass(frozen=True)
class Replicate:
    """One trained network; the curve holds every `log_every` steps and the last, means since the previous one.

    Loss (nats) and accuracy are those of the minibatches before their updates. The curve of a network that
    diverged (loss not finite, or above `stacking.LOSS_BOUND`: recorded as inf) ends with that step.
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


class History:
    """What one member has done so far."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._loss: list[float] = []
        self._accuracy: list[float] = []
        self.diverged = False

    def extend(self, loss: NDArray[np.float64], accuracy: NDArray[np.float64]) -> None:
        """Add the (steps,) losses (nats) and accuracies that follow, up to the step at which the network diverged."""
        sound = loss <= LOSS_BOUND
        self.diverged = not sound.all()
        end = int(np.argmin(sound)) + 1 if self.diverged else len(loss)
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
        steps = [step for step in recorded_steps(self._training) if step < run] + [run]
        starts = [0, *steps[:-1]]
        loss, accuracy = (np.add.reduceat(v, starts) / np.diff([0, *steps]) for v in (self._loss, self._accuracy))
        return steps, loss.tolist(), accuracy.tolist()

    def replicate(self, test_accuracy: float | None, probes: dict[str, float | None], budget_flops: float) -> Replicate:
        steps, loss, accuracy = self._curve()
        share = len(self._loss) / self._training.steps
        return Replicate(
            len(self._loss), steps, loss, accuracy, loss[-1], accuracy[-1], test_accuracy, probes, share * budget_flops
        )


def recorded_steps(training: Training) -> list[int]:
    """Steps at which a curve has a point: every `log_every` and the last."""
    return sorted({*range(training.log_every, training.steps, training.log_every), training.steps})
