"""A criterion that chance alone meets is refused: by a classifier that always gives the same answer, route by route."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from sweeps import chance, data
from sweeps.arrays import Raw
from sweeps.reading import parse

SPEC = """
name: toy
space: {scheme: he_normal, depth: 4, width: 8}
training: {batch_size: 8, log_every: 3, steps: 20, train_samples: 80}
criterion: {at_least: 0.95}
"""


@pytest.fixture(scope="module")
def unequal() -> data.Dataset:
    """Of the first 80 samples 48 are of class 1, of all 180 more of class 0; of the test split 9 in 10 of 1."""
    y = np.array([1] * 48 + [0] * 16 + [2] * 16 + [0] * 100)
    test = np.array([1] * 9 + [2])
    return data.made("toy.npz", Raw(np.eye(len(y), 4, dtype=np.float32), y, np.eye(10, 4, dtype=np.float32), test))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["criterion.at_least=0.6"],
            r"criterion.at_least: .*most frequent class of toy.npz.* train_accuracy of 0.6, so",
        ),
        (["criterion={metric: test_accuracy, at_least: 0.9}"], "test_accuracy of 0.9, so that one of 0.9 says nothing"),
        (["criterion={metric: train_loss, at_most: 0.951}"], "criterion.at_most: .* a loss of 0.95, so that"),
        (["criterion.at_least=0.75"], "reaches 0.75 by chance, with a probability of 0..*log_every"),
        (["criterion.at_least=0.85", "training.log_every=1"], "by chance"),
    ],
)
def test_a_criterion_that_chance_meets_is_refused(unequal: data.Dataset, settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chance.check(parse(SPEC, settings), unequal)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["criterion={metric: test_accuracy, at_least: 0.91}"],
        ["criterion={metric: train_loss, at_most: 0.949}"],
        ["criterion.at_least=0.75", "training.log_every=20"],
        ["criterion.at_least=0.75", "training.batch_size=80"],
        ["criterion.at_least=0.61", "training.batch_size=8000", "training.train_samples=80"],
    ],
)
def test_a_criterion_beyond_chance_is_not(unequal: data.Dataset, settings: list[str]) -> None:
    chance.check(parse(SPEC, settings), unequal)


@pytest.mark.parametrize("within", [None, 10])
@pytest.mark.parametrize("log_every", [3, 5, 7, 20])
def test_the_probability_is_that_of_curves_drawn_at_random(log_every: int, within: int | None) -> None:
    more = ["criterion={at_least: 0.75, within: 10}"] if within and log_every <= within else ["criterion.at_least=0.75"]
    spec = parse(SPEC, [f"training.log_every={log_every}", *more])
    said = chance._lucky(spec, 0.6, spec.criterion.within)
    hits = torch.rand(40_000, 20, 8, generator=torch.Generator().manual_seed(0)).lt(0.6).double().mean(2).numpy()
    ends = [*range(log_every, 20, log_every), 20]
    means = [hits[:, a:b].mean(1) for a, b in zip([0, *ends], ends, strict=False) if b <= (spec.criterion.within or 20)]
    assert said == pytest.approx(np.mean(np.max(means, axis=0) >= 0.75 - 1e-9), abs=0.01)


def test_a_threshold_whose_product_is_rounded_up_asks_for_no_answer_more() -> None:
    assert 0.55 * 100 > 55
    spec = parse(
        SPEC, ["training.steps=1", "training.log_every=1", "training.batch_size=100", "criterion.at_least=0.55"]
    )
    assert chance._lucky(spec, 0.5, None) == pytest.approx(binom.sf(54, 100, 0.5))
