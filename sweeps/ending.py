"""What a run came to, and how that is told: in the closing words on the terminal, and on the sweep's page in MLflow."""

from __future__ import annotations

import shlex
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis import tables
from analysis.outcome import Outcome
from analysis.schema import Took
from analysis.words import counted, run_text, time_text
from sweeps import mlflow_uri, speed
from sweeps.progress import COLORS

LONGEST: Final = 5000
"""Characters of the limits on a page: MLflow cuts a page off at 8000, and its commands come last."""


@dataclass(frozen=True)
class End:
    """What a run came to."""

    name: str
    trials: int
    new_trials: int
    """Those of this launch: a resumed sweep had others before."""
    networks: int
    outcomes: dict[str, int]
    limits: list[dict[str, Any]]
    """Depth limits per scheme, as `analysis.maps.scheme_limits` has them."""
    notes: list[str]
    """What must be known to read them."""
    maps: list[str]
    no_map: str
    """Why there is no map; empty if there is one."""
    seconds: float
    predicted_seconds: float | None
    unpublished: int
    interrupted: bool
    goal: str
    """How good the map is, if that has ended the sweep before its last trial; else empty."""
    others: float
    """Of the time of this launch's packs, the share in which other programs had the cores."""
    tracking_uri: str
    page: str
    """Address of the sweep in MLflow's UI; `mlflow ui` serves it unless the store is a server."""
    errors: list[str]
    """What the infrastructure said when packs failed or could not be sent."""

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


def render(end: End, flag: str) -> RenderableType:
    """The closing words; `flag` is the --runs-dir option of the commands that follow."""
    head = Text(f"{end.name}: {_size(end)}")
    head.append(":" if end.outcomes else "")
    for outcome in Outcome:
        if end.outcomes.get(outcome):
            head.append(f"  {end.outcomes[outcome]} {outcome}", style=COLORS[outcome])
    parts: list[RenderableType] = [head]
    if end.goal:
        more = "for more trials launch the spec again with a lower one"
        parts.append(Text(f"search.until has ended it, for the map is good enough: {end.goal}; {more}"))
    if end.limits:
        parts += [_limits_table(end.limits), *map(Text, end.notes)]
    if end.maps:
        parts.append(Text(f"map: {end.maps[0]}   (and {len(end.maps) - 1} more beside it)"))
    elif end.no_map:
        parts.append(Text(f"no map: {end.no_map}"))
    if not speed.alone(end.others):
        said = f"its packs waited {end.others:.0%} of their time for cores that other programs had"
        parts.append(Text(said, style="dim"))
    parts += [Text(f"warning: {error}", style="bold red") for error in end.errors]
    parts.append(Text(_next(end, flag)))
    return Group(*parts)


def _size(end: End) -> str:
    if end.new_trials == end.trials:
        return run_text(end.trials, end.networks, end.seconds, end.predicted_seconds)
    now = f"{counted(end.new_trials, 'new trial')} in {time_text(end.seconds)}"
    return f"{run_text(end.trials, end.networks)}; {now}"


def _next(end: End, flag: str) -> str:
    secret = " (the whole address of the store in MLFLOW_TRACKING_URI, for its password is not on record)"
    lines = ["next" + secret * mlflow_uri.is_masked(end.tracking_uri) + ":"]
    if end.interrupted:
        lines.append(f"  sweep resume {end.name}{flag}   go on where it stopped")
    if end.unpublished:
        lacks = counted(end.unpublished, "pack")
        lines.append(f"  sweep sync {end.name}{flag}   send MLflow the {lacks} that it lacks")
    if not end.tracking_uri.startswith("http"):
        usual = end.tracking_uri == mlflow_uri.lasting(mlflow_uri.DEFAULT_URI)
        store = "" if usual else f" --backend-store-uri {shlex.quote(end.tracking_uri)}"
        lines.append(f"  mlflow ui{store}   serves every trial, with its curves, at:")
    lines.append(f"  {end.page}")
    if not end.trials:
        return "\n".join(lines)
    lines += [
        f"  sweep export {end.name}{flag}   both tables as Parquet",
        f"  analysis map exports/{end.name}   the map, also by another criterion",
        f"  analysis report exports/{end.name}   one page with everything",
    ]
    return "\n".join(lines)


def _limits(limits: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows of text, the same as `analysis summary` has."""
    table = pa.Table.from_pylist(limits)
    return f"depth limits {tables.headline(table)}", *tables.limit_rows(table)


def _limits_table(limits: list[dict[str, Any]]) -> Table:
    title, header, rows = _limits(limits)
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def page_text(networks: int, limits: list[dict[str, Any]], notes: list[str], took: Took | None) -> str:
    """What the sweep's page in MLflow says of its end."""
    size = "" if took is None else f"{run_text(took.trials, networks, took.seconds, took.predicted_seconds)}."
    return "\n\n".join(filter(None, [size, _markdown(limits), *notes]))


def _markdown(limits: list[dict[str, Any]]) -> str:
    if not limits:
        return ""
    title, header, rows = _limits(limits)
    lines = [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]
    shown = bisect(list(accumulate(len(line) + 1 for line in lines)), LONGEST)
    left = len(lines) - shown
    rest = ["", f"{counted(left, 'more row')}: 'analysis summary' tells all of them."] if left else []
    return "\n".join([f"{title}:", "", *lines[:shown], *rest])
