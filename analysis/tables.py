"""What was found, as tables of text and the sentences that belong below them.

A table is a header and rows of strings, so that the terminal, the page and the end of a sweep write the same words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from analysis.compare import Agreement, Paired
from analysis.outcome import Outcome
from analysis.ratios import Ratio
from analysis.schema import COORDINATES, RATE
from analysis.store import settled
from analysis.summary import Summary
from analysis.words import band_text, counted, interval_text, limit_text, ratio_text, theory_text, value_text


def across(limits: pa.Table) -> str:
    """The abscissa of a table of limits: `maps` puts it before the depth limit."""
    return limits.column_names[limits.column_names.index("depth_limit") - 1]


def headline(limits: pa.Table) -> str:
    """Where on the abscissa `maps.scheme_limits` took its limits, as the end of a title."""
    x = across(limits)
    name, values = x.replace("_", " "), sorted(limits[x].unique().to_pylist())
    *some, last = map(value_text, values)
    if not some:
        return f"at {name} {last}" if values[0] else "without biases"
    if not values[0]:
        return f"without biases and at the largest {name} ({last})"
    if len(some) == 1:
        return f"at the smallest and the largest {name} ({some[0]} and {last})"
    return f"at the smallest {name}, that nearest 1 and the largest ({', '.join(some)} and {last})"


def limit_note(limits: pa.Table) -> str:
    """What limits do not say of deeper networks: at those below all depths tried, and where networks train again.

    Empty if a table of limits has neither.
    """
    again = len(limits) - limits["trains_again_at"].null_count
    notes = []
    if "below" in limits["censored"].to_pylist():
        notes.append(
            "A depth limit with < says that networks fail already at the least depth that was tried, not that no "
            "deeper ones train; see the map."
        )
    if again:
        notes.append(_not_monotone(again, len(limits)))
    return " ".join(notes)


def budget_note(trials: pa.Table) -> str:
    """That most networks which did not train were short of steps, for then the limits are of the budget; else empty."""
    outcomes = Counter(settled(trials)["outcome"].to_pylist())
    slow, failed = outcomes[Outcome.SLOW], outcomes.total() - outcomes[Outcome.TRAINED]
    if 2 * slow <= failed:
        return ""
    steps = trials["steps"].unique().to_pylist()
    budget = f"the {steps[0]} steps" if len(steps) == 1 else "their steps"
    each = ", counted at each learning rate," * (RATE in trials.column_names)
    return (
        f"{slow} of {counted(failed, 'trial')}{each} that did not train ended slow: learning, but short of the "
        f"criterion after {budget}. So the depth limits are of this budget; more steps, or a weaker criterion, "
        "would move them; what fewer do shows 'analysis frontier DIR --abscissa steps'."
    )


def notes(limits: pa.Table, trials: pa.Table) -> list[str]:
    """What must be known to read the limits of these trials, a sentence or two each."""
    return [note for note in (limit_note(limits), budget_note(trials)) if note]


def _not_monotone(again: int, count: int) -> str:
    return (
        f"{again} of {count} limits {'is' if again == 1 else 'are'} not monotone: a depth limit is where networks "
        "first stop training, counted from the shallow end. Where deeper ones train again (P in region >= 0.95), it is "
        "not the greatest depth that trains; see the map."
    )


def limit_rows(limits: pa.Table) -> tuple[list[str], list[list[str]]]:
    """A table of limits as header and rows of text; only axes that vary are shown, the abscissa as the last."""
    rows, x = limits.to_pylist(), across(limits)
    axes = [*(axis for axis in COORDINATES if axis in rows[0] and axis not in ("scheme", x)), x]
    varying = [axis for axis in axes if len({row[axis] for row in rows}) > 1]
    texts = [
        [row["scheme"], *(value_text(row[axis]) for axis in varying), limit_text(row),
         band_text(row), theory_text(row["predicted"])]
        for row in rows
    ]  # fmt: skip
    return [name.replace("_", " ") for name in ("scheme", *varying, "depth limit", "90 % band", "theory")], texts


def percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def percents(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def tally_rows(found: Summary) -> tuple[list[str], list[list[str]]]:
    """Trials by scheme and outcome, as header and rows of text; outcomes that never occur are left out."""
    present = [o for o in Outcome if any(tally.outcomes[o] for tally in found.tallies)]
    rows = [[t.scheme, str(t.trials), *(str(t.outcomes[o]) for o in present)] for t in found.tallies]
    return ["scheme", "trials", *map(str, present)], rows


def reasons(agreement: Sequence[Agreement]) -> list[str]:
    """Why theory says nothing of some schemes, a sentence each that names the scheme once."""
    told = [(a.scheme, a.why_no_theory) for a in agreement if a.why_no_theory]
    return [why if scheme in why.split() else f"{scheme}: {why}" for scheme, why in told]


def agreement_rows(agreement: Sequence[Agreement]) -> tuple[list[str], list[list[str]]]:
    """Theory against training, trial by trial, as header and rows of text."""
    rows = [
        [
            a.scheme,
            str(a.n),
            percent(a.share),
            percents(a.low, a.high) if a.n else "-",
            f"{a.audit_agree} of {a.audit_n}",
        ]
        for a in agreement
    ]
    return ["scheme", "trials", "agree", "95 % interval", "of audit trials"], rows


def ratio_rows(ratios: Sequence[Ratio], what: str = "schemes") -> tuple[list[str], list[list[str]]]:
    """Ratios of depth limits, as header and rows of text; those of which nothing is known are in `ratio_note`."""
    rows = [
        [f"{r.first} / {r.second}", r.where, ratio_text(r.ratio, r.censored), interval_text(r.low, r.high)]
        for r in ratios
        if r.censored != "unknown"
    ]
    header = [what, "where", "ratio", "90 % interval"]
    keep = [i for i in range(4) if any(row[i] for row in rows)]
    return [header[i] for i in keep], [[row[i] for i in keep] for row in rows]


def ratio_note(ratios: Sequence[Ratio]) -> str:
    """How many ratios `ratio_rows` does not have; empty if it has all."""
    unknown = sum(r.censored == "unknown" for r in ratios)
    both = "both limits lie beyond the same end of the depths that were tried"
    return f"Nothing is known of {counted(unknown, 'ratio')} more: {both}." if unknown else ""


def paired_rows(paired: Sequence[Paired]) -> tuple[list[str], list[list[str]]]:
    """Schemes on the same points and seeds, as header and rows of text; those without a difference: `paired_note`."""
    rows = [
        [f"{p.first} : {p.second}", str(p.pairs), f"{p.only_first} : {p.only_second}", str(p.points),
         f"{p.first_better} : {p.second_better}", percents(p.low, p.high)]
        for p in paired if p.first_better + p.second_better
    ]  # fmt: skip
    return ["schemes", "networks", "only one trained", "points", "better at", "95 % for the first"], rows


def paired_note(paired: Sequence[Paired]) -> str:
    """Which pairs of schemes `paired_rows` does not have; empty if it has all."""
    even = [f"{p.first} : {p.second}" for p in paired if not p.first_better + p.second_better]
    return f"Neither was better at any point: {', '.join(even)}." if even else ""
