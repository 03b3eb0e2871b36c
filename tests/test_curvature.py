"""The sharpness of a real network: against the dense matrix, known cases and the theory, and what is refused."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

import isoinit
from isoinit import CNN, MLP, ResNet, initialize, sharpness
from isoinit.spectrum import jacobian, leading_singular_values
from isoinit.theory.predict import predict

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Centred(nn.Module):
    """A network of which all outputs are zero, and move as those of another when its parameters do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.model(x)
        return output - output.detach()


def dense(model: nn.Module, x: torch.Tensor) -> float:
    """The same of the whole matrix over all parameters."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rows = jacrev(lambda p: functional_call(model, p, (x,)))(parameters).values()
    jacobian = torch.cat([row.flatten(2) for row in rows], 2)
    p = model(x).softmax(1).detach()
    hessians = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ika,ikl,ilb->ab", jacobian, hessians, jacobian) / len(x)
    return float(torch.linalg.eigvalsh(matrix)[-1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet", "frozen", "tied"])
def test_it_is_that_of_the_whole_matrix(architecture: str, device: str) -> None:
    if architecture == "cnn":
        model, x = CNN((1, 6, 6), width=4, depth=3, out_features=5), torch.randn(7, 1, 6, 6, generator=drawn())
    elif architecture == "resnet":
        model, x = ResNet((1, 6, 6), width=4, depth=5, out_features=5), torch.randn(7, 1, 6, 6, generator=drawn())
    else:
        model, x = MLP(6, width=8, depth=4, out_features=5), torch.randn(7, 6, generator=drawn())
    model, x = model.double().to(device), x.double().to(device)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=drawn(1), dtype=torch.float64).to(device) / 3
    if architecture == "frozen":
        next(model.parameters()).requires_grad_(False)
    if architecture == "tied":
        linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
        linears[2].weight = linears[1].weight
    before = {name: p.clone() for name, p in model.state_dict().items()}
    assert sharpness(model, x) == pytest.approx(dense(model, x), rel=2e-3)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_of_one_layer_without_weights_it_is_that_of_the_inputs() -> None:
    """All classes are as likely then: the greatest eigenvalue of x^T x / n over their number."""
    model = nn.Linear(6, 4, bias=False)
    nn.init.zeros_(model.weight)
    x = torch.randn(30, 6, generator=drawn())
    assert sharpness(model, x) == pytest.approx(np.linalg.eigvalsh((x.T @ x / 30).numpy())[-1] / 4, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "sigma_b2"), [("ll_orth", 0.0), ("ll_orth", 0.3), ("he_normal", 0.0), ("orthogonal", 0.3)]
)
def test_theory_predicts_it_of_inputs_that_have_nothing_in_common(name: str, sigma_b2: float) -> None:
    """With a softmax that is uniform, as it is of outputs of zero; of the logits together the sharpest direction is
    sharper than that of one, which theory has, the more so in narrow networks."""
    mode = "iid" if sigma_b2 else "zero"
    found = []
    for seed in range(5):
        model = MLP(64, width=64, depth=10, out_features=10)
        initialize(model, name, bias_variance=sigma_b2, bias_mode=mode, generator=drawn(seed))
        found.append(sharpness(Centred(model), 8 * torch.linalg.qr(torch.randn(64, 64, generator=drawn(seed)))[0][:10]))
    told = predict(name, depth=10, width=64, sigma_b2=sigma_b2, bias_mode=mode)
    assert 0.35 < exp(told.log_sharpness) / np.median(found) < 1.05


def test_steps_beyond_it_leave_a_minimum_and_steps_within_do_not() -> None:
    """Descent from next to the minimum of a linear softmax: its loss falls at 1.9 over the sharpness, not at 2.2."""
    x = torch.randn(40, 3, generator=drawn(), dtype=torch.float64)
    y = torch.randint(3, (40,), generator=drawn(1))
    model = nn.Linear(3, 3, bias=False).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-14, tolerance_change=1e-16)

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    best, least, top = model.weight.detach().clone(), loss().item(), sharpness(model, x)
    for factor, stays in ((1.9, True), (2.2, False)):
        with torch.no_grad():
            model.weight.copy_(best + 1e-4 * torch.randn(3, 3, generator=drawn(2), dtype=torch.float64))
        start = loss().item() - least
        for _ in range(200):
            (gradient,) = torch.autograd.grad(loss(), [model.weight])
            with torch.no_grad():
                model.weight -= factor / top * gradient
        assert (loss().item() - least < start) == stays


def test_batch_normalization_counts_as_what_the_inputs_make_of_it() -> None:
    first, norm, last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
    model = nn.Sequential(first, norm, nn.ReLU(), last)
    x = torch.randn(20, 6, generator=drawn())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = sharpness(model, x)
    assert model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    norm.momentum = 1.0
    model(x)
    assert norm.running_var is not None
    norm.running_var *= 19 / 20  # of the 20 inputs, and not an estimate of others'
    assert found == pytest.approx(dense(model.eval(), x), rel=1e-3)


def test_dropout_is_left_out() -> None:
    """The rate that a mask allows is that of the mask, and of the scale of what it leaves."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.8), nn.Linear(16, 3))
    x, before = torch.randn(20, 6, generator=drawn()), torch.get_rng_state()
    found = sharpness(model, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert model[2].training
    assert found == pytest.approx(sharpness(model.eval(), x), rel=1e-6)


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean(1))


@pytest.mark.parametrize("training", [True, False])
def test_attention_whose_fused_kernel_has_no_second_derivative_is_measured(training: bool) -> None:
    """It took one in training, of which the dropout kept it from the kernel, and ended in a sentence of torch's."""
    model, x = Attentive().train(training), torch.randn(6, 5, 8, generator=drawn())
    found = sharpness(model, x)
    largest = leading_singular_values(model, x, 1, steps=3, generator=drawn())[:, 0]
    torch.testing.assert_close(largest, torch.linalg.matrix_norm(jacobian(model, x), 2))
    with sdpa_kernel(SDPBackend.MATH):
        assert found == pytest.approx(dense(model.eval(), x), rel=2e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_what_another_gets(mode: type) -> None:
    """In inference mode it was torch's error, of a tensor that requires no gradient."""
    model, x = MLP(6, width=8, depth=3, out_features=4), torch.randn(5, 6, generator=drawn())
    initialize(model, "he_normal", generator=drawn())
    expected = sharpness(model, x)
    with mode():
        inside = x.clone()
        assert sharpness(model, x) == sharpness(model, inside) == expected
    assert sharpness(model, inside) == expected


def test_a_parameter_that_no_output_is_made_of_is_none_of_the_curvature() -> None:
    model, x = MLP(6, width=8, depth=3, out_features=4), torch.randn(5, 6, generator=drawn())
    initialize(model, "he_normal", generator=drawn())
    expected = sharpness(model, x)
    model.register_parameter("idle", nn.Parameter(torch.ones(3)))
    assert sharpness(model, x) == pytest.approx(expected, rel=1e-6)


def test_where_no_parameter_moves_an_output_it_is_zero() -> None:
    assert sharpness(nn.Linear(6, 4, bias=False), torch.zeros(5, 6)) == 0


def test_what_has_none_is_refused_in_one_sentence() -> None:
    model, x = MLP(6, width=8, depth=3, out_features=4), torch.ones(5, 6)
    with pytest.raises(ValueError, match=r"two outputs or more, \(batch, classes\), but got \(5, 1\)"):
        sharpness(MLP(6, width=8, depth=3, out_features=1), x)
    with pytest.raises(ValueError, match="the outputs of the model must be finite, but some are not"):
        sharpness(model, x * float("inf"))
    with pytest.raises(ValueError, match="does not take the shape"):
        sharpness(model, torch.ones(5, 7))
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, but got a function"):
        sharpness(lambda seen: seen, x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least one input"):
        sharpness(model, torch.ones(0, 6))
    flat, steep = nn.Linear(6, 4, bias=False).double(), nn.Linear(4, 4).double()
    nn.init.constant_(flat.weight, 1e-300)
    nn.init.constant_(steep.weight, 1e308)
    with pytest.raises(ValueError, match="gradients of the model must be finite"):
        sharpness(nn.Sequential(flat, steep), torch.full((5, 6), 1e5, dtype=torch.float64))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="a parameter that requires a gradient"):
        sharpness(model, x)
    assert "sharpness" in dir(isoinit)
