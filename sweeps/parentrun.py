"""The run of a sweep in MLflow: found, or made, and whose it is.

A sweep that two folders have is two searches, and an export of both a mixture: so only one folder may send its trials
to a run, and folders are told apart by their ids. One without an id cannot be checked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sweeps import runcard
from sweeps.mlflow_runs import SWEEPS, all_parents, children
from sweeps.mlflow_uri import file, shown
from sweeps.runcard import FOLDER_ID, Identity

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class Refused(ValueError):
    """The run is not that of this sweep, which no waiting mends."""


def find_or_create(
    client: MlflowClient, uri: str, identity: Identity, experiment: str, fresh: bool
) -> tuple[Run, list[Run]]:
    """The run of the sweep, with the id of its folder, and those of its trials.

    Raises:
        Refused: the name belongs to a sweep with another spec or of another folder, or to one that has trials while
            this is `fresh`.
    """
    name, mine = identity.name, identity.folder_id
    if name not in all_parents(client, experiment):
        _create(client, uri, identity, experiment)
    _mark(client, experiment)
    # looked for after it was made, too: of two that make one at once, one at least sees that of the other
    parent, *others = all_parents(client, experiment, mine)[name]
    if (other := parent.data.tags["spec_sha256"]) != identity.spec.sha256:
        raise Refused(
            f"MLflow at {shown(uri)} has a sweep {name!r} with another spec ({other[:12]}); give this one "
            "another --name"
        )
    there = children(client, parent)
    if fresh and there:
        raise Refused(
            f"MLflow at {shown(uri)} has {len(there)} trials of a sweep {name!r} that are not in this folder of runs; "
            "launch it with the --runs-dir that has them, or give this one another --name"
        )
    if mine is not None:
        _see_whose(client, uri, identity, parent, [] if there else others, begun=bool(there))
    return parent, there


def _see_whose(
    client: MlflowClient, uri: str, identity: Identity, parent: Run, others: list[Run], *, begun: bool
) -> None:
    """Give the run the id of the sweep's folder if it has none, as those of earlier versions, or that of a folder whose
    launch has ended before it had a trial: such a folder may well be gone.

    Raises:
        Refused: it is that of another folder, or one of `others` is.
    """
    mine = identity.folder_id
    whose = parent.data.tags.get(FOLDER_ID)
    foreign = [run for run in (parent, *others) if run.data.tags.get(FOLDER_ID) not in (None, mine)]
    if any(begun or run.info.status == "RUNNING" for run in foreign):
        if whose == mine:  # nothing is in it yet, and who made the other may have seen no other
            _withdraw(client, parent.info.run_id)
        raise Refused(
            f"MLflow at {shown(uri)} has a sweep {identity.name!r} of another folder of runs, with which this one "
            "would be mixed; give this one another --name or --tracking-uri, or go on in the other folder"
        )
    if whose != mine and mine is not None:
        client.set_tag(parent.info.run_id, FOLDER_ID, mine)


def _withdraw(client: MlflowClient, run_id: str) -> None:
    client.delete_tag(run_id, "kind")  # restored, it would be a sweep's again
    client.delete_run(run_id)


def _create(client: MlflowClient, uri: str, identity: Identity, experiment: str) -> None:
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else _create_experiment(client, uri, experiment)
    client.create_run(experiment_id, run_name=identity.name, tags=runcard.sweep_tags(identity))


def _create_experiment(client: MlflowClient, uri: str, experiment: str) -> str:
    database = file(uri)  # its artifacts are beside it, wherever the process was started
    folder = None if database is None else (database.parent / "mlartifacts" / experiment).as_uri()
    return client.create_experiment(experiment, folder, {SWEEPS: experiment})


def _mark(client: MlflowClient, experiment: str) -> None:
    """Let the experiment be found under another name, too, if it was made by an earlier version or by hand."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None or SWEEPS in found.tags:
        return
    # of two launches that set it at once, MLflow lets one fail; and who may add runs to a shared experiment need not be
    # allowed to change it, without which a sweep goes well until somebody renames it, as `find` will say
    with suppress(MlflowException):
        client.set_experiment_tag(found.experiment_id, SWEEPS, experiment)
