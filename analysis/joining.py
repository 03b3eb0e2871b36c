"""Several exports as one: sweeps that each ask for a part of the same question, such as a scheme or a width.

A map knows the axes of a network and nothing else, so what else differs between the sweeps is told (`mixed`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis import store
from analysis.outcome import Criterion, Outcome
from analysis.rates import text as at
from analysis.schema import TRIALS
from analysis.store import Export

OWN: Final = "the criterion of each trial's own sweep"
SETTINGS: Final = ("dataset", "optimizer", "batch_size", "steps")
"""Columns of a trial that change its outcome and are no axis of a map."""


def read(folders: Sequence[str | Path], criterion: Criterion | None = None) -> Export:
    """The exports in `folders` as one, with their outcomes as exported or judged anew by `criterion`.

    Trials of several folders with the same key are the same networks, and count once.

    Raises:
        ValueError: as of `store.read`.
    """
    if len(folders) == 1:
        return store.read(folders[0], criterion)
    whole = _joined([store.read(folder) for folder in folders])
    return whole if criterion is None else store.judged(whole, criterion)


def _joined(parts: Sequence[Export]) -> Export:
    all_trials = pa.concat_tables([part.trials for part in parts]).replace_schema_metadata(TRIALS.metadata)
    keys = all_trials["trial_key"].to_pylist()
    failed = pc.equal(all_trials["outcome"], str(Outcome.FAILED)).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    first: dict[str, int] = {}
    for row in sorted(range(len(keys)), key=lambda row: failed[row]):  # one that did not fail goes before one that did
        first.setdefault(keys[row], row)
    kept, replicates, start = set(first.values()), [], 0
    for part in parts:
        mine = pa.array([keys[row] for row in range(start, start + len(part.trials)) if row in kept], pa.string())
        replicates.append(part.replicates.filter(pc.field("trial_key").isin(mine)))
        start += len(part.trials)
    rules, specs = [part.criterion for part in parts], [part.spec for part in parts]
    same = all(rule == rules[0] for rule in rules)
    return Export(
        folders=tuple(folder for part in parts for folder in part.folders),
        trials=all_trials.take(sorted(kept)),
        replicates=pa.concat_tables(replicates),
        spec=specs[0] if all(spec == specs[0] for spec in specs) else {},
        criterion=rules[0] if same else None,
        took=None,
        common=same and rules[0] is not None and all(part.common for part in parts),
        repeated=len(keys) - len(kept),
    )


def mixed(export: Export) -> dict[str, list[Any]]:
    """What the trials differ in and no map tells apart, and its values: `SETTINGS`, and each spec's learning rates."""
    columns = {name: _values(export.trials[name]) for name in SETTINGS}
    found = {name.replace("_", " "): values for name, values in columns.items() if len(values) > 1}
    keys = export.trials["trial_key"].combine_chunks()
    places = pc.index_in(export.replicates["trial_key"], value_set=keys)  # pyright: ignore[reportAttributeAccessIssue]
    specs = export.trials["spec_sha256"].take(places)
    pairs = pa.table({"spec": specs, "rate": export.replicates["learning_rate"]}).group_by(["spec", "rate"])
    rates: dict[str, list[float]] = defaultdict(list)
    for row in pairs.aggregate([]).to_pylist():
        rates[row["spec"]].append(row["rate"])
    grids = sorted({tuple(sorted(some)) for some in rates.values()})
    if len(grids) > 1:
        found["learning rates"] = [" and ".join(f"{rate:g}" for rate in grid) for grid in grids]
    return found


def _values(column: pa.ChunkedArray) -> list[Any]:
    """What occurs in a column, ascending; what is null is not known, and may be anything."""
    known = sorted(column.drop_null().unique().to_pylist())
    return [*known, "unknown"] if column.null_count else known


def criterion(export: Export) -> str:
    """Which rule the outcomes follow, as text; empty if the folder does not say."""
    return f"{export.criterion or ''}{at(export.rates)}" if export.common else OWN


def joined(export: Export) -> str:
    """By which rule trials of several specs are judged, and what no map tells apart; empty if there is one spec, all of
    which is read."""
    told = [_specs(export), _repeated(export), _judged(export)]
    return " ".join(filter(None, told))


def _specs(export: Export) -> str:
    count, rule = store.specs(export.trials), str(export.criterion or "")
    if count < 2:
        return ""
    told = f"Trials of {count} different specs (spec_sha256) are read together, "
    if export.common:
        told += f"all judged by {rule}."
    else:
        known = f"{rule} is that of spec.yaml alone; " if rule else ""
        told += f"each judged by the criterion of its own spec; {known}--criterion judges all by one."
    if differing := [f"{name} ({' or '.join(map(str, values))})" for name, values in mixed(export).items()]:
        told += f" They differ in {' and in '.join(differing)}, which a map does not tell apart."
    return told


def _repeated(export: Export) -> str:
    some = "1 trial" if export.repeated == 1 else f"{export.repeated:,} trials"
    return (
        f"{some} of several folders {'is' if export.repeated == 1 else 'are'} counted once." if export.repeated else ""
    )


def _judged(export: Export) -> str:
    if not export.rates:
        return ""
    told = f"Trials are judged{at(export.rates)}, but were placed, and took their time, for all learning rates."
    some = "1 trial was" if export.without == 1 else f"{export.without:,} trials were"
    return f"{told} {some} trained at none of these, and left out." if export.without else told
