"""The sharpness of a network on its data, which bounds the learning rate of plain gradient descent.

    sharpness(model, x)

Descent with a learning rate eta is stable as long as eta times it is below 2, and ReLU networks have been seen to
settle up to 12 (Lewkowycz et al. 2020, arXiv 2003.02218, of a squared loss). What it is at initialization, of inputs
that have nothing in common, `isoinit.theory.sharpness` predicts.
"""

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from isoinit.asked import outputs_of, outside, refuse_inputs, refuse_model
from isoinit.held import buffers_kept, frozen_normalization, twice_differentiable, without_noise
from isoinit.schemes.reading import uncompiled

_PRECISE = 1e-3  # relative


@torch.inference_mode(False)
def sharpness(model: nn.Module, x: Tensor) -> float:
    """The greatest eigenvalue of the Gauss-Newton matrix of the mean cross-entropy at x, to a thousandth.

    That is the Hessian but for what the curvature of the outputs adds, which the labels would be needed for. Of the
    parameters that require a gradient, by Lanczos, in some tens of passes over x (batch, ...), whose graph is held.
    Batch normalization in training mode counts as the affine map that the statistics of x make of it, and dropout is
    left out. The model is left as it was. ValueError if x are no inputs of the model, which is to have two outputs or
    more, and finite gradients.
    """
    refuse_inputs(x, 0)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, but got a {type(model).__name__}.")
    model, x = uncompiled(model), outside(x)
    refuse_model(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model must have a parameter that requires a gradient, but got none.")
    with without_noise(model):
        with torch.no_grad(), buffers_kept(model):
            _refuse(outputs_of(model, x))
        with frozen_normalization(model, x), twice_differentiable(), torch.enable_grad():
            return _greatest(model(x), parameters)


def _refuse(output: Tensor) -> None:
    if output.dim() != 2 or output.shape[1] < 2:
        raise ValueError(f"model must have two outputs or more, (batch, classes), but got {tuple(output.shape)}.")
    if not output.isfinite().all():
        raise ValueError("the outputs of the model must be finite, but some are not.")


def _greatest(output: Tensor, parameters: list[nn.Parameter]) -> float:
    """Of A^T J J^T A / batch, J the Jacobian of the outputs and A A^T = diag(p) - p p^T, each input's own Hessian of
    the loss: it has the eigenvalues of the greater matrix over the parameters."""
    p = output.detach().softmax(1)
    root = p.sqrt()
    along = torch.zeros_like(output, requires_grad=True)
    pulled = torch.autograd.grad(output, parameters, along, create_graph=True, materialize_grads=True)

    def product(vector: np.ndarray) -> np.ndarray:
        w = torch.from_numpy(vector).to(output).view_as(output)
        v = root * w - p * (root * w).sum(1, keepdim=True)
        back = torch.autograd.grad(output, parameters, v, retain_graph=True, materialize_grads=True)
        (u,) = torch.autograd.grad(pulled, along, back, retain_graph=True, materialize_grads=True)
        found = root * u - root * (p * u).sum(1, keepdim=True)
        return found.flatten().double().cpu().numpy() / len(output)

    size = output.numel()
    start = np.random.default_rng(0).standard_normal(size)
    first = product(start)
    if not np.isfinite(first).all():
        raise ValueError("the gradients of the model must be finite, but some are not.")
    if not first.any():
        return 0.0  # no parameter moves an output, of which Lanczos would find no direction
    made = LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    found = eigsh(made, k=1, v0=start, tol=_PRECISE, return_eigenvectors=False)  # pyright: ignore[reportArgumentType]
    return float(found[0])
