"""Compiled code says of narrow MLPs what torch does, of each by itself."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from isoinit import CNN, MLP, chain, initialize, narrow
from isoinit.activations import DERIVATIVES
from isoinit.layers import Linear, set_mask
from isoinit.narrow.layers import KINDS
from isoinit.probe import Probe, probe, probes

X = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 5


def network(activation: str = "relu", depth: int = 5, width: int = 8, seed: int = 3) -> MLP:
    source = torch.Generator().manual_seed(seed)
    model = MLP(9, width, depth, 5, activation)
    return initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=source)


def is_narrow(model: torch.nn.Module, x: torch.Tensor = X) -> bool:
    plain = chain.plain(model, x, 4)
    return plain is not None and narrow.applies(plain, x, 4)


def assert_alike(mine: Probe, theirs: Probe) -> None:
    for field in dataclasses.fields(Probe):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        assert a.shape == b.shape, field.name
        assert a.dtype == b.dtype, field.name
        largest = np.max(b[np.isfinite(b)], initial=0.0) if field.name == "jacobian_singular_values" else 0.0
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7 + 1e-6 * largest, err_msg=field.name)


def assert_identical(mine: Probe, theirs: Probe) -> None:
    for field in dataclasses.fields(Probe):
        np.testing.assert_array_equal(getattr(mine, field.name), getattr(theirs, field.name), err_msg=field.name)


@pytest.mark.parametrize("activation", DERIVATIVES)
@pytest.mark.parametrize("depth", [2, 3, 9])
def test_a_narrow_network_is_measured_as_by_torch(activation: str, depth: int) -> None:
    assert set(KINDS) == set(DERIVATIVES)
    model = network(activation, depth)
    assert is_narrow(model)
    for x, y, inputs in ((X, Y, 4), (X.view(12, 3, 3), None, 4), (X, Y, 0), (X[:3], Y[:3], 7), (X[:1], Y[:1], 1)):
        (mine,) = probes([model], x, y, jacobian_inputs=inputs)
        assert_alike(mine, probe(model, x, y, jacobian_inputs=inputs))
    for parameter in model.parameters():
        assert parameter.grad is None


def test_masks_and_frozen_weights_are_seen() -> None:
    for kept in ((1, 4), (0,), (0, 1, 2, 3, 4)):
        model = network()
        for i, layer in enumerate(model.layers):
            assert isinstance(layer, Linear)
            if i in kept:
                set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(i)) < 0.5)
            layer.weight.requires_grad_(i != 2)
        before = [p.clone() for p in model.parameters()]
        (measured,) = probes([model], X, Y)
        assert_alike(measured, probe(model, X, Y))
        assert np.flatnonzero(np.isnan(measured.gradient_norms)).tolist() == [2]
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


NO_NUMBERS = [(name, value) for name in DERIVATIVES for value in (torch.nan, torch.inf, -torch.inf, 1e30)]
NO_NUMBERS = [case for case in NO_NUMBERS if str(case) != "('hardtanh', nan)"]  # torch's derivative there is 0 or 1


@pytest.mark.parametrize(("activation", "value"), NO_NUMBERS)
def test_what_is_no_number_is_so_in_both(activation: str, value: float) -> None:
    model = network(activation)
    with torch.no_grad():
        layer = model.layers[1]
        assert isinstance(layer, Linear)
        layer.weight[2, 3] = value
    (measured,) = probes([model], X, Y)
    assert_alike(measured, probe(model, X, Y))


@pytest.mark.parametrize("size", [0.0, 1e-25, 1e25])
def test_signals_that_vanish_or_whose_squares_leave_float32_are_measured(size: float) -> None:
    model = network(depth=4)
    with torch.no_grad():
        for layer in model.layers:
            assert isinstance(layer, Linear)
            layer.bias.zero_()
        model.layers[0].get_parameter("weight").mul_(size)
        model.layers[-1].get_parameter("weight").div_(size or 1.0)
    (measured,) = probes([model], X, Y)
    assert_alike(measured, probe(model, X, Y))
    assert measured.dead_fraction == 1 or size > 0


def test_a_network_is_measured_bitwise_as_alone_in_any_company() -> None:
    """Also among those that diverge, that are masked, and that torch measures."""
    sparse = initialize(MLP(9, 8, 5, 5), "eoi", density=0.3, generator=torch.Generator().manual_seed(0))
    diverging = initialize(
        MLP(9, 8, 50, 5), "he_normal", weight_scale=100.0, generator=torch.Generator().manual_seed(0)
    )
    wide = network(width=300, depth=3)
    models = [network(), sparse, diverging, network(seed=4), wide, network("crelu"), network(width=33), network()]
    assert [is_narrow(model) for model in models] == [True] * 4 + [False] + [True] * 3
    packed = probes(models, X, Y)
    for model, one in zip(models, packed, strict=True):
        assert_identical(one, probes([model], X, Y)[0])
    assert_identical(packed[4], probe(wide, X, Y))
    assert_identical(packed[0], packed[-1])
    assert not np.isfinite(packed[2].squared_norms).all()


@pytest.mark.parametrize("features", [1, 700, 3001])
def test_many_features_of_the_input_are_taken_in_pieces(features: int) -> None:
    """3001 in four: the products would be too large for one thread."""
    x = torch.randn(12, features, generator=torch.Generator().manual_seed(2))
    for density in (1.0, 0.3):
        model, scheme = MLP(features, 8, 4, 5), "he_normal" if density == 1 else "eoi"
        initialize(model, scheme, density=density, generator=torch.Generator().manual_seed(0))
        assert is_narrow(model, x)
        (mine,) = probes([model], x, Y)
        assert_alike(mine, probe(model, x, Y))


@pytest.mark.parametrize(("features", "outputs"), [(9, 5), (8, 8)])
def test_few_networks_at_once_are_measured_as_many(
    features: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jacobians of 9 x 5 do not begin a line of the cache each, those of 8 x 8 do."""
    x = X[:, :features]
    models = [
        initialize(MLP(features, 8, depth, outputs), "xavier_normal", generator=torch.Generator().manual_seed(depth))
        for depth in (2, 7, 2, 3, 4, 5, 3)
    ]
    many = probes(models, x, Y)
    monkeypatch.setattr(sys.modules["isoinit.probe"], "_NUMBERS", 2 * features * 4 * outputs)
    for one, other in zip(many, probes(models, x, Y), strict=True):
        assert_identical(one, other)
    assert [len(one.dead) for one in many] == [1, 6, 1, 2, 3, 4, 2]


def test_threads_change_nothing() -> None:
    model, threads = network(width=40, depth=9), torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found += probes([model], X, Y)
    torch.set_num_threads(threads)
    assert_identical(*found)


def test_what_is_not_narrow_or_not_plain_is_measured_by_torch() -> None:
    batch = initialize(MLP(9, 8, 3, 5, normalization="batch"), "he_normal", generator=torch.Generator())
    double, hooked = network().double(), network()
    hooked.layers[2].register_forward_hook(lambda *_: None)
    assert not any(is_narrow(model) for model in (batch, hooked))
    assert not is_narrow(double, X.double())
    assert_identical(probes([double], X.double(), Y)[0], probe(double, X.double(), Y))
    for model, one in zip((batch, hooked), probes([batch, hooked], X, Y), strict=True):
        assert_identical(one, probe(model, X, Y))
    cnn = initialize(CNN((1, 3, 3), 4, 3, 5), "he_normal", generator=torch.Generator())
    assert_identical(probes([cnn], X.view(12, 1, 3, 3), Y)[0], probe(cnn, X.view(12, 1, 3, 3), Y))


def test_targets_that_are_no_classes_are_left_to_torch_and_wrong_classes_refused() -> None:
    shares = torch.rand(12, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    (measured,) = probes([network()], X, shares)
    assert np.isfinite(measured.gradient_norms).all()
    with pytest.raises(ValueError, match="y must hold classes from 0 to 4, got 0 to 5"):
        probes([network()], X, torch.arange(12) % 6)
    for measured_by in (lambda y: probes([network()], X, y), lambda y: probe(network(), X, y)):
        with pytest.raises(ValueError, match="batch_size"):  # as torch says it
            measured_by(Y[:3])
    with pytest.raises(ValueError, match="at least one input"):
        probes([network()], X[:0], Y[:0])


def test_one_network_is_measured_without_a_compiler() -> None:
    script = """
import sys, torch
from isoinit import MLP, initialize, probe
model = initialize(MLP(4, 6, 3, 2), "he_normal", generator=torch.Generator())
probe(model, torch.ones(2, 4))
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
