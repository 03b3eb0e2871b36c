"""A sweep that is ready to be driven: what can be found out, loaded and refused before anything of it is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from sweeps import capacity, data, mlflow_uri, provenance, sources, space, tracking
from sweeps.runcard import Identity
from sweeps.rundir import RunDir, flag
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin


@dataclass(frozen=True)
class Options:
    """Where a sweep runs; nothing of it changes a result."""

    runs: Path = Path("runs")
    tracking_uri: str = mlflow_uri.DEFAULT_URI
    address: str | None = None
    """Address of a Ray cluster, or `auto`; None embeds one."""
    inline: bool = False
    data_folder: str | None = None


@dataclass(frozen=True)
class Sweep:
    """All that the driver of a sweep needs."""

    spec: SweepSpec
    design: space.Space
    dataset: data.Dataset
    origin: Origin
    run: RunDir
    tracker: tracking.Tracker
    options: Options


def prepare(spec: SweepSpec, options: Options) -> Sweep:
    """Load what `spec` needs and see that it can be run.

    Raises:
        ValueError: it cannot, or the tracking server cannot be reached.
    """
    options = _lasting(options)
    design = space.build(spec)
    spec = space.within(spec, design)
    mlflow_uri.check(options.tracking_uri)
    dataset = data.load(spec.dataset, folder=options.data_folder)
    capacity.check_data(spec, dataset)  # before a worker finds out
    if options.address is None and not options.inline:
        capacity.check(spec, design, dataset)
    origin = Origin(spec.name, spec.sha256, provenance.git_commit())
    run = RunDir(options.runs, spec.name)
    tracker = tracking.Tracker(
        options.tracking_uri, identity(spec, dataset.digest, data.between(dataset), origin, options.runs)
    )
    return Sweep(spec, design, dataset, origin, run, tracker, options)


def identity(
    spec: SweepSpec, data_digest: str, between: float | None, origin: Origin, runs: Path, folder_id: str | None = None
) -> Identity:
    """What a sweep is, as MLflow is told, whose page is read from anywhere: so a folder is named from the root on."""
    return Identity(
        name=spec.name,
        spec=spec,
        git_commit=origin.git_commit,
        dataset_digest=data_digest,
        between=between,
        environment=provenance.environment(),
        flag=flag(runs) and flag(runs.absolute()),
        folder_id=folder_id,
    )


def _lasting(options: Options) -> Options:
    """The same places, whatever folder they are looked for from: workers have folders of their own to work in."""
    named = os.environ.get(sources.FOLDER_VARIABLE) if options.address is None else None
    folder = options.data_folder or named
    return replace(
        options,
        tracking_uri=mlflow_uri.lasting(options.tracking_uri),
        data_folder=str(Path(folder).expanduser().resolve()) if folder else options.data_folder,
    )
