"""MLflow -> Parquet, and whether ledger, MLflow and each other agree.

An export reads MLflow alone, so it can be made on any machine that reaches the tracking server: it takes
the parts of the ledger that were uploaded to the parent run, so it is exact to the last bit, non-finite
numbers included, and needs no request per trial.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from analysis.schema import Took, stamp, stamp_between
from sweeps import exportdir
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import all_parents, children, deleted
from sweeps.mlflow_store import COMPLETE, EXPERIMENT, PREDICTED_SECONDS, WALL_SECONDS, connect, one_sentence
from sweeps.mlflow_uri import shown
from sweeps.parts import load, merge
from sweeps.reading import near
from sweeps.runcard import BETWEEN

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_NUMBER: Final = (
    {"s": "s", "are": "are", "have": "have", "differ": "differ"},
    {"s": "", "are": "is", "have": "has", "differ": "differs"},
)
"""Words of several, and of one."""


@dataclass(frozen=True)
class Exported:
    """An export: both tables, the files, and what MLflow says should be there and is not."""

    trials: pa.Table
    replicates: pa.Table
    paths: tuple[Path, ...]
    missing: tuple[str, ...] = ()


def export(tracking_uri: str, name: str, out: Path, experiment: str = EXPERIMENT) -> Exported:
    """Write a sweep to `out/trials/`, `out/replicates/` and `out/spec.yaml`; if that fails, none of it.

    An earlier export of the same sweep in `out` is replaced; what else is in `out` stays there. A kill may leave
    one table new and the other old: exporting again repairs that.

    Raises:
        ValueError: there is no such sweep, `out` holds something else or cannot be written, MLflow cannot be read,
            or nothing was published yet.
    """
    exportdir.check(out, name)
    client = connect(tracking_uri, reading=True)
    with tempfile.TemporaryDirectory() as cache, one_sentence(tracking_uri):
        parent, *_ = find(client, tracking_uri, name, experiment)
        parts = _parts(tracking_uri, parent, cache)
        spec = _download(tracking_uri, parent, exportdir.SPEC, cache)
        if not parts or spec is None:
            raise ValueError(_lacking(parent, name, bool(parts)))
        trials, replicates = merge(_load(path, name) for path in parts)
        text = spec.read_bytes()
        trials = stamp_between(stamp(trials, _took(client, parent)), _between(parent))
        missing = _short(parent, len(parts), len(trials))
    return Exported(trials, replicates, exportdir.put(out, name, trials, replicates, text), missing)


def find(client: MlflowClient, uri: str, name: str, experiment: str, folder_id: str | None = None) -> list[Run]:
    """The parent runs of a sweep: the one that counts, and those that should not be there.

    Raises:
        ValueError: there is none; lists the sweeps that are there.
    """
    known = all_parents(client, experiment, folder_id)
    if name not in known:
        if again := deleted(client, experiment, name):
            raise ValueError(
                f"the run of sweep {name!r} was deleted in MLflow at {shown(uri)}; {again}, or send all of it again "
                f"with 'sweep sync {name}' where the ledger is"
            )
        none = f"; there is none in the experiment {experiment!r}, or somebody has renamed that: give it its name again"
        there = f"; sweeps there: {', '.join(sorted(known))}" if known else none
        raise ValueError(f"no sweep {name!r} in MLflow at {shown(uri)}{near(name, known)}{there}")
    return known[name]


def verify(
    book: Ledger, tracking_uri: str, name: str, experiment: str = EXPERIMENT, folder_id: str | None = None
) -> list[str]:
    """Discrepancies between the ledger, the parts in MLflow and the runs there; empty if there are none.

    Raises:
        ValueError: MLflow does not know the sweep or cannot be read, or a part of the ledger is broken.
    """
    client = connect(tracking_uri, reading=True)
    local = {path.name: path for path in book.parts()}
    want = {row["trial_key"]: row["outcome"] for row in book.read()[0].select(["trial_key", "outcome"]).to_pylist()}
    with tempfile.TemporaryDirectory() as cache, one_sentence(tracking_uri):
        parent, *others = find(client, tracking_uri, name, experiment, folder_id)
        remote = {path.name: path for path in _parts(tracking_uri, parent, cache)}
        differing = [n for n in local.keys() & remote.keys() if local[n].read_bytes() != remote[n].read_bytes()]
        gone = [] if _download(tracking_uri, parent, exportdir.SPEC, cache) else [exportdir.SPEC]
        runs = children(client, parent)
    have = {run.data.tags["trial.key"]: run.data.tags.get("outcome") for run in runs}
    times = Counter(run.data.tags["trial.key"] for run in runs)
    unfinished = [run.info.run_id for run in runs if run.info.status not in COMPLETE]
    first, again = parent.info.run_id, [run.info.run_id for run in others]
    found = (
        _list("part{s} of the ledger {are} not in MLflow (run 'sweep sync')", local.keys() - remote.keys()),
        _list("part{s} in MLflow {are} not in the ledger (is it of another --runs-dir?)", remote.keys() - local.keys()),
        _list("part{s} {differ} between the ledger and MLflow (run 'sweep sync')", differing),
        _list("trial{s} of the ledger {have} no run in MLflow (run 'sweep sync')", want.keys() - have.keys()),
        _list("run{s} in MLflow {are} of no trial of the ledger", have.keys() - want.keys()),
        _list(
            "trial{s} {have} more than one run (delete the others there)", [key for key, n in times.items() if n > 1]
        ),
        _list(
            "trial{s} {have} another outcome in MLflow (run 'sweep sync')",
            [k for k in want.keys() & have.keys() if want[k] != have[k]],
        ),
        _list("run{s} {are} unfinished", unfinished),
        _list("artifact{s} {are} not in MLflow (run 'sweep sync')", gone),
        _list(f"run{{s}} of the sweep {{are}} there beside {first}, which counts (delete the others)", again),
    )
    return [sentence for sentence in found if sentence]


def _list(what: str, names: Collection[str]) -> str:
    """How many and which; `what` is said of one, or of several, as `_NUMBER` has its words."""
    shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what.format(**_NUMBER[len(names) == 1])}: {shown}" if names else ""


def _download(tracking_uri: str, parent: Run, what: str, cache: str) -> Path | None:
    """An artifact of the parent run, in `cache` unless it is on this machine anyway; None if there is none."""
    from mlflow import artifacts

    root = str(parent.info.artifact_uri)
    if not any(Path(file.path).name == what for file in artifacts.list_artifacts(root, tracking_uri=tracking_uri)):
        return None
    local = root.startswith(("file:", "/"))
    place = None if local else cache
    return Path(artifacts.download_artifacts(f"{root}/{what}", dst_path=place, tracking_uri=tracking_uri))


def _parts(tracking_uri: str, parent: Run, cache: str) -> list[Path]:
    folder = _download(tracking_uri, parent, "parts", cache)
    return list(folder.glob("*.parquet")) if folder else []


def _load(path: Path, name: str) -> pa.Table:
    try:
        return load(path)
    except ValueError as error:
        raise ValueError(
            f"sweep {name!r}: the upload parts/{path.name} in MLflow is damaged; {_again(name)}"
        ) from error


def _again(name: str) -> str:
    return f"run 'sweep sync {name}' where the ledger is, then export again"


def _lacking(parent: Run, name: str, has_parts: bool) -> str:
    if has_parts:
        return f"sweep {name!r}: {exportdir.SPEC} of its run in MLflow is gone; {_again(name)}"
    if counted := int(parent.data.metrics.get("parts", 0)):
        return (
            f"sweep {name!r}: MLflow counts {counted} parts, but they cannot be read at {parent.info.artifact_uri} "
            f"from here; export where that place is, or run 'sweep sync {name}' where the ledger is"
        )
    return f"sweep {name!r}: nothing is published yet; is it running, or does 'sweep sync {name}' help?"


def _took(client: MlflowClient, parent: Run) -> Took | None:
    """What the sweep took when it last ran at one go, as `Tracker.finish` has put it; None if it never did."""
    histories = (client.get_metric_history(parent.info.run_id, key) for key in (WALL_SECONDS, PREDICTED_SECONDS))
    last = [max(history, key=lambda m: (m.step, m.timestamp)) for history in histories if history]
    if len(last) < 2:
        return None
    return Took(last[0].step, last[0].value, last[1].value)


def _between(parent: Run) -> float | None:
    """What its tag says of the data; None if it is not there, or somebody has put something else into it."""
    with suppress(ValueError):
        share = float(parent.data.tags.get(BETWEEN, ""))
        return share if 0 < share <= 1 else None
    return None


def _short(parent: Run, parts: int, trials: int) -> tuple[str, ...]:
    """What the parent run counts and the downloaded parts do not have."""
    counted = parent.data.metrics
    pairs = (("parts", parts, counted.get("parts", 0)), ("trials", trials, counted.get("trials/all", 0)))
    return tuple(
        f"MLflow counts {int(said)} {what}, but the uploaded parts hold {found}"
        for what, found, said in pairs
        if said > found
    )
