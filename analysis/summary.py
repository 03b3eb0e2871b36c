"""What a sweep found, in numbers: outcomes, depth limits, the error of the map. `tables` writes them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from analysis.joining import criterion, joined
from analysis.maps import called, scheme_limits
from analysis.outcome import Outcome
from analysis.region import JUDGED, AuditError, RegionModel, audit_error
from analysis.store import Export, settled
from analysis.words import counted, run_text


class Tally(NamedTuple):
    """Trials of one scheme by outcome."""

    scheme: str
    trials: int
    networks: int
    outcomes: dict[str, int]


class Summary(NamedTuple):
    """`limits` is as of `maps.scheme_limits`, and None with a sentence why in `note` if there is no map."""

    sweep: str
    question: str
    criterion: str
    trials: int
    failed: int
    networks: int
    seconds: float  # of training, summed over packs
    wall_seconds: float | None  # of the whole sweep, if it ran at one go
    predicted_seconds: float | None  # of them, by its plan
    flops: float
    tallies: tuple[Tally, ...]
    limits: pa.Table | None
    audit: AuditError | None
    note: str
    joined: str  # as of `joined`


def summarize(export: Export, model: RegionModel | None = None) -> Summary:
    """The summary of an export. Sweeps without a map (one depth, all failed) have one too, and it says why.

    `model` is as of `maps.fitted`, made here if it is not given.
    """
    trials = export.trials
    tallies = _tallies(export)
    took = export.took
    limits, audit, note = None, None, ""
    try:
        limits = scheme_limits(trials, model, export.task)
        audit = audit_error(trials)
    except ValueError as error:
        note = str(error)
    return Summary(
        sweep=name(export),
        question=str(export.spec.get("question", "")),
        criterion=criterion(export),
        trials=len(trials),
        failed=len(trials) - len(settled(trials)),
        networks=len(export.replicates),
        seconds=sum(v or 0.0 for v in trials["seconds"].to_pylist()),
        wall_seconds=took and took.seconds,
        predicted_seconds=took and took.predicted_seconds,
        flops=sum(v or 0.0 for v in trials["flops"].to_pylist()),
        tallies=tallies,
        limits=limits,
        audit=audit,
        note=note,
        joined=joined(export),
    )


def name(export: Export) -> str:
    return called(export.trials)


def _tallies(export: Export) -> tuple[Tally, ...]:
    trials = export.trials
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in trials.group_by(["scheme", "outcome"]).aggregate([([], "count_all")]).to_pylist():
        outcomes[row["scheme"]][row["outcome"]] = row["count_all"]
    keys = trials["trial_key"].combine_chunks()
    places = pc.index_in(export.replicates["trial_key"], value_set=keys)  # pyright: ignore[reportAttributeAccessIssue]
    counted = trials["scheme"].take(places).value_counts().to_pylist()
    networks = Counter({row["values"]: row["counts"] for row in counted})
    return tuple(
        Tally(scheme, counts.total(), networks[scheme], {str(o): counts[o] for o in Outcome})
        for scheme, counts in sorted(outcomes.items())
    )


def size_text(found: Summary) -> str:
    """How much was trained, and where it is known in what time against the predicted one."""
    return run_text(found.trials, found.networks, found.wall_seconds, found.predicted_seconds)


def audit_text(audit: AuditError | None) -> str:
    """The error of the map in one sentence."""
    n, ties = (0, 0) if audit is None else (audit.n, audit.ties)
    more = " more" * bool(n)
    tied = f"; {ties}{more} {'was' if ties == 1 else 'were'} tied between their seeds." if ties else "."
    if audit is None or not n:
        law = "audit trials (uniformly random ones) that are not tied between their seeds"
        return f"The error of the map is unknown: it takes {law}, in a sweep of {JUDGED} trials or more{tied}"
    return (
        f"Map error on {counted(n, 'audit trial')} that the model had not seen: {audit.wrong} wrong, "
        f"{100 * audit.error:.1f} % (95 % interval {100 * audit.low:.1f} to {100 * audit.high:.1f} %){tied}"
    )
