"""Whether the networks of a space can be built, asked of its corners before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.reading import near
from sweeps.spec import Network, SweepSpec

if TYPE_CHECKING:
    from sweeps.space import Space


def check(space: Space, spec: SweepSpec) -> None:
    """See that every combination of a space can be built, and that its sweep can end as its spec asks.

    Raises:
        ValueError: it cannot; says which field stands against it, and what is possible.
    """
    from isoinit import schemes  # here, because it loads torch, which a mere look at a spec does not need
    from sweeps import data
    from sweeps.samplers import SAMPLERS

    data.check_name(spec.dataset)
    _check_network(spec.network)
    if spec.search.sampler not in SAMPLERS:
        sampler = spec.search.sampler
        raise ValueError(
            f"search.sampler {sampler!r} is unknown{near(sampler, SAMPLERS)}; valid: {', '.join(SAMPLERS)}"
        )
    _check_map(space, spec)
    modes, variances = ([*a.levels] for a in space.axes if a.name in ("bias_mode", "bias_variance"))
    if len(modes) > 1 and variances == [0]:
        raise ValueError(
            f"space.bias_mode: without biases {', '.join(modes)} are the same networks; choose one of them, or a "
            "space.bias_variance above 0"
        )
    left_out = "bias_mode" not in spec.space.model_fields_set
    for point in space.corners():
        if point.bias_mode == "zero" and point.bias_variance != 0:
            raise ValueError("space.bias_mode: zero contradicts a bias_variance above 0; choose iid or mirrored")
        if (point.architecture, point.normalization, spec.training.batch_size) == ("mlp", "batch", 1):
            raise ValueError("training.batch_size must be at least 2 with network.normalization batch, but got 1")
        known = schemes.SCHEMES.get(point.scheme)
        if left_out and known and variances == [0] and point.bias_mode not in known.bias_modes:
            raise ValueError(
                f"space.bias_mode must be {' or '.join(known.bias_modes)} with scheme {known.name}, but is "
                f"{point.bias_mode} where it is left out; write bias_mode: {known.bias_modes[0]}"
            )
        try:
            schemes.check(
                point.scheme,
                architecture=point.architecture,
                activation=point.activation,
                normalization=point.normalization,
                depth=point.depth,
                width=point.width,
                bias_mode=point.bias_mode,
                density=point.density,
            )
        except ValueError as error:
            raise ValueError(f"space: {error}") from None


def _check_network(network: Network) -> None:
    from isoinit.activations import ACTIVATIONS
    from isoinit.schemes.base import ALL, NORMALIZATIONS

    for field, known in (("architecture", ALL), ("activation", ACTIVATIONS), ("normalization", NORMALIZATIONS)):
        for word in getattr(network, field):
            if word not in known:
                raise ValueError(
                    f"network.{field} {word!r} is unknown{near(word, [*known])}; valid: {', '.join(known)}"
                )


def _check_map(space: Space, spec: SweepSpec) -> None:
    until, depths = spec.search.until, next([*a.levels] for a in space.axes if a.name == "depth")
    if until.frontier_band is not None and len(depths) < 2:
        raise ValueError(
            f"search.until.frontier_band: a frontier needs trials of more than one depth, but space.depth is "
            f"{depths[0]} alone; give it more depths, or leave search.until.frontier_band out"
        )
    if until.undecided is not None and not space.distributions:
        raise ValueError(
            "search.until.undecided: a map needs trials of more than one point, but the space has but one; give an "
            "axis several values, or leave search.until out"
        )
