"""What a run says: its name, parameters, tags, numbers and page, from the records of a sweep.

Only finite numbers are sent, because MLflow turns infinity into 1.8e308; the `outcome` tag says the rest.
"""

from __future__ import annotations

import getpass
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from analysis.outcome import MEANING, Outcome
from analysis.schema import AXES
from sweeps.spec import SweepSpec

CURVE_POINTS: Final = 100  # chosen: more cannot be told apart in a chart; the parts have them all
FOLDER_ID: Final = "folder_id"
BETWEEN: Final = "dataset.between"
"""Tag of a parent run: the id of the folder that has the sweep's ledger."""

_PARAMS: Final = (*AXES, "dataset", "optimizer", "batch_size", "steps")
_TAGS: Final = ("sweep", "pack_id", "scheme", "outcome", "role", "device")
_NUMBERS: Final = ("score", "n_trained", "n_replicates", "best_learning_rate", "seconds", "flops", "attempt")
_FINAL: Final = ("final_train_loss", "final_train_accuracy", "test_accuracy")
_USUAL: Final = {"architecture": "mlp", "activation": "relu", "normalization": "none", "bias_mode": "iid"}


@dataclass(frozen=True)
class Identity:
    """What the parent run says of a sweep."""

    name: str
    spec: SweepSpec
    git_commit: str
    """With `+dirty` if the code differed from it."""
    dataset_digest: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and machine of this launch."""
    flag: str = ""
    """The --runs-dir option of the commands on its page; empty if they need none."""
    between: float | None = None
    """Share of the data's variance that lies between classes; None if it is not known."""
    folder_id: str | None = None
    """Tells the sweep's folder from others of its name; None if that is not known."""


class Number(NamedTuple):
    """One point of a metric."""

    key: str
    value: float
    step: int


def trial_name(row: Mapping[str, Any]) -> str:
    """`ll_orth L32 N64 sb2=0.01`: scheme, depth, width, and what is not as usual."""
    words = [row["scheme"], f"L{row['depth']}", f"N{row['width']}", f"sb2={row['bias_variance']:.3g}"]
    words += [f"sw2*{row['weight_scale']:.3g}"] if row["weight_scale"] != 1 else []
    words += [f"density={row['density']:.3g}"] if row["density"] != 1 else []
    return " ".join([*words, *(row[name] for name, value in _USUAL.items() if row[name] != value)])


def trial_params(row: Mapping[str, Any]) -> dict[str, str]:
    """The point and how it was trained."""
    return {name: str(row[name]) for name in _PARAMS}


def trial_tags(row: Mapping[str, Any], parent: str) -> dict[str, str]:
    """`row` is a row of `trials`, `parent` the id of the sweep's run."""
    return {
        "kind": "trial",
        "trial.key": row["trial_key"],
        "mlflow.parentRunId": parent,
        **{name: str(row[name]) for name in _TAGS},
        **_origin(row["git_commit"] or ""),
    }


def trial_numbers(row: Mapping[str, Any]) -> list[Number]:
    """Finite numbers of a trial, and the curves of one replicate; `row` is a row of a part.

    The replicate shown is the first at the best learning rate that has the trial's outcome: a curve that a
    network really had, where a mean over seeds would mix those that trained with those that did not.
    """
    points = [(name, row[name], 0) for name in _NUMBERS]
    best = (r for r in row["replicates"] if r["learning_rate"] == row["best_learning_rate"])
    shown = next((r for r in best if r["outcome"] == row["outcome"]), None)
    if shown is not None:
        points += [(name, shown[name], shown["steps_run"]) for name in _FINAL]
        every = math.ceil(len(shown["curve_step"]) / CURVE_POINTS) or 1
        for name, curve in (("train/loss", shown["curve_loss"]), ("train/accuracy", shown["curve_accuracy"])):
            points += [(name, v, s) for s, v in zip(shown["curve_step"], curve, strict=True)][::every]
    return [Number(key, float(v), step) for key, v, step in points if v is not None and math.isfinite(v)]


def sweep_params(identity: Identity) -> dict[str, str]:
    """All that defines the sweep, as `training.steps` and so on."""
    return _flat(json.loads(identity.spec.canonical()))


def sweep_tags(identity: Identity) -> dict[str, str]:
    return {
        "kind": "sweep",
        "sweep": identity.name,
        "spec_sha256": identity.spec.sha256,
        "dataset.digest": identity.dataset_digest,
        **({} if identity.folder_id is None else {FOLDER_ID: identity.folder_id}),
        **_origin(identity.git_commit),
    }


def sweep_note(identity: Identity, outcomes: Counter[str], summary: str = "") -> str:
    """The parent run's page, in Markdown."""
    name, spec = identity.name, identity.spec
    rows = "\n".join(f"| {o} | {outcomes[o]} | {MEANING[o]} |" for o in Outcome if outcomes[o])
    table = f"| outcome | trials | meaning |\n|---|---|---|\n{rows}" if rows else "No trial is finished yet."
    sweep = [f"sweep {verb} {name}{identity.flag}" for verb in ("status", "resume", "export")]
    commands = "\n".join([*sweep, f"analysis report exports/{name}"])
    paragraphs = [
        f"**{spec.question}**" if spec.question else "",
        f"Code {identity.git_commit}, data {spec.dataset} ({identity.dataset_digest[:12]}), "
        f"criterion {spec.criterion.build()}.",
        table,
        summary,
        f"```\n{commands}\n```",
    ]
    return "\n\n".join(text for text in paragraphs if text)


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` as `{"a.b": "1"}`."""
    if not isinstance(tree, dict):
        return {prefix: tree if isinstance(tree, str) else json.dumps(tree)}
    pairs = [_flat(value, f"{prefix}.{key}" if prefix else key) for key, value in tree.items()]
    return {key: value for pair in pairs for key, value in pair.items()}


def _user() -> str:
    """Who publishes; the number of who has no name, as in a container that runs as whoever its user is outside."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())


def _origin(git_commit: str) -> dict[str, str]:
    commit, dirty = git_commit.removesuffix("+dirty"), git_commit.endswith("+dirty")
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": "sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.dirty": str(dirty).lower(),
    }
