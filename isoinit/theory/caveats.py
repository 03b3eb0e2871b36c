"""What a reader of a prediction should know: where a theory stands in for one that is not derived."""

from math import isclose

import numpy as np

from isoinit.theory import activations
from isoinit.theory.lockstep import NETS
from isoinit.theory.meanfield import length_map
from isoinit.theory.theories import EXACT, get, prunes, sharpens

_DRAWN = f"alignment and gradient are of {NETS} nets of drawn noise, always the same, which the depth limit has some of"
_PRUNED = (
    "pruned: the spectrum is that of wide nets, narrow where few weights are left a unit; norms are rough where most "
    "nets are dead, and where biases meet few weights a unit"
)
_NOT_PRUNED = (
    "the law of dense weights is used: its spread is too small unless a unit keeps many more than 6 weights, and how "
    "the density changes it is derived for an mlp of relu or linear units without normalization only"
)
_RATED = (
    "the learning rate: as if of gradient descent without momentum on inputs that have nothing in common; real ones "
    "make networks sharper, and how nets that are not mirrored sharpen while they train is argued, not derived; which "
    "rate is too small for the steps goes with how much of an input its class has in common, and data differ in that"
)
_BUDGETED = (
    "the steps: as if each were of the greatest stable learning rate; argued, not derived, and too many layers are "
    "predicted of less than a hundred steps"
)
_SMOOTH = (
    "how sharp a net may be is taken from ReLU nets; those of nearly linear units sharpen more than is known: too many "
    "layers are predicted at great learning rates"
)
_LOST = (
    "the signal is lost by a power of the depth: how many steps it takes to grow again is not known, and two to four "
    "times too many layers are predicted of the nets of tanh and ELU in the sweep `activations`"
)
_CRITICAL = 0.05  # relative distance from the variance at which a small signal neither grows nor falls
_NOT_RATED = "what a learning rate does is derived for an mlp without normalization only: left out"


def caveats(
    scheme: str,
    architecture: str,
    activation: str,
    normalization: str,
    density: float,
    sigma_w2: float,
    sigma_b2: float,
    *,
    scaled: bool,
    drawn: bool,
    rated: bool,
    budgeted: bool,
) -> tuple[str, ...]:
    """Sentences on a combination that has a theory.

    scaled   whether the weights have another scale than the scheme's own
    drawn    whether an ensemble of nets tells of alignment and gradient
    rated    whether a learning rate is given
    budgeted whether a number of steps is given
    """
    notes = (
        get(scheme).note,
        "the spread is an MLP's of the same width: an upper bound on a cnn, not verified; the angles of inputs are "
        "of mean field, all pairs alike; those of narrow cnns close later" * (architecture == "cnn"),
        "a scale of the weights other than the scheme's own is not accounted for"
        * (architecture == "resnet" and scaled),
        "relu's law is used; a layer that is off still passes 1e-4 of the norm" * (activation == "leaky_relu"),
        "mean field, and what a finite width adds to first order" * (activation not in EXACT),
        "the growth of gradients under batch normalization is compensated by its scale invariance later in training"
        * (normalization == "batch"),
        _of_pruning(scheme, architecture, activation, normalization, density),
        _DRAWN * drawn,
        (_RATED if sharpens(architecture, normalization) else _NOT_RATED) * rated,
        _SMOOTH * (rated and activation not in EXACT and sharpens(architecture, normalization)),
        _BUDGETED * budgeted,
        _LOST * (budgeted and normalization == "none" and sigma_b2 == 0 and _loses_by_a_power(activation, sigma_w2)),
    )
    return tuple(note for note in notes if note)


def _loses_by_a_power(activation: str, sigma_w2: float) -> bool:
    """Whether a smooth unit without biases passes small signals as they are, so that great ones fall ever slower."""
    if activation in EXACT:
        return False
    phi = activations.get(activation)
    at_zero, slope = (float(f(np.zeros(1))[0]) for f in (phi.phi, phi.slope))
    return (
        at_zero == 0 and isclose(sigma_w2 * slope**2, 1, rel_tol=_CRITICAL) and length_map(phi, 1.0, sigma_w2, 0.0) < 1
    )


def _of_pruning(scheme: str, architecture: str, activation: str, normalization: str, density: float) -> str:
    """What of the pruning is not accounted for."""
    if density == 1 or get(scheme).density != "pruned":
        return ""
    return _PRUNED if prunes(scheme, architecture, activation, normalization) else _NOT_PRUNED
