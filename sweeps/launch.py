"""Run a sweep: on an embedded Ray, on a Ray cluster, or inline in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from sweeps import mlflow_store, mlflow_uri
from sweeps.cluster import Cluster
from sweeps.driver import Driver, Finished
from sweeps.ready import Options, Sweep, prepare
from sweeps.spec import SweepSpec


def launch(
    spec: SweepSpec,
    options: Options,
    console: Console | None = None,
    ray: Cluster | None = None,
    close: Callable[[Finished], None] = lambda _: None,
) -> Finished:
    """Run `spec` to its end, or go on with it; the same spec continues a sweep of its name.

    Args:
        ray: the Ray of `options.address`, entered before; it starts once the spec is known to have no mistake.
        close: called at the end, while nobody else can run this sweep.

    Raises:
        ValueError: the spec cannot be run, the name is taken, or the tracking server or the Ray
            cluster cannot be reached; no sweep is written then.
    """
    sweep = prepare(spec, options)
    if ray is not None:
        ray.begin()
    with sweep.run.driving():
        _begin(sweep, ray)
        finished = Driver(sweep, console).drive(ray)
        close(finished)
        return finished


def _begin(sweep: Sweep, ray: Cluster | None) -> None:
    """Put the sweep on record, once nothing stands against it."""
    run, options = sweep.run, sweep.options
    run.check(sweep.spec, sweep.dataset.digest)
    if ray is not None and options.address is not None:
        ray.ready()
    sweep.tracker.identity = replace(sweep.tracker.identity, folder_id=run.identified())
    if not _absent(options.tracking_uri):  # or else the publisher creates it meanwhile, which takes seconds
        with mlflow_store.one_sentence(options.tracking_uri):
            sweep.tracker.open(fresh=not (run.journal.exists() or run.ledger.parts()))
    kept = mlflow_uri.shown(options.tracking_uri)  # for the folder may be another's to read
    state = {"tracking_uri": kept, "address": options.address, "data_folder": options.data_folder}
    state |= {"data_digest": sweep.dataset.digest, "between": sweep.tracker.identity.between}
    run.create(sweep.spec, state)


def _absent(uri: str) -> bool:
    """Whether `uri` is a database file that is not there yet."""
    path = mlflow_uri.file(uri)
    return path is not None and not path.exists()
