"""Plain multilayer perceptrons, each trained for many steps by a single compiled call.

On a CPU the fastest stack of small networks is no stack: one network after another, its parameters and
activations staying in the cache, with no interpreter between two matrix products. Measured against stacked
`baddbmm`, autograd and `jax.vmap` in `tests/bench/kernel.py`. A replicate is then bitwise what it would be
alone, whatever its neighbours do.

Letters: L weight layers, B batch, S steps; layer l maps fan_in[l] features to fan_out[l]. Parameters of a
network are one flat float32 vector: per layer the weight, row-major, then the bias, each starting on a cache line.
The weight is (fan_in, fan_out), so that features are (B, fan_out), but that of the head is (fan_out, fan_in) and
the logits are (classes, B): a matrix of ten columns is what a BLAS is slowest at. Products of wide layers go to the
BLAS that torch exports, otherwise to scipy's; those of narrow ones are made here, see `tiles`.

Compiling takes some twenty seconds, once per machine and change of this package, see `compilers`.
"""

from sweeps.kernel.activations import ACTIVATIONS, CRELU, CURVED
from sweeps.kernel.loading import load
from sweeps.kernel.pointers import LINE, Floats
from sweeps.kernel.products import LONG, NARROW
from sweeps.kernel.rules import ADAM, ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, OPTIMIZERS, SGD, Rule, rule, update_stacked
from sweeps.kernel.tiles import BLOCK
from sweeps.kernel.training import train_members

__all__ = [
    "ACTIVATIONS",
    "ADAM",
    "ADAM_BETA1",
    "ADAM_BETA2",
    "ADAM_EPSILON",
    "BLOCK",
    "CRELU",
    "CURVED",
    "LINE",
    "LONG",
    "NARROW",
    "OPTIMIZERS",
    "SGD",
    "Floats",
    "Rule",
    "load",
    "rule",
    "train_members",
    "update_stacked",
]
