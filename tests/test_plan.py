"""A plan counts what a launch would train, prices it from shapes and a measured speed, and spends nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps import data, plan, space, train
from sweeps.__main__ import main
from sweeps.spec import parse

TEXT = """
name: tiny
space:
  scheme: [xavier_normal, ll_orth]
  depth: {low: 2, high: 100, log: true}
  width: 8
training: {learning_rate: [0.1, 0.01, 0.001], batch_size: 16, steps: 40, seeds: 2}
search: {sampler: random, trials: 20, batch: 8}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was measured yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "isoinit" / "speed.json"


def test_it_counts_trials_packs_networks_and_flops(cache: Path) -> None:
    spec = parse(TEXT)
    made = plan.plan(spec)
    assert (made.trials, made.packs, made.networks) == (20, 3, 120)
    digits = data.load("digits")
    shallow, deep = (
        6 * 20 * train.flops(spec_point._replace(depth=depth), digits, spec.training)
        for spec_point in [_point()]
        for depth in (2, 100)
    )
    assert shallow < made.flops < deep
    assert made.seconds > made.startup > 0
    assert made.limits["ll_orth"] == float("inf")
    assert made.limits["xavier_normal"] is not None
    assert made.limits["xavier_normal"] < 30
    assert cache.is_file()


def test_a_speed_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(TEXT)
    first = plan.plan(spec)
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("it trained again"))
    assert plan.plan(spec).speed == first.speed


def test_the_dry_run_goes_where_the_sampler_would_go_if_the_theory_were_right() -> None:
    """The boundary sampler crowds at the predicted limit, random search does not: they cost differently."""
    plane = ["space.scheme=he_normal", "space.width=16", "space.bias_variance={low: 1.0e-4, high: 1, log: true}"]

    def near_the_limit(sampler: str) -> float:
        spec = parse(TEXT, [*plane, f"search.sampler={sampler}", "search.trials=80"])
        tasks, _ = plan._dry_run(spec, space.build(spec))
        limits = [plan._limit(t.point) or 0.0 for t in tasks]
        return sum(0.5 < t.point.depth / limit < 2 for t, limit in zip(tasks, limits, strict=True)) / len(tasks)

    assert near_the_limit("boundary") > 1.5 * near_the_limit("random")


def test_what_it_warns_of() -> None:
    made = plan.plan(parse(TEXT, ["training.seeds=1", "training.learning_rate=0.1", "search.batch=20"]))
    assert len(made.warnings) == 3


def test_it_is_printed_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TEXT)
    assert main(["plan", str(tmp_path / "tiny.yaml")]) == 0
    assert "120 networks" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "tiny.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] == 120
    assert found["predicted_depth_limits"]["ll_orth"] == "unlimited"


def _point():
    from sweeps.spec import Point

    return Point("ll_orth", "mlp", "relu", "none", 2, 8, 1.0, "iid", 0.0, 1.0)
