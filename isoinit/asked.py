"""What a probe can be asked: what cannot be measured is refused in one sentence, whatever torch would say of it."""

from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional

_IGNORED = -100  # a class that torch's cross-entropy leaves out


def refuse_inputs(
    x: Tensor, jacobian_inputs: int, leading: int | None = None, generator: torch.Generator | None = None
) -> None:
    """ValueError unless x is a batch of numbers, and of as many inputs and singular values there can be a Jacobian."""
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.is_meta:
        given = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ValueError(f"x must be a tensor of floating-point numbers in memory, got {given}")
    if x.dim() < 2:
        raise ValueError(f"x must be inputs (batch, ...) of features, got the shape {tuple(x.shape)}")
    if not len(x):
        raise ValueError(f"x must hold at least one input, got the shape {tuple(x.shape)}")
    if not isinstance(jacobian_inputs, Integral) or jacobian_inputs < 0:
        raise ValueError(f"jacobian_inputs must be a whole number of at least 0, got {jacobian_inputs!r}")
    drawn = isinstance(generator, torch.Generator)
    if leading is not None and not (drawn and isinstance(leading, Integral) and leading >= 1):
        raise ValueError(
            f"leading must be at least 1 and needs generator=torch.Generator(), got {leading}, {generator}"
        )


def refuse_model(model: nn.Module) -> None:
    """ValueError unless every parameter and buffer has numbers that autograd may use."""
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in named:
            if tensor.is_meta:
                raise ValueError(f"model must be in memory to be measured, got the {kind} {name} on the meta device")
            if tensor.is_inference():
                raise ValueError(f"model must be made outside of torch.inference_mode(), or it has no gradients, got "
                                 f"the {kind} {name} of inside")  # fmt: skip


def are_classes(y: Tensor | None, x: Tensor) -> bool:
    """Whether the loss is one that `chain` and `narrow` know; cross-entropy has others, and refuses some."""
    if y is None:
        return True
    fits = isinstance(y, Tensor) and y.device == x.device and y.shape == x.shape[:1] and y.dtype == torch.int64
    return fits and bool((y >= 0).all())


def outside(tensor: Tensor) -> Tensor:
    """The tensor, or a copy with which autograd can work of one that was made in inference mode."""
    return tensor.clone() if isinstance(tensor, Tensor) and tensor.is_inference() else tensor


def refuse_classes(y: Tensor, outputs: int) -> None:
    """ValueError unless each class is that of an output, or the one that is ignored."""
    asked = y[y != _IGNORED]
    if asked.numel() and (asked.amin() < 0 or asked.amax() >= outputs):
        raise ValueError(f"y must hold classes from 0 to {outputs - 1}, got {int(asked.amin())} to {int(asked.amax())}")


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """(B, ...); ValueError if the model does not take x, or does not give an output for each input."""
    try:
        output = model(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"x must be inputs of the model, which does not take the shape {tuple(x.shape)} in {x.dtype} "
                         f"on {x.device}: {error}") from error  # fmt: skip
    if not isinstance(output, Tensor) or output.dim() < 2 or len(output) != len(x):
        given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"model must have an output (features, ...) for each of the {len(x)} inputs, got {given}")
    return output


def loss_of(output: Tensor, y: Tensor | None) -> Tensor:
    """Cross-entropy if y is given, else mean |output|^2 / 2; ValueError unless y are targets of the output."""
    if y is None:
        return output.flatten(1).square().sum(1).mean() / 2
    if not isinstance(y, Tensor):
        raise ValueError(f"y must be a tensor of classes, got a {type(y).__name__}")
    if y.dtype == torch.int64 and not y.is_meta:
        refuse_classes(y, output.shape[1])
    try:
        return functional.cross_entropy(output, y)
    except (RuntimeError, ValueError, IndexError) as error:
        shape = tuple(output.shape[:1] + output.shape[2:])
        given = f"{y.dtype} on {y.device} of shape {tuple(y.shape)}"
        raise ValueError(f"y must be classes from 0 to {output.shape[1] - 1}, torch.int64 on {output.device} of shape "
                         f"{shape}, got {given}: {error}") from error  # fmt: skip
