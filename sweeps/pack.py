"""The Tune trainable: a pack goes in, its records go to the ledger, and a small result is reported.

The ledger's writer acknowledges a part before anything is reported, because Tune keeps every result in
its experiment state: bytes must not travel there, and a result that is reported must be on disk.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from sweeps import data, work
from sweeps.ledger import Ledger, encode, load
from sweeps.spec import SweepSpec


@dataclass(frozen=True)
class Context:
    """What every pack of a sweep needs; sent to the workers once."""

    spec: dict[str, Any]
    origin: work.Origin
    data_digest: str
    data_folder: str | None
    writer: Any
    """Handle of the `LedgerWriter`."""


@ray.remote(num_cpus=0)
class LedgerWriter:
    """The one writer of a ledger: an actor on the driver's node."""

    def __init__(self, folder: str) -> None:
        self._ledger = Ledger(Path(folder))
        self._attempts: dict[str, int] = {}

    def begin(self, pack: dict[str, Any]) -> tuple[int, list[dict[str, Any]] | None]:
        """The number of this attempt, and the results if an earlier one had already written them."""
        pack_id = pack["pack_id"]
        self._attempts[pack_id] = self._attempts.get(pack_id, 0) + 1
        found = self._ledger.find(pack_id)
        results = None if found is None else work.results(load(found), work.Pack.from_dict(pack))
        return self._attempts[pack_id], None if results is None else [asdict(r) for r in results]

    def append(self, part: bytes) -> None:
        self._ledger.append(part)


class PackTrainable(tune.Trainable):
    """Trains one pack a step; the actor, with its data and warm libraries, is reused for the next pack."""

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        assert context is not None
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
        self._context = context
        self._spec = SweepSpec.model_validate(context.spec)
        self._pack = work.Pack.from_dict(config["pack"])
        self._dataset = data.load(self._spec.dataset, folder=context.data_folder)
        if self._dataset.digest != context.data_digest:
            raise RuntimeError(
                f"this node has other data for {self._spec.dataset!r}: digest {self._dataset.digest}, "
                f"while the driver has {context.data_digest}; remove the cached copy on one of them"
            )

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._pack = work.Pack.from_dict(new_config["pack"])
        return True

    def step(self) -> dict[str, Any]:
        attempt, results = ray.get(self._context.writer.begin.remote(self._pack.to_dict()))
        if results is None:
            results = self._train(attempt)
        return {"results": results, "score": sum(r["score"] for r in results) / len(results), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a pack is short: after a failure it is trained again from its start

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing was saved; see `save_checkpoint`."""

    def _train(self, attempt: int) -> list[dict[str, Any]]:
        context = self._context
        device = work.device_for(len(ray.get_gpu_ids()))
        part = work.run(self._pack, self._spec, self._dataset, context.origin, attempt=attempt, device=device)
        ray.get(context.writer.append.remote(encode(part)))
        return [asdict(r) for r in work.results(part, self._pack)]
