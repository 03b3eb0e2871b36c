"""The Tune trainable: what a worker does with a pack.

A pack goes in, its records go to the ledger, and a small result is reported. The ledger's writer
acknowledges a part before anything is reported, because Tune keeps every result in its experiment
state: bytes must not travel there, and a result that is reported must be on disk.
"""

from __future__ import annotations

import gc
import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

import ray
import torch
from ray import tune

from analysis.words import counted
from sweeps import data, provenance, work
from sweeps.arrays import Raw
from sweeps.failures import unrecorded
from sweeps.parts import encode
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin, Pack, results
from sweeps.writer import Silent, answer


@dataclass(frozen=True)
class Context:
    """What every pack of a sweep needs; sent to the workers once."""

    spec: dict[str, Any]
    origin: Origin
    data_digest: str
    data_folder: str | None
    code: dict[str, str]
    """The driver's, as `provenance.code` has it."""
    own: Raw | None = None
    """The data, if they are a file of the user's, which the workers do not have."""
    writer: Any = None
    """Handle of the `LedgerWriter`, once there is one."""


class PackTrainable(tune.Trainable):
    """Trains one pack a step; the actor, with its data and warm libraries, is reused for the next pack."""

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        assert context is not None
        self._context = context
        self._refused = _refused(context)
        if self._refused:  # a word and no error: tried again, pack after pack would come to this node, which is idle
            return
        self._pack = Pack.from_dict(config["pack"])
        self._spec = SweepSpec.model_validate(context.spec)
        torch.set_num_threads(_threads(self._spec.resources.cpus))
        name = self._spec.dataset
        self._dataset = data.made(name, context.own) if context.own else data.load(name, context.data_folder)
        if self._dataset.digest != context.data_digest:
            self._refused = (
                f"{_here()} has other data for {name!r} than the driver: digest {self._dataset.digest}, there "
                f"{context.data_digest}; remove the copy on one of them"
            )
        gc.freeze()  # the libraries stay: to look through them again took a tenth of a small network's time

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._refused:
            self._pack = Pack.from_dict(new_config["pack"])
        return True

    def step(self) -> dict[str, Any]:
        told, waited, broken = ([], 0.0, self._refused) if self._refused else self._run()
        score = sum(r["score"] for r in told) / max(len(told), 1)
        return {"results": told, "score": score, "waited": waited, "broken": broken, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a pack is short: after a failure it is trained again from its start

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing was saved; see `save_checkpoint`."""

    def _run(self) -> tuple[list[dict[str, Any]], float, str]:
        """What came out, the seconds waited, and why it could not be recorded: then nothing came out."""
        try:
            attempt, told = answer(self._context.writer.begin.remote(self._pack.to_dict()))
            return (told, 0.0, "") if told is not None else self._train(attempt)
        except Silent as error:
            return [], 0.0, unrecorded(str(error))

    def _train(self, attempt: int) -> tuple[list[dict[str, Any]], float, str]:
        context = self._context
        device = work.device_for(len(ray.get_gpu_ids()))
        with work.waiting(device) as waited:
            part = work.run(self._pack, self._spec, self._dataset, context.origin, attempt=attempt, device=device)
        reason: str = answer(context.writer.append.remote(encode(part)))
        if reason:
            return [], waited(), unrecorded(reason)
        return [asdict(r) for r in results(part, self._pack)], waited(), ""


def _threads(cpus: float) -> int:
    """Of a pack that asks for so many CPUs: as the environment has it, where Ray writes their number if nobody has set
    the variable, be it to nothing or to a list for nested loops."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(first) if first.isdecimal() else int(cpus))


def _refused(context: Context) -> str:
    """Why this node may not train: its code is not that of the driver, and results would be mixed; or else nothing."""
    here = provenance.code()
    other = sorted(name for name in here.keys() | context.code.keys() if here.get(name) != context.code.get(name))
    if not other:
        return ""
    more = f" and {counted(len(other) - 1, 'more file')}" if len(other) > 1 else ""
    return (
        f"{_here()} has another isoinit than the driver began with (in "
        f"{other[0]}{more}); install there what the driver has"
    )


def _here() -> str:
    return f"node {platform.node()} ({ray.util.get_node_ip_address()})"
