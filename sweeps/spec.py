"""The spec: what a sweep is, as checked data; `sweeps.reading` makes one of YAML.

Canonical JSON of a spec is hashed into every record; `trial_key` hashes only what changes a result,
so that two sweeps which train the same point share its key.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, field_validator, model_validator

from analysis.outcome import Criterion
from sweeps import bounds
from sweeps.values import Checked, Names, Space, listed, named

NUMERICS: Final = "2"
"""Raised whenever a change makes the same replicate train differently; part of every trial key."""
FACTOR: Final = 0.1
"""Of the step schedule, where none is given."""


class Point(NamedTuple):
    """One point of the search space; the fields are the axes, as in the `trials` table."""

    scheme: str
    architecture: str
    activation: str
    normalization: str
    depth: int
    width: int
    weight_scale: float
    bias_mode: str
    bias_variance: float
    density: float


class _Model(Checked, BaseModel):  # by its own name, so that linters know that defaults are copied
    pass


class Network(_Model):
    architecture: Names = ["mlp"]
    activation: Names = ["relu"]
    normalization: Names = ["none"]


class Schedule(_Model):
    """Step schedule: the learning rate is multiplied by `factor` at each of `at` (shares of the budget)."""

    at: list[Annotated[float, Field(gt=0, lt=1)]] = []
    factor: float = Field(default=FACTOR, gt=0)

    @model_validator(mode="after")
    def _used(self) -> Schedule:
        if self.factor != FACTOR and not self.at:
            raise ValueError(
                f"factor {self.factor:g} multiplies the learning rate at no time, for 'at' is empty; say when, as with "
                "at: [0.5], half of the steps"
            )
        return self


class Training(_Model):
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[list[Annotated[float, Field(gt=0)]], BeforeValidator(listed), Field(min_length=1)] = [0.01]
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Schedule = Schedule()
    batch_size: int = Field(default=64, ge=1, le=bounds.BATCH)
    steps: int = Field(default=200, ge=1, le=bounds.STEPS)
    log_every: int = Field(default=10, ge=1, description="steps between recorded points of the curve")
    seeds: int = Field(default=2, ge=1, le=bounds.SEEDS)
    first_seed: int = Field(default=0, ge=0)
    stop_on_success: bool = False
    train_samples: int | None = Field(default=None, ge=1, description="use only so many training samples")

    @field_validator("learning_rate")
    @classmethod
    def _distinct(cls, rates: list[float]) -> list[float]:
        """The same rate again would train the same network again, which is no replicate of its own."""
        if twice := [rate for rate, times in Counter(rates).items() if times > 1]:
            raise ValueError(f"every rate must be given once, but {twice[0]:g} is given {rates.count(twice[0])} times")
        return rates

    @model_validator(mode="after")
    def _used(self) -> Training:
        bounds.check_training(self.steps, self.log_every, self.batch_size)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, but momentum is 0")
        if self.optimizer == "adam" and self.momentum:
            raise ValueError(f"momentum is of sgd, adam has its own, but got {self.momentum:g} with optimizer adam")
        return self


class CriterionSpec(_Model):
    metric: Literal["train_accuracy", "test_accuracy", "train_loss"] = "train_accuracy"
    at_least: float | None = None
    at_most: float | None = None
    within: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_threshold(self) -> CriterionSpec:
        want, other = ("at_most", "at_least") if self.metric == "train_loss" else ("at_least", "at_most")
        if getattr(self, want) is None or getattr(self, other) is not None:
            raise ValueError(f"{self.metric} needs '{want}: <number>' and no '{other}'")
        self.build()
        return self

    def build(self) -> Criterion:
        threshold = self.at_most if self.at_least is None else self.at_least
        assert threshold is not None
        return Criterion(self.metric, threshold, self.within)


class Until(_Model):
    """Stop on science: at most this share of undecided cells, or this width of the frontier band."""

    undecided: float | None = Field(default=None, gt=0, lt=1)
    frontier_band: float | None = Field(default=None, gt=0, lt=1, description="share of the log-depth range")


class Search(_Model):
    sampler: str = "boundary"
    trials: int = Field(default=100, ge=1, le=bounds.TRIALS)
    batch: int = Field(default=16, ge=1, description="trials of a pack, once results of some are there")
    audit: float = Field(default=0.1, ge=0, le=1, description="share of random trials, those of the start included")
    seed: int = Field(default=0, ge=0, le=bounds.SAMPLER_SEED)
    until: Until = Until()


class Resources(_Model):
    pack: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    cpus: float = Field(default=1, ge=bounds.SHARE)
    gpus: Annotated[Literal["auto"] | Annotated[float, Field(ge=0)], AfterValidator(bounds.checked_gpus)] = "auto"
    packs_at_once: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_failures: int = Field(default=20, ge=0, description="infrastructure failures that a pack survives")


class SweepSpec(_Model):
    name: Annotated[str, AfterValidator(named)]
    question: str = ""
    dataset: str = "digits"
    network: Network = Network()
    space: Space
    training: Training = Training()
    criterion: CriterionSpec = CriterionSpec(at_least=0.8)
    search: Search = Search()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _judged_within_the_training(self) -> SweepSpec:
        first, last = min(self.training.log_every, self.training.steps), self.training.steps
        within = self.criterion.within
        if within is not None and not first <= within <= last:
            raise ValueError(
                f"criterion.within must be from {first}, the first step that is recorded, to {last}, the last, "
                f"but got {within}"
            )
        return self

    @model_validator(mode="after")
    def _seeds_can_be_kept(self) -> SweepSpec:
        bounds.check_seeds(self.training.first_seed, self.training.seeds, self.search.trials)
        return self

    def canonical(self) -> str:
        """JSON with sorted keys of all that defines the sweep; its hash identifies the spec.

        How long to search and on what machines is no part of it: a sweep may be continued with
        more trials, or elsewhere.
        """
        defining = self.model_dump(exclude={"question": True, "resources": True, "search": {"trials", "until"}})
        return json.dumps(defining, sort_keys=True, separators=(",", ":"))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def seeds(self, repeat: int = 0) -> tuple[int, ...]:
        """Seeds of a point that is visited for the `repeat`-th time (from 0): a new visit, new seeds."""
        first = self.training.first_seed + repeat * self.training.seeds
        return tuple(range(first, first + self.training.seeds))

    def trial_key(self, point: Point, seeds: Sequence[int], data_digest: str) -> str:
        """Content hash (hex) of everything that changes the trial's result, and of nothing else."""
        training = self.training.model_dump(exclude={"seeds", "first_seed"}) | {"seeds": list(seeds)}
        result = {
            "numerics": NUMERICS,
            "data": [self.dataset, data_digest],
            "point": point._asdict(),
            "training": training,
        }
        if self.training.stop_on_success:  # the criterion shortens the curves
            result["criterion"] = self.criterion.model_dump()
        text = json.dumps(result, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]
