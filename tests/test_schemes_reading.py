"""What `initialize` and `probe` understand of other people's modules, and what they refuse by name."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from isoinit import CNN, MLP, initialize, probe
from isoinit.activations import CReLU
from isoinit.probe import probes
from isoinit.schemes import Residual, Wiring
from isoinit.schemes.reading import read
from isoinit.spectrum import jacobian

FIELDS = ("squared_norms", "correlation", "sample_variance", "squared_sample_mean", "dead", "gradient_norms",
          "jacobian_singular_values")  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(3), dtype=torch.float64)


class Functional(nn.Module):
    """A plain network as people write it: layers in the constructor, functions in forward."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = 8, kind: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        sizes = [4, *[width] * 4, 4]
        self.layers = nn.ModuleList(kind(i, o) for i, o in pairwise(sizes))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        *hidden, head = self.layers
        for layer in hidden:
            x = self.function(layer(x))
        return head(x)


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch": torch.relu,
    "functional": functional.relu,
    "method": lambda t: t.relu(),
    "in place": lambda t: functional.relu(t, inplace=True),
    "method in place": lambda t: t.relu_(),
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("form", RELUS)
def test_every_form_of_a_relu_is_initialized_and_measured_as_the_mlp_is(form: str) -> None:
    """The in-place forms overwrite the pre-activations, the one module reports for every layer."""
    reference, model = MLP(4, 8, 5, 4).double(), Functional(RELUS[form]).double()
    for scheme in ("he_normal", "ll_orth", "kumar"):
        for network in (reference, model):
            initialize(network, scheme, bias_mode="mirrored", bias_variance=0.1, generator=generator())
        for a, b in zip(reference.parameters(), model.parameters(), strict=True):
            assert torch.equal(a, b)
        expected, measured = probe(reference, noise(6, 4)), probe(model, noise(6, 4))
        for field in FIELDS:
            np.testing.assert_allclose(getattr(measured, field), getattr(expected, field), rtol=1e-12, err_msg=field)


@pytest.mark.parametrize("inplace", [False, True])
def test_one_activation_module_in_many_places_reports_each_once(inplace: bool) -> None:
    relu = nn.ReLU(inplace)
    model = nn.Sequential(nn.Linear(4, 8), relu, nn.Sequential(nn.Linear(8, 8), relu), nn.Linear(8, 3)).double()
    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    first, second = (probe(initialize(m, "he_normal", generator=generator()), noise(6, 4)) for m in (model, other))
    for field in FIELDS:
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), rtol=1e-12, err_msg=field)


class LeNet(nn.Module):
    def __init__(self, pool: Callable[..., Tensor]) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2, self.dropout = nn.Linear(32, 20), nn.Linear(20, 10), nn.Identity()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.norm(self.conv1(x))), 2)
        x = functional.relu(self.pool(self.conv2(x), 2))
        x = x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3])
        return self.fc2(functional.relu(self.dropout(self.fc1(x))))


def test_a_convolutional_network_with_functions_is_a_chain() -> None:
    model, x = LeNet(functional.avg_pool2d).double().eval(), noise(5, 1, 16, 16)
    wiring = read(initialize(model, "ll_orth", generator=generator()))
    assert wiring.layers == (model.conv1, model.conv2, model.fc1, model.fc2)
    assert (wiring.architecture, wiring.normalization, wiring.breakers) == ("cnn", "batch", ())
    first, second = jacobian(model, x)[:2]
    assert float((first - second).abs().max()) < 1e-12  # affine: the mirror went through pools, norm and flatten
    measured = probe(model, x)
    by_hand = functional.relu(model.norm(model.conv1(x))).flatten(1).square().sum(1).detach()
    np.testing.assert_allclose(measured.squared_norms[1], by_hand)


def test_max_pooling_as_a_function_breaks_the_mirror_by_name() -> None:
    model = LeNet(functional.max_pool2d)
    initialize(model, "he_normal", generator=generator())
    with pytest.raises(ValueError, match="does not survive max_pool2d; average pooling"):
        initialize(model, "ll_orth", generator=generator())


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(torch.sin, 1.0), (torch.erf, np.pi / 4), (torch.sigmoid, 12.8), (functional.gelu, 4.0), (Swish(), 4.0),
     (nn.Tanhshrink(), None), (functional.leaky_relu, None), (torch.abs, None)],
)  # fmt: skip
def test_kumar_takes_any_activation_with_a_slope_at_zero(function: Any, expected: float | None) -> None:
    """1/(g'(0)^2 (1 + g(0)^2)), by hand."""
    model = Functional(function, width=300)
    if expected is None:
        with pytest.raises(ValueError, match="kumar needs an activation"):
            initialize(model, "kumar", generator=generator())
    else:
        weight = read(initialize(model, "kumar", generator=generator())).layers[1].weight.detach()
        assert float(weight.square().mean()) * 300 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("function", "slope"),
    [(functional.leaky_relu, 0.01), (lambda x: functional.leaky_relu(x, 0.5), 0.5),
     (lambda x: functional.leaky_relu(x, negative_slope=0.7), 0.7)],
)  # fmt: skip
def test_the_slope_of_a_leaky_function_is_that_of_the_module(function: Any, slope: float) -> None:
    model = initialize(Functional(function), "he_normal", generator=generator())
    same = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(slope), nn.Linear(8, 4))
    initialize(same, "he_normal", generator=generator())
    assert torch.equal(read(model).layers[0].weight, read(same).layers[0].weight)


class Picky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 2
        return {2: torch.relu}[x.dim()](x)


def test_what_cannot_be_tried_out_as_an_activation_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="a Picky is not understood, its forward cannot be followed"):
        initialize(nn.Sequential(nn.Linear(4, 8), Picky(), nn.Linear(8, 2)), "he_normal", generator=generator())


@pytest.mark.parametrize("scheme", ["he_normal", "kumar"])
def test_hooks_hear_of_what_their_network_does_alone(scheme: str) -> None:
    heard: list[nn.Module] = []
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    for module in model:
        module.register_forward_hook(lambda module, _inputs, _output: heard.append(module))
    initialize(model, scheme, generator=generator())
    assert not heard


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(1))


FORWARDS: dict[str, tuple[Callable[..., Any], str]] = {
    "sum": (lambda s, x: s.c(torch.relu(x + s.b(torch.relu(s.a(x))))), "branches at 'a'"),
    "sum, branch first": (lambda s, x: s.c(torch.relu(s.b(torch.relu(s.a(x))) + x)), "branches at 'add'"),
    "product": (lambda s, x: s.c(s.a(x) * torch.sigmoid(s.b(x))), "branches at"),
    "scaled": (lambda s, x: s.c(torch.relu(s.b(torch.relu(s.a(x)) * s.scale))), "branches at 'scale'"),
    "unreached": (lambda s, x: s.c(torch.relu(s.a(x))), "the parameter scale of Odd belongs to no layer"),
    "control flow": (lambda s, x: s.c(torch.relu(s.a(x))) if x.sum() > 0 else s.b(x), "cannot be followed"),
    "permuted": (lambda s, x: s.c(torch.relu(s.b(torch.relu(s.a(x)).flip(1)))), "the function flip in Odd"),
    "over channels": (lambda s, x: s.c(torch.relu(s.b(torch.relu(s.a(x)).mean(1)))), "the function mean in Odd"),
    "softmax": (lambda s, x: s.c(torch.softmax(s.b(torch.relu(s.a(x))), 1)), "the function softmax in Odd"),
    "attribute": (lambda s, x: s.c(s.d(x)), "cannot be followed .*has no attribute 'd'"),
    "table": (lambda s, x: {torch.float32: s.c}[x.dtype](x), "cannot be followed"),
    "constant": (lambda _s, _x: 3.0, "must lead one input to one output"),
    "random": (lambda s, x: s.c(torch.relu(s.a(x) + torch.rand_like(x))), "branches at"),
}


@pytest.mark.parametrize("form", FORWARDS)
def test_what_is_not_a_chain_is_refused_and_told_why(form: str) -> None:
    forward, message = FORWARDS[form]
    model = type("Odd", (Block,), {"forward": forward})()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        initialize(model, "he_normal", generator=generator())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


class Unfolding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.last = nn.Linear(4, 8), nn.Conv2d(2, 4, 1), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(torch.relu(self.first(x)).view(-1, 2, 2, 2)))
        return self.last(x.flatten(1))


def test_a_view_that_makes_fewer_channels_of_the_units_is_refused_by_the_mirrored_only() -> None:
    initialize(Unfolding(), "he_normal", generator=generator())
    with pytest.raises(ValueError, match="8 mirrored units cannot be told apart in the 2 inputs"):
        initialize(Unfolding(), "ll_orth", generator=generator())


class Unsqueezing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(4, 8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.first(x)).view(-1, 8, 1, 1))


def test_units_that_become_channels_stay_mirrored() -> None:
    model = initialize(Unsqueezing().double(), "ll_orth", generator=generator())
    values = torch.linalg.svdvals(jacobian(model, noise(3, 4)))
    torch.testing.assert_close(values, torch.ones_like(values))


class Widening(nn.Module):
    """A ResNet of someone else that says its wiring: projection blocks of two and three layers, growing wider."""

    def __init__(self) -> None:
        super().__init__()
        widths = [6, 6, 12, 12, 24]
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(24 * 9, 108)
        self.skips = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in pairwise(widths))
        self.branches = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(i, o, 3, padding=1), *(nn.Conv2d(o, o, 1) for _ in range(1 + i // 12))])
            for i, o in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for branch, skip in zip(self.branches, self.skips, strict=True):
            assert isinstance(branch, nn.ModuleList)
            inner = x
            for layer in branch[:-1]:
                inner = torch.relu(layer(inner))
            x = torch.relu(branch[-1](inner) + skip(x))
        return self.head(x.flatten(1))

    def wiring(self) -> Wiring:
        blocks = (
            Residual("projection", tuple(cast(Any, branch)), skip=cast(nn.Conv2d, skip))
            for branch, skip in zip(self.branches, self.skips, strict=True)
        )
        return Wiring("resnet", nn.ReLU(), (self.stem,), self.head, tuple(blocks))


def test_a_wiring_that_is_none_is_refused() -> None:
    model = type("Silent", (Block,), {"wiring": lambda _: None})()
    with pytest.raises(ValueError, match=r"wiring\(\) of a Silent must give an isoinit.schemes.Wiring, got None"):
        initialize(model, "he_normal", generator=generator())


def test_a_residual_network_that_says_its_wiring_is_initialized_to_an_isometry() -> None:
    model = Widening().double()
    assert [len(block.branch) for block in model.wiring().blocks] == [2, 2, 3, 3]
    initialize(model, "risotto_c", bias_mode="mirrored", bias_variance=0.5, generator=generator())
    values = torch.linalg.svdvals(jacobian(model, noise(2, 3, 3, 3)))
    assert float((values - 1).abs().max()) < 1e-9
    assert np.isnan(probe(model, noise(2, 3, 3, 3)).sample_variance_last)  # it does not say where its activations are


def residual(kind: str, *sizes: int, skip: bool = False) -> nn.Module:
    """A network of someone else with a block whose branch has layers between these sizes."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2), *(nn.Linear(*pair) for pair in pairwise(sizes)))
    model.append(nn.Linear(sizes[0], sizes[-1]))
    stem, head, *branch, last = cast(Any, list(model))
    block = Residual(kind, tuple(branch), skip=last if skip else None)
    said = type("Said", (nn.Sequential,), {"wiring": lambda _: Wiring("resnet", nn.ReLU(), (stem,), head, (block,))})
    return said(*model)


@pytest.mark.parametrize(
    ("name", "model", "sentence"),
    [
        ("risotto_b", residual("post", 8, 4, 8), r"one even width, got an identity and layers of \(4, 8\), \(8, 4\)"),
        ("risotto_b", residual("post", 8, 8, 8, skip=True), r"got a layer and layers of \(8, 8\), \(8, 8\)"),
        ("risotto_c", residual("projection", 8, 5, 8, skip=True), r"even widths, got \(8, 8\) and \(5, 8\), \(8, 5\)"),
        (
            "risotto_c",
            residual("projection", 8, 4, 8),
            r"a layer for a skip, .* got an identity and \(4, 8\), \(8, 4\)",
        ),
        (
            "rezero",
            residual("rezero", 8, 8, 8),
            "every Residual needs one, got none; idinit and zero take blocks without",
        ),
        ("skipinit", residual("skipinit", 8, 8, 8), "every Residual needs one, got none"),
    ],
)
def test_a_block_that_a_scheme_cannot_make_exact_is_refused_before_anything_is_changed(
    name: str, model: nn.Module, sentence: str
) -> None:
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=sentence):
        initialize(model, name, generator=generator())
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_branch_of_risotto_may_be_narrower_than_its_block() -> None:
    model = residual("projection", 8, 4, 8, skip=True).double()
    initialize(model, "risotto_c", generator=generator())
    first, last, skip = (layer.weight.detach()[:4, :4] for layer in cast(Any, list(cast(Any, model))[2:]))
    q = skip[:4, :4] + last[:4, :2] @ first[:2, :4]
    torch.testing.assert_close(q @ q.T, torch.eye(4).double())


def test_the_layers_between_the_ends_of_a_branch_of_risotto_are_identities() -> None:
    model = initialize(residual("post", 8, 8, 8, 8), "risotto_b", alpha=0.5, generator=generator())
    first, inner, last = (layer.weight.detach() for layer in cast(Any, list(cast(Any, model))[2:5]))
    assert torch.equal(first, 2 * torch.eye(8))
    assert torch.equal(inner, torch.eye(8))
    q = (2 * last + torch.eye(8))[:4, :4]
    torch.testing.assert_close(q @ q.T, torch.eye(4))


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (nn.ConvTranspose2d(4, 6, 3), "a ConvTranspose2d is no linear or convolutional layer"),
        (nn.Embedding(4, 6), "a Embedding is no linear or convolutional layer"),
        (Doubled(4, 6), "a Doubled has a forward of its own, so what it does with its weight is not known"),
    ],
)
def test_a_wiring_with_what_is_no_weight_layer_is_refused(layer: Any, sentence: str) -> None:
    """The weight of a transposed convolution is (in, out, ...), so it had the law of its transpose."""
    head = nn.Linear(6, 2)
    said = type("Said", (nn.Sequential,), {"wiring": lambda _: Wiring("cnn", nn.ReLU(), (layer,), head)})
    with pytest.raises(ValueError, match=sentence):
        initialize(said(layer, nn.ReLU(), head), "he_normal", generator=generator())


def test_two_inputs_are_refused() -> None:
    model = type("Odd", (Block,), {"forward": lambda s, x, y: s.c(torch.relu(s.a(x) + y))})()
    with pytest.raises(ValueError, match="one input to one output"):
        initialize(model, "he_normal", generator=generator())


class Masking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, *more: Any, doubled: bool = False) -> Tensor:
        x = torch.relu(self.model(x if mask is None else x * mask))
        return self.last(2 * x if doubled else x)


def test_other_arguments_of_a_forward_have_their_defaults() -> None:
    model = initialize(Masking(), "he_normal", generator=generator())
    assert read(model).layers == (model.model, model.last)
    assert probe(model, noise(2, 4).float()).squared_norms.shape == (2, 2)


@pytest.mark.parametrize("body", [MLP, CNN])
def test_the_wiring_of_a_body_is_not_that_of_a_forward_put_in_its_place(body: Any) -> None:
    sizes = (4, 8, 3, 2) if body is MLP else ((1, 5, 5), 8, 3, 2)
    skipping: Any = type("Skipping", (body,), {"forward": lambda self, x: body.forward(self, x) + x.sum()})
    with pytest.raises(ValueError, match="a Skipping is not understood, its forward branches at 'sum'"):
        initialize(skipping(*sizes), "he_normal", generator=generator())
    halving: Any = type("Halving", (body,), {"forward": lambda self, x: torch.tanh(body.forward(self, x))})
    with pytest.raises(ValueError, match="one activation after every weight layer but the last"):
        initialize(halving(*sizes), "he_normal", generator=generator())
    named: Any = type("Named", (body,), {})(*sizes)
    assert len(read(initialize(named, "he_normal", generator=generator())).layers) == 3
    speaking: Any = type("Speaking", (skipping,), {"wiring": lambda self: body.wiring(self)})(*sizes)
    assert len(read(initialize(speaking, "he_normal", generator=generator())).layers) == 3


class Acting(nn.Module):
    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.a, self.b, self.c, self.activation = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.activation(self.b(self.activation(self.a(x)))))


@pytest.mark.parametrize(
    "activation",
    [lambda x: x.clamp(min=0), lambda x: torch.clamp_min(x, 0), nn.Threshold(0, 0), type("Own", (nn.ReLU,), {})()],
)
def test_what_computes_a_relu_is_one(activation: Any) -> None:
    """By the name of its activation a scheme knows its gain, and whether it applies."""
    values = []
    for one in (activation, nn.ReLU()):
        model: Any = Acting(one)
        initialize(model, "orthogonal", generator=generator())
        values.append(model.b.weight.clone())
        initialize(model, "ll_orth", generator=generator())
    torch.testing.assert_close(*values)
    body = MLP(4, 8, 3, 2)
    body.activation = cast(Any, activation if isinstance(activation, nn.Module) else nn.ReLU())
    assert isinstance(read(body).activation, nn.ReLU)


@pytest.mark.parametrize("cut", [nn.ReLU6(), nn.Hardtanh(0, 20)])
def test_what_is_cut_off_further_out_is_no_relu(cut: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), cut, nn.Linear(8, 2))
    with pytest.raises(ValueError, match=f"all of one kind .* ReLU after layer 1, {type(cut).__name__} after layer 2"):
        read(model)
    assert type(read(nn.Sequential(nn.Linear(4, 8), cut, nn.Linear(8, 2))).activation) is type(cut)


def test_identities_stand_for_nothing_beside_another_activation() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.ReLU(), nn.Identity(), nn.Linear(8, 2))
    assert isinstance(read(initialize(model, "ll_orth", generator=generator())).activation, nn.ReLU)
    with pytest.raises(ValueError, match="got none before the first layer, ReLU after layer 1, Tanh after layer 2"):
        read(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)))


def _weight_norm(layer: nn.Linear) -> nn.Module:
    return parametrizations.weight_norm(layer)


def _pruned(layer: nn.Linear) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


def _pruned_biases(layer: nn.Linear) -> nn.Module:
    return prune.l1_unstructured(layer, "bias", 0.5)


@pytest.mark.parametrize("form", [_weight_norm, _pruned, _pruned_biases])
def test_a_weight_that_forward_computes_anew_is_refused_not_silently_kept(form: Callable[..., nn.Module]) -> None:
    with torch.random.fork_rng():
        model = nn.Sequential(form(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="is computed, not a parameter: initialize before weight_norm, pruning"):
        initialize(model, "he_normal", generator=generator())


def tied() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 2))


def half_tied() -> nn.Module:
    one, two = nn.Linear(8, 8), nn.Linear(8, 8)
    two.weight = one.weight
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), one, nn.ReLU(), two, nn.ReLU(), nn.Linear(8, 2))


def transposed() -> nn.Module:
    one, two = nn.Linear(4, 8), nn.Linear(8, 4)
    two.weight = nn.Parameter(one.weight.T)
    return nn.Sequential(one, nn.ReLU(), two)


def one_bias() -> nn.Module:
    one, two = nn.Linear(8, 8), nn.Linear(8, 8)
    two.bias = one.bias
    return nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), nn.Linear(8, 2))


class Doubling(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Standardized(nn.Conv1d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean(), bias)


class Scaled(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return input * self.weight


class Named(nn.Linear):
    """A subclass that computes what `nn.Linear` does."""


def test_a_subclass_of_a_layer_that_computes_as_the_layer_does_is_one() -> None:
    model = nn.Sequential(Named(4, 8), nn.ReLU(), Named(8, 4))
    assert initialize(model, "ll_orth", generator=generator()) is model


@pytest.mark.parametrize("scheme", ["eoi", "ll_eoi", "he_pruned"])
def test_a_subclass_that_keeps_no_mask_is_refused_before_anything_is_changed(scheme: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Named(8, 4))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="a mask can be kept by Linear, Conv1d, Conv2d, Conv3d, not by Named"):
        initialize(model, scheme, density=0.5, generator=generator())
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:Complex modules")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tied, "2 layers of the network share one weight"),
        (half_tied, "2 layers of the network share one weight"),
        (transposed, "2 layers of the network share one weight"),
        (one_bias, "2 layers of the network share one bias"),
        (lambda: nn.Sequential(Doubling(4, 8), nn.ReLU(), nn.Linear(8, 2)), "a Doubling has a forward of its own"),
        (lambda: Functional(torch.relu, kind=Doubling), "a Doubling has a forward of its own"),
        (lambda: nn.Sequential(Standardized(4, 8, 1), nn.ReLU(), nn.Conv1d(8, 2, 1)), "a Standardized has a forward"),
        (
            lambda: nn.Sequential(nn.Linear(4, 8), Scaled(8), nn.ReLU(), nn.Linear(8, 2)),
            "a Scaled has a forward of its",
        ),
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2)), "does not know its shape yet"),
        (
            lambda: nn.Sequential(nn.Linear(4, 8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Linear(8, 2)),
            "a LazyBatchNorm1d does not know its shape yet: run the model",
        ),
        (lambda: MLP(4, 8, 3, 2).to(torch.complex64), "real floating-point numbers, got torch.complex64"),
        (lambda: nn.Sequential(nn.Linear(0, 8), nn.ReLU(), nn.Linear(8, 2)), r"shape \(8, 0\) has no weights"),
        (lambda: nn.ModuleList([nn.Linear(4, 4)]), "a ModuleList is not understood"),
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 2)), "a PReLU is not understood"),
        (lambda: None, "a NoneType is not understood"),
    ],
)
def test_weights_that_cannot_be_set_one_by_one_are_refused(make: Callable[[], Any], message: str) -> None:
    with torch.random.fork_rng():
        model = make()
    with pytest.raises(ValueError, match=message):
        initialize(model, "he_normal", generator=generator())


def test_a_single_layer_is_a_linear_network() -> None:
    layer = nn.Linear(6, 4, dtype=torch.float64)
    initialize(layer, "orthogonal", generator=generator())
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(4, dtype=torch.float64))


def normalized(norm: Callable[[], nn.Module], *, behind: bool = False) -> nn.Sequential:
    between = [[nn.ReLU(), norm()] if behind else [norm(), nn.ReLU()] for _ in range(2)]
    convs = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
    return nn.Sequential(convs[0], *between[0], convs[1], *between[1], nn.Flatten(), nn.Linear(192, 5)).double()


def odd(norm: nn.Module) -> nn.Sequential:
    """The last unit of seven has no mirror image, and a mean that is taken away is not zero."""
    return nn.Sequential(nn.Linear(6, 7), norm, nn.ReLU(), nn.Linear(7, 4))


def odd_images(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(6, 7, 1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 4))


def across(first: nn.Module, second: nn.Module) -> nn.Sequential:
    """The second layer sums over what the first leaves apart: of 8 positions, whose number fits the channels'."""
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(12),
    "of several devices": lambda: nn.SyncBatchNorm(12),
    "layer": lambda: nn.LayerNorm([12, 4, 4]),
    "rms": lambda: nn.RMSNorm([12, 4, 4]),
    "instance": lambda: nn.InstanceNorm2d(12),
    "group": lambda: nn.GroupNorm(4, 12),
    "groups": lambda: nn.GroupNorm(1, 12),
}


@pytest.mark.parametrize("kind", NORMS)
def test_a_normalization_before_the_activation_keeps_the_mirror(kind: str) -> None:
    model = initialize(normalized(NORMS[kind]), "ll_orth", generator=generator())
    for end in (2, 5):
        z = model[:end](noise(3, 3, 4, 4)).detach()
        assert float((z[:, :6] + z[:, 6:]).abs().max()) < 1e-12
    assert read(model).normalization == {"groups": "group", "of several devices": "batch"}.get(kind, kind)


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: normalized(NORMS["batch"], behind=True), "does not survive BatchNorm2d behind the activation"),
     (lambda: normalized(lambda: nn.GroupNorm(3, 12)), "does not survive GroupNorm of 3 groups"),
     (lambda: odd(nn.LayerNorm(7)), "does not survive LayerNorm of 7 units"),
     (lambda: odd(nn.GroupNorm(1, 7)), "does not survive GroupNorm of 7 units"),
     (lambda: odd_images(nn.LayerNorm([7, 4, 4])), "does not survive LayerNorm of 7 units"),
     (lambda: across(nn.Conv1d(3, 8, 1), nn.Linear(8, 8)), "does not survive Linear on the positions of Conv1d"),
     (lambda: across(nn.Linear(8, 8), nn.Conv1d(8, 8, 1)), "does not survive Conv1d on the positions of Linear")],
)  # fmt: skip
def test_a_normalization_that_breaks_the_mirror_is_refused_by_the_mirrored_only(
    make: Callable[[], nn.Module], message: str
) -> None:
    initialize(make(), "he_normal", generator=generator())
    for scheme in ("ll_orth", "ll_gauss", "ll_eoi"):
        with pytest.raises(ValueError, match=message):
            initialize(make(), scheme, generator=generator())


class AlongPositions(nn.Module):
    """A linear layer that reads positions, of which there are as many as would be needed for halves."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Conv1d(3, 4, 1), nn.Linear(8, 5), between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(torch.relu(self.first(x))))


@pytest.mark.parametrize(
    ("between", "length", "what"),
    [(nn.Flatten(2), 8, "Flatten"), (lambda x: x.flatten(2), 8, "flatten"),
     (lambda x: torch.flatten(x, start_dim=2, end_dim=-1), 8, "flatten"),
     (lambda x: x.view(x.size(0), 4, -1), 8, "Linear on the positions of Conv1d"),
     (lambda x: torch.reshape(x, (-1, 4, 8)), 8, "Linear on the positions of Conv1d"),
     (nn.AvgPool1d(2), 16, "Linear on the positions of Conv1d")],
)  # fmt: skip
def test_what_leaves_positions_to_a_linear_layer_is_refused_by_the_mirrored_only(
    between: Any, length: int, what: str
) -> None:
    model = initialize(AlongPositions(between), "he_normal", generator=generator())
    assert model(torch.ones(2, 3, length)).shape == (2, 4, 5)
    with pytest.raises(ValueError, match=f"a mirrored signal does not survive {what};"):
        initialize(model, "ll_orth", generator=generator())


@pytest.mark.parametrize(
    "pooled",
    [lambda x: x.view(x.size(0), x.size(1), -1).mean(2), lambda x: torch.reshape(x.mean(2), shape=(-1, 8)),
     lambda x: x.mean(2).view((x.shape[0], -1)), lambda x: x.mean(2).view(-1, 8), lambda x: x.mean(dim=-1),
     lambda x: torch.mean(x, [2])],
)  # fmt: skip
def test_what_takes_the_positions_away_in_the_end_keeps_the_mirror(pooled: Any) -> None:
    model = AlongPositions(pooled)
    model.first = nn.Conv1d(3, 8, 1)
    initialize(model.double(), "ll_orth", generator=generator())
    x = noise(2, 3, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    assert float((gradient - gradient[:1, :, :1]).abs().max()) < 1e-12  # linear, and alike at all positions


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_module_is_refused_in_a_sentence() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="RecursiveScriptModule is not understood, its forward cannot be followed"):
        initialize(scripted, "he_normal", generator=generator())


@pytest.mark.parametrize("norm", [nn.RMSNorm(7), nn.BatchNorm1d(7)])
def test_an_odd_width_keeps_its_mirror_where_no_mean_over_units_is_taken_away(norm: nn.Module) -> None:
    model = initialize(odd(norm).double(), "ll_orth", generator=generator())
    z = model[:2](noise(5, 6)).detach()
    assert float((z[:, :3] + z[:, 3:6]).abs().max()) < 1e-12


def test_an_odd_number_of_channels_keeps_its_mirror_where_the_mean_is_over_positions() -> None:
    model = initialize(odd_images(nn.LayerNorm([4, 4])).double(), "ll_orth", generator=generator())
    z = model[:2](noise(5, 6, 4, 4)).detach()
    assert float((z[:, :3] + z[:, 3:6]).abs().max()) < 1e-12


def test_crelu_refuses_what_tears_its_pairs_apart() -> None:
    for module in (nn.MaxPool2d(2), nn.Dropout(0.5)):
        model = nn.Sequential(nn.Conv2d(2, 4, 3), CReLU(), module, nn.Flatten(), nn.Linear(8, 2))
        with pytest.raises(ValueError, match=f"does not survive {type(module).__name__}"):
            initialize(model, "ll_crelu", generator=generator())


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("scheme", ["he_normal", "lsuv"])
def test_a_compiled_network_is_initialized_and_measured_as_what_was_compiled(scheme: str, plain: bool) -> None:
    """It was refused; or an MLP, once it had run, did not call the hooks and was measured to have no layers."""
    model = (
        MLP(4, 8, 3, 2)
        if plain
        else nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    )
    model, x = model.double(), noise(6, 4)
    compiled = cast(nn.Module, torch.compile(model, backend="eager"))
    compiled(x)
    assert initialize(compiled, scheme, data=x, generator=generator()) is compiled
    weights = [p.detach().clone() for p in model.parameters()]
    expected = probe(initialize(model, scheme, data=x, generator=generator()), x)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    for measured in (probe(compiled, x), *probes([compiled], x)):
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(measured, field), getattr(expected, field), err_msg=field)


def test_a_compiled_part_of_a_network_is_refused_with_what_to_do() -> None:
    """The message spoke of an OptimizedModule without a forward."""
    part = cast(nn.Module, torch.compile(nn.Linear(4, 8), backend="eager"))
    with pytest.raises(ValueError, match=r"a part of the network is compiled.* compile the whole network"):
        initialize(nn.Sequential(part, nn.ReLU(), nn.Linear(8, 2)), "he_normal", generator=generator())


def test_a_wrapper_of_several_devices_names_what_it_wraps() -> None:
    model = nn.DataParallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    with pytest.raises(ValueError, match=r"a DataParallel wraps the network: give its \.module"):
        initialize(model, "he_normal", generator=generator())
    initialize(model.module, "he_normal", generator=generator())


def test_weights_that_torch_lets_nobody_set_are_refused_before_any_is() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for mode in (False, True):
        with torch.inference_mode(mode), pytest.raises(ValueError, match=r"made in torch\.inference_mode"):
            initialize(model, "he_normal", generator=generator())


def test_data_that_are_no_tensor_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for data, got in ((np.zeros((3, 4)), "ndarray"), (torch.zeros(1, 4), r"Tensor of shape \(1, 4\)"), (None, "None")):
        with pytest.raises(ValueError, match=f"give data= of at least two, as a tensor, got a {got}"):
            initialize(model, "lsuv", generator=generator(), data=data)  # pyright: ignore[reportArgumentType]


class OwnNorm(nn.Module):
    """A normalization that no table here knows, in a network that says its wiring."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((8,), 7.0))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * functional.rms_norm(x, (8,))


class Normalized(nn.Sequential):
    def wiring(self) -> Wiring:
        first, norm, activation, head = self
        return Wiring("mlp", activation, (cast(nn.Linear, first),), cast(nn.Linear, head), norms=(norm, nn.Identity()))


def test_every_normalization_that_a_wiring_names_starts_anew() -> None:
    norm = OwnNorm()
    model = Normalized(nn.Linear(4, 8), norm, nn.ReLU(), nn.Linear(8, 2))
    initialize(model, "he_normal", generator=generator())
    assert torch.equal(norm.scale, torch.ones(8))
