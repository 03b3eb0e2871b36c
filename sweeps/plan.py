"""Price a sweep before it is spent: trials, networks, FLOPs, expected time, and what theory says of it.

The points come from a dry run of the sweep's sampler (`sweeps.dryrun`). The speed is measured (`sweeps.speed`), and so
is the work that networks save which diverge at once; that others diverge later is not foreseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.words import counted, theory_text, time_text
from sweeps import capacity, data, dryrun, limits, network, space, speed
from sweeps.samplers import SAMPLERS
from sweeps.spec import SweepSpec
from sweeps.speed import Speed
from sweeps.values import Range

ASKING: Final = 0.2
"""Share of the training's time from which on a slow sampler is worth a warning."""


@dataclass(frozen=True)
class Plan:
    spec: SweepSpec
    data_digest: str
    trials: int
    packs: int
    networks: int
    layers: int
    """To be initialized and probed, in all networks together."""
    flops: float
    slots: int
    """Packs trained at once."""
    speed: Speed
    startup: float
    seconds: float
    """Expected wall time of the whole run."""
    limits: dict[str, float | None]
    """Greatest depth limit by theory per scheme at the smallest bias variance; infinite: none; None: no theory."""
    least_limits: dict[str, float | None]
    """The least of them: widths, scales of the weights and all other axes move it."""
    mean_depth: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        skip = {"spec", "data_digest", "speed", "limits", "least_limits"}
        return {
            "name": self.spec.name,
            **{k: v for k, v in vars(self).items() if k not in skip},
            "flops_per_second": self.speed.flops,
            "predicted_depth_limits": self.limits,
            "least_predicted_depth_limits": self.least_limits,
        }


def plan(spec: SweepSpec, *, data_folder: str | None = None, slots: int | None = None) -> Plan:
    """Validate and price a spec for this machine, or for `slots` packs at once of this machine's speed.

    Raises:
        ValueError: the spec cannot be run.
    """
    design = space.build(spec)
    asked, spec = spec.search.trials, space.within(spec, design)
    dataset = data.load(spec.dataset, folder=data_folder)
    capacity.check_data(spec, dataset)
    if slots is None:
        capacity.check(spec, design, dataset)
        slots = capacity.packs_at_once(spec.resources)
    even, packs = dryrun.evenly(spec, design)
    points = [*design.corners(), *(t.point for t in even)]
    asks = points, spec.training, spec.criterion.build(), data.between(dataset)
    found, tasks = limits.predicted(*asks), even
    if spec.search.sampler == "boundary":
        tasks = dryrun.seeking(spec, design, even, limits.by_kind(*asks))
    trials, more = len(even), len(even) / len(tasks)
    networks = trials * spec.training.seeds * len(spec.training.learning_rate)
    per_task = spec.training.seeds * len(spec.training.learning_rate)
    flops = more * per_task * sum(network.flops(t.point, dataset, spec.training) for t in tasks)
    measured = speed.of(spec, dataset, [t.point for t in tasks], slots)
    layers = round(more * spec.training.seeds * sum(t.point.depth for t in tasks))
    busy = _wall(measured.seconds(measured.share * flops, layers), slots, packs)
    startup = speed.startup()
    return Plan(
        spec,
        dataset.digest,
        trials,
        packs,
        networks,
        layers,
        flops,
        slots,
        measured,
        startup,
        startup + busy,
        {scheme: max(depths, default=None) for scheme, depths in found.items()},
        {scheme: min(depths, default=None) for scheme, depths in found.items()},
        sum(t.point.depth for t in tasks) / len(tasks),
        (*_warnings(spec, trials, packs, slots, busy), *_of_grid(asked, spec, design)),
    )


def remember(made: Plan, busy: float, seconds: float, others: float = 0.0) -> None:
    """Note what a launch really took, for the next plan.

    Args:
        busy: seconds of all packs together.
        seconds: wall time of the whole launch.
        others: share of `busy` in which other programs had the cores.
    """
    startup = max(seconds - _wall(busy, made.slots, made.packs), 0.0)
    speed.remember(made.spec, made.data_digest, made.slots, made.flops, made.layers, busy, startup, others)


def _wall(busy: float, slots: int, packs: int) -> float:
    """Expected wall time of packs that take `busy` seconds together. The last ones do not end at once: every slot but
    the last to end is idle for half a pack, on average."""
    if packs <= slots:
        return busy / packs
    return busy / slots + (slots - 1) / (2 * slots) * busy / packs


def headline(made: Plan) -> str:
    """The plan in one line."""
    return f"{counted(made.networks, 'network')}, {_si(made.flops)}FLOP, about {time_text(made.seconds)}"


def render(made: Plan) -> RenderableType:
    spec = made.spec
    seeds, rates = counted(spec.training.seeds, "seed"), counted(len(spec.training.learning_rate), "learning rate")
    sampler = SAMPLERS[spec.search.sampler]
    lines = [
        f"{spec.name}: {spec.question}" if spec.question else spec.name,
        f"{counted(made.trials, 'trial')} in {counted(made.packs, 'pack')}, {counted(made.networks, 'network')} "
        f"({seeds} x {rates} a trial), "
        f"sampler {spec.search.sampler}: {sampler.summary}, for {1000 * sampler.asking(made.trials) / made.trials:.2g} "
        "ms a trial",
        f"{_si(made.flops)}FLOP, mean depth {made.mean_depth:.0f}; {counted(made.slots, 'pack')} at once "
        f"of {_si(made.speed.flops)}FLOP/s each",
        f"expected time on this machine: {time_text(made.seconds)}, of which {made.startup:.0f} s to start",
    ]
    told = dict.fromkeys(limits.told_rates(spec.training) or ())
    at_rate = f" at learning rate{'s' * (len(told) > 1)} {' to '.join(f'{rate:g}' for rate in told)}" if told else ""
    table = Table("scheme", f"depth limit predicted{at_rate}", box=None, pad_edge=False)
    for scheme, limit in made.limits.items():
        ends = dict.fromkeys([theory_text(made.least_limits[scheme]), theory_text(limit)])
        table.add_row(scheme, " to ".join(ends))
    warned = [Text(f"warning: {w}", style="yellow") for w in made.warnings]
    return Group(*map(Text, lines), table, *warned)


def _warnings(spec: SweepSpec, trials: int, packs: int, slots: int, busy: float) -> tuple[str, ...]:
    found = []
    sampler = SAMPLERS[spec.search.sampler]
    asking = sampler.asking(trials)
    if sampler.adaptive and asking > ASKING * busy:
        found.append(
            f"the sampler {spec.search.sampler} itself takes about {time_text(asking)} for {trials} trials, "
            f"against {time_text(busy)} of training: sobol or random ask faster"
        )
    if packs < 2 * slots:
        found.append(f"only {counted(packs, 'pack')} for {slots} at once: a smaller search.batch would keep all busy")
    if spec.training.seeds == 1:
        found.append("one seed a trial cannot tell luck from trainability: training.seeds: 2 or more")
    if len(spec.training.learning_rate) == 1:
        found.append("one learning rate: a bad step size will look like an untrainable network")
    if "audit" in spec.search.model_fields_set and spec.search.sampler != "boundary":
        found.append(f"search.audit is of the sampler boundary, so {spec.search.sampler} makes no use of it")
    if spec.training.stop_on_success and spec.criterion.metric == "test_accuracy":
        found.append(
            "training.stop_on_success ends no training, for criterion.metric test_accuracy is measured at the end"
        )
    depth = spec.space.depth
    least, most = (depth.low, depth.high) if isinstance(depth, Range) else (min(depth), max(depth))
    if least == most:
        found.append(f"all networks have depth {least:g}: a map takes a space.depth of more than one")
    return tuple(found)


def _of_grid(asked: int, spec: SweepSpec, design: space.Space) -> tuple[str, ...]:
    """Where the trials are not just the points of the grid that they are to visit."""
    if spec.search.sampler != "grid" or asked == (points := len(design.grid())):
        return ()
    what = "each is trained once" if asked > points else "only so many of them, chosen at random, are trained"
    return (f"search.trials is {asked}, but the grid has {counted(points, 'point')}, and {what}",)


def _si(value: float) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "
