"""Several exports as one: sweeps that each ask for a part of the same question, such as a scheme or a width.

How they were trained is an axis of the map, too, where that differs (`trainings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis import store, trainings
from analysis.outcome import Criterion, Outcome
from analysis.rates import text as at
from analysis.schema import TRIALS
from analysis.store import Export

OWN: Final = "the criterion of each trial's own sweep"


def read(folders: Sequence[str | Path], criterion: Criterion | None = None) -> Export:
    """The exports in `folders` as one, with their outcomes as exported or judged anew by `criterion`.

    Trials of several folders with the same key are the same networks, and count once.

    Raises:
        ValueError: as of `store.read`.
    """
    parts = [store.read(folder) for folder in folders]
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    whole = whole if criterion is None else store.judged(whole, criterion)
    return whole._replace(trials=trainings.apart(whole))


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
        between={name: share for part in parts for name, share in part.between.items() if _one(parts, name)},
        trainings={spec: training for part in parts for spec, training in part.trainings.items()},
    )


def _one(parts: Sequence[Export], name: str) -> bool:
    """Whether the folders mean the same data by a name."""
    return len({part.between[name] for part in parts if name in part.between}) == 1


def criterion(export: Export) -> str:
    """Which rule the outcomes follow, as text; empty if the folder does not say."""
    return f"{export.criterion or ''}{at(export.rates)}" if export.common else OWN


def joined(export: Export, *, but: str = "") -> str:
    """By which rule trials of several specs are judged, and how they were trained; empty if there is one spec, all of
    which is read. `but` is as of `trainings.apart`."""
    told = [_specs(export, but), _repeated(export), _judged(export)]
    return " ".join(filter(None, told))


def _specs(export: Export, but: str) -> str:
    count, rule = store.specs(export.trials), str(export.criterion or "")
    if count < 2:
        return trainings.told(export, "The trials", but=but)
    told = f"Trials of {count} different specs (spec_sha256) are read together, "
    if export.common:
        told += f"all judged by {rule}."
    else:
        known = f"{rule} is that of spec.yaml alone; " if rule else ""
        told += f"each judged by the criterion of its own spec; {known}--criterion judges all by one."
    return f"{told} {trainings.told(export, 'They', but=but)}".strip()


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
