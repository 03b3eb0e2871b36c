"""What a network does to its input before the first weight layer and to its logits after the last.

An affine map of the input, `x / 255` say, is a choice of the data, and a softmax or a sigmoid of the logits one of the
loss: no weight is drawn otherwise for them. What a scheme claims is then from the input of the first layer to the
logits. A probe sees the whole network.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from isoinit.schemes.following import WAYS
from isoinit.schemes.steps import Step, same

_LINKS = (nn.Sigmoid(), nn.LogSigmoid())
_NEAR = torch.linspace(-3, 3, 24, dtype=torch.float32, device="cpu").view(2, 3, 4)
_GRIDS = (_NEAR, 1e4 * _NEAR)  # pixels, too, and what is cut off where they end is no line


def without_ends(chain: Sequence[Step]) -> list[Step]:
    """The steps but for what scales and shifts the input, and what makes probabilities of the logits.

    ValueError naming a softmax elsewhere.
    """
    places = [i for i, step in enumerate(chain) if step.kind == "weight"]
    return list(_between(chain, places[0], places[-1])) if places else list(chain)


def _between(chain: Sequence[Step], first: int, last: int) -> Iterator[Step]:
    for i, step in enumerate(chain):
        if step.kind == "link" and i < last:
            raise ValueError(f"{step.label} is not understood before the last layer: {WAYS}")
        ends = (i < first and _is_line(step)) or (i > last and _is_link(step))
        if not ends:
            yield step


def _is_link(step: Step) -> bool:
    if step.kind == "link":
        return True
    return step.kind == "activation" and step.module is not None and any(same(step.module, link) for link in _LINKS)


def _is_line(step: Step) -> bool:
    """Whether the step is x -> a x + b, a not 0; an `nn.Identity` is none: it may be the activation."""
    if step.kind != "activation" or step.module is None or isinstance(step.module, nn.Identity):
        return False
    return all(_is_line_on(step.module, grid) for grid in _GRIDS)


def _is_line_on(function: nn.Module, grid: torch.Tensor) -> bool:
    with torch.no_grad():
        y = function.forward(grid.clone())
    if y.shape != grid.shape or not y.is_floating_point():
        return False
    start, end = (tensor.flatten()[[0, -1]].tolist() for tensor in (grid, y))
    slope = (end[1] - end[0]) / (start[1] - start[0])
    line = end[0] + slope * (grid - start[0])
    return slope != 0 and torch.allclose(y, line, rtol=1e-4, atol=1e-5 * float(y.abs().max()))
