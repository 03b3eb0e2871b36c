"""The Tune trainable: what a worker does with a pack.

A pack goes in, its records go to the ledger, and a small result is reported. The ledger's writer
acknowledges a part before anything is reported, because Tune keeps every result in its experiment
state: bytes must not travel there, and a result that is reported must be on disk.
"""

from __future__ import annotations

import gc
import os
from dataclasses import asdict, dataclass
from typing import Any

import ray
import torch
from ray import tune

from sweeps import data, work
from sweeps.arrays import Raw
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
    own: Raw | None = None
    """The data, if they are a file of the user's, which the workers do not have."""
    writer: Any = None
    """Handle of the `LedgerWriter`, once there is one."""


class PackTrainable(tune.Trainable):
    """Trains one pack a step; the actor, with its data and warm libraries, is reused for the next pack."""

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        assert context is not None
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
        self._context = context
        self._spec = SweepSpec.model_validate(context.spec)
        self._pack = Pack.from_dict(config["pack"])
        name = self._spec.dataset
        self._dataset = data.made(name, context.own) if context.own else data.load(name, context.data_folder)
        if self._dataset.digest != context.data_digest:
            raise RuntimeError(
                f"this node has other data for {name!r}: digest {self._dataset.digest}, "
                f"while the driver has {context.data_digest}; remove the cached copy on one of them"
            )
        gc.freeze()  # the libraries stay: to look through them again took a tenth of a small network's time

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._pack = Pack.from_dict(new_config["pack"])
        return True

    def step(self) -> dict[str, Any]:
        waited, unrecorded = 0.0, ""
        try:
            attempt, told = answer(self._context.writer.begin.remote(self._pack.to_dict()))
            if told is None:
                told, waited, unrecorded = self._train(attempt)
        except Silent as error:
            told, unrecorded = [], str(error)
        score = sum(r["score"] for r in told) / max(len(told), 1)
        return {"results": told, "score": score, "waited": waited, "unrecorded": unrecorded, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a pack is short: after a failure it is trained again from its start

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing was saved; see `save_checkpoint`."""

    def _train(self, attempt: int) -> tuple[list[dict[str, Any]], float, str]:
        """What came out, the seconds waited, and why it could not be recorded: then nothing came out."""
        context = self._context
        device = work.device_for(len(ray.get_gpu_ids()))
        with work.waiting(device) as waited:
            part = work.run(self._pack, self._spec, self._dataset, context.origin, attempt=attempt, device=device)
        unrecorded: str = answer(context.writer.append.remote(encode(part)))
        if unrecorded:
            return [], waited(), unrecorded
        return [asdict(r) for r in results(part, self._pack)], waited(), ""
