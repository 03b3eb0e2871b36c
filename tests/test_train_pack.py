"""A pack trains every replicate as it would be trained alone, by a plain loop, and keeps an honest record of it."""

import gc
import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from analysis.outcome import Criterion, Curve, Outcome, label
from analysis.schema import PROBES
from isoinit import networks, schemes
from isoinit.activations import ACTIVATIONS
from sweeps import data, network, train, work
from sweeps.history import History
from sweeps.parts import split
from sweeps.preparing import PROBE_INPUTS, generator
from sweeps.reading import parse
from sweeps.spec import Point, Schedule, Training
from sweeps.tasks import Origin, Pack, Task
from sweeps.train import Member

DIGITS = data.load("digits")
POINT = Point("he_normal", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.0, 1.0)
TRAINING = Training(steps=30, log_every=1, batch_size=32)


def member(seed=0, learning_rate=0.05, **point) -> Member:
    return Member(POINT._replace(**point), seed, learning_rate)


def run(members, training=TRAINING, **options):
    return train.train(members, DIGITS, training, **options)


TIE = 1e-3  # logits that differ by less may come in the other order where sums are made in another one


def plain_loop(m: Member, training: Training) -> tuple[list[float], list[float], tuple[float, float]]:
    """What a user would write: losses, accuracies and test accuracy, from all ties lost to all won, of one network."""
    p = m.point
    model = networks.build(
        p.architecture, DIGITS.input_shape, width=p.width, depth=p.depth, out_features=10, activation=p.activation,
        normalization=p.normalization, scheme=p.scheme,
    )  # fmt: skip
    schemes.initialize(
        model, p.scheme, bias_variance=p.bias_variance, bias_mode=p.bias_mode, weight_scale=p.weight_scale,
        density=p.density, generator=generator(m.seed, "init"), data=DIGITS.x_train[:PROBE_INPUTS],
    )  # fmt: skip
    if training.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), m.learning_rate, weight_decay=training.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), m.learning_rate, momentum=training.momentum, nesterov=training.nesterov,
            weight_decay=training.weight_decay,
        )  # fmt: skip
    milestones = [round(share * training.steps) for share in training.schedule.at]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, training.schedule.factor)
    losses, accuracies = [], []
    for samples in train.order(m.seed, DIGITS, training):
        logits = model(DIGITS.x_train[samples])
        loss = nn.functional.cross_entropy(logits, DIGITS.y_train[samples])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        accuracies.append((logits.argmax(1) == DIGITS.y_train[samples]).float().mean().item())
    with torch.no_grad():
        logits = model.eval()(DIGITS.x_test).double()
    right = logits.gather(1, DIGITS.y_test[:, None])
    others = logits.scatter(1, DIGITS.y_test[:, None], -torch.inf).max(1, keepdim=True).values
    lost, won = ((right > others + margin).double().mean().item() for margin in (TIE, -TIE))
    return losses, accuracies, (lost, won)


RULES = {
    "sgd": {},
    "decay": {"weight_decay": 0.05},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "weight_decay": 0.05},
    "schedule": {"schedule": Schedule(at=[0.3, 0.7], factor=0.2), "momentum": 0.5},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "m",
    [
        member(depth=3),
        member(depth=6, width=7, bias_variance=0.1, learning_rate=0.02),
        member(activation="tanh", scheme="xavier_normal", depth=2),
        member(normalization="batch", depth=3),
    ],
    ids=["mlp", "odd-width", "two-layer-tanh", "batch-norm"],
)
def test_training_follows_the_plain_loop(rule, m):
    training = TRAINING.model_copy(update=RULES[rule])
    if training.optimizer == "adam":
        m = replace(m, learning_rate=0.003)
    (r,) = run([m], training)
    losses, accuracies, (lost, won) = plain_loop(m, training)
    np.testing.assert_allclose(r.curve_loss, losses, rtol=0, atol=2e-5)
    np.testing.assert_allclose(r.curve_accuracy, accuracies, rtol=0, atol=1e-6)
    assert r.test_accuracy is not None
    assert lost - 1e-6 <= r.test_accuracy <= won + 1e-6
    assert won - lost < 0.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_follows_the_plain_loop(activation):
    m = member(activation=activation, scheme="xavier_normal", bias_variance=0.5, depth=5, learning_rate=0.1)
    (r,) = run([m])
    losses, _, _ = plain_loop(m, TRAINING)
    np.testing.assert_allclose(r.curve_loss, losses, rtol=0, atol=1e-5)


def test_an_activation_that_was_added_in_one_line_trains_too(monkeypatch):
    """By torch, for the compiled training and measuring have no branch of it."""
    monkeypatch.setitem(ACTIVATIONS, "mish", nn.Mish)
    m = member(activation="mish", scheme="xavier_normal", bias_variance=0.5, depth=5, learning_rate=0.1)
    (r,) = run([m])
    losses, _, _ = plain_loop(m, TRAINING)
    np.testing.assert_allclose(r.curve_loss, losses, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4], ids=["alone", "stacked"])
@pytest.mark.parametrize(
    "m",
    [
        member(architecture="cnn", width=4, depth=3),
        member(architecture="resnet", width=4, depth=5, normalization="batch"),
        member(architecture="resnet", width=4, depth=4, scheme="fixup", bias_mode="zero"),
    ],
    ids=["cnn", "resnet", "fixup"],
)
def test_convolutional_networks_follow_the_plain_loop(m, count):
    training = TRAINING.model_copy(update={"steps": 8, "momentum": 0.5})
    r, *_ = run([m] + [replace(m, seed=m.seed + 1 + i) for i in range(count - 1)], training)
    losses, accuracies, (lost, won) = plain_loop(m, training)
    np.testing.assert_allclose(r.curve_loss, losses, rtol=0, atol=2e-5)
    np.testing.assert_allclose(r.curve_accuracy, accuracies, rtol=0, atol=1e-6)
    assert r.test_accuracy is not None
    assert lost - 1e-6 <= r.test_accuracy <= won + 1e-6
    assert won - lost < 0.01


def test_a_replicate_is_bitwise_the_same_alone_and_among_diverging_neighbours():
    mixed = [
        member(depth=3),
        member(depth=9, width=64, learning_rate=0.01),
        member(depth=4, learning_rate=1e6),
        member(seed=1, width=33, weight_scale=1e8),
        member(seed=1, activation="tanh", scheme="orthogonal"),
        member(depth=3, learning_rate=0.1),
    ]
    training = TRAINING.model_copy(update={"steps": 50})
    packed = run(mixed, training)
    assert [r.test_accuracy is None for r in packed] == [False, False, True, True, False, False]
    for m, r in zip(mixed, packed, strict=True):
        assert run([m], training) == [r] or not math.isfinite(r.final_train_loss)
    assert run(mixed[::-1], training)[-1] == packed[0]


def test_a_replicate_of_any_scheme_is_bitwise_the_same_alone_and_among_others():
    """Networks of one shape are drawn, computed and probed in one place; nothing of one may reach another."""
    schemes_of_mlps = ("he_normal", "orthogonal", "ll_orth", "eoi", "ll_eoi", "lsuv", "sample_variance", "idinit")
    mixed = [
        member(seed=seed, scheme=scheme, depth=depth, bias_mode="zero", density=0.25 if "eoi" in scheme else 1.0)
        for depth in (3, 8)
        for scheme in schemes_of_mlps
        for seed in (0, 1)
    ]
    mixed.insert(5, member(depth=8, weight_scale=1e4, learning_rate=1e6))
    mixed.insert(9, member(depth=3, normalization="batch"))
    training = TRAINING.model_copy(update={"steps": 3})
    packed = run(mixed, training)
    assert len({r.probes["log_gradient_ratio"] for r in packed}) == len(mixed)
    for m, r in zip(mixed, packed, strict=True):
        (alone,) = run([m], training)
        assert alone.probes == r.probes
        assert alone == r or not math.isfinite(r.final_train_loss)


def test_vmapped_members_agree_with_themselves_alone():
    kinds = [{"architecture": "cnn", "width": 3, "depth": 3}, {"normalization": "batch", "depth": 3}]
    mixed = [member(seed=s, learning_rate=lr, **kind) for kind in kinds for s in (0, 1, 2) for lr in (0.05, 1e9)]
    training = TRAINING.model_copy(update={"steps": 50, "batch_size": 16})
    for m, r in list(zip(mixed, run(mixed, training), strict=True))[::2]:
        (alone,) = run([m], training)
        np.testing.assert_allclose(r.curve_loss, alone.curve_loss, rtol=0, atol=1e-6)
        assert r.test_accuracy == pytest.approx(alone.test_accuracy, abs=1e-2)


def test_draws_depend_on_the_seed_and_not_on_the_learning_rate():
    a, b, c = run([member(learning_rate=0.01), member(learning_rate=0.02), member(seed=1, learning_rate=0.01)])
    assert a.probes == b.probes
    assert a.curve_loss[0] == b.curve_loss[0]
    assert a.curve_loss[1] != b.curve_loss[1]
    assert a.probes != c.probes
    assert torch.equal(train.order(3, DIGITS, TRAINING), train.order(3, DIGITS, TRAINING))
    assert not torch.equal(train.order(3, DIGITS, TRAINING), train.order(4, DIGITS, TRAINING))
    first = torch.randn(3, generator=generator(3, "init"))
    assert not torch.equal(first, torch.randn(3, generator=generator(3, "order")))


def test_an_epoch_shows_every_sample_once_and_batches_go_on_across_epochs():
    training = Training(steps=7, batch_size=400)
    samples = train.order(0, DIGITS, training).flatten()
    assert samples[:1400].sort().values.tolist() == list(range(1400))
    assert samples[1400:].sort().values.tolist() == list(range(1400))
    few = train.order(0, DIGITS, training.model_copy(update={"train_samples": 50}))
    assert few.flatten().bincount().tolist() == [56] * 50
    with pytest.raises(ValueError, match="train_samples must be at most 1400 for digits, but got 1401"):
        run([member()], TRAINING.model_copy(update={"train_samples": 1401}))


def test_the_curve_holds_means_since_the_previous_point():
    (fine,) = run([member()])
    (coarse,) = run([member()], TRAINING.model_copy(update={"log_every": 7}))
    assert coarse.curve_step == [7, 14, 21, 28, 30]
    for start, stop, loss, accuracy in zip(
        [0, 7, 14, 21, 28], coarse.curve_step, coarse.curve_loss, coarse.curve_accuracy, strict=True
    ):
        assert loss == pytest.approx(np.mean(fine.curve_loss[start:stop]), abs=1e-12)
        assert accuracy == pytest.approx(np.mean(fine.curve_accuracy[start:stop]), abs=1e-12)
    assert (coarse.final_train_loss, coarse.final_train_accuracy) == (coarse.curve_loss[-1], coarse.curve_accuracy[-1])
    assert coarse.test_accuracy == fine.test_accuracy


@pytest.mark.parametrize(("held", "wanted"), [(0.5, {1}), (7, {3, 6, 7})])
def test_batches_are_gathered_as_few_as_memory_holds_and_train_the_same(monkeypatch, held, wanted):
    training = TRAINING.model_copy(update={"log_every": 20, "optimizer": "adam", **RULES["schedule"], "momentum": 0.0})
    pack = [member(learning_rate=0.003), member(normalization="batch", depth=3, learning_rate=0.003)]
    whole, gathered, gather = run(pack, training), set(), train._gather

    def counted(dataset, samples, device):
        gathered.add(len(samples))
        return gather(dataset, samples, device)

    monkeypatch.setattr(train, "_GATHERED_BYTES", int(held * DIGITS.x_train[:32].nbytes))
    monkeypatch.setattr(train, "_gather", counted)
    assert run(pack, training) == whole
    assert gathered == wanted


def test_a_network_ends_at_a_recorded_step_though_memory_holds_fewer(monkeypatch):
    """A stretch that memory cuts short is no point of the curve, and depends on the machine."""
    training = TRAINING.model_copy(update={"log_every": 20, "stop_on_success": True})
    monkeypatch.setattr(train, "_GATHERED_BYTES", 7 * DIGITS.x_train[:32].nbytes)
    (r,) = run([member()], training, criterion=Criterion("train_accuracy", 0.1))
    assert r.curve_step == [20]


def test_batches_and_the_test_split_are_where_the_networks_are():
    """On a device that holds no numbers, but knows its tensors."""

    class Seen(nn.Module):
        def forward(self, x):
            assert x.is_meta
            return torch.zeros(len(x), 10)

    device = torch.device("meta")
    x, y = train._gather(DIGITS, train.order(0, DIGITS, TRAINING)[:2], device)
    assert (x.is_meta, y.is_meta) == (True, True)
    share = (DIGITS.y_test == 0).double().mean().item()
    assert train._test_accuracy(Seen(), DIGITS, device) == pytest.approx(share)


def test_a_test_split_of_several_batches_counts_whole(monkeypatch):
    (whole,) = run([member(normalization="batch")])
    monkeypatch.setattr(train, "_TEST_BATCH", 100)
    (parts,) = run([member(normalization="batch")])
    assert parts.test_accuracy == whole.test_accuracy


def test_the_rate_changes_at_the_step_that_is_meant_though_its_share_is_rounded():
    assert 0.29 * 100 < 29
    factors = train._factors(Training(steps=100, schedule=Schedule(at=[0.29, 0.5], factor=0.5)))
    assert factors == [1.0] * 29 + [0.5] * 21 + [0.25] * 50


@pytest.mark.parametrize("kind", [{}, {"normalization": "batch"}])
def test_a_diverged_network_stops_and_says_when(kind):
    exploding = member(learning_rate=1e12, **kind)
    (r,) = run([exploding], TRAINING.model_copy(update={"log_every": 10}))
    assert r.test_accuracy is None
    assert not math.isfinite(r.final_train_loss)
    assert r.curve_step[-1] == r.steps_run < 30
    assert r.flops == pytest.approx(network.flops(exploding.point, DIGITS, TRAINING) * r.steps_run / 30)
    assert label(Curve(r.curve_step, r.curve_loss, r.curve_accuracy, 30), Criterion()).outcome is Outcome.DIVERGED


def test_a_finite_loss_above_the_bound_counts_as_diverged():
    (r,) = run([member(weight_scale=1e6)])
    assert (r.steps_run, r.curve_loss) == (1, [math.inf])


def test_a_loss_that_is_no_number_is_recorded_as_none():
    history = History(TRAINING)
    history.extend(np.array([2.0, math.nan, math.nan]), np.full(3, 0.1))
    assert math.isnan(history.replicate(None, {}, 1.0).final_train_loss)


def test_success_ends_a_member_if_asked_to_and_changes_nothing_before():
    criterion = Criterion("train_accuracy", 0.5)
    training = TRAINING.model_copy(update={"steps": 200, "log_every": 5})
    pack = [member(), member(learning_rate=1e-6), member(normalization="batch", depth=3)]
    whole = run(pack, training, criterion=criterion)
    stopped = run(pack, training.model_copy(update={"stop_on_success": True}), criterion=criterion)
    assert [r.steps_run for r in whole] == [200] * 3
    assert stopped[1] == whole[1]
    for full, short in zip(whole, stopped, strict=True):
        assert short.curve_loss == full.curve_loss[: len(short.curve_loss)]
    for short in (stopped[0], stopped[2]):
        assert short.steps_run < 200
        assert short.curve_accuracy[-1] >= 0.5 > max(short.curve_accuracy[:-1])
        assert short.test_accuracy is not None


def test_probes_are_those_of_the_table():
    (r,) = run([member(depth=20, weight_scale=1.5)], TRAINING.model_copy(update={"steps": 1}))
    assert tuple(r.probes) == PROBES
    assert all(isinstance(value, float) for value in r.probes.values())


def test_flops_are_those_of_the_shapes():
    sgd = Training(steps=10, batch_size=8)
    layers = [(64, 16), (16, 16), (16, 16), (16, 10)]
    products = 3 * sum(i * o for i, o in layers) - 64 * 16
    assert network.flops(POINT, DIGITS, sgd) == 10 * 8 * 2 * products
    cnn = POINT._replace(architecture="cnn", width=5, depth=3)
    model = networks.build("cnn", DIGITS.input_shape, width=5, depth=3, out_features=10)
    schemes.initialize(model, "he_normal", generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(model(DIGITS.x_train[:8]), DIGITS.y_train[:8]).backward()
    assert network.flops(cnn, DIGITS, sgd) == 10 * counter.get_total_flops()


def test_a_trial_has_its_share_of_the_work_and_time_of_its_pack(monkeypatch):
    spec = parse(
        "{name: toy, space: {scheme: he_normal, depth: [3, 9], width: 8}, "
        "training: {steps: 4, log_every: 2, batch_size: 16, learning_rate: [0.1, 0.01]}, "
        "criterion: {metric: test_accuracy, at_least: 0.01}}"
    )
    points = [POINT._replace(depth=depth, width=8) for depth in (3, 9)]
    tasks = tuple(Task(f"key{p.depth}", p, (0, 1), "random", n) for n, p in enumerate(points))
    monkeypatch.setattr(work, "time", SimpleNamespace(perf_counter=iter([10.0, 14.0]).__next__))
    table = work.run(Pack("p", tasks), spec, DIGITS, Origin("toy", "sha", "commit"), attempt=3)
    trials, replicates = (half.to_pylist() for half in split(table))
    assert [row["flops"] for row in trials] == [4 * network.flops(p, DIGITS, spec.training) for p in points]
    flops = sum(row["flops"] for row in trials)
    assert [row["seconds"] for row in trials] == [pytest.approx(4 * row["flops"] / flops) for row in trials]
    assert {row["outcome"] for row in replicates} == {"trained"}  # by the accuracy on the test split
    assert {row["steps_to_threshold"] for row in replicates} == {4}
    assert [(row["depth"], row["steps"], row["attempt"]) for row in trials] == [(3, 4, 3), (9, 4, 3)]
    ran = [(row["trial_key"], row["seed"], row["learning_rate"]) for row in replicates]
    assert ran == [(t.trial_key, seed, rate) for t in tasks for seed in (0, 1) for rate in (0.1, 0.01)]
    assert {(row["sweep"], row["pack_id"], row["git_commit"], row["spec_sha256"]) for row in trials} == {
        ("toy", "p", "commit", "sha")
    }
    for row in replicates:
        assert (row["steps_run"], row["curve_step"]) == (4, [2, 4])
        kept = np.array([row["final_train_loss"], row["final_train_accuracy"]], np.float32)
        assert kept.tolist() == [row["curve_loss"][-1], row["curve_accuracy"][-1]]


@pytest.mark.parametrize(
    ("pack", "changes", "expected"),
    [
        ({}, {}, [30]),  # nobody has to look before
        ({}, {"stop_on_success": True}, [20, 30]),
        ({"normalization": "batch"}, {}, [20, 30]),  # one that diverges is not carried on
        ({"depth": 64, "width": 256}, {"batch_size": 64}, [20, 30]),  # takes long
    ],
)
def test_progress_reaches_the_budget_once(pack, changes, expected):
    seen: list[int] = []
    training = TRAINING.model_copy(update={"log_every": 20, **changes})
    run([member(**pack), member(**pack, learning_rate=1e9)], training, criterion=Criterion(), progress=seen.append)
    assert seen == expected


@pytest.mark.parametrize("steps", [30, 45])
def test_a_long_stretch_changes_nothing(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = [member(depth=d, seed=s, learning_rate=r) for d in (3, 9, 20) for s in (0, 1) for r in (0.05, 1.0, 8.0)]
    training = TRAINING.model_copy(update={"log_every": 7, "steps": steps})
    found = run(pack, training)
    assert {r.steps_run < 7 for r in found} == {True, False}
    assert any(7 < r.steps_run < steps for r in found)
    monkeypatch.setattr(train, "_CACHED_BYTES", 0)
    assert run(pack, training) == found


def test_denormal_numbers_are_flushed_while_it_trains_and_no_longer() -> None:
    """A vanishing network is slow without; but whoever called may need them (hypothesis refuses to run)."""
    tiny = torch.tensor(1e-40)
    seen: list[float] = []
    train.train([member()], data.load("digits"), TRAINING, progress=lambda _: seen.append((tiny * 1).item()))
    assert set(seen) == {0.0}
    assert (tiny * 1).item() != 0
    torch.set_flush_denormal(True)
    try:
        train.train([member()], DIGITS, TRAINING)
        assert (tiny * 1).item() == 0, "as the caller had it"
    finally:
        torch.set_flush_denormal(False)


def test_unreachable_objects_are_collected_again_once_a_pack_is_prepared() -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        seen: list[bool] = []
        run([member()], progress=lambda _, into=seen: into.append(gc.isenabled()))
        with pytest.raises(ValueError, match="scheme must be one of"):
            run([member(scheme="none")])
        seen.append(gc.isenabled())
        gc.enable()
        assert set(seen) == {enabled}


def test_a_pack_loads_no_compiler_of_torch() -> None:
    """It takes seconds in every worker, and runs on shapes alone load it unasked."""
    script = """
import sys
from sweeps import data, memory, network, train
from sweeps.spec import Point, Training
point = Point("ll_orth", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.0, 1.0)
digits, training = data.load("digits"), Training(steps=4, log_every=2, batch_size=8)
cpu = train.torch.device("cpu")
(members,) = memory.partition([train.Member(point, 0, 0.1), train.Member(point, 1, 0.1)], digits, training, cpu)
assert network.flops(point, digits, training) > 0
assert len(train.train(members, digits, training)) == 2
cnn = point._replace(architecture="cnn", depth=3, scheme="he_normal", normalization="batch")
assert network.flops(cnn, digits, training) > 0
for count in (1, 4):
    for rule in (training, training.model_copy(update={"optimizer": "adam"})):
        assert len(train.train([train.Member(cnn, seed, 0.1) for seed in range(count)], digits, rule)) == count
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
