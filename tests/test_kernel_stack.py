"""A kernel stack tests its members as torch would test the networks that it writes, and takes weights as they lie."""

import numpy as np
import pytest
import torch
from torch import nn

from isoinit import MLP, initialize
from isoinit.schemes.reading import read
from sweeps import kernel
from sweeps.spec import Training
from sweeps.stack import Batches, KernelStack, Start

SHAPE = (2, 3)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(seed: int, depth: int = 3, width: int = 12, activation: str = "relu", scheme: str = "xavier_normal") -> MLP:
    density = 0.4 if scheme == "eoi" else 1.0
    return initialize(MLP(6, width, depth, 5, activation), scheme, density=density, generator=generator(seed))


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, *SHAPE, generator=generator(7)), torch.randint(5, (count,), generator=generator(8))


def trained(models: list[MLP], training: Training) -> KernelStack:
    x, y = samples(20 * training.batch_size)
    batches = {0: Batches(x.view(20, -1, *SHAPE), y.view(20, -1))}
    pack = KernelStack(range(len(models)), [Start(model, 0.1, 0) for model in models], training)
    pack.advance(batches, [1.0] * 20, 0)
    return pack


@pytest.mark.parametrize("activation", kernel.ACTIVATIONS)
@pytest.mark.parametrize("batch", [1, 16, 100])
def test_members_are_tested_as_by_torch(activation: str, batch: int) -> None:
    models = [mlp(0, 2, 9, activation), mlp(1, 5, 130, activation), mlp(2, 4, 16, activation), mlp(3, 3, 8, activation)]
    pack = trained(models, Training(batch_size=batch, momentum=0.9))
    for count in (1, 63, 64, 65, 300):
        x, y = samples(count)
        expected = [
            (pack.write(row, model)(x).argmax(1) == y).double().mean().item() for row, model in enumerate(models)
        ]
        assert pack.accuracies([0, 1, 2, 3], x, y) == expected
        assert pack.accuracies([2], x, y) == expected[2:3]
        assert pack.accuracies([3, 1], x, y) == [expected[3], expected[1]]
    assert pack.accuracies([], x, y) == []
    assert len(set(expected)) > 1


def test_testing_changes_no_member_and_finds_those_that_are_left() -> None:
    models = [mlp(seed, scheme="eoi" if seed == 1 else "xavier_normal") for seed in range(3)]
    once, again = (trained(models, Training(batch_size=16)) for _ in range(2))
    x, y = samples(100)
    expected = once.accuracies([0, 1, 2], x, y)
    once.keep([0, 2])
    assert once.accuracies([0, 1], x, y) == [expected[0], expected[2]]
    again.keep([0, 2])
    batches = {0: Batches(x[:96].view(6, 16, *SHAPE), y[:96].view(6, 16))}
    for mine, theirs in zip(*(pack.advance(batches, [1.0] * 6, 20) for pack in (once, again)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_are_taken_however_they_lie_in_memory() -> None:
    plain, turned = mlp(0), mlp(0)
    for layer in read(turned).layers:
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
        assert not layer.weight.is_contiguous()
    packs = [trained([model], Training(batch_size=16)) for model in (plain, turned)]
    for mine, theirs in zip(*(pack.write(0, mlp(5)).parameters() for pack in packs), strict=True):
        assert torch.equal(mine, theirs)
