"""Update rules, for one network and for a stack of them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from sweeps.kernel.compilers import entry, part
from sweeps.kernel.pointers import ZERO, address_of, vector_at
from sweeps.spec import Training

SGD, ADAM = range(2)
OPTIMIZERS: Final = {"sgd": SGD, "adam": ADAM}

ADAM_BETA1: Final = 0.9  # Kingma & Ba 2015, as torch's defaults
ADAM_BETA2: Final = 0.999
ADAM_EPSILON: Final = 1e-8


class Rule(NamedTuple):
    """The update rule, in torch's conventions (weight decay is added to the gradient, of biases too)."""

    kind: int
    momentum: np.float32
    nesterov: bool
    decay: np.float32


def rule(training: Training) -> Rule:
    """The update rule of a spec."""
    kind = OPTIMIZERS[training.optimizer]
    return Rule(kind, np.float32(training.momentum), training.nesterov, np.float32(training.weight_decay))


@part
def update(w, g, first, second, mask, rate, rule, step):
    """One step of the update rule on a slice of parameters; `first` and `second` are its moments."""
    if rule.decay > ZERO:
        for i in range(w.shape[0]):
            g[i] += rule.decay * w[i]
    if rule.kind == ADAM:
        keep1, take1 = np.float32(ADAM_BETA1), np.float32(1 - ADAM_BETA1)
        keep2, take2 = np.float32(ADAM_BETA2), np.float32(1 - ADAM_BETA2)
        pace = np.float32(rate / (1 - ADAM_BETA1**step))
        warm = np.float32(1 / math.sqrt(1 - ADAM_BETA2**step))
        for i in range(w.shape[0]):
            first[i] = keep1 * first[i] + take1 * g[i]
            second[i] = keep2 * second[i] + take2 * (g[i] * g[i])
            w[i] -= pace * first[i] / (np.float32(math.sqrt(second[i])) * warm + np.float32(ADAM_EPSILON))
    elif rule.momentum > ZERO:
        for i in range(w.shape[0]):
            v = rule.momentum * first[i] + g[i]
            first[i] = v
            w[i] -= rate * (g[i] + rule.momentum * v if rule.nesterov else v)
    else:
        for i in range(w.shape[0]):
            w[i] -= rate * g[i]
    if mask.shape[0] > 0:
        for i in range(w.shape[0]):
            w[i] *= mask[i]


@entry
def update_stacked(edition: int):
    def update_stacked(w, g, first, second, rates, rule, step):
        """One step of the rule for K networks in place: (K, n) each, rates (K,); moments without use are (K, 0)."""
        _ = edition
        unmasked = vector_at(address_of(rates), 0)
        for k in range(w.shape[0]):
            update(w[k], g[k], first[k], second[k], unmasked, rates[k], rule, step)

    return update_stacked
