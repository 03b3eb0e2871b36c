"""A network's weights and biases, copied to where `training` wants them."""

from __future__ import annotations

import numpy as np

from sweeps.kernel.compilers import entry
from sweeps.kernel.pointers import address_of, matrix_at, vector_at, whole_lines
from sweeps.kernel.sums import copy


@entry
def load(edition: int):
    def load(sources, fans, split, into):
        """Fill the flat parameters `into`, zeros before, from a network's weights (fan_out, fan_in) and biases.

        `sources` (L, 2) are their addresses; `fans` (4, L) what is stored, fan_in and fan_out, and what there is of it.
        The fan-in of layers after the first is in `split` parts, each of which may be padded.
        """
        _ = edition
        at = address_of(into)
        for layer in range(fans.shape[1]):
            k, m, mine, units = fans[:, layer]
            weight, bias = matrix_at(sources[layer, 0], units, mine), vector_at(sources[layer, 1], units)
            stored = matrix_at(at, m, k) if layer + 1 == fans.shape[1] else matrix_at(at, k, m)
            part = mine // split if layer > 0 else mine
            gap = k // split - part if layer > 0 else np.int64(0)
            for i in range(mine):
                row = i + i // part * gap
                if layer + 1 < fans.shape[1]:
                    for j in range(units):
                        stored[row, j] = weight[j, i]
                else:
                    for j in range(units):
                        stored[j, row] = weight[j, i]
            at += 4 * whole_lines(k * m)
            copy(vector_at(at, units), bias)
            at += 4 * whole_lines(m)

    return load
