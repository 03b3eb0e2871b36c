"""Schemes pruned at random: which weights are left, how large they are, and what that does to a signal."""

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isoinit import CNN, MLP, initialize
from isoinit.schemes import check
from isoinit.schemes.reading import read
from isoinit.theory.predict import predict

DENSE = {"he_pruned": "he_normal", "orthogonal_pruned": "orthogonal"}
NETWORKS = {
    "mlp": lambda: MLP(4, 8, 5, 3),
    "cnn": lambda: CNN((2, 3, 3), 8, 5, 3),
    "grouped": lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def square(name: str, density: float, *, width: int, layers: int) -> tuple[Tensor, Tensor]:
    """Weights and masks (layers, width, width) of hidden layers."""
    model = initialize(MLP(4, width, layers + 2, 2), name, density=density, generator=generator())
    _, *hidden, _ = read(model).layers
    return torch.stack([x.weight.detach() for x in hidden]), torch.stack([x.get_buffer("mask") for x in hidden])


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", DENSE)
def test_what_is_left_is_the_dense_draw_over_the_root_of_its_share(name: str, network: str, density: float) -> None:
    pruned = initialize(NETWORKS[network](), name, density=density, generator=generator())
    dense = initialize(NETWORKS[network](), DENSE[name], generator=generator())
    for layer, whole in zip(read(pruned).layers, read(dense).layers, strict=True):
        mask = layer.get_buffer("mask")
        count = round(density * mask.numel())
        assert int(mask.sum()) == count
        assert not layer.weight[~mask].any()
        expected = whole.weight[mask] * sqrt(mask.numel() / count)
        torch.testing.assert_close(layer.weight[mask], expected, rtol=0 if density == 1 else 1e-6, atol=0)


def test_every_weight_is_as_likely_to_be_left_as_any_other() -> None:
    """A mask balanced over rows or columns, or the same in all layers, would fit the count as well."""
    layers, width, density = 4000, 8, 0.375
    _, masks = square("he_pruned", density, width=width, layers=layers)
    kept, size = masks.double(), width * width
    shares = kept.mean(0)
    assert float((shares - density).abs().max()) < 4.5 * sqrt(density * (1 - density) / layers)
    hypergeometric = width * density * (1 - density) * (size - width) / (size - 1)
    for side in (1, 2):
        assert float(kept.sum(side).var()) == pytest.approx(hypergeometric, rel=0.04)


@pytest.mark.parametrize("density", [1 / 16, 1 / 4, 1.0])
def test_a_layer_keeps_the_squared_norm_in_the_mean_and_spreads_it_by_the_formula(density: float) -> None:
    """Relative variance (5 + 6 v) / N, v = (1 - d) / d sum y^4 / (sum y^2)^2, over layers and given the inputs y."""
    width, layers = 64, 2500
    weights, _ = square("he_pruned", density, width=width, layers=layers)
    y = torch.relu(torch.randn(width, generator=generator(1)))
    factors = (torch.relu(weights @ y).square().sum(1) / y.square().sum()).double()
    v = (1 - density) / density * float(y.pow(4).sum() / y.square().sum() ** 2)
    expected = (5 + 6 * v) / width
    assert float(factors.mean()) == pytest.approx(1, abs=4 * sqrt(expected / layers))
    assert float(factors.var()) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("name", DENSE)
def test_norms_spread_as_theory_says_at_any_density(name: str) -> None:
    """And at a low one far more than if weights were dense."""
    width, layers, nets = 64, 6, 250
    for density in (1.0, 1 / 2, 1 / 16):
        theory = predict(name, depth=layers + 1, width=width, density=density)
        weights, _ = square(name, density, width=width, layers=layers * nets)
        x = torch.randn(nets, width, 1, generator=generator(1))
        start = x.square().sum((1, 2))
        for layer in weights.view(layers, nets, width, width):
            x = torch.relu(layer @ x)
        logs = (x.square().sum((1, 2)) / start).log().double()
        assert float(logs.std()) == pytest.approx(theory.spread, rel=0.15)
        assert float(logs.mean()) == pytest.approx(theory.drift, abs=4 * theory.spread / sqrt(nets))
    assert theory.spread > 2 * predict(name, depth=layers + 1, width=width).spread


def test_erk_keeps_the_total_and_more_of_the_small_layers() -> None:
    model = initialize(MLP(40, 20, 4, 4), "he_pruned", density=0.2, distribution="erk", generator=generator())
    masks = [layer.get_buffer("mask") for layer in read(model).layers]
    total = sum(mask.numel() for mask in masks)
    assert sum(int(mask.sum()) for mask in masks) == pytest.approx(0.2 * total, abs=len(masks) / 2)
    first, middle, _, head = (float(mask.double().mean()) for mask in masks)
    assert first < 0.2 < middle < head


def test_a_layer_too_small_for_its_share_keeps_one_weight() -> None:
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 4))
    initialize(model, "he_pruned", density=0.02, generator=generator())
    assert [int((layer.weight != 0).sum()) for layer in read(model).layers] == [5, 5, 1]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": 0.1}, "{name} at width 8 has a density of at least 1/8, got 0.1"),
        ({"density": 0.5, "distribution": "rows"}, "distribution must be one of 'uniform', 'erk', got 'rows'"),
        ({"density": 0.5, "shuffle": True}, "{name} has the options distribution, got 'shuffle'"),
    ],
)
def test_what_cannot_be_pruned_is_refused_with_what_can(name: str, arguments: dict[str, Any], message: str) -> None:
    model = MLP(4, 8, 3, 2)
    with pytest.raises(ValueError, match=message.format(name=name)):
        initialize(model, name, generator=generator(), **arguments)
    assert not any(p.any() for p in model.parameters())


def test_a_dense_scheme_that_is_given_a_density_names_the_pruned_ones() -> None:
    with pytest.raises(ValueError, match=r"sparse are eoi, ll_eoi, he_pruned, orthogonal_pruned$"):
        check("he_normal", architecture="mlp", depth=4, width=8, density=0.5)
