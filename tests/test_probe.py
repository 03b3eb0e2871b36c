"""The probe against second routes: by hand, by torch's own Jacobian, by the theory of wide networks."""

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isoinit
from isoinit import CNN, MLP, ResNet, initialize, probe
from isoinit.probe import Probe, probes
from isoinit.spectrum import jacobian, leading_singular_values, spectrum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def he(*sizes: int, seed: int = 0, normalization: str = "none") -> MLP:
    into, width, depth, out = sizes
    model = MLP(into, width, depth, out, normalization=normalization)
    return initialize(model.double(), "he_normal", generator=generator(seed))


def test_the_module_can_be_called_however_it_was_imported() -> None:
    assert isoinit.probe is probe
    assert isinstance(isoinit.probe(he(4, 6, 3, 2), noise(3, 4)), Probe)
    module = importlib.import_module("isoinit.probe")
    assert isinstance(module.probe(he(4, 6, 3, 2), noise(3, 4)), Probe)


def test_every_number_agrees_with_a_forward_pass_by_hand() -> None:
    model = initialize(MLP(4, 7, 4, 3).double(), "he_normal", bias_mode="iid", bias_variance=0.3, generator=generator())
    x, y = noise(9, 4), torch.arange(9) % 3
    measured = probe(model, x, y)
    signal, units, dead = x, 0, 0
    for i, layer in enumerate([m for m in model.layers if isinstance(m, nn.Linear)][:-1]):
        z = signal @ layer.weight.T + layer.bias
        signal = z.clamp_min(0)
        np.testing.assert_allclose(measured.squared_norms[i + 1], signal.square().sum(1).detach())
        np.testing.assert_allclose(measured.sample_variance[i], z.var(0, correction=0).mean().detach())
        np.testing.assert_allclose(measured.squared_sample_mean[i], z.mean(0).square().mean().detach())
        cosines = nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
        assert measured.correlation[i] == pytest.approx(float((cosines.sum() - 9).detach() / 72))
        units, dead = units + 7, dead + int((signal == 0).all(0).sum())
    assert measured.dead_fraction == pytest.approx(dead / units)
    assert measured.log_forward_ratio == pytest.approx(
        float((signal.square().sum(1).log() - x.square().sum(1).log()).mean().detach())
    )
    nn.functional.cross_entropy(model(x), y).backward()
    norms = [float(p.grad.norm()) for p in model.parameters() if p.grad is not None and p.dim() == 2]
    np.testing.assert_allclose(measured.gradient_norms, norms)
    assert measured.log_gradient_ratio == pytest.approx(math.log(norms[0] / norms[-1]))


@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_the_jacobian_is_that_of_torch(kind: str) -> None:
    model: nn.Module = {
        "mlp": lambda: MLP(5, 8, 4, 3), "cnn": lambda: CNN((2, 3, 3), 4, 4, 3), "resnet": lambda: ResNet((5,), 8, 6, 3)
    }[kind]().double()  # fmt: skip
    initialize(model, "he_normal", generator=generator())
    x = noise(4, *((2, 3, 3) if kind == "cnn" else (5,)))
    expected = [torch.autograd.functional.jacobian(model, point[None]) for point in x]
    for rows, reference in zip(jacobian(model, x), expected, strict=True):
        assert isinstance(reference, Tensor)
        torch.testing.assert_close(rows, reference.view(3, -1))
    values = probe(model, x, jacobian_inputs=3).jacobian_singular_values
    assert values.shape == (3, 3)
    reference = torch.linalg.svdvals(torch.stack([j.view(3, -1) for j in expected[:3] if isinstance(j, Tensor)]))
    np.testing.assert_allclose(values, reference, rtol=1e-9)


def test_lanczos_finds_the_leading_values_and_all_of_them_in_enough_steps() -> None:
    model = he(40, 60, 6, 50)
    x = noise(3, 40)
    exact = torch.linalg.svdvals(jacobian(model, x))
    leading = leading_singular_values(model, x, 3, generator=generator())
    torch.testing.assert_close(leading, exact[:, :3], rtol=1e-4, atol=0)
    assert (leading <= exact[:, :3] * (1 + 1e-12)).all()
    full = leading_singular_values(model, x, 40, steps=40, generator=generator())
    torch.testing.assert_close(full, exact, rtol=1e-6, atol=1e-9)


def test_lanczos_of_an_isometry_ends_at_once() -> None:
    model = initialize(CNN((4, 6, 6), 8, 8, 144, pooling="none").double(), "ll_orth", generator=generator())
    values = leading_singular_values(model, noise(2, 4, 6, 6), 4, steps=5, generator=generator())
    torch.testing.assert_close(values, torch.ones(2, 4).double(), rtol=0, atol=1e-9)


def test_lanczos_finds_equal_and_zero_values_as_often_as_they_occur() -> None:
    """Three values of 2, five of 1, the rest 0: one starting vector alone sees each once."""
    model = nn.Sequential(nn.Linear(30, 20, bias=False)).double()
    left, right = (torch.linalg.qr(noise(n, 20, seed=n))[0] for n in (20, 30))
    values = torch.tensor([2.0] * 3 + [1.0] * 5 + [0.0] * 12).double()
    with torch.no_grad():
        model[0].get_parameter("weight").copy_(left * values @ right.mT)
    found = leading_singular_values(model, noise(2, 30), 20, steps=20, generator=generator())
    torch.testing.assert_close(found, values.expand(2, 20), rtol=0, atol=1e-9)


def test_of_matrices_that_are_not_finite_alone_there_are_no_singular_values() -> None:
    rows = noise(3, 4, 5)
    rows[1, 2, 3] = math.nan
    found = spectrum(rows)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[::2], torch.linalg.svdvals(rows[::2]))


def test_lanczos_finds_all_values_of_few_outputs_of_many_inputs() -> None:
    """As many steps as outputs do not span the inputs, where the walk began, and the least values were wrong."""
    model, x = he(40, 30, 3, 5), noise(3, 40)
    exact = torch.linalg.svdvals(jacobian(model, x))
    torch.testing.assert_close(leading_singular_values(model, x, 5, generator=generator()), exact)


def test_the_probe_takes_the_leading_values_where_it_is_asked_to() -> None:
    model, x = he(40, 60, 6, 50), noise(5, 40)
    exact, leading = probe(model, x), probe(model, x, leading=3, generator=generator())
    np.testing.assert_allclose(leading.jacobian_singular_values, exact.jacobian_singular_values[:, :3], rtol=1e-4)
    with pytest.raises(ValueError, match="needs generator="):
        probe(model, x, leading=3)
    with pytest.raises(ValueError, match="needs generator="):
        probe(model, x, leading=3, generator=np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at least one input, got the shape \(0, 40\)"):
        probe(model, x[:0])


def test_a_jacobian_in_parts_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = he(7, 9, 4, 5), noise(3, 7)
    whole = jacobian(model, x)
    monkeypatch.setattr(importlib.import_module("isoinit.spectrum"), "_COPIES", 4)
    torch.testing.assert_close(jacobian(model, x), whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured(dtype: torch.dtype) -> None:
    model = initialize(MLP(8, 16, 6, 8).to(dtype), "ll_orth", generator=generator())
    values = probe(model, noise(3, 8).to(dtype)).jacobian_singular_values
    np.testing.assert_allclose(values, 1, atol=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = he(4, 6, 4, 3, normalization="batch").train(training)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    probe(model, noise(9, 4))
    leading_singular_values(model, noise(9, 4), 2, generator=generator())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(m.training == training for m in model.modules())
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == momenta
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_batch_normalization_counts_as_the_affine_map_of_the_batch() -> None:
    """Of the variance that it divides by, which is not that of running statistics: over 20 layers and few inputs the
    signals would be others, and other units active."""
    model, x = he(4, 6, 20, 3, normalization="batch"), noise(5, 4).requires_grad_()
    signal = x
    *hidden, head = model.layers
    for layer in hidden:
        z = layer(signal)
        variance, mean = torch.var_mean(z.detach(), 0, correction=0)
        signal = ((z - mean) / (variance + 1e-5).sqrt()).relu()
    rows = [torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for out in head(signal).unbind(1)]
    torch.testing.assert_close(jacobian(model, x.detach()), torch.stack(rows, 1))


@pytest.mark.parametrize("positions", [False, True])
def test_batch_normalization_without_running_statistics_is_measured_as_that_with_them(positions: bool) -> None:
    """It looks at its batch in evaluation too, which no pass over copies of one input may."""
    rows = []
    for tracked in (True, False):
        norm = nn.BatchNorm1d(6, track_running_stats=tracked).train(tracked)
        first, flat = (nn.Conv1d(4, 6, 1), nn.Flatten()) if positions else (nn.Linear(4, 6), nn.Identity())
        model = nn.Sequential(first, norm, nn.ReLU(), flat, nn.Linear(18 if positions else 6, 2)).double()
        initialize(model, "he_normal", generator=generator())
        measured = probe(model, noise(7, 4, 3) if positions else noise(7, 4))
        rows.append(measured.jacobian_singular_values)
        assert (norm.running_mean is None) != tracked
        assert norm.training == tracked
    np.testing.assert_allclose(*rows)


def test_batch_normalization_without_parameters_is_measured_as_that_with_them() -> None:
    rows = []
    for affine in (True, False):
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, affine=affine), nn.ReLU(), nn.Linear(6, 2)).double()
        rows.append(jacobian(initialize(model, "he_normal", generator=generator()), noise(7, 4)))
    torch.testing.assert_close(*rows)


def test_the_layers_of_a_residual_network_are_its_stem_and_its_blocks() -> None:
    model = initialize(ResNet((4,), 6, 8, 3).double(), "he_normal", generator=generator())
    found = probe(model, noise(7, 4))
    assert len(found.dead) == len(found.correlation) == len(found.sample_variance) == 4
    assert len(found.squared_norms) == 5


class Noisy(nn.Module):
    """Drops out by a module and by a function, and draws in training on its own account."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(torch.relu(self.first(x)))
        return self.head(nn.functional.dropout(torch.relu(self.second(x)), training=self.training))


def test_dropout_is_left_out_as_every_input_would_have_a_network_of_its_own() -> None:
    model, x = initialize(Noisy().double(), "he_normal", generator=generator()), noise(6, 4)
    expected, matrices = probe(model.eval(), x), jacobian(model, x)
    before = torch.get_rng_state()
    measured = probe(model.train(), x)
    for name in ("squared_norms", "gradient_norms", "jacobian_singular_values"):
        np.testing.assert_array_equal(getattr(measured, name), getattr(expected, name))
    torch.testing.assert_close(jacobian(model, x), matrices)
    leading = probe(model, x, leading=3, generator=generator()).jacobian_singular_values
    np.testing.assert_allclose(leading, expected.jacobian_singular_values)
    torch.testing.assert_close(
        leading_singular_values(model, x, 3, generator=generator()), torch.linalg.svdvals(matrices)
    )
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_weights_have_no_gradient_norm_and_a_caller_without_gradients_is_fine() -> None:
    model = he(4, 6, 4, 3)
    model.layers[1].requires_grad_(False)
    with torch.no_grad():
        norms = probe(model, noise(5, 4)).gradient_norms
    assert np.isnan(norms).tolist() == [False, True, False, False]


def test_what_does_not_exist_is_nan_and_a_dead_network_says_so() -> None:
    model = MLP(4, 6, 3, 2).double()  # all parameters zero
    measured = probe(model, noise(5, 4), jacobian=False)
    assert math.isnan(measured.jacobian_sv_median)
    assert math.isnan(measured.correlation_last)
    assert math.isnan(measured.log_gradient_ratio)
    assert measured.log_forward_ratio == -math.inf
    assert measured.dead_fraction == 1
    assert math.isnan(probe(he(4, 6, 3, 2), noise(1, 4)).correlation_last)


@pytest.mark.parametrize("inputs", [1, 3, 4])
@pytest.mark.parametrize("outputs", [1, 3, 4])
@pytest.mark.parametrize("broken", [False, True])
def test_the_median_singular_value_is_that_of_all_inputs(inputs: int, outputs: int, broken: bool) -> None:
    measured = probe(he(6, 8, 3, outputs), noise(5, 6), jacobian_inputs=inputs)
    values = measured.jacobian_singular_values
    assert values.shape == (inputs, outputs)
    values[-1] = math.nan if broken else values[-1]
    np.testing.assert_array_equal(measured.jacobian_sv_median, np.median(values))


def test_a_network_without_hidden_layers_has_a_jacobian_and_no_activations() -> None:
    model = initialize(nn.Linear(6, 4).double(), "orthogonal", generator=generator())
    measured = probe(model, noise(3, 6))
    np.testing.assert_allclose(measured.jacobian_singular_values, 1)
    assert measured.squared_norms.shape == (1, 3)
    assert measured.log_forward_ratio == 0
    assert math.isnan(measured.sample_variance_last)
    assert math.isnan(measured.correlation_last)
    assert math.isnan(measured.dead_fraction)


def test_a_network_that_overflows_is_measured_not_an_error() -> None:
    model = initialize(MLP(8, 32, 80, 4), "he_normal", weight_scale=100.0, generator=generator())
    measured = probe(model, noise(5, 8).float())
    assert not math.isfinite(measured.log_forward_ratio)
    assert math.isnan(measured.jacobian_sv_max)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_signals_whose_squares_leave_float32_are_measured(size: float, plain: bool) -> None:
    """Of norms that had vanished there came a correlation of 1e24, and no ratio of gradients."""
    layers = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)]
    model = initialize(MLP(8, 16, 3, 4) if plain else nn.Sequential(*layers), "he_normal", generator=generator())
    weights = [p for p in model.parameters() if p.dim() == 2]
    with torch.no_grad():
        weights[0].mul_(size)
        weights[-1].div_(size)
    x, y = noise(12, 8).float(), torch.arange(12) % 4
    single, double = probe(model, x, y), probe(model.double(), x.double(), y)
    for field in ("squared_norms", "correlation", "sample_variance", "squared_sample_mean", "gradient_norms"):
        np.testing.assert_allclose(getattr(single, field), getattr(double, field), rtol=1e-5, err_msg=field)


def test_layers_of_different_widths_are_measured_each() -> None:
    model = nn.Sequential(
        nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 2)
    )
    initialize(model.double(), "xavier_normal", generator=generator())
    x = noise(6, 4)
    expected = [model[: 2 * i + 2](x).square().sum(1) for i in range(3)]
    np.testing.assert_allclose(probe(model, x).squared_norms[1:], torch.stack(expected).detach())


def test_correlation_follows_the_arc_cosine_map_in_wide_networks() -> None:
    c, expected = 0.0, []
    for _ in range(9):
        expected.append(c)
        c = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    measured = np.mean(
        [probe(he(400, 400, 10, 5, seed=s), noise(40, 400), jacobian=False).correlation for s in range(4)], 0
    )
    np.testing.assert_allclose(measured, expected, atol=0.05)


def test_sample_mean_over_deviation_follows_luther_and_seung() -> None:
    ratio = []
    for seed in range(4):
        measured = probe(he(300, 300, 7, 5, seed=seed), noise(500, 300), jacobian=False)
        ratio.append(np.sqrt(measured.squared_sample_mean / measured.sample_variance))
    assert np.mean(ratio, 0)[[1, 5]] == pytest.approx([0.68, 1.61], abs=0.12)


def test_he_spectra_widen_with_depth_as_two_l() -> None:
    """Relative variance of the squared singular values of a square He Jacobian, about 2 L + 1 with a linear head."""
    spread = []
    for layers in (1, 4):
        values = [
            probe(he(120, 120, layers + 1, 120, seed=s), noise(2, 120)).jacobian_singular_values ** 2 for s in range(3)
        ]
        spread.append(np.mean([v.var() / v.mean() ** 2 for v in values]))
    assert spread[0] == pytest.approx(3, rel=0.2)
    assert spread[1] == pytest.approx(9, rel=0.3)


def test_the_units_of_a_linear_layer_on_many_positions_are_on_its_last_axis() -> None:
    """Positions were taken for units: half of the units were dead, and no position."""
    layers = nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Flatten(), nn.Linear(42, 4)
    model = initialize(nn.Sequential(*layers).double(), "he_normal", generator=generator())
    with torch.no_grad():
        model[0].get_parameter("weight")[:5] = 0
        model[0].get_parameter("bias")[:5] = -1
    x = noise(20, 7, 12)
    measured = probe(model, x)
    assert measured.dead[0] == 0.5
    for i, end in enumerate((1, 3)):
        z = model[:end](x).detach()
        units = z.flatten(0, 1)
        assert measured.sample_variance[i] == pytest.approx(float(units.var(0, correction=0).mean()))
        assert measured.squared_sample_mean[i] == pytest.approx(float(units.mean(0).square().mean()))
        cosines = nn.functional.cosine_similarity(z.flatten(1)[:, None], z.flatten(1)[None], dim=2)
        assert measured.correlation[i] == pytest.approx(float((cosines.sum() - 20) / 380))
        assert measured.dead[i] == float((units.clamp_min(0) == 0).all(0).double().mean())


def test_units_of_convolutions_stay_in_front_of_the_positions() -> None:
    model = nn.Sequential(nn.Conv1d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(40, 4)).double()
    initialize(model, "he_normal", generator=generator())
    x = noise(20, 3, 5)
    units = model[0](x).detach().movedim(1, -1).flatten(0, 1)
    assert probe(model, x).sample_variance[0] == pytest.approx(float(units.var(0, correction=0).mean()))


def other(*sizes: int) -> nn.Sequential:
    """What `probe` measures by autograd."""
    into, width, out = sizes
    model = nn.Sequential(nn.Linear(into, width), nn.ReLU(), nn.Linear(width, out)).double()
    return initialize(model, "he_normal", generator=generator())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"x": np.zeros((3, 4))}, "x must be a tensor of floating-point numbers in memory, got a ndarray"),
    ({"x": torch.ones(3, 4, dtype=torch.int64)}, "floating-point numbers in memory, got torch.int64 on cpu"),
    ({"x": torch.ones(3, 4, device="meta")}, "in memory, got torch.float32 on meta"),
    ({"x": noise(4)}, r"x must be inputs \(batch, ...\) of features, got the shape \(4,\)"),
    ({"x": noise(3, 5)}, r"x must be inputs of the model, which does not take the shape \(3, 5\) in torch.float64"),
    ({"x": noise(3, 4).float()}, r"does not take the shape \(3, 4\) in torch.float32 on cpu"),
    ({"y": torch.tensor([0, 1, 2])}, "y must hold classes from 0 to 1, got 0 to 2"),
    ({"y": torch.tensor([0, 1, -1])}, "y must hold classes from 0 to 1, got -1 to 1"),
    ({"y": torch.tensor([0.0, 1.0, 1.0])}, r"torch.int64 on cpu of shape \(3,\), got torch.float32 on cpu of shape"),
    ({"y": torch.zeros(3, 2, 2, dtype=torch.int64)}, r"y must be classes from 0 to 1, .* of shape \(3, 2, 2\)"),
    ({"y": [0, 1, 1]}, "y must be a tensor of classes, got a list"),
    ({"jacobian_inputs": -1}, "jacobian_inputs must be a whole number of at least 0, got -1"),
    ({"jacobian_inputs": 1.5}, "jacobian_inputs must be a whole number of at least 0, got 1.5"),
]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_measured_is_refused_in_a_sentence(arguments: Any, message: str, plain: bool) -> None:
    model = he(4, 6, 3, 2) if plain else other(4, 6, 2)
    arguments = {"x": noise(3, 4), **arguments}
    with pytest.raises(ValueError, match=message):
        probe(model, **arguments)
    with pytest.raises(ValueError, match=message):
        probes([model], **arguments)
    assert not any(m._forward_hooks for m in model.modules())


def test_classes_that_cross_entropy_ignores_are_ignored() -> None:
    for model in (he(4, 6, 3, 2), other(4, 6, 2)):
        x, y = noise(3, 4), torch.tensor([0, 1, -100])
        np.testing.assert_allclose(probe(model, x, y).gradient_norms, probe(model, x[:2], y[:2]).gradient_norms)


@pytest.mark.parametrize("plain", [True, False])
def test_a_model_that_is_nowhere_is_refused(plain: bool) -> None:
    model = (he(4, 6, 3, 2) if plain else other(4, 6, 2)).to("meta")
    with pytest.raises(ValueError, match=r"in memory to be measured, got the parameter .*0.weight on the meta device"):
        probe(model, noise(3, 4))
    with torch.inference_mode():
        inside = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    with pytest.raises(ValueError, match=r"outside of torch.inference_mode.*got the parameter 0.weight of inside"):
        probe(inside, noise(3, 4))


def test_a_caller_in_inference_mode_gets_what_another_gets() -> None:
    batch = he(4, 6, 3, 2, normalization="batch")
    for model in (he(4, 6, 3, 2), other(4, 6, 2), batch):
        expected = probe(model, noise(5, 4), torch.arange(5) % 2)
        with torch.inference_mode():
            measured = probe(model, noise(5, 4), torch.arange(5) % 2)
            leading = probe(model, noise(5, 4), leading=2, generator=generator()).jacobian_singular_values
        np.testing.assert_array_equal(measured.gradient_norms, expected.gradient_norms)
        np.testing.assert_array_equal(measured.jacobian_singular_values, expected.jacobian_singular_values)
        np.testing.assert_allclose(leading, expected.jacobian_singular_values[:, :2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_jacobian_that_another_gets(mode: type) -> None:
    """In inference mode it was torch's error, of a tensor that requires no gradient."""
    model, x = he(4, 6, 3, 2, normalization="batch"), noise(5, 4)

    def both(at: Tensor) -> tuple[Tensor, Tensor]:
        return jacobian(model, at), leading_singular_values(model, at, 2, generator=generator())

    expected = both(x)
    with mode():
        inside = x.clone()
        found = [both(x), both(inside)]
    for some in (*found, both(inside)):
        torch.testing.assert_close(some, expected, rtol=0, atol=0)


def test_outputs_that_are_images_count_by_all_their_numbers() -> None:
    model = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1)).double()
    flat = nn.Sequential(*initialize(model, "he_normal", generator=generator()), nn.Flatten())
    x = noise(4, 2, 3, 3)
    images, vectors = probe(model, x), probe(flat, x)
    assert images.jacobian_singular_values.shape == (4, 18)
    np.testing.assert_array_equal(images.jacobian_singular_values, vectors.jacobian_singular_values)
    np.testing.assert_array_equal(images.gradient_norms, vectors.gradient_norms)
    by_torch = torch.autograd.functional.jacobian(model, x[:1])
    assert isinstance(by_torch, Tensor)
    torch.testing.assert_close(jacobian(model, x[:1])[0], by_torch.view(27, 18))
    leading = probe(model, x, leading=3, generator=generator()).jacobian_singular_values
    np.testing.assert_allclose(leading, images.jacobian_singular_values[:, :3], rtol=1e-6)
    assert probe(model, x, leading=3, generator=generator(), jacobian_inputs=0).jacobian_singular_values.size == 0


class Whole(nn.Sequential):
    """One output for all inputs together."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).view(-1)


def test_a_model_without_an_output_for_each_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an output \(features, ...\) for each of the 3 inputs, got \(6,\)"):
        probe(Whole(*other(4, 6, 2)), noise(3, 4))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 5), r"x must be inputs of the model, which does not take the shape \(2, 5\)"),
        (torch.zeros(3), r"x must be inputs \(batch, ...\) of features, got the shape \(3,\)"),
        (torch.zeros(0, 3), r"x must hold at least one input"),
        (torch.zeros(2, 3, dtype=torch.int64), r"x must be a tensor of floating-point numbers in memory"),
        ([[0.0, 1.0, 2.0]], r"x must be a tensor of floating-point numbers in memory, got a list"),
    ],
)
@pytest.mark.parametrize("normalized", [True, False])
def test_a_jacobian_refuses_what_is_no_input(x: Tensor, message: str, normalized: bool) -> None:
    """In a sentence, whatever torch would say, and with the running statistics as they were."""
    model = nn.Sequential(nn.Linear(3, 4), *[nn.BatchNorm1d(4)] * normalized, nn.ReLU(), nn.Linear(4, 2))
    before = [buffer.clone() for buffer in model.buffers()]
    for measured in (
        lambda: jacobian(model, x),
        lambda: leading_singular_values(model, x, 1, generator=torch.Generator().manual_seed(0)),
    ):
        with pytest.raises(ValueError, match=message):
            measured()
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


@pytest.mark.parametrize(
    ("count", "steps", "message"),
    [
        (0, None, "count must be a whole number of at least 1, got 0"),
        (1.5, None, "count must be a whole number of at least 1, got 1.5"),
        (2, 1, "steps must be a whole number of at least count, which is 2, got 1"),
        (2, 2.5, "steps must be a whole number"),
    ],
)
def test_leading_values_refuse_what_cannot_be_counted(count: int, steps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        leading_singular_values(
            nn.Linear(3, 3), torch.randn(2, 3), count, steps=steps, generator=torch.Generator().manual_seed(0)
        )
