"""A model held still while it is measured: its buffers kept, nothing drawn in it, batch normalization as a fixed map.

Whatever is changed for that is put back, also when measuring fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

_IN_TRAINING = (_NormBase, nn.RNNBase)  # normalize as they do in training; on CUDA cuDNN has no gradients otherwise


@contextmanager
def without_noise(model: nn.Module) -> Iterator[None]:
    """Dropout, and whatever else draws in training, as in evaluation: a network of its own for every input would have
    no Jacobian, and the draws would be of the global generator."""
    noisy = [m for m in model.modules() if m.training and not isinstance(m, _IN_TRAINING)]
    try:
        for module in noisy:
            module.training = False
        yield
    finally:
        for module in noisy:
            module.training = True


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Running statistics of normalization layers as they were."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def frozen_normalization(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Batch normalization in training mode as the fixed affine map that the statistics of x make of it."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    momenta = [norm.momentum for norm in norms]
    with buffers_kept(model):
        try:
            if norms:
                for norm in norms:
                    norm.momentum = 1.0
                with torch.no_grad():
                    model(x)
            for norm in norms:
                norm.eval()
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.train()
