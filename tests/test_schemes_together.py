"""Networks initialized together have the bits that each has alone, by fewer calls of linear algebra."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from test_schemes_contract import CASES, bias_of, digest, filled, images, network
from torch import Tensor, nn

from isoinit import MLP, SCHEMES, initialize, schemes
from isoinit.schemes import Scheme, Steps, Wiring, begin, together
from isoinit.schemes.base import Draw

HAAR = ["orthogonal", "delta_orthogonal", "ones_orthogonal", "ll_orth", "lsuv"]


def begun(name: str, model: nn.Module, architecture: str, seed: int = 0, **arguments: Any) -> Steps:
    """What `filled` does at once."""
    scheme = SCHEMES[name]
    dtype = next(model.parameters()).dtype
    if scheme.needs_data:
        arguments["data"] = images(name, architecture).to(dtype)
    if scheme.sparse:
        arguments.setdefault("density", 0.5)
    if name == "idinit":
        arguments["order"] = "centre_first"
    return begin(model, name, generator=torch.Generator().manual_seed(seed), **arguments)


@pytest.fixture
def decompositions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of all QRs."""
    shapes: list[tuple[int, ...]] = []
    qr: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.linalg.qr

    def counted(matrix: Tensor) -> tuple[Tensor, Tensor]:
        shapes.append(tuple(matrix.shape))
        return qr(matrix)

    monkeypatch.setattr(torch.linalg, "qr", counted)
    return shapes


@pytest.mark.parametrize("at_once", [1, 500, 10**9])
def test_all_schemes_together_have_the_bits_of_each_alone(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemes, "AT_ONCE", at_once)
    asked = [
        (*case, width, depth, dtype)
        for case in CASES
        for (width, depth), dtype in product(((8, 5), (14, 4), (8, 7)), (torch.float32, torch.float64))
    ]

    def built(name: str, architecture: str, width: int, depth: int, dtype: torch.dtype) -> nn.Module:
        return network(name, architecture, width, depth).to(dtype)

    def how(name: str) -> dict[str, Any]:
        return {"weight_scale": 1.3, **bias_of(SCHEMES[name])}

    models = [built(*case) for case in asked]
    together(
        [
            begun(case[0], m, case[1], seed=i, **how(case[0]))
            for i, (case, m) in enumerate(zip(asked, models, strict=True))
        ]
    )
    for i, (case, model) in enumerate(zip(asked, models, strict=True)):
        data = {"data": images(case[0], case[1]).to(case[4])} if SCHEMES[case[0]].needs_data else {}
        alone = filled(case[0], built(*case), case[1], i, **how(case[0]), **data)
        assert digest(model) == digest(alone), case


@pytest.mark.parametrize("narrowing", ["free", "tracked"])
def test_networks_that_ask_more_than_once_get_their_own(narrowing: str) -> None:
    """Tracked narrowing asks twice, but not where nothing narrows, and the answers are of different shapes."""
    sizes = [((4, 8, 5), 3), ((4, 9, 6), 4), ((6, 4, 4), 6), ((4, 8, 3), 9)]

    def built() -> list[MLP]:
        return [MLP(inputs, width, depth, out) for (inputs, width, depth), out in sizes]

    def source(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    models = built()
    together(begin(m, "ll_orth", narrowing=narrowing, generator=source(i)) for i, m in enumerate(models))
    for i, (model, alone) in enumerate(zip(models, built(), strict=True)):
        initialize(alone, "ll_orth", narrowing=narrowing, generator=source(i))
        assert digest(model) == digest(alone)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("name", HAAR)
def test_one_qr_makes_the_matrices_of_a_shape_of_all_networks(
    name: str, odd: bool, decompositions: list[tuple[int, ...]]
) -> None:
    depths = (3, 5, 9)
    inputs, width = (4, 7) if odd else (5, 9) if name == "ones_orthogonal" else (4, 8)  # one more: it takes one away
    models = [MLP(inputs, width, depth, inputs) for depth in depths]
    together([begun(name, model, "mlp", seed) for seed, model in enumerate(models)])
    assert len(decompositions) == (1 if name == "ll_orth" and not odd else 3)  # its cores are all 4 x 4
    assert sum(count for count, *_ in decompositions) == sum(depths)


def test_a_wave_ends_where_the_cache_does(
    decompositions: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemes, "AT_ONCE", 2 * 3 * 16)
    together([begun("orthogonal", MLP(4, 4, 3, 4), "mlp", seed) for seed in range(5)])
    assert decompositions == [(6, 4, 4), (6, 4, 4), (3, 4, 4)]


def test_a_network_is_checked_when_begun_and_changed_when_done() -> None:
    with pytest.raises(ValueError, match="width of at least 2, got 1"):
        begin(MLP(4, 1, 3, 2), "ll_orth", generator=torch.Generator())
    model = MLP(4, 8, 3, 2)
    steps = begin(model, "he_normal", generator=torch.Generator().manual_seed(0))
    assert not any(p.any() for p in model.parameters())
    together([steps])
    assert all(layer.any() for layer in schemes.read(model).weights)


def test_a_scheme_of_ones_own_may_be_a_function_or_a_generator() -> None:
    def plain(wiring: Wiring, draw: Draw) -> None:
        for run in wiring.runs:
            run.fill(draw.normal(*run.stack))

    def waits(wiring: Wiring, draw: Draw) -> Steps:
        for run in wiring.runs:
            (matrices,) = yield from draw.haar([run.stack])
            run.fill(matrices)

    for apply in (plain, waits):
        mine = Scheme(name="mine", source="here", summary="", apply=apply)
        model = initialize(MLP(4, 8, 3, 2), mine, generator=torch.Generator().manual_seed(0))
        weight = schemes.read(model).weights[1].detach().double()
        semi_orthogonal = torch.allclose(weight @ weight.mT, torch.eye(8, dtype=torch.float64), atol=1e-5)
        assert semi_orthogonal == (apply is waits)
