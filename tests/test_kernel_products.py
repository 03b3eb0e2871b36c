"""The compiled kernel trains networks of every shape as a plain torch loop does, by tiles and by the BLAS."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from isoinit import schemes
from isoinit.layers import set_mask
from isoinit.networks import MLP
from sweeps import kernel
from sweeps.kernel.products import most_columns
from sweeps.spec import Training
from sweeps.stack import Batches, KernelStack, Start

STEPS = 6
SHAPES = [  # width, inputs, batch, classes: whole tiles, rows left over, padded, sides of one, what only a BLAS does
    (16, 8, 16, 5),
    (32, 20, 64, 10),
    (48, 64, 30, 10),
    (80, 7, 7, 16),
    (112, 1030, 33, 3),
    (112, kernel.LONG + 6, 33, 3),
    (128, 16, 16, 16),
    (256, 16, 16, 16),
    (kernel.NARROW + 16, 16, 16, 16),
    (250, 30, 16, 8),
    (20, 16, 32, 32),
    (10, 64, 24, 10),
    (31, 20, 64, 10),
    (60, 9, 17, 3),
    (121, 16, 16, 4),
    (16, 1, 1, 2),
    (1, 5, 16, 2),
    (3, 1, 1, 4),
]


def mlp(shape: tuple[int, int, int, int], activation: str = "relu", depth: int = 4) -> MLP:
    width, inputs, _, classes = shape
    model = MLP(inputs, width, depth, classes, activation)
    source = torch.Generator().manual_seed(0)
    return schemes.initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=source)


def batches(shape: tuple[int, int, int, int]) -> Batches:
    _, inputs, batch, classes = shape
    source = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS, batch, inputs, generator=source)
    return Batches(x, torch.randint(classes, (STEPS, batch), generator=source))


def plain_loop(model: nn.Module, given: Batches, training: Training, rate: float) -> list[float]:
    if training.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), rate)
    else:
        optimizer = torch.optim.SGD(model.parameters(), rate, training.momentum)
    losses = []
    for x, y in zip(given.x, given.y, strict=True):
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu", "sigmoid", "elu", "gelu"])
@pytest.mark.parametrize("training", [Training(), Training(momentum=0.9), Training(optimizer="adam")], ids=repr)
def test_every_shape_trains_as_in_torch(shape, activation, training):
    large = shape[0] >= 200 or shape[1] >= 2000
    adam = 0.002 if large else 0.01  # at more, large networks of float32 and of float64 are 5e-4 apart
    rate = adam if training.optimizer == "adam" else 0.2
    model, given = mlp(shape, activation), batches(shape)
    (loss,), _ = KernelStack([0], [Start(model, rate, 0)], training).advance({0: given}, [1.0] * STEPS, 0)
    np.testing.assert_allclose(loss, plain_loop(model, given, training, rate), rtol=2e-5, atol=2e-6)
    assert np.ptp(loss) > 1e-3


@pytest.mark.parametrize("shape", [(32, 20, 64, 10), (256, 16, 16, 16), (10, 64, 24, 10)], ids=str)
def test_masked_weights_of_whole_tiles_stay_zero(shape):
    model, given = mlp(shape), batches(shape)
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    for layer in layers:
        set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(2)) < 0.3)
    pack = KernelStack([0], [Start(model, 0.2, 0)], Training())
    (loss,), _ = pack.advance({0: given}, [1.0] * STEPS, 0)
    np.testing.assert_allclose(loss, plain_loop(model, given, Training(), 0.2), rtol=2e-5, atol=2e-6)
    pack.write(0, model)
    shares = [torch.eq(layer.weight, 0).float().mean() for layer in layers]
    assert all(0.5 < share < 0.9 for share in shares)


@pytest.mark.parametrize("width", [kernel.NARROW, kernel.NARROW + kernel.BLOCK])
@pytest.mark.parametrize("activation", ["relu", "crelu"])
def test_not_a_number_is_not_taken_for_a_dead_unit(width, activation):
    """A rectifier, or its derivative, made of `max` or of a mask times the gradient would hide it."""
    shape = (width, 8, 16, 4)
    model = mlp(shape, activation)
    with torch.no_grad():
        model.get_submodule("layers.1").get_parameter("weight")[3, 4] = torch.nan
    (loss,), _ = KernelStack([0], [Start(model, 0.1, 0)], Training()).advance({0: batches(shape)}, [1.0] * STEPS, 0)
    assert np.isnan(loss[0])


@pytest.mark.parametrize(
    ("processor", "long_vectors", "columns"),
    [("znver5", True, 768), ("znver3", False, 240), ("emeraldrapids", True, 240), ("generic", False, 240)],
)
def test_a_blas_is_asked_sooner_where_it_makes_all_of_long_vectors(processor, long_vectors, columns):
    assert most_columns(processor, long_vectors) == columns
