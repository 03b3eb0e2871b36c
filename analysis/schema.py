"""The two tables of a sweep, as Arrow schemas: the truth about names, types, units and meaning.

`TRIALS` has one row per trial (a point of the search space), `REPLICATES` one per trained network
(a seed at a learning rate), with its whole training curve. Missing knowledge is null; non-finite
numbers are kept as they are, because a loss of infinity is a result. What is true of a whole sweep stands
in the schema metadata.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import pyarrow as pa

VERSION: Final = "1"

_text, _int, _real = pa.string(), pa.int32(), pa.float64()


def _field(name: str, kind: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning, **({"unit": unit} if unit else {})})


def _schema(table: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"isoinit.table": table, "isoinit.schema_version": VERSION})


TRIALS: Final = _schema(
    "trials",
    [
        _field("sweep", _text, "name of the sweep"),
        _field("trial_key", _text, "content hash of everything that changes the result"),
        _field("pack_id", _text, "the pack that the trial was trained in"),
        _field("scheme", _text, "initialization scheme"),
        _field("architecture", _text, "mlp, cnn or resnet"),
        _field("activation", _text, "activation function"),
        _field("normalization", _text, "none or batch"),
        _field("depth", _int, "number of weight layers L", "layers"),
        _field("width", _int, "hidden units or channels N", "units"),
        _field("weight_scale", _real, "factor on the scheme's weight variance"),
        _field("bias_mode", _text, "zero, iid or mirrored"),
        _field("bias_variance", _real, "variance of one bias, sigma_b^2"),
        _field("density", _real, "share of non-zero weights of a sparse scheme; 1 when dense"),
        _field("dataset", _text, "data set"),
        _field("optimizer", _text, "optimizer"),
        _field("batch_size", _int, "samples per step", "samples"),
        _field("steps", _int, "training budget", "steps"),
        _field("role", _text, "why the point was chosen: start, boundary, audit, random, grid, ..."),
        _field("n_replicates", _int, "Bernoulli outcomes of the trial: its seeds, at the best learning rate"),
        _field("n_trained", _int, "how many of them trained"),
        _field("best_learning_rate", _real, "learning rate at which most seeds trained (ties: best score)"),
        _field("outcome", _text, "trained, slow, stalled, vanished, diverged, or failed (infrastructure)"),
        _field("score", _real, "in [-1, 1], > 0 iff trained; null for a failed trial"),
        _field("seconds", _real, "the trial's share of its pack's training time", "s"),
        _field("flops", _real, "floating-point operations of its replicates, from the shapes", "FLOP"),
        _field("device", _text, "where it was trained"),
        _field("attempt", _int, "how often its pack had been started before it finished, counted from 1"),
        _field("git_commit", _text, "commit of the code, with +dirty if it was changed"),
        _field("spec_sha256", _text, "hash of the canonical spec"),
        _field("finished_at", pa.timestamp("us", "UTC"), "when its pack was finished"),
    ],
)

REPLICATES: Final = _schema(
    "replicates",
    [
        _field("trial_key", _text, "the trial it belongs to"),
        _field("seed", _int, "seed of the initial draws and of the batch order"),
        _field("learning_rate", _real, "learning rate"),
        _field("outcome", _text, "outcome of this network under the sweep's criterion"),
        _field("steps_run", _int, "steps until the end, the divergence or the early stop", "steps"),
        _field(
            "steps_to_threshold",
            _int,
            "first recorded step at which the criterion held; null if never",
            "steps",
        ),
        _field("final_train_loss", _real, "cross-entropy at the last recorded step", "nat"),
        _field("final_train_accuracy", _real, "training accuracy at the last recorded step"),
        _field("test_accuracy", _real, "accuracy on the test set after training; null if not finite there"),
        _field("curve_step", pa.list_(pa.int32()), "recorded steps", "steps"),
        _field(
            "curve_loss",
            pa.list_(pa.float32()),
            "training loss, mean since the previous recorded step",
            "nat",
        ),
        _field(
            "curve_accuracy",
            pa.list_(pa.float32()),
            "training accuracy, mean since the previous recorded step",
        ),
        _field("log_forward_ratio", _real, "at init: log of last hidden / input squared norm", "nat"),
        _field("log_gradient_ratio", _real, "at init: log of first / last weight-gradient norm", "nat"),
        _field("sample_variance_last", _real, "at init: sample variance of the last hidden pre-activations"),
        _field("correlation_last", _real, "at init: mean cosine between inputs at the last hidden layer"),
        _field("dead_fraction", _real, "at init: share of hidden units that are off for every input"),
        _field("jacobian_sv_min", _real, "at init: smallest singular value of the input-output Jacobian"),
        _field("jacobian_sv_median", _real, "at init: median singular value"),
        _field("jacobian_sv_max", _real, "at init: largest singular value"),
    ],
)

PROBES: Final = tuple(REPLICATES.names[REPLICATES.names.index("log_forward_ratio") :])
"""Columns of `REPLICATES` measured at initialization."""

AXES: Final = (
    "scheme", "architecture", "activation", "normalization", "depth", "width",
    "weight_scale", "bias_mode", "bias_variance", "density",
)  # fmt: skip
"""Columns of `TRIALS` that are coordinates of the search space."""

RATE: Final = "learning_rate"
"""Column of `REPLICATES`, and of trials that `rates.unfold` has told apart by it: then it is a coordinate, too."""

STEPS: Final = "steps"
"""Column of `TRIALS`, the budget; a coordinate of trials that `budgets.unfold` has told apart by it."""

TRAINING: Final = "training"
"""Column of trials of several sweeps that were trained in different ways (`trainings`): then it is a coordinate."""

COORDINATES: Final = (TRAINING, *AXES)
"""Columns of names and numbers that may tell two trials of a map apart."""


class Took(NamedTuple):
    """What a sweep that ran at one go took. Kept in the schema metadata of `TRIALS`, for it is true of all trials only.

    `seconds` of wall time, beside those that its plan had said.
    """

    trials: int
    seconds: float
    predicted_seconds: float


def stamp(trials: pa.Table, took: Took | None) -> pa.Table:
    """`trials` with `took` in the metadata, if it is about just these."""
    if took is None or took.trials != _settled(trials):
        return trials
    said = {f"isoinit.took.{name}": repr(value) for name, value in took._asdict().items()}
    return trials.replace_schema_metadata({**(trials.schema.metadata or {}), **said})


def took(trials: pa.Table) -> Took | None:
    """What all of `trials` together took; None if their metadata do not say, or say it of others.

    Raises:
        ValueError: the metadata say what is no time.
    """
    texts = [(trials.schema.metadata or {}).get(f"isoinit.took.{name}".encode(), b"").decode() for name in Took._fields]
    if not any(texts):
        return None
    try:
        found = Took(int(texts[0]), float(texts[1]), float(texts[2]))
    except ValueError:
        found = Took(0, math.nan, math.nan)
    if not all(0 < value < math.inf for value in found):
        raise ValueError(f"isoinit.took: the metadata must be a number of trials and two of seconds, but got {texts}")
    return found if found.trials == _settled(trials) else None


_BETWEEN: Final = "isoinit.between"


def stamp_between(trials: pa.Table, share: float | None) -> pa.Table:
    """`trials` with the share of their data's variance that lies between classes in the metadata, if it is known."""
    said = {} if share is None else {_BETWEEN: repr(share)}
    return trials.replace_schema_metadata({**(trials.schema.metadata or {}), **said})


def between(trials: pa.Table) -> float | None:
    """That share; None if the metadata do not say.

    Raises:
        ValueError: the metadata say what is no share.
    """
    text = (trials.schema.metadata or {}).get(_BETWEEN.encode())
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{_BETWEEN}: the metadata must be a number above 0 and at most 1, but got {text.decode()!r}")
    return share


def _settled(trials: pa.Table) -> int:
    return len(trials) - trials["outcome"].to_pylist().count("failed")


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as `kind`; of single precision the number that it is written as, 0.1 for 0.10000000149."""
    return (column.cast(pa.string()) if (column.type, kind) == (pa.float32(), _real) else column).cast(kind)


_NEVER_NULL: Final = {*AXES, "trial_key", "outcome", "steps", "steps_run", "seed", "learning_rate"}


def validate(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns of `schema` in its order and types.

    Raises:
        ValueError: a column is missing, cannot be read as its type or has a null where none can be, or
            the table was written by another schema version; the message names the column and the table.
    """
    name = (schema.metadata or {})[b"isoinit.table"].decode()
    found = (table.schema.metadata or {}).get(b"isoinit.schema_version", VERSION.encode()).decode()
    if found != VERSION:
        raise ValueError(f"{name}: schema version {found} cannot be read, this program reads version {VERSION}")
    missing = [f.name for f in schema if f.name not in table.column_names]
    if missing:
        raise ValueError(f"{name}: not a sweep's table, it has no column {', '.join(map(repr, missing))}")
    columns = []
    for field in schema:
        column = table[field.name]
        try:
            columns.append(_cast(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            law = f"{field.name!r} must be {field.type}, but is {column.type}"
            raise ValueError(f"{name}: a column has the wrong type: {law}: {error}") from error
    cast = pa.table(columns, schema=schema.remove_metadata())
    for column in _NEVER_NULL.intersection(schema.names):
        if cast[column].null_count:
            raise ValueError(f"{name}: {column!r} must be known in every row, but is null in {cast[column].null_count}")
    return cast.replace_schema_metadata({**(table.schema.metadata or {}), **(schema.metadata or {})})
