"""What a machine has no room for is refused in one sentence, before anything is allocated."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from sweeps import capacity, cluster, data, machine, memory, network, plan, space, speed, train
from sweeps.__main__ import main
from sweeps.reading import parse

TEXT = """
name: tiny
space: {scheme: he_normal, depth: {low: 2, high: 20, log: true}, width: 8}
training: {learning_rate: [0.1, 0.01], steps: 5, seeds: 2}
search: {sampler: random, trials: 4, batch: 4}
"""


def _check(*settings: str) -> None:
    spec = parse(TEXT, settings)
    capacity.check(spec, space.build(spec), data.load(spec.dataset))


def test_what_fits_is_not_refused() -> None:
    _check()
    _check(f"resources.cpus={machine.cores()}")


def test_what_a_batch_job_or_a_container_may_not_use_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "GRANTED", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    whole = machine.memory()
    assert (machine.cores(), whole > 1e8) == (8, True)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (machine.cores(), machine.memory()) == (8, whole)
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "memory.max").write_text("50000000\n")
    assert (machine.cores(), machine.memory()) == (2, 5e7)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.cores() == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3)])
def test_containers_of_the_first_kind_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(machine, "GRANTED", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("70000000\n")
    assert (machine.cores(), machine.memory()) == (cores, 7e7)


@pytest.mark.parametrize(
    ("mine", "kinds", "quota"),
    [
        ("0::/job/step\n", ("", ""), {"cpu.max": "250000 100000"}),
        (
            "9:name=systemd:/else\n4:memory:/job/step\n2:cpuacct,cpu:/job/step\n",
            ("cpu", "memory"),
            {"cpu.cfs_quota_us": "250000", "cpu.cfs_period_us": "100000"},
        ),
    ],
    ids=["second", "first"],
)
def test_a_group_of_processes_within_others_is_limited_by_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str, kinds: tuple[str, str], quota: dict[str, str]
) -> None:
    """As a batch job, which sees the whole machine's groups."""
    monkeypatch.setattr(machine, "GRANTED", tmp_path / "groups")
    monkeypatch.setattr(machine, "MINE", tmp_path / "mine")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "mine").write_text(mine)
    of_memory = "memory.limit_in_bytes" if kinds[1] else "memory.max"
    job, other = (tmp_path / "groups" / kinds[0] / name for name in ("job", "other"))
    for folder, written in ((job / "step", quota), (other, {name: "10000" for name in quota})):
        folder.mkdir(parents=True)
        for name, text in written.items():
            (folder / name).write_text(f"{text}\n")
    for folder, limit in (("job", 50000000), ("job/step", 60000000), ("other", 1)):
        place = tmp_path / "groups" / kinds[1] / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / of_memory).write_text(f"{limit}\n")
    assert (machine.cores(), machine.memory()) == (2, 5e7)


def test_a_plan_and_a_ray_of_ones_own_have_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setattr(speed, "of", lambda *_: speed.Speed(1e9, 1e-3))
    assert plan.plan(parse(TEXT)).slots == 3
    with pytest.raises(ValueError, match=r"resources.cpus: a pack asks for 4, but this machine has 3;"):
        _check("resources.cpus=4")
    started: dict[str, object] = {}
    monkeypatch.setattr("ray.init", lambda **given: started.update(given))
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    cluster._embed({})
    assert started["num_cpus"] == 3


def test_packs_that_a_spec_does_not_train_at_once_need_no_room_and_save_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = parse(TEXT)
    (largest,) = (p for p in space.build(spec).corners() if p.depth == 20)
    digits = data.load("digits")
    needed = 4 * capacity._bytes(largest, spec, digits) + capacity._features(largest, spec, digits)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: 2.5 * needed / capacity.SHARE)
    monkeypatch.setattr(speed, "of", lambda *_: speed.Speed(1e9, 1e-3))
    for settings in (["resources.packs_at_once=2"], ["resources.cpus=4"]):
        assert plan.plan(parse(TEXT, settings)).slots == 2
    assert plan.plan(parse(TEXT, ["resources.cpus=4", "resources.packs_at_once=99"])).slots == 2
    for settings, packs in ((["resources.packs_at_once=3"], 3), ([], 8)):
        with pytest.raises(
            ValueError, match=f"and {packs} packs at once .* resources.packs_at_once, so that fewer packs run"
        ):
            plan.plan(parse(TEXT, settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["resources.cpus=4096"], r"resources.cpus: a pack asks for 4096, but this machine has \d+.*--address"),
        (["resources.gpus=512"], r"resources.gpus: a pack asks for 512, but this machine has \d+.*--address"),
        (
            ["space.depth={low: 2, high: 1000000, log: true}", "space.width=1000"],
            "the 4 networks of a trial of depth 1000000 and width 1000",
        ),
        (
            ["space.width=[8, 1000000]"],
            "depth 20 and width 1000000, .* take about .* GB.*lower space.depth, space.width",
        ),
        (
            ["space.depth={low: 2, high: 1000000, log: true}", "training.batch_size=60000", "dataset=digits"],
            "depth 1000000 and width 8, in batches of 60000, .*training.batch_size",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_built(
    settings: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was built")

    monkeypatch.setattr(network, "network", never)
    monkeypatch.setattr(train, "train", never)
    monkeypatch.setattr(cluster, "_start", never)
    with pytest.raises(ValueError, match=said):
        plan.plan(parse(TEXT, settings))
    assert main(["launch", "depth-limits", "--name", "x", *(word for s in settings for word in ("--set", s))]) == 2
    assert capsys.readouterr().err.startswith(("sweep: resources.", "sweep: space: "))


@pytest.mark.parametrize(("architecture", "normalization"), [("mlp", "none"), ("cnn", "none"), ("resnet", "batch")])
def test_the_estimate_is_of_the_order_of_what_the_network_has(architecture: str, normalization: str) -> None:
    """From a third to thrice the parameters, with gradients and what it began with, where they are most of it;
    and from a third to all of what its layers and activations give."""
    settings = [f"network.architecture={architecture}", f"network.normalization={normalization}", "space.width=256"]
    settings += ["space.scheme=he_normal", "space.depth=20", "dataset=digits"]
    spec = parse(TEXT, settings)
    dataset = data.load("digits")
    point = next(space.build(spec).corners())
    model = network.network(point, dataset.input_shape, dataset.classes)
    held = 3 * sum(p.numel() * p.element_size() for p in model.parameters())
    assert held / 3 < capacity._bytes(point, spec, dataset) < 3 * held
    _, outputs = memory._sizes(point, dataset.input_shape, dataset.classes)
    kept = outputs * 4 * spec.training.batch_size
    assert kept / 3 < capacity._features(point, spec, dataset) < kept


def test_a_machine_without_a_place_for_what_it_measured_measures_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert speed._cache() == {}
    speed._write({"x": 1})
    assert speed._cache() == {}


def test_devices_are_counted_by_torch() -> None:
    with pytest.raises(ValueError, match=f"this machine has {torch.accelerator.device_count()};"):
        _check("resources.gpus=512")
