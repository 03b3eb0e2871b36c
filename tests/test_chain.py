"""Explicit products say of a plain MLP what its forward and autograd say."""

import dataclasses

import numpy as np
import pytest
import torch

from isoinit import MLP, chain, initialize
from isoinit.activations import ACTIVATIONS, DERIVATIVES, WRITTEN, activation_name
from isoinit.layers import Linear, set_mask
from isoinit.probe import Probe, probe

X = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 5


class Other(MLP):
    """The same network, in which nothing may be taken for granted."""


def pair(activation: str = "relu", depth: int = 5, dtype: torch.dtype = torch.float32, width: int = 8) -> list[MLP]:
    models: list[MLP] = []
    for kind in (MLP, Other):
        source = torch.Generator().manual_seed(3)
        model = kind(9, width, depth, 5, activation).to(dtype)
        models.append(initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=source))
    return models


def assert_alike(models: list[MLP], x: torch.Tensor = X, y: torch.Tensor | None = Y, **options: object) -> Probe:
    assert [chain.plain(model, x, 4) is not None for model in models] == [True, False]
    fast, slow = (probe(model, x, y, **options) for model in models)  # pyright: ignore[reportArgumentType]
    for field in dataclasses.fields(Probe):
        mine, theirs = getattr(fast, field.name), getattr(slow, field.name)
        assert mine.shape == theirs.shape, field.name
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-7, err_msg=field.name)
    return fast


@pytest.mark.parametrize("activation", DERIVATIVES)
@pytest.mark.parametrize("depth", [2, 3, 9])
def test_a_chain_is_measured_as_autograd_does(activation: str, depth: int) -> None:
    assert set(WRITTEN) == set(DERIVATIVES) <= set(ACTIVATIONS)
    assert_alike(pair(activation, depth))
    assert_alike(pair(activation, depth, torch.float64), X.double().view(12, 3, 3), None)
    assert_alike(pair(activation, depth), jacobian=False)
    assert_alike(pair(activation, depth), jacobian_inputs=40)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("hardtanh", torch.nn.Hardtanh(-3, 3)),
        ("leaky_relu", torch.nn.LeakyReLU(0.2)),
        ("elu", torch.nn.ELU(2.0)),
        ("gelu", torch.nn.GELU("tanh")),
    ],
)
def test_an_activation_with_numbers_of_ones_own_is_measured_as_it_is(name: str, own: torch.nn.Module) -> None:
    """The formula is of torch's defaults, and a data-driven scheme has compiled code of some."""
    models, data = pair(name), 3 * torch.randn(200, 9, generator=torch.Generator().manual_seed(2))
    assert activation_name(models[0].activation) == name
    assert activation_name(own) not in ACTIVATIONS
    for model in models:
        model.activation = own
    mine, theirs = (probe(model, X).jacobian_singular_values for model in models)
    np.testing.assert_allclose(mine, theirs, rtol=2e-5)
    signal = data
    initialize(models[0], "lsuv", data=data, compiled=True, generator=torch.Generator().manual_seed(0))
    for layer in models[0].layers:
        signal = layer(signal)
        assert float(signal.detach().std()) == pytest.approx(1, abs=2e-3)
        signal = models[0].activation(signal)


def test_masks_and_frozen_weights_are_seen() -> None:
    models = pair()
    for model in models:
        for i, layer in enumerate(model.layers):
            assert isinstance(layer, Linear)
            if i in (1, 4):
                set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(i)) < 0.5)
            layer.weight.requires_grad_(i != 2)
    measured = assert_alike(models)
    assert np.flatnonzero(np.isnan(measured.gradient_norms)).tolist() == [2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("activation", ["relu", "hardtanh", "crelu"])
def test_what_is_no_number_is_so_in_both(value: float, activation: str) -> None:
    models = pair(activation)
    with torch.no_grad():
        for model in models:
            layer = model.layers[1]
            assert isinstance(layer, Linear)
            layer.weight[2, 3] = value
    assert_alike(models)


def test_many_layers_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_NUMBERS", 3 * 64)
    assert_alike(pair(depth=9))


def test_nothing_is_left_behind_and_hooks_are_heard() -> None:
    model, _ = pair()
    probe(model, X, Y)
    assert all(parameter.grad is None and not parameter.is_inference() for parameter in model.parameters())
    model.layers[2].register_forward_hook(lambda *_: None)
    assert chain.plain(model, X, 4) is None


def test_an_activation_that_overwrites_what_it_reads_is_not_taken_for_granted() -> None:
    model, _ = pair()
    expected = probe(model, X, Y)
    model.activation = torch.nn.ReLU(inplace=True)
    measured = probe(model, X, Y)
    for field in dataclasses.fields(Probe):
        mine, theirs = getattr(measured, field.name), getattr(expected, field.name)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-7, err_msg=field.name)
