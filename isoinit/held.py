"""A model held still while it is measured: its buffers kept, nothing drawn in it, batch normalization as a fixed map.

Whatever is changed for that is put back, also when measuring fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
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
def twice_differentiable() -> Iterator[None]:
    """Attention by plain products, for its fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


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
    """Batch normalization that looks at its batch as the fixed affine map that it is at x, which gives x the outputs
    that it has. What torch would keep as running statistics does not: its variance is another, by n / (n - 1), which
    adds up over the layers."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and (m.training or m.running_mean is None)]
    kept = [(norm, norm.training, norm.running_mean, norm.running_var) for norm in norms]
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
        seen[norm] = torch.var_mean(inputs[0], axes, correction=0)

    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    with buffers_kept(model):
        try:
            if norms:
                with torch.no_grad():
                    model(x)
            for norm, (variance, mean) in seen.items():
                assert isinstance(norm, _BatchNorm)
                like = mean if norm.weight is None else norm.weight
                norm.running_mean, norm.running_var, norm.training = mean.to(like), variance.to(like), False
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for norm, training, mean, variance in kept:
                norm.running_mean, norm.running_var, norm.training = mean, variance, training
