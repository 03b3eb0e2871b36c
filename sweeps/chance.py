"""What is reached by a network that has learnt nothing but how frequent the classes are.

A criterion that such a network meets calls everything trained that does not diverge, and the map shows no edge.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.stats import binom

from sweeps.data import Dataset
from sweeps.history import recorded_steps
from sweeps.spec import SweepSpec
from sweeps.train import train_samples

LIKELY: Final = 0.05  # probability from which on chance counts


def check(spec: SweepSpec, dataset: Dataset) -> None:
    """See that the criterion of a spec asks for more than chance gives on its data.

    Raises:
        ValueError: it does not; says what chance gives, and the remedy.
    """
    criterion, name = spec.criterion.build(), dataset.name
    count = np.bincount(dataset.y_train[: train_samples(dataset, spec.training)])
    share = count / count.sum()
    if criterion.metric == "train_loss":
        entropy = -float(np.sum(share[share > 0] * np.log(share[share > 0])))
        if criterion.threshold >= entropy:
            raise ValueError(
                f"criterion.at_most: a network that knows of {name} only how frequent its classes are has a loss of "
                f"{entropy:.3g}, so that one of {criterion.threshold:g} says nothing; ask for less"
            )
        return
    always = int(share.argmax())
    told = share[always] if criterion.metric == "train_accuracy" else float((dataset.y_test == always).double().mean())
    if told >= criterion.threshold:
        raise ValueError(
            f"criterion.at_least: a network that answers with the most frequent class of {name}, whatever it sees, has "
            f"a {criterion.metric} of {told:.3g}, so that one of {criterion.threshold:g} says nothing; ask for more"
        )
    if criterion.metric == "train_accuracy" and (lucky := _lucky(spec, told, criterion.within)) > LIKELY:
        raise ValueError(
            f"criterion.at_least: in so few samples a network that answers with the most frequent class of {name}, "
            f"whatever it sees, reaches {criterion.threshold:g} by chance, with a probability of {lucky:.2g}; ask for "
            "more, or raise training.batch_size or training.log_every, over which accuracies are averaged"
        )


def _lucky(spec: SweepSpec, share: float, within: int | None) -> float:
    """Probability that some point of the curve, each a mean over the steps since the last, meets the criterion."""
    recorded = [step for step in recorded_steps(spec.training) if within is None or step <= within]
    samples = spec.training.batch_size * np.diff([0, *recorded])
    wanted = np.ceil(samples * spec.criterion.build().threshold - 1e-9)
    return -math.expm1(float(np.sum(binom.logcdf(wanted - 1, samples, share))))
