"""A pack that a device cannot hold is trained in parts, and loses nothing by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sweeps import data, memory, train, work
from sweeps.reading import parse
from sweeps.spec import Point, Training
from sweeps.tasks import Origin, Pack, Task

DIGITS = data.load("digits")
POINT = Point("he_normal", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.0, 1.0)
SPEC = parse("""
name: parts
space: {scheme: he_normal, depth: [3, 5], width: 8}
training: {learning_rate: [0.1, 0.01], seeds: 2, steps: 12, log_every: 4, batch_size: 16}
""")
ORIGIN = Origin("parts", SPEC.sha256, "0" * 40)
GPU = torch.device("cuda")


def pack() -> Pack:
    points = [POINT._replace(depth=depth, width=8) for depth in (3, 5)]
    return Pack("000000-a", tuple(Task(f"key{i}", p, (0, 1), "grid", i) for i, p in enumerate(points)))


def what_was_learned(table):
    return table.drop_columns(["seconds", "finished_at"]).to_pylist()


def test_out_of_memory_halves_the_pack_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = work.run(pack(), SPEC, DIGITS, ORIGIN)
    original, sizes = train.train, []

    def small(members, *arguments, **options):
        sizes.append(len(members))
        if len(members) > 3:
            raise torch.OutOfMemoryError("simulated")
        return original(members, *arguments, **options)

    monkeypatch.setattr(train, "train", small)
    found = work.run(pack(), SPEC, DIGITS, ORIGIN)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert what_was_learned(found) == what_was_learned(expected)


def test_a_single_network_that_does_not_fit_is_an_infrastructure_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_, **__):
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(train, "train", never)
    with pytest.raises(torch.OutOfMemoryError):
        work.run(pack(), SPEC, DIGITS, ORIGIN)


def test_a_pack_is_cut_where_the_device_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    shallow, deep = (memory.member_bytes(POINT._replace(depth=depth), DIGITS, Training()) for depth in (3, 30))
    assert shallow < deep
    members = [train.Member(POINT._replace(depth=depth), seed, 0.1) for depth in (3, 30) for seed in range(4)]
    monkeypatch.setattr(memory, "free", lambda _: 2.5 * deep / memory.SHARE)
    parts = memory.partition(members, DIGITS, Training(), GPU)
    assert [m for part in parts for m in part] == members
    for part in parts:
        assert sum(memory.member_bytes(m.point, DIGITS, Training()) for m in part) <= 2.5 * deep
    assert len(parts) == 3
    monkeypatch.setattr(memory, "free", lambda _: 1.0)  # less than one needs: the device shall decide
    assert [len(part) for part in memory.partition(members, DIGITS, Training(), GPU)] == [1] * 8


def test_what_earlier_packs_gave_up_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda _: (3, 16))
    monkeypatch.setattr(torch.accelerator, "memory_reserved", lambda _: 12)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda _: 1)
    assert memory.free(GPU) == 14


def test_a_pack_on_the_cpu_is_whole() -> None:
    members = [train.Member(POINT, seed, 0.1) for seed in range(50)]
    assert memory.partition(members, DIGITS, Training(), torch.device("cpu")) == [members]


def test_the_estimate_counts_parameters_moments_and_outputs() -> None:
    parameters = (64 + 1) * 16 + 2 * (16 + 1) * 16 + (16 + 1) * 10
    outputs = 64 + 3 * (16 + 16) + 10
    rules: list[tuple[dict[str, Any], int]] = [({}, 3), ({"momentum": 0.9}, 4), ({"optimizer": "adam"}, 5)]
    for extra, copies in rules:
        training = Training(batch_size=7, **extra)
        found = memory.member_bytes(POINT, DIGITS, training)
        assert found == 4 * (copies * parameters + 3 * 7 * outputs)
