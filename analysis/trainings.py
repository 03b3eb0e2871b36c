"""Sweeps that were trained in different ways, read together: told apart by an axis of its own, the training.

A map over the axes of a network alone would take a network that trains by one optimizer and not by another for a matter
of chance. Where the training goes with other axes, as learning rates that were chosen for each scheme, panels are apart
as it is, and what is due to which cannot be known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from analysis.axes import CATEGORICAL, FEW
from analysis.outcome import Outcome
from analysis.schema import TRAINING
from analysis.store import Export
from analysis.words import natural, value_text

UNKNOWN: Final = "unknown"
RATES: Final = "learning rates"
CONSTANT: Final = "constant"


class _Setting(NamedTuple):
    """Something of a training that changes outcomes: what it is called, and how one of its values is written."""

    called: str
    text: Callable[[Any], str] = str
    name: str = "{}"  # of a training that has the value
    without: Any = None  # the value where a spec has no such field


def _number(value: Any) -> str:
    """To more digits than an axis has: a momentum of 0.9995 is none of 1."""
    return value_text(value, 6) if isinstance(value, int | float) else str(value)


def _listed(rates: Sequence[float]) -> str:
    *some, last = map(_number, rates)
    return f"{', '.join(some)} and {last}" if some else last


def schedule(falls: Any) -> str:
    """`{at: [0.5], factor: 0.1}` in words; whatever a spec of another tool says there, as it is."""
    if falls is None:
        return CONSTANT
    if not isinstance(falls, dict):
        return str(falls)
    at = falls.get("at") or []
    shares = ", ".join(map(str, at if isinstance(at, list) else [at]))
    return f"times {falls.get('factor')} at {shares} of the steps" if shares else CONSTANT


_COLUMNS: Final = {
    "dataset": _Setting("dataset"),
    "optimizer": _Setting("optimizer"),
    "batch_size": _Setting("batch size", name="batch size {}"),
    "steps": _Setting("steps", name="{} steps"),
}
"""Columns of a trial."""
_SPEC: Final = {
    "momentum": _Setting("momentum", _number, "momentum {}", 0.0),
    "nesterov": _Setting("nesterov", lambda on: "yes" if on else "no", "nesterov {}", False),
    "weight_decay": _Setting("weight decay", _number, "weight decay {}", 0.0),
    "schedule": _Setting("schedule", schedule, "rate {}"),
    "train_samples": _Setting("train samples", lambda n: "all" if n is None else str(n), "{} samples"),
}
"""Fields of `training` in a spec."""
_SETTINGS: Final = {**_COLUMNS, **_SPEC, RATES: _Setting(RATES, name=f"{RATES} {{}}")}

_NUMBERS: Final = ("width", "weight_scale", "density")  # the axes of which a sweep may have one value

_Way = dict[str, str]


def apart(export: Export, *, but: str = "") -> pa.Table:
    """The trials, with the column `TRAINING` where they were not all trained alike and no other axis says how.

    Args:
        but: setting that is no part of a training, `RATES` or a column, for it is an axis itself.
    """
    trials = export.trials
    if TRAINING in trials.column_names:
        trials = trials.drop_columns([TRAINING])
    if _alike(trials):
        return trials
    ways = _ways(export, trials, but)
    names = _names(ways)
    said = _settled(trials)
    if len({names[row] for row in said}) < 2 or _goes_with(trials.take(said), [names[row] for row in said]):
        return trials
    return trials.append_column(TRAINING, pa.array(names, pa.string()))


def _alike(trials: pa.Table) -> bool:
    return all(len(trials[name].unique()) < 2 for name in ("spec_sha256", *_COLUMNS))


def mixed(export: Export, *, but: str = "") -> dict[str, list[str]]:
    """What the trainings differ in, and its values; empty if they are one. `but` is as of `apart`."""
    if _alike(export.trials):
        return {}
    ways = _ways(export, export.trials.take(_settled(export.trials)), but)
    values = {
        s.called: sorted({way[name] for way in ways if name in way}, key=natural) for name, s in _SETTINGS.items()
    }
    return {called: some for called, some in values.items() if len(some) > 1}


def told(export: Export, who: str, *, but: str = "") -> str:
    """The same in words, and what a map makes of it: `who` is who differ."""
    differing = [f"{name} ({' or '.join(values)})" for name, values in mixed(export, but=but).items()]
    if not differing:
        return ""
    text = f"{who} differ in {' and in '.join(differing)}"
    trials = export.trials.take(_settled(export.trials))
    axes = _goes_with(trials, _names(_ways(export, trials, but)))
    if not axes:
        return f"{text}, which the axis {TRAINING!r} tells apart."
    shown = " and ".join(name.replace("_", " ") for name in axes)
    return f"{text}, which goes with the {shown}: a map does not tell what is due to which."


def _settled(trials: pa.Table) -> list[int]:
    return [i for i, outcome in enumerate(trials["outcome"].to_pylist()) if outcome != Outcome.FAILED]


def _goes_with(trials: pa.Table, names: Sequence[str]) -> tuple[str, ...]:
    """The axes that say by which training a trial is, one if that is enough; none if all together do not.

    They do not either where most of their places have been met once: those say all of a trial, by chance.
    """
    columns = {name: trials[name].to_pylist() for name in (*CATEGORICAL, *_NUMBERS)}
    most = {name: FEW if name in _NUMBERS else len(trials) for name in columns}
    varying = {name: values for name, values in columns.items() if 1 < len(set(values)) <= most[name]}
    alone = [name for name, values in varying.items() if _says(values, names)]
    if alone or not varying:
        return tuple(alone[:1])
    places = list(zip(*varying.values(), strict=True))
    return tuple(varying) if 2 * len(set(places)) <= len(places) and _says(places, names) else ()


def _says(places: Iterable[Any], names: Sequence[str]) -> bool:
    met: dict[Any, str] = {}
    return all(met.setdefault(place, name) == name for place, name in zip(places, names, strict=True))


def _ways(export: Export, trials: pa.Table, but: str = "") -> list[_Way]:
    """How each of `trials` was trained: the values of all settings that are known of all, as text."""
    of_trials = trials["spec_sha256"].to_pylist()
    columns = {name: trials[name].to_pylist() for name in _COLUMNS}
    of_spec = _of_specs(export, {of_trials[row] for row in _settled(trials)})
    rates = _rates(export)
    ways = []
    for i, spec in enumerate(of_trials):
        way: _Way = {name: UNKNOWN if values[i] is None else str(values[i]) for name, values in columns.items()}
        way |= {**of_spec.get(spec, {}), RATES: rates.get(spec, UNKNOWN)}
        ways.append({name: value for name, value in way.items() if name != but})
    return ways


def _of_specs(export: Export, asked: set[str | None]) -> dict[str | None, _Way]:
    """What the specs say of a training where they differ: what one does not say is no difference by itself."""
    said = {spec: _of_spec(export.trainings.get(spec or "", {})) for spec in asked}
    differing = [name for name in _SPEC if len({way[name] for way in said.values() if name in way}) > 1]
    return {spec: {name: way.get(name, UNKNOWN) for name in differing} for spec, way in said.items()}


def _of_spec(training: Mapping[str, Any]) -> _Way:
    """A field that an older spec lacks is as it was before there was one; of no spec nothing is known."""
    return {name: setting.text(training.get(name, setting.without)) for name, setting in _SPEC.items() if training}


def _rates(export: Export) -> dict[str, str]:
    """The learning rates of each spec, ascending."""
    keys = export.trials["trial_key"].combine_chunks()
    places = pc.index_in(export.replicates["trial_key"], value_set=keys)  # pyright: ignore[reportAttributeAccessIssue]
    pairs = pa.table(
        {"spec": export.trials["spec_sha256"].take(places), "rate": export.replicates["learning_rate"]}
    ).group_by(["spec", "rate"])
    found: dict[str, list[float]] = defaultdict(list)
    for row in pairs.aggregate([]).to_pylist():
        found[row["spec"]].append(row["rate"])
    return {spec: _listed(sorted(rates)) for spec, rates in found.items()}


def _names(ways: Sequence[_Way]) -> list[str]:
    """A name for how each trial was trained: by the one setting that tells all apart, or else by all that add to it."""
    kinds = list({tuple(way.items()): way for way in ways}.values())
    names = [name for name in _SETTINGS if all(name in kind for kind in kinds)]
    shown = next(([name] for name in names if _told_by(kinds, [name]) == len(kinds)), [])
    if not shown:
        for name in names:
            if _told_by(kinds, [*shown, name]) > _told_by(kinds, shown):
                shown.append(name)
    return [", ".join(_SETTINGS[name].name.format(way[name]) for name in shown) for way in ways]


def _told_by(kinds: Sequence[_Way], names: Sequence[str]) -> int:
    return len({tuple(kind[name] for name in names) for kind in kinds})
