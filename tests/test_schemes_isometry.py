"""The exact statements: every singular value of the input-output Jacobian is 1, whatever the depth."""

import pytest
import torch
from torch import nn

from isoinit import CNN, MLP, initialize, probe
from isoinit.spectrum import jacobian


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deviation(model: nn.Module, *shape: int) -> float:
    """Largest |singular value - 1| at two random inputs."""
    dtype = next(model.parameters()).dtype
    x = torch.randn(2, *shape, generator=generator(1)).to(dtype)
    return float((torch.linalg.svdvals(jacobian(model, x)) - 1).abs().max())


def test_ll_orth_is_isometric_at_depth_200() -> None:
    assert deviation(initialize(MLP(24, 48, 200, 24).double(), "ll_orth", generator=generator()), 24) < 1e-9


def test_ll_orth_is_isometric_in_single_precision() -> None:
    assert deviation(initialize(MLP(24, 48, 200, 24), "ll_orth", generator=generator()), 24) < 1e-4


@pytest.mark.parametrize("variance", [1e-4, 0.01, 1.0, 100.0])
def test_mirrored_biases_keep_the_isometry_at_any_variance(variance: float) -> None:
    model = MLP(24, 48, 200, 24).double()
    initialize(model, "ll_orth", bias_variance=variance, bias_mode="mirrored", generator=generator())
    assert deviation(model, 24) < 1e-9


def test_iid_biases_destroy_the_isometry() -> None:
    model = MLP(24, 48, 200, 24).double()
    initialize(model, "ll_orth", bias_variance=0.01, bias_mode="iid", generator=generator())
    values = probe(model, torch.randn(2, 24, generator=generator(1)).double()).jacobian_singular_values
    assert values.max() > 10
    assert values.min() < 0.1


def test_an_odd_width_keeps_the_isometry() -> None:
    assert deviation(initialize(MLP(24, 49, 32, 24).double(), "ll_orth", generator=generator()), 24) < 1e-9


def test_delta_mirrored_cnn_is_isometric_with_zero_padding() -> None:
    model = CNN((4, 6, 6), 8, 60, 144, pooling="none").double()
    assert deviation(initialize(model, "ll_orth", generator=generator()), 4, 6, 6) < 1e-9
