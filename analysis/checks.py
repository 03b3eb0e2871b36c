"""What the numbers of a table must obey, checked at the edge: a breach is a sentence with column, law and count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.outcome import Outcome

_LAWS: Final[Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]]] = {
    "depth": ("1 or more", lambda v: v >= 1),
    "width": ("1 or more", lambda v: v >= 1),
    "weight_scale": ("above 0", lambda v: v > 0),
    "bias_variance": ("0 or more", lambda v: v >= 0),
    "density": ("above 0 and at most 1", lambda v: (v > 0) & (v <= 1)),
    "learning_rate": ("above 0", lambda v: v > 0),
    "steps": ("1 or more", lambda v: v >= 1),
}
_DATES: Final = tuple(float(np.datetime64(date, "us").astype(np.int64)) for date in ("0001-01-01", "10000-01-01"))
REMEDY: Final = "run 'sweep export' again into an empty folder"
"""What to do about tables that obey no law, or that are torn."""
_CURVE: Final = ("curve_step", "curve_loss", "curve_accuracy")


def need(table: pa.Table, columns: Iterable[str], what: str) -> None:
    """Refuse what is no table of Arrow's, or lacks some of the columns that `what` needs."""
    if not isinstance(table, pa.Table):
        raise ValueError(f"{what} needs a pyarrow.Table, as pa.table(data) makes one, but got a {type(table).__name__}")
    wanted = list(columns)
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        lacks = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise ValueError(f"{what} needs the columns {', '.join(wanted)}, but {lacks}")


def check_axes(table: pa.Table, names: Iterable[str] = tuple(_LAWS), rows: np.ndarray | None = None) -> None:
    """Refuse numeric axes that are null, not finite or out of their range; axes that `table` lacks are passed over.

    Args:
        rows: which of them matter [n]; all if not given.
    """
    for name in names:
        if name not in table.column_names:
            continue
        _check_numbers(name, table[name])
        values = table[name].to_numpy().astype(float)
        law, holds = _LAWS.get(name, ("a number", np.isfinite))
        bad = ~(np.isfinite(values) & holds(values)) & (True if rows is None else rows)
        if bad.any():
            raise ValueError(f"{name} must be finite and {law}, but is {_first(table[name], bad)}")


def _check_numbers(name: str, column: pa.ChunkedArray, *others: Callable[[pa.DataType], bool]) -> None:
    """Refuse a column of names or dates: the model would take "10" and a day for numbers, a map for neither."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not any(law(kind) for law in (pa.types.is_integer, pa.types.is_floating, pa.types.is_null, *others)):
        raise ValueError(
            f"{name} must be a column of numbers, but is one of {kind}; if they stand for numbers, cast them: "
            f"table[{name!r}].cast('float64')"
        )


def check_known(name: str, column: pa.ChunkedArray) -> None:
    """Refuse an axis of names that is null somewhere, where nulls would be one more level."""
    if column.null_count:
        bad = column.is_null().to_numpy()
        raise ValueError(f"{name} must be known in every row, but is {_first(column, bad)}")


def check_counts(trials: pa.Table, rows: np.ndarray | None = None) -> None:
    """Refuse counts of networks that are null or shares, or of which more trained than there are; `rows` as of
    `check_axes`."""
    for name in ("n_replicates", "n_trained"):
        _check_numbers(name, trials[name], pa.types.is_boolean)  # of one network each
    n, k = (trials[name].to_numpy().astype(float) for name in ("n_replicates", "n_trained"))
    bad = ~((k >= 0) & (k <= n)) & (True if rows is None else rows)
    if bad.any():
        place = f"n_trained is {_first(trials['n_trained'], bad)}"
        of = _value(trials["n_replicates"], int(bad.argmax()))
        raise ValueError(f"0 <= n_trained <= n_replicates must hold, but {place}, where n_replicates is {of}")
    for name, counts in (("n_replicates", n), ("n_trained", k)):
        bad = (~np.isfinite(counts) | (counts != np.floor(counts))) & (True if rows is None else rows)
        if bad.any():
            raise ValueError(
                f"{name} must be a whole number of networks, not a share, but is {_first(trials[name], bad)}"
            )


def check_outcomes(trials: pa.Table) -> None:
    """Refuse outcomes that the counts contradict: a tally of outcomes and a map would not be of the same trials.

    Those of failed trials, which say nothing, and those that are no outcomes are passed over.
    """
    n, k = (trials[name].to_numpy().astype(float) for name in ("n_replicates", "n_trained"))
    outcomes = trials["outcome"].to_numpy()
    judged = np.isin(outcomes, [str(outcome) for outcome in Outcome if outcome is not Outcome.FAILED])
    bad = judged & ((outcomes == str(Outcome.TRAINED)) != ((k > 0) & (2 * k >= n)))
    if bad.any():
        key, counts = trials["trial_key"][int(bad.argmax())], (int(v[bad.argmax()]) for v in (k, n))
        raise ValueError(
            f"outcome must be trained where at least half of n_replicates trained, and only there, but is "
            f"{_first(trials['outcome'], bad)}: trial {key}, of which {' of '.join(map(str, counts))} trained"
        )


def check_dates(name: str, column: pa.ChunkedArray) -> None:
    """Refuse dates in microseconds that no calendar of Python's has; one that is null is not known."""
    places = column.cast(pa.int64()).to_numpy().astype(float)
    bad = (places < _DATES[0]) | (places >= _DATES[1])
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"{name} must lie in the years 1 to 9999, but is {places[place]:.0f} microseconds after 1970 in row "
            f"{place + 1} ({bad.sum()} of {len(bad)} rows are wrong)"
        )


def check_curves(replicates: pa.Table) -> None:
    """Refuse training curves whose steps, losses and accuracies differ in number, or of which a step is null; no curve
    at all is null."""
    unknown = pc.list_flatten(replicates["curve_step"]).null_count  # pyright: ignore[reportAttributeAccessIssue]
    if unknown:
        raise ValueError(f"curve_step must be known at every recorded step, but is null at {unknown}")
    lengths = [pc.list_value_length(replicates[name]).to_numpy().astype(float) for name in _CURVE]  # pyright: ignore
    for name, length in zip(_CURVE[1:], lengths[1:], strict=True):
        bad = (lengths[0] != length) & ~np.isnan(lengths[0]) & ~np.isnan(length)
        if bad.any():
            place = int(bad.argmax())
            raise ValueError(
                f"{name} must be as long as curve_step, but has {length[place]:.0f} values for {lengths[0][place]:.0f} "
                f"steps in row {place + 1} ({bad.sum()} of {len(bad)} rows are wrong)"
            )


def _first(column: pa.ChunkedArray, bad: np.ndarray) -> str:
    """`nan in row 3 (2 of 60 rows are wrong)`, rows counted from 1."""
    place = int(bad.argmax())
    return f"{_value(column, place)} in row {place + 1} ({bad.sum()} of {len(bad)} rows are wrong)"


def _value(column: pa.ChunkedArray, place: int) -> str:
    value = column[place].as_py()
    return "null" if value is None else str(value)
