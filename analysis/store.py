"""Open what `sweep export` wrote: `trials/*.parquet`, `replicates/*.parquet` and `spec.yaml` in one folder.

Everything is checked here, at the edge: a foreign folder, a torn file or a repeated trial is one sentence that
says what, where and what to do. `relabel` judges the stored curves by another criterion; nothing is trained again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import yaml

from analysis.checks import check_axes, check_counts, check_curves
from analysis.outcome import Criterion, Curve, Outcome, Replicate, label, summarize
from analysis.schema import REPLICATES, TRIALS, Took, took, validate

_NUMBER: Final = (int, float)
_REMEDY = "run 'sweep export' again into an empty folder"


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
    export = Export((folder,), trials, replicates, spec, rule, took(trials), common=specs(trials) < 2)
    return export if criterion is None else judged(export, criterion)


def judged(export: Export, criterion: Criterion) -> Export:
    """The export with all outcomes as `criterion` judges them."""
    trials, replicates = relabel(export.trials, export.replicates, criterion)
    return export._replace(trials=trials, replicates=replicates, criterion=criterion, common=True)


def specs(trials: pa.Table) -> int:
    """How many different specs the trials are of."""
    return len(trials["spec_sha256"].drop_null().unique())


def _table(folder: Path, schema: pa.Schema) -> pa.Table:
    name = (schema.metadata or {})[b"isoinit.table"].decode()
    files = sorted((folder / name).glob("*.parquet"))
    if not files:
        raise ValueError(f"{folder} holds no {name}/*.parquet; give the folder that 'sweep export' wrote")
    return pa.concat_tables([_part(file, schema) for file in files])


def _part(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = ds.dataset(file, format="parquet").to_table()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet (torn or foreign); {_REMEDY}") from error
    try:
        return _checked(validate(table, schema), schema)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _checked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if schema is TRIALS:
        check_axes(table)
        check_counts(table)
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
        raise ValueError(f"{folder}: trial {key} occurs {count} times in trials; {_REMEDY}")
    orphans = set(replicates["trial_key"].unique().to_pylist()) - keys.keys()
    if orphans:
        raise ValueError(f"{folder}: replicates name the trial {min(orphans)}, which trials does not have; {_REMEDY}")
    for column in (trials["outcome"], replicates["outcome"]):
        unknown = set(column.unique().to_pylist()) - set(Outcome)
        if unknown:
            raise ValueError(f"{folder}: outcome must be one of {', '.join(Outcome)}, but got {min(unknown)!r}")
    lost = set(settled(trials)["trial_key"].to_pylist()) - set(replicates["trial_key"].unique().to_pylist())
    if lost:
        raise ValueError(
            f"{folder}: {len(lost)} of {len(trials)} trials did not fail but have no replicates, such as trial "
            f"{min(lost)}; {_REMEDY}"
        )


def _spec(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML; {_REMEDY}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{file} is not a sweep's spec, which is a YAML mapping; {_REMEDY}")
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
    threshold = rule.get("at_least") if rule.get("at_least") is not None else rule.get("at_most")
    if threshold is None:
        return None
    try:
        return Criterion(rule.get("metric") or "train_accuracy", float(threshold), rule.get("within"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def relabel(trials: pa.Table, replicates: pa.Table, criterion: Criterion) -> tuple[pa.Table, pa.Table]:
    """Both tables with the outcomes that `criterion` gives to the stored curves.

    Failed trials stay failed: there is no curve to judge.

    Raises:
        ValueError: the curves cannot decide the criterion, because they are missing, begin too late or end too early.
    """
    budgets: dict[str, int] = dict(zip(trials["trial_key"].to_pylist(), trials["steps"].to_pylist(), strict=True))
    longest = max(budgets.values())
    if criterion.within is not None and criterion.within > longest:
        raise ValueError(f"criterion '{criterion}' looks beyond the {longest} steps that were trained")
    judged: dict[str, list[Replicate]] = defaultdict(list)
    outcomes: list[str] = []
    passages: list[int | None] = []
    for row in _rows(replicates):
        _check_curve(row, criterion)
        curve = row.curve(budgets[row.trial_key])
        verdict = label(curve, criterion)
        if verdict.outcome in _UNFINISHED and row.steps_run < min(criterion.within or curve.budget, curve.budget):
            raise ValueError(
                f"criterion '{criterion}' cannot be decided: trial {row.trial_key} was stopped at success after "
                f"{row.steps_run} of {curve.budget} steps; choose a weaker criterion, or sweep without stop_on_success"
            )
        judged[row.trial_key].append(Replicate(row.seed, row.learning_rate, verdict))
        outcomes.append(verdict.outcome)
        passages.append(verdict.steps_to_threshold)
    replicates = _replace(replicates, REPLICATES, outcome=outcomes, steps_to_threshold=passages)
    return _resummarized(trials, judged), replicates


def _check_curve(row: _Row, criterion: Criterion) -> None:
    """Refuse a criterion of which this curve can say nothing."""
    if any(curve is None for curve in (row.step, row.loss, row.accuracy)):
        raise ValueError(
            f"criterion '{criterion}' cannot be decided: trial {row.trial_key} has no curve (null) for its network of "
            f"seed {row.seed}, learning rate {row.learning_rate:g}; {_REMEDY}"
        )
    if criterion.within is not None and row.step and criterion.within < row.step[0]:
        raise ValueError(
            f"criterion '{criterion}' cannot be decided: the first recorded step is {row.step[0]} (trial "
            f"{row.trial_key}), so 'within' must be at least {row.step[0]}, but got {criterion.within}"
        )


_UNFINISHED = (Outcome.SLOW, Outcome.STALLED, Outcome.VANISHED)


class _Row(NamedTuple):
    """What judging a replicate needs, as plain Python values."""

    trial_key: str
    seed: int
    learning_rate: float
    steps_run: int
    test_accuracy: float | None
    log_forward_ratio: float | None
    log_gradient_ratio: float | None
    step: list[int] | None
    loss: list[float] | None
    accuracy: list[float] | None

    def curve(self, budget: int) -> Curve:
        probes = (self.test_accuracy, self.log_forward_ratio, self.log_gradient_ratio)
        return Curve(self.step or [], self.loss or [], self.accuracy or [], budget, *probes)


_PLAIN = _Row._fields[:7]
_LISTS = ("curve_step", "curve_loss", "curve_accuracy")


def _rows(replicates: pa.Table) -> Iterator[_Row]:
    """One batch of Arrow at a time becomes Python values, so memory stays bounded."""
    for batch in replicates.select([*_PLAIN, *_LISTS]).to_batches(max_chunksize=8192):
        for values in zip(*(batch[name].to_pylist() for name in (*_PLAIN, *_LISTS)), strict=True):
            yield _Row(*values)


def _resummarized(trials: pa.Table, judged: Mapping[str, list[Replicate]]) -> pa.Table:
    columns = ("n_replicates", "n_trained", "best_learning_rate", "outcome", "score")
    rows = []
    old = trials.select(["trial_key", *columns]).to_pylist()
    for row in old:
        key = row.pop("trial_key")
        if row["outcome"] == Outcome.FAILED:
            rows.append(row)
        elif key not in judged:
            raise ValueError(f"trial {key} has no replicates, so its criterion cannot be changed; {_REMEDY}")
        else:
            rows.append(summarize(judged[key])._asdict())
    return _replace(trials, TRIALS, **{name: [row[name] for row in rows] for name in columns})


def _replace(table: pa.Table, schema: pa.Schema, **columns: list[Any]) -> pa.Table:
    for name, values in columns.items():
        field = schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table


def settled(trials: pa.Table) -> pa.Table:
    """The trials that say something about a network: all but the failed ones."""
    return trials.filter(pc.field("outcome") != str(Outcome.FAILED))
