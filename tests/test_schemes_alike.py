"""Networks alike but in depth that are made as one have the bits that each has alone."""

import copy
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
import torch
from test_schemes_contract import digest
from torch import nn

from isoinit import MLP, SCHEMES, initialize, schemes
from isoinit.schemes import Scheme, Wiring, alike, together
from isoinit.schemes.alike import Request
from isoinit.schemes.base import Draw
from isoinit.schemes.wiring import Run
from sweeps import data, preparing
from sweeps.network import network
from sweeps.spec import Point

NAMES = [name for name, scheme in SCHEMES.items() if "mlp" in scheme.architectures and scheme.by_runs]
INPUTS, OUTPUTS = 11, 5
DEPTHS = [3, 7, 4, 3, 5]
X = torch.randn(20, INPUTS, generator=torch.Generator().manual_seed(5))


def activation_of(name: str) -> str:
    return (SCHEMES[name].activations or ("relu",))[0]


def requests(mode: str) -> list[Request]:
    variances = [0.0] * 5 if mode == "zero" else [0.1, 0.0, 0.3, 0.1, 1.0]
    scales = [1.0, 1.3, 1.0, 0.7, 2.0]
    return [
        Request(torch.Generator().manual_seed(i % 3), variance, scale)
        for i, (variance, scale) in enumerate(zip(variances, scales, strict=True))
    ]


def densities(name: str) -> tuple[float, ...]:
    return (0.4, 1.0) if SCHEMES[name].sparse else (1.0,)


@pytest.mark.parametrize("depths", [DEPTHS, [2] * 5], ids=["hidden", "none"])
@pytest.mark.parametrize("width", [6, 9, 10, 11, 16, 22])
@pytest.mark.parametrize("name", NAMES)
def test_networks_made_as_one_have_the_bits_of_each_alone(name: str, width: int, depths: list[int]) -> None:
    """Of widths, too, that or whose halves are those of the 11 inputs or the 5 outputs."""
    for mode, density in product(SCHEMES[name].bias_modes, densities(name)):
        models = MLP.alike(INPUTS, width, depths, OUTPUTS, activation_of(name))
        together([alike.begin(models, name, requests(mode), bias_mode=mode, density=density, data=X)])
        for model, depth, request in zip(models, depths, requests(mode), strict=True):
            alone = MLP(INPUTS, width, depth, OUTPUTS, activation_of(name))
            initialize(
                alone, name, bias_variance=request.bias_variance, bias_mode=mode, weight_scale=request.weight_scale,
                density=density, generator=request.generator, data=X, compiled=True,
            )  # fmt: skip
            assert digest(model) == digest(alone), (mode, density, depth)


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_compiled_code_has_the_bits_of_each_alone_too(name: str) -> None:
    """Of a width from which on products are torch's, in the schemes that adapt to data."""
    inputs, batch, width = 3, 1200, 24
    x = torch.randn(batch, inputs, generator=torch.Generator().manual_seed(5))
    models = MLP.alike(inputs, width, [3, 4], OUTPUTS, activation_of(name))
    together([alike.begin(models, name, requests("zero")[:2], density=densities(name)[0], data=x)])
    for model, depth, request in zip(models, (3, 4), requests("zero"), strict=False):
        alone = MLP(inputs, width, depth, OUTPUTS, activation_of(name))
        initialize(
            alone, name, weight_scale=request.weight_scale, density=densities(name)[0],
            generator=request.generator, data=x, compiled=True,
        )  # fmt: skip
        assert digest(model) == digest(alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_all_networks_is_filled_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[int] = []
    fill = Run.fill

    def counted(run: Run, weights: torch.Tensor) -> None:
        filled.append(len(run.layers))
        fill(run, weights)

    monkeypatch.setattr(Run, "fill", counted)
    models = MLP.alike(INPUTS, 8, DEPTHS, OUTPUTS, activation_of(name))
    together([alike.begin(models, name, requests("zero"), density=densities(name)[0], data=X)])
    every = [len(DEPTHS), sum(DEPTHS) - 2 * len(DEPTHS), len(DEPTHS)]
    assert filled[:3] == every
    assert name == "idinit" or len(filled) == 3  # which then loosens what it filled


def test_networks_of_which_none_has_the_scale_one_are_scaled() -> None:
    scales = [0.25, 4.0]
    models = MLP.alike(INPUTS, 8, [3, 5], OUTPUTS)
    requested = [Request(torch.Generator().manual_seed(0), weight_scale=scale) for scale in scales]
    together([alike.begin(models, "he_normal", requested)])
    for model, depth, scale in zip(models, [3, 5], scales, strict=True):
        alone = MLP(INPUTS, 8, depth, OUTPUTS)
        initialize(alone, "he_normal", weight_scale=scale, generator=torch.Generator().manual_seed(0))
        assert digest(model) == digest(alone)


def test_what_is_wrong_with_one_network_is_said_before_any_is_changed() -> None:
    models = MLP.alike(INPUTS, 8, DEPTHS, OUTPUTS)
    wrong = [*requests("iid")[:4], Request(torch.Generator(), -1.0)]
    with pytest.raises(ValueError, match="bias_variance must be finite and at least 0, got -1"):
        alike.begin(models, "he_normal", wrong, bias_mode="iid")
    with pytest.raises(ValueError, match="scheme must be one of"):
        alike.begin(models, "he", requests("zero"))
    with pytest.raises(ValueError, match=r"is dense, got density 0\.4"):
        alike.begin(models, "he_normal", requests("zero"), density=0.4)
    with pytest.raises(ValueError, match="a width of at least 2"):
        alike.begin(MLP.alike(INPUTS, 1, [3, 3], OUTPUTS), "ll_orth", requests("zero")[:2])
    with pytest.raises(ValueError, match=f"data= must be inputs .* of {INPUTS} numbers each, got {INPUTS - 1}"):
        alike.begin(models, "lsuv", requests("zero"), data=X[:, 1:])
    assert not any(p.any() for model in models for p in model.parameters())


def test_networks_alike_are_networks_as_any_other() -> None:
    models = MLP.alike(INPUTS, 8, DEPTHS, OUTPUTS, "tanh")
    for model, depth in zip(models, DEPTHS, strict=True):
        one = MLP(INPUTS, 8, depth, OUTPUTS, "tanh")
        assert repr(model) == repr(one)
        assert list(vars(model)) == list(vars(one))
        assert list(model.state_dict()) == list(one.state_dict())
        assert all(p.is_leaf and p.requires_grad and not p.any() for p in model.parameters())
    with pytest.raises(ValueError, match="depth must be at least 2, got 1"):
        MLP.alike(INPUTS, 8, [3, 1], OUTPUTS)
    with pytest.raises(ValueError, match="activation must be one of"):
        MLP.alike(INPUTS, 8, [3], OUTPUTS, "softmax")


def test_a_copy_of_a_network_alike_trains_by_itself() -> None:
    models = MLP.alike(INPUTS, 8, DEPTHS, OUTPUTS)
    together([alike.begin(models, "he_normal", requests("zero"))])
    before = [digest(model) for model in models]
    mine = copy.deepcopy(models[1])
    optimizer = torch.optim.SGD(mine.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        mine(X).square().sum().backward()
        optimizer.step()
    assert digest(mine) != before[1]
    assert [digest(model) for model in models] == before
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in mine.parameters())


def points(name: str, widths: Sequence[int], depths: Sequence[int], **changes: object) -> list[Point]:
    density = 0.5 if SCHEMES[name].sparse else 1.0
    first = Point(name, "mlp", activation_of(name), "none", 4, 8, 1.0, "zero", 0.0, density)._replace(**changes)
    return [first._replace(width=width, depth=depth) for width, depth in product(widths, depths)]


@pytest.fixture
def made_as_one(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Depths of the networks that were made as one."""
    found: list[list[int]] = []
    make = MLP.alike

    def recorded(inputs: int, width: int, depths: Sequence[int], *rest: object) -> list[MLP]:
        found.append(list(depths))
        return make(inputs, width, depths, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(MLP, "alike", recorded)
    return found


def alone(keys: Sequence[tuple[Point, int]], digits: data.Dataset, x: torch.Tensor) -> Iterator[nn.Module]:
    for point, seed in keys:
        model = network(point, digits.input_shape, digits.classes)
        yield initialize(
            model, point.scheme, weight_scale=point.weight_scale, density=point.density,
            generator=preparing.generator(seed, "init"), data=x, compiled=True,
        )  # fmt: skip


def test_a_pack_of_any_mix_is_made_in_few_parts(made_as_one: list[list[int]]) -> None:
    digits = data.load("digits")
    x = digits.x_train[:64]
    mixed = [
        point
        for name in ("ll_eoi", "eoi", "ll_orth", "lsuv", "ones_orthogonal", "ll_crelu", "he_normal")
        for point in points(name, (5, 10, 16, 20, 32, 64, 128), (2, 3, 5))
    ]
    mixed += points("he_normal", (16,), (3, 5), normalization="batch")
    mixed += points("he_normal", (16,), (3, 5), architecture="resnet")
    keys = [(point, seed) for point in mixed for seed in (0, 1)]
    found = preparing.initialized(keys, digits, x)
    assert list(found) == keys
    for key, one in zip(keys, alone(keys, digits, x), strict=True):
        assert digest(found[key]) == digest(one), key
    assert made_as_one.count([2, 2]) == 7 * 7
    assert made_as_one.count([3, 3, 5, 5]) == 7 * 6
    assert len(made_as_one) == 7 * 7 + 7 * 6 + 6 + 1  # at 128 not all with hidden layers fit the cache: 3, 3 or 3, 3, 5


def test_a_scheme_that_goes_through_the_layers_is_applied_to_each_network(
    made_as_one: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def each_layer(wiring: Wiring, draw: Draw) -> None:
        for layer in wiring.layers:
            layer.weight.copy_(draw.normal(*layer.weight.shape))

    monkeypatch.setitem(SCHEMES, "mine", Scheme(name="mine", source="here", summary="", apply=each_layer))
    digits = data.load("digits")
    x = digits.x_train[:64]
    keys = [(point, seed) for point in points("mine", (8,), (3, 4)) for seed in (0, 1)]
    found = preparing.initialized(keys, digits, x)
    assert not made_as_one
    for key, one in zip(keys, alone(keys, digits, x), strict=True):
        assert digest(found[key]) == digest(one)


def test_a_part_has_no_more_numbers_than_the_cache_holds(
    made_as_one: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = data.load("digits")
    x = digits.x_train[:64]
    monkeypatch.setattr(schemes, "AT_ONCE", 8 * (64 + 10) * 2 + 64 * 3)
    keys = [(point, seed) for point in points("he_normal", (8,), (3, 4, 40, 5)) for seed in (0, 1)]
    found = preparing.initialized(keys, digits, x)
    assert made_as_one == [[3, 3]]  # then 4 and 4 are one too many together, and 40 by itself
    for key, one in zip(keys, alone(keys, digits, x), strict=True):
        assert digest(found[key]) == digest(one)
