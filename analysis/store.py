"""Open what `sweep export` wrote: `trials/*.parquet`, `replicates/*.parquet` and `spec.yaml` in one folder.

Everything is checked here, at the edge: a foreign folder, a torn file or a repeated trial is one sentence that
says what, where and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import yaml

from analysis.checks import REMEDY, check_axes, check_counts, check_curves, check_dates, check_outcomes
from analysis.outcome import NOT_KNOWN, Criterion, Outcome, Task
from analysis.relabelling import relabel
from analysis.schema import REPLICATES, TRIALS, Took, between, took, validate

_NUMBER: Final = (int, float)


class Export(NamedTuple):
    """A sweep as exported, or several (see `analysis.joining`).

    `criterion` is the one that its outcomes follow, `took` the time of a sweep that ran at one go; each None if the
    folders do not say.
    """

    folders: tuple[Path, ...]
    trials: pa.Table
    replicates: pa.Table
    spec: Mapping[str, Any]  # empty if it is missing, or folders have different ones
    criterion: Criterion | None
    took: Took | None
    common: bool  # whether all outcomes follow `criterion`, if it is known; else only those of spec.yaml's own sweep
    repeated: int = 0  # trials that several folders have
    rates: tuple[float, ...] = ()  # learning rates that trials are judged at, if not at all that they have
    without: int = 0  # trials left out, which have none of these
    trainings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})  # `training` of the specs, by spec_sha256
    between: Mapping[str, float] = NOT_KNOWN.between  # as of `Task`

    @property
    def task(self) -> Task:
        """What the networks are trained for, by the criterion if it is that of all."""
        return Task(self.criterion if self.common else None, self.between)


def read(folder: str | Path, criterion: Criterion | None = None) -> Export:
    """The export in `folder`, with its outcomes as exported or judged anew by `criterion`.

    Raises:
        ValueError: the folder is missing, foreign, torn or inconsistent; the sentence names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the folder that 'sweep export' wrote")
    trials, replicates = _table(folder, TRIALS), _table(folder, REPLICATES)
    _check_keys(folder, trials, replicates)
    spec = _spec(folder / "spec.yaml")
    rule = _criterion(folder / "spec.yaml", spec)
    common, trainings = specs(trials) < 2, _trainings(trials, spec)
    known, sets = between(trials), trials["dataset"].unique().to_pylist()
    shares = {sets[0]: known} if known is not None and len(sets) == 1 else NOT_KNOWN.between
    export = Export(
        (folder,), trials, replicates, spec, rule, took(trials), common, trainings=trainings, between=shares
    )
    return export if criterion is None else judged(export, criterion)


def judged(export: Export, criterion: Criterion) -> Export:
    """The export with all outcomes as `criterion` judges them."""
    trials, replicates = relabel(export.trials, export.replicates, criterion)
    return export._replace(trials=trials, replicates=replicates, criterion=criterion, common=True)


def _trainings(trials: pa.Table, spec: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What spec.yaml says of training, if that is of all trials."""
    known, training = trials["spec_sha256"].unique().to_pylist(), spec.get("training")
    return {known[0]: training} if len(known) == 1 and known[0] and isinstance(training, dict) else {}


def specs(trials: pa.Table) -> int:
    """How many different specs the trials are of."""
    return len(trials["spec_sha256"].drop_null().unique())


def _table(folder: Path, schema: pa.Schema) -> pa.Table:
    name = (schema.metadata or {})[b"isoinit.table"].decode()
    files = sorted((folder / name).glob("*.parquet"))
    if not files and next((folder / name).rglob("*.parquet"), None):
        raise ValueError(
            f"{folder} holds {name}/ cut into folders of their own; write {name}/*.parquet, not partitioned"
        )
    if not files:
        raise ValueError(f"{folder} holds no {name}/*.parquet; give the folder that 'sweep export' wrote")
    return pa.concat_tables([_part(file, schema) for file in files])


def _part(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = ds.dataset(file, format="parquet").to_table()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet (torn or foreign); {REMEDY}") from error
    try:
        return _checked(validate(table, schema), schema)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _checked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if schema is TRIALS:
        check_axes(table)
        check_counts(table)
        check_outcomes(table)
        check_dates("finished_at", table["finished_at"])
    else:
        check_axes(table, ["learning_rate"])
        check_curves(table)
    return table


def _check_keys(folder: Path, trials: pa.Table, replicates: pa.Table) -> None:
    keys = Counter(trials["trial_key"].to_pylist())
    if not keys:
        raise ValueError(f"{folder} holds no trial yet; wait for the sweep's first pack and export again")
    key, count = keys.most_common(1)[0]
    if count > 1:
        raise ValueError(f"{folder}: trial {key} occurs {count} times in trials; {REMEDY}")
    orphans = set(replicates["trial_key"].unique().to_pylist()) - keys.keys()
    if orphans:
        raise ValueError(
            f"{folder}: replicates name the trial {min(orphans)}, which trials does not have; filter replicates by the "
            f"trial_key of trials too, or {REMEDY}"
        )
    networks = len(replicates.group_by(["trial_key", "seed", "learning_rate"]).aggregate([]))
    if networks < len(replicates):
        raise ValueError(
            f"{folder}: a trial has one network of a seed at a learning rate, but {len(replicates) - networks} of "
            f"{len(replicates)} rows of replicates are of one that another row has; {REMEDY}"
        )
    for column in (trials["outcome"], replicates["outcome"]):
        unknown = set(column.unique().to_pylist()) - set(Outcome)
        if unknown:
            raise ValueError(f"{folder}: outcome must be one of {', '.join(Outcome)}, but got {min(unknown)!r}")
    lost = set(settled(trials)["trial_key"].to_pylist()) - set(replicates["trial_key"].unique().to_pylist())
    if lost:
        raise ValueError(
            f"{folder}: {len(lost)} of {len(trials)} trials did not fail but have no replicates, such as trial "
            f"{min(lost)}; {REMEDY}"
        )


def _spec(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # of bytes that are no text, or a date of no calendar
        raise ValueError(f"{file} is not YAML; {REMEDY}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{file} is not a sweep's spec, which is a YAML mapping; {REMEDY}")
    return spec


def _criterion(file: Path, spec: Mapping[str, Any]) -> Criterion | None:
    rule = spec.get("criterion")
    if rule is None:
        return None
    if not isinstance(rule, dict):
        raise ValueError(f"{file}: criterion must be a mapping such as {{at_least: 0.8}}, but got {rule!r}")
    kinds = {"metric": (str, "a name"), "at_least": (_NUMBER, "a number"), "at_most": (_NUMBER, "a number"),
             "within": (int, "a whole number of steps")}  # fmt: skip
    for name, (kind, wanted) in kinds.items():
        value = rule.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"{file}: criterion.{name} must be {wanted}, but got {value!r}")
    metric = rule.get("metric") or "train_accuracy"
    wanted, other = ("at_most", "at_least") if metric == "train_loss" else ("at_least", "at_most")
    threshold = rule.get(other) if rule.get(wanted) is None else rule.get(wanted)
    if threshold is None:
        return None
    try:
        found = Criterion(metric, float(threshold), rule.get("within"))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{file}: {error}") from error
    if rule.get(other) is not None:
        raise ValueError(f"{file}: a criterion of {metric} needs {wanted} and no {other}, but got {rule!r}")
    return found


def settled(trials: pa.Table) -> pa.Table:
    """The trials that say something about a network: all but the failed ones."""
    return trials.filter(pc.field("outcome") != str(Outcome.FAILED))
