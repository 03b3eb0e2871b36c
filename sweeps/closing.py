"""The end of a run: the map is drawn and sent to MLflow, and the user is told what came out and what to do next.

If MLflow cannot be reached then, `sync` does the same later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis import maps, tables
from analysis.draw.region import draw_map
from analysis.outcome import Criterion, Outcome
from analysis.region import RegionModel, usable
from analysis.schema import Took
from analysis.words import counted, run_text, time_text
from sweeps import data, mlflow_store, provenance, speed, tracking
from sweeps.failures import disk, writing
from sweeps.launch import Finished
from sweeps.progress import COLORS
from sweeps.ready import identity
from sweeps.rundir import RunDir
from sweeps.tasks import Origin


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
    others: float
    """Of the time of this launch's packs, the share in which other programs had the cores."""
    tracking_uri: str
    page: str
    """Address of the sweep in MLflow's UI; `mlflow ui` serves it unless the store is a server."""
    errors: list[str]
    """What the infrastructure said when packs failed or could not be sent."""

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


def close(finished: Finished) -> End:
    """Draw the map of what is there so far, and put it and a summary on the sweep's MLflow page."""
    limits, notes, paths, reason = _map(finished.run, finished.trials, finished.criterion)
    outcomes = Counter(finished.trials["outcome"].to_pylist())
    end = End(
        finished.run.path.name,
        outcomes.total() - outcomes[Outcome.FAILED],
        finished.new_trials,
        finished.replicates.num_rows,
        dict(outcomes),
        limits,
        notes,
        [str(path) for path in paths],
        reason,
        finished.seconds,
        finished.predicted_seconds,
        finished.unpublished,
        finished.interrupted,
        finished.others,
        finished.tracker.uri,
        _page(finished.tracker),
        finished.errors,
    )
    took = None if end.predicted_seconds is None else Took(end.trials, end.seconds, end.predicted_seconds)
    status = "KILLED" if finished.interrupted else "FINISHED"
    try:
        finished.run.note(status=status, took=took)  # `sync` sends them if the store cannot be reached now
    except OSError as error:
        end.errors.append(f"how the sweep ended is not on record: {disk(error)}")
    if finished.unpublished and finished.tracker.failure is not None:
        end.errors.append(f"MLflow lacks packs: {finished.tracker.failure}")
    if finished.tracker.run_id is not None and not finished.unpublished:
        try:
            finished.tracker.finish(_page_text(end.networks, limits, notes, took), paths, status, took)
            if paths or not limits:
                finished.run.note(closed=finished.tracker.uri)
        except (ValueError, OSError) as error:
            said = disk(error) if isinstance(error, OSError) else error
            end.errors.append(f"the map is not in MLflow: {said}")
    return end


def sync(run: RunDir, uri: str) -> int:
    """Send MLflow what it lacks of a sweep, the map of what is there and how long it took; how many parts it lacked.

    Raises:
        ValueError: the store cannot be reached, the map cannot be written, or the sweep is running and publishes by
            itself.
    """
    mlflow_store.check(uri)
    spec, state = run.spec(), run.state()
    digest = state.get("data_digest") or data.load(spec.dataset, folder=state.get("data_folder")).digest
    with run.driving():
        trials, replicates = run.ledger.read()
        commits = trials["git_commit"].unique().to_pylist()
        origin = Origin(spec.name, spec.sha256, commits[-1] if commits else provenance.git_commit())
        tracker = tracking.Tracker(uri, identity(spec, digest, origin))
        sent = tracking.sync(run.ledger, tracker)
        if sent or state.get("closed") != uri:
            limits, notes, paths, reason = _map(run, trials, spec.criterion.build())
            if limits and not paths:
                raise ValueError(f"there is no map to send: {reason}")
            took = Took(*state["took"]) if state.get("took") else None
            text = _page_text(replicates.num_rows, limits, notes, took)
            done = sum(outcome != Outcome.FAILED for outcome in trials["outcome"].to_pylist())
            unknown = "FINISHED" if done >= spec.search.trials else "KILLED"  # if its driver was killed
            tracker.finish(text, paths, state.get("status", unknown), took)
            run.note(closed=uri)
    return sent


def _map(
    run: RunDir, trials: pa.Table, criterion: Criterion
) -> tuple[list[dict[str, Any]], list[str], list[Path], str]:
    try:
        trials = usable(trials)
        model = RegionModel.fit(trials)
        info = maps.region_map(trials, sweep=run.path.name, criterion=str(criterion), model=model)
        limits = maps.scheme_limits(trials, model)
    except ValueError as error:  # no trial or too few, or no axis to draw: a fact about the sweep
        return [], [], [], str(error)
    rows, notes = limits.to_pylist(), tables.notes(limits, trials)
    try:
        with writing(run.maps):
            run.maps.mkdir(exist_ok=True)
            return rows, notes, draw_map(info, run.maps / "map"), ""
    except OSError as error:  # what was trained is on the disk: that there is no room for pictures loses nothing
        return rows, notes, [], f"{disk(error)}; when that is mended 'sweep sync' draws it"


def render(end: End, flag: str) -> RenderableType:
    """The closing words; `flag` is the --runs-dir option of the commands that follow."""
    head = Text(f"{end.name}: {_size(end)}")
    head.append(":" if end.outcomes else "")
    for outcome in Outcome:
        if end.outcomes.get(outcome):
            head.append(f"  {end.outcomes[outcome]} {outcome}", style=COLORS[outcome])
    parts: list[RenderableType] = [head]
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
    lines = []
    if end.interrupted:
        lines.append(f"  sweep resume {end.name}{flag}   go on where it stopped")
    if end.unpublished:
        lacks = counted(end.unpublished, "pack")
        lines.append(f"  sweep sync {end.name}{flag}   send MLflow the {lacks} that it lacks")
    if not end.tracking_uri.startswith("http"):
        usual = end.tracking_uri == mlflow_store.lasting(mlflow_store.DEFAULT_URI)
        store = "" if usual else f" --backend-store-uri {end.tracking_uri}"
        lines.append(f"  mlflow ui{store}   serves every trial, with its curves, at:")
    lines.append(f"  {end.page}")
    if not end.trials:
        return "next:\n" + "\n".join(lines)
    lines += [
        f"  sweep export {end.name}   both tables as Parquet",
        f"  analysis map exports/{end.name}   the map, also by another criterion",
        f"  analysis report exports/{end.name}   one page with everything",
    ]
    return "next:\n" + "\n".join(lines)


def _page(tracker: tracking.Tracker) -> str:
    server = tracker.uri.rstrip("/") if tracker.uri.startswith("http") else "http://127.0.0.1:5000"
    return server if tracker.run_id is None else server + tracker.page()


def _limits(limits: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows of text, the same as `analysis summary` has."""
    table = pa.Table.from_pylist(limits)
    return f"depth limits {tables.headline(table)}", *tables.limit_rows(table)


def _limits_table(limits: list[dict[str, Any]]) -> Table:
    title, header, rows = _limits(limits)
    table = Table(*header, title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _page_text(networks: int, limits: list[dict[str, Any]], notes: list[str], took: Took | None) -> str:
    """What the sweep's page in MLflow says of its end."""
    size = "" if took is None else f"{run_text(took.trials, networks, took.seconds, took.predicted_seconds)}."
    return "\n\n".join(filter(None, [size, _markdown(limits), *notes]))


def _markdown(limits: list[dict[str, Any]]) -> str:
    if not limits:
        return ""
    title, header, rows = _limits(limits)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([f"{title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])
