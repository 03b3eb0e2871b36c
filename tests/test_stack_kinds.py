"""Both kinds of stack are the same mathematics: they agree, keep masks, drop members, hide no divergence."""

import numba
import numpy as np
import pytest
import torch
from torch import nn

import isoinit.activations
from isoinit import networks, schemes
from isoinit.layers import set_mask
from isoinit.networks import MLP
from sweeps import kernel, stack
from sweeps.flat import Layout, aligned, workspace_size
from sweeps.kernel import LINE, activations, loss
from sweeps.spec import Training
from sweeps.stack import Batches, KernelStack, ModuleStack, Start

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[1, 99], ids=["stacked", "one by one"])
def worth_stacking(request, monkeypatch):
    """Module stacks as one network, and as a loop over few members."""
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", request.param / 2)


def mlp(seed=0, depth=4, width=12, activation="relu", normalization="none") -> MLP:
    model = MLP(20, width, depth, 5, activation, normalization)
    generator = torch.Generator().manual_seed(seed)
    return schemes.initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=generator)


def linears(model: MLP) -> list[nn.Linear]:
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def batches(steps=50, seeds=(0, 1)) -> dict[int, Batches]:
    generator = torch.Generator().manual_seed(9)
    return {
        seed: Batches(
            torch.randn(steps, 16, 20, generator=generator), torch.randint(5, (steps, 16), generator=generator)
        )
        for seed in seeds
    }


def pair(starts: list[Start], training: Training) -> tuple[KernelStack, ModuleStack]:
    places = list(range(len(starts)))
    return KernelStack(places, starts, training), ModuleStack(places, starts, training, CPU)


RULES = [
    Training(),
    Training(momentum=0.9, weight_decay=0.02),
    Training(momentum=0.9, nesterov=True),
    Training(optimizer="adam", weight_decay=0.02),
]


@pytest.mark.parametrize("activation", kernel.ACTIVATIONS)
@pytest.mark.parametrize("training", RULES, ids=["sgd", "momentum", "nesterov", "adam"])
def test_compiled_and_vmapped_networks_agree(activation, training):
    rate = 0.002 if training.optimizer == "adam" else 0.05
    starts = [Start(mlp(s, activation=activation), rate * (1 + s), s) for s in (0, 1)]
    factors = [1.0] * 25 + [0.3] * 25
    results = [one.advance(batches(), factors, 0) for one in pair(starts, training)]
    for fast, reference in zip(*results, strict=True):
        np.testing.assert_allclose(fast, reference, rtol=0, atol=2e-6)


def test_moments_and_the_step_count_go_on_between_calls():
    training = Training(optimizer="adam")
    starts = [Start(mlp(s), 0.01, s) for s in (0, 1)]
    for one, two in zip(pair(starts, training), pair(starts, training), strict=True):
        whole, _ = one.advance(batches(), [1.0] * 50, 0)
        halves = [
            two.advance({s: Batches(b.x[cut], b.y[cut]) for s, b in batches().items()}, [1.0] * 25, cut.start)[0]
            for cut in (slice(0, 25), slice(25, 50))
        ]
        np.testing.assert_array_equal(whole, np.concatenate(halves, 1))


def test_masked_weights_stay_zero_and_the_kinds_agree():
    starts = []
    for seed in (0, 1):
        model = mlp(seed)
        for layer in linears(model)[1:]:  # as a scheme of one's own may leave the first dense
            kept = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
            set_mask(layer, kept)
        starts.append(Start(model, 0.1, seed))
    training = Training(momentum=0.9, weight_decay=0.1)
    compiled, vmapped = pair(starts, training)
    fast, _ = compiled.advance(batches(), [1.0] * 50, 0)
    reference, _ = vmapped.advance(batches(), [1.0] * 50, 0)
    np.testing.assert_allclose(fast, reference, rtol=0, atol=2e-6)
    written = mlp()
    compiled.write(1, written)
    first, *others = linears(written)
    assert first.weight.all()
    for layer in others:
        assert 0.6 < torch.eq(layer.weight, 0).float().mean() < 0.8


@pytest.mark.parametrize("kind", [KernelStack, ModuleStack])
def test_kept_members_go_on_as_if_nothing_had_happened(kind):
    starts = [Start(mlp(s), 0.05 * (1 + s), s) for s in (0, 1, 0)]
    training = Training(momentum=0.5)
    whole, dropped = (pair(starts, training)[kind is ModuleStack] for _ in range(2))
    first, rest = ({s: Batches(b.x[cut], b.y[cut]) for s, b in batches().items()} for cut in (slice(20), slice(20, 50)))
    whole.advance(first, [1.0] * 20, 0)
    expected, _ = whole.advance(rest, [1.0] * 30, 20)
    dropped.advance(first, [1.0] * 20, 0)
    dropped.keep([0, 2])
    assert dropped.places == [0, 2]
    found, _ = dropped.advance({0: rest[0]}, [1.0] * 30, 20)
    np.testing.assert_allclose(found, expected[[0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", RULES, ids=["sgd", "momentum", "nesterov", "adam"])
def test_members_too_few_to_stack_go_on_one_by_one(training, monkeypatch):
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 1.5)
    rate = 0.002 if training.optimizer == "adam" else 0.05
    compiled, vmapped = pair([Start(mlp(s), rate, s) for s in (0, 1, 0)], training)
    first, rest = ({s: Batches(b.x[cut], b.y[cut]) for s, b in batches().items()} for cut in (slice(20), slice(20, 50)))
    for one in (compiled, vmapped):
        one.advance(first, [1.0] * 20, 0)
        one.keep([1, 2])
        assert one.places == [1, 2]
    factors = [0.5] * 30
    for fast, reference in zip(*(one.advance(rest, factors, 20) for one in (compiled, vmapped)), strict=True):
        np.testing.assert_allclose(fast, reference, rtol=0, atol=2e-6)
    for mine, theirs in zip(*(one.write(1, mlp(5)).parameters() for one in (compiled, vmapped)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", kernel.ACTIVATIONS)
def test_not_a_number_is_never_swallowed(activation):
    model = mlp(activation=activation, depth=6)
    with torch.no_grad():
        linears(model)[2].weight[3, 4] = torch.nan
    for one in pair([Start(model, 0.1, 0)], Training()):
        loss, accuracy = one.advance(batches(3), [1.0] * 3, 0)
        assert np.isnan(loss).all()
        assert np.isnan(accuracy[0, 1:]).all()


def test_writing_back_restores_every_parameter_and_buffer():
    plain, normalized = mlp(width=7), mlp(normalization="batch")
    (compiled, _), (_, vmapped) = (pair([Start(m, 0.1, 0)], Training()) for m in (plain, plain))
    vmapped = ModuleStack([0], [Start(normalized, 0.1, 0)], Training(), CPU)
    for one, model, other in ((compiled, plain, mlp(5, width=7)), (vmapped, normalized, mlp(5, normalization="batch"))):
        written = one.write(0, other).state_dict()
        assert all(torch.equal(written[key], value) for key, value in model.state_dict().items())


def test_batch_norm_statistics_are_each_members_own():
    training = Training()
    starts = [Start(mlp(s, normalization="batch"), 0.1, s) for s in range(5)]
    together = ModuleStack(range(5), starts, training, CPU)
    together.advance(batches(seeds=range(5)), [1.0] * 50, 0)
    for place, start in enumerate(starts):
        alone = ModuleStack([0], [start], training, CPU)
        alone.advance(batches(seeds=range(5)), [1.0] * 50, 0)
        mine, own = mlp(normalization="batch"), mlp(normalization="batch")
        together.write(place, mine)
        alone.write(0, own)
        for norm, expected in zip(mine.norms, own.norms, strict=True):
            assert norm.num_batches_tracked == 50
            torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=0, atol=1e-5)


def test_a_frozen_parameter_stays_and_the_others_train():
    model = mlp()
    linears(model)[1].weight.requires_grad_(False)
    (only,) = stack.build([Start(model, 0.1, 0)], Training(), CPU)
    only.advance(batches(5), [1.0] * 5, 0)
    written = mlp(5)
    only.write(0, written)
    changed = [not torch.equal(a.weight, b.weight) for a, b in zip(linears(model), linears(written), strict=True)]
    assert changed == [True, False, True, True]


def test_members_are_grouped_into_as_few_stacks_as_possible():
    models = [mlp(), mlp(depth=7), mlp(activation="tanh"), mlp(normalization="batch"), mlp(1, normalization="batch")]
    stacks = stack.build([Start(m, 0.1, 0) for m in models], Training(), CPU)
    assert [(type(s), s.places) for s in stacks] == [(KernelStack, [0, 1, 2]), (ModuleStack, [3, 4])]


def test_wide_networks_are_not_stacked_on_a_cpu_where_that_is_slower(monkeypatch):
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 2)
    for width, count, looped in ((12, 3, True), (12, 4, False), (255, 4, False), (256, 4, True)):
        starts = [Start(mlp(width=width, normalization="batch"), 0.1, 0)] * count
        assert (ModuleStack(range(count), starts, Training(), CPU)._loop is not None) is looped


@pytest.mark.parametrize(
    ("width", "batch", "looped"), [(8, 64, False), (7, 64, True), (7, 16, False), (12, 16, False), (12, 32, True)]
)
def test_convolutions_of_odd_widths_are_stacked_while_they_are_small(width, batch, looped, monkeypatch):
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 4)
    model = networks.build("cnn", (1, 8, 8), width=width, depth=3, out_features=5)
    schemes.initialize(model, "he_normal", generator=torch.Generator().manual_seed(0))
    training = Training(batch_size=batch)
    one = ModuleStack(range(4), [Start(model, 0.1, 0)] * 4, training, CPU)
    one.advance({0: Batches(torch.ones(1, batch, 1, 8, 8), torch.zeros(1, batch, dtype=torch.long))}, [1.0], 0)
    assert (one._loop is not None) is looped


@pytest.mark.parametrize("training", RULES, ids=["sgd", "momentum", "nesterov", "adam"])
def test_members_go_through_a_layer_in_parts_or_one_by_one_if_their_features_are_many(training, monkeypatch):
    monkeypatch.setattr("sweeps.vmapped._WORTH_STACKING", 1)
    starts = [Start(mlp(s, normalization="batch"), 0.01 * (1 + s), s % 2) for s in range(5)]
    results = []
    for limits in ({}, {"_AT_ONCE": 3 * 16 * 12}, {"_FEATURES": 16 * 12 - 1}):
        for name, value in limits.items():
            monkeypatch.setattr(f"sweeps.vmapped.{name}", value)
        one = ModuleStack(range(5), starts, training, CPU)
        results.append(one.advance(batches(), [1.0] * 50, 0))
        assert (one._loop is not None) is ("_FEATURES" in limits)
    for found in results[1:]:
        for mine, theirs in zip(found, results[0], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)


def test_compiled_tanh_is_torchs_to_a_few_units_in_the_last_place():
    x = torch.cat([torch.linspace(-12, 12, 40001), torch.logspace(-30, 0, 1000), torch.tensor([np.inf, -np.inf])])
    h = x.numpy().copy()
    activations.activate(h.copy(), h, h[:0], activations.TANH, 0)
    np.testing.assert_allclose(h, torch.tanh(x.double()).numpy(), rtol=6e-7, atol=0)


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "selu", "gelu", "silu"])
def test_compiled_rectifiers_and_their_slopes_are_torchs_to_rounding(name):
    """Far from 0, too, where an error of a unit's share would be a factor of what is far; and no number stays none."""
    near, far = torch.linspace(-12, 12, 40001), torch.logspace(-30, 30, 2001)
    x = torch.cat([near, far, -far, torch.tensor([torch.nan])])
    exact = x.double().requires_grad_()
    features = isoinit.activations.ACTIVATIONS[name]()(exact)
    (slope,) = torch.autograd.grad(features.nansum(), exact)
    h, slopes, g = torch.empty_like(x).numpy(), torch.empty_like(x).numpy(), torch.ones_like(x).numpy()
    kind = kernel.ACTIVATIONS[name]
    activations.activate(x.numpy(), h, slopes, kind, 0)
    activations.differentiate(g, h, slopes, kind, 0)
    np.testing.assert_allclose(h, features.detach().numpy(), rtol=5e-7, atol=1e-6)
    np.testing.assert_allclose(g[:-1], slope.numpy()[:-1], rtol=5e-7, atol=2e-6)


def test_compiled_exponential_is_exact_to_a_few_units_in_the_last_place():
    x = -torch.cat([torch.linspace(0, 86, 40001), torch.logspace(-30, 0, 1000), torch.tensor([1e3, np.inf])])
    z = np.asarray(numba.vectorize(lambda value: loss.exp(value))(x.numpy()))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[:-2], torch.exp(x.double()).numpy()[:-2], rtol=3e-7, atol=0)
    assert (z[-2:] < 1e-37).all()


@pytest.mark.parametrize("batch", [16, 200])
def test_the_scratch_of_a_kernel_stack_is_that_of_its_largest_member_and_batch(batch: int) -> None:
    """Beyond it the compiled call would write over other memory, without a word."""
    models = [mlp(depth=3), mlp(depth=9, width=40), mlp(depth=2)]
    stack = KernelStack([0, 1, 2], [Start(model, 0.1, 0) for model in models], Training(batch_size=batch))
    sizes = [workspace_size(at, max(64, batch)) for at in map(Layout, models)]
    assert len(stack._work) == max(sizes) > sizes[0]


def test_vectors_start_on_a_cache_line() -> None:
    """Or else a product might be rounded otherwise, alone or in a pack."""
    vectors = [aligned(size) for size in range(1, 200)]
    assert {vector.ctypes.data % (vector.itemsize * LINE) for vector in vectors} == {0}
    assert [len(vector) for vector in vectors] == list(range(1, 200))


@pytest.mark.parametrize("classes", [1, 2, 10, 300])
def test_compiled_cross_entropy_is_torchs_ties_and_all(classes):
    source = torch.Generator().manual_seed(0)
    logits = (torch.randn(37, classes, generator=source) * 20).round() / 2  # half of the rows of 300 have a tie
    logits[5:9] = 1.0  # a dead network: the first class counts as the answer
    y = torch.randint(classes, (37,), generator=source)
    y[5] = 0
    z = aligned(37 * classes)
    z[:] = logits.T.flatten().numpy()
    found, hits = loss.cross_entropy(z, y.numpy(), classes, aligned(74))
    logits.requires_grad_()
    expected = nn.functional.cross_entropy(logits.double(), y)
    (gradient,) = torch.autograd.grad(expected, logits)
    assert found == pytest.approx(expected.item(), rel=1e-7, abs=1e-9)
    assert hits == (logits.argmax(1) == y).double().mean().item()
    np.testing.assert_allclose(z.reshape(classes, 37).T, gradient.numpy(), rtol=1e-6, atol=1e-8)
