"""What a network may suffer at initialization and still start training: numbers, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import Final

from isoinit.theory import meanfield
from isoinit.theory.asked import plain

BETWEEN: Final[Mapping[str, float]] = MappingProxyType({"digits": 0.42, "mnist": 0.21, "cifar10": 0.067})
"""Share of the variance of inputs, about their mean, that lies between the means of classes: of scikit-learn's digits,
of MNIST's training split, and of that of CIFAR-10 (in a copy of lossy JPEG)."""
SUREST: Final = 0.999  # share of inputs told apart; to be surer is no matter of their first steps


@dataclass(frozen=True)
class Threshold:
    """A number that decides, and where it comes from: a paper, or the word "chosen"."""

    value: float
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain(self.value))


@dataclass(frozen=True)
class Tolerance:
    """What a network may suffer at initialization and still start training."""

    signal: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE,
        "|log| of the squared norm: up to 6 depth scales, Schoenholz et al. 2017; what it may lose is of the steps, if "
        "they are given",
    )
    gradient: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE, "|log| of the squared gradient: likewise, Schoenholz et al. 2017"
    )
    alignment: Threshold = Threshold(
        1e-2, "1 - correlation of an input and the nearest of the others, if no steps are given: chosen"
    )
    inputs: Threshold = Threshold(10, "inputs to be told apart, as if of as many classes: chosen, the number of digits")
    conditioning: Threshold = Threshold(inf, "Var(e) / E(e)^2 of the eigenvalues of J J^T: chosen, off unless set")
    death: Threshold = Threshold(0.5, "probability that a layer is off for a given input: chosen")
    stability: Threshold = Threshold(
        12.0,
        "learning rate times sharpness up to which ReLU nets settle: Lewkowycz et al. 2020, of a squared loss, quoted "
        "without the paper at hand; taken of smooth units, too: chosen",
    )
    linear_stability: Threshold = Threshold(4.0, "the same of linear units: Lewkowycz et al. 2020, quoted alike")
    told: Threshold = Threshold(0.8, "share of inputs told apart by a net that has trained: chosen")
    between: Threshold = Threshold(
        BETWEEN["digits"],
        "share of the variance of inputs that lies between classes: chosen, as in scikit-learn's digits; it counts how "
        "many times less it is than theirs",
    )
    certainty: Threshold = Threshold(0.9, "share of seeds that agree, else seed-dependent (1.64 sigma): chosen")
    input_square: Threshold = Threshold(1.0, "mean square of an input coordinate, standardized data: chosen")
    input_correlation: Threshold = Threshold(0.0, "cosine of two inputs, unrelated data: chosen")
    shared: Threshold = Threshold(
        0.5,
        "share, in logs, of the length that biases give to all inputs alike which does not make them more alike: "
        "chosen, between 1, of a learning rate that lengths leave as it is, and 0, of one that is always the greatest "
        "stable one; in plain nets of piecewise linear units",
    )
    classes: Threshold = Threshold(
        1e-2, "1 - correlation of the gradients of a class and the nearest of the others: chosen, as of inputs; 0: off"
    )

    part: Threshold = Threshold(
        0.41,
        "cosine of two inputs of a class less that of two of different ones: chosen, as in the mean of scikit-learn's "
        "digits; .17 of MNIST; 0: no learning rate is too small",
    )

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, told: float | None = None, between: float | None = None) -> Tolerance:
        """The usual ones, but for a criterion that wants the share `told` of inputs told apart, of data whose classes
        have this share of the variance `between` them; None: as usual."""
        known = DEFAULT if told is None else replace(DEFAULT, told=Threshold(min(told, SUREST), "the criterion"))
        return known if between is None else replace(known, between=Threshold(between, "the data"))

    def stable(self, activation: str) -> float:
        """Learning rate times sharpness up to which a net of these units settles."""
        return (self.linear_stability if activation == "linear" else self.stability).value


DEFAULT = Tolerance()
