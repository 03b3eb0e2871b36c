"""Schemes that adapt a random start to a batch of inputs, layer by layer in one forward pass.

LSUV: Mishkin & Matas 2015, arXiv 1511.06422. Sample variance: Luther & Seung 2019, arXiv 1902.04942 (published 2020 in
Phys. Rev. Research 2, 033135); "sample init" is their per-neuron form, started here from He's weights; the form that
only scales is derived here.
How a start is adapted is in `calibrating`.
"""

from functools import partial

from isoinit.schemes.base import Scheme
from isoinit.schemes.calibrating import calibrate
from isoinit.schemes.classic import he, independent
from isoinit.schemes.orthogonal import orthogonal
from isoinit.schemes.wiring import Wiring


def _require_biases(wiring: Wiring) -> None:
    if any(layer.bias is None for layer in wiring.layers):
        raise ValueError("sample_variance takes each unit's mean away by its bias, so every layer needs one; "
                         "sample_variance_scale needs none")  # fmt: skip


SCHEMES = (
    Scheme(
        name="lsuv",
        source="Mishkin & Matas 2015, arXiv 1511.06422",
        summary="orthogonal, then every layer's output scaled to unit variance on a batch; samples still align",
        apply=partial(orthogonal, gain=1.0),
        by_runs=True,
        calibrate=partial(calibrate, statistic="total"),
        bias_modes=("zero",),
        invariants=("unit_variance",),
        needs_data=True,
    ),
    Scheme(
        name="sample_variance",
        source="Luther & Seung 2019, arXiv 1902.04942",
        summary="every unit has sample mean 0 and sample variance 1 on a batch, by its weights and its bias",
        apply=independent(he),
        by_runs=True,
        calibrate=partial(calibrate, statistic="unit"),
        requires=_require_biases,
        normalizations=("none",),
        bias_modes=("zero",),
        invariants=("unit_variance", "sample_variance"),
        needs_data=True,
    ),
    Scheme(
        name="sample_variance_scale",
        source="derived here after Luther & Seung 2019, arXiv 1902.04942",
        summary="every layer scaled to mean sample variance 1 on a batch; the total variance grows with depth",
        apply=independent(he),
        by_runs=True,
        calibrate=partial(calibrate, statistic="sample"),
        normalizations=("none",),
        bias_modes=("zero",),
        invariants=("sample_variance",),
        needs_data=True,
    ),
)
