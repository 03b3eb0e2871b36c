"""A scheme of one's own: what its author can get wrong is said in a sentence that names it."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

import isoinit.schemes
from isoinit import MLP, SCHEMES, initialize
from isoinit.schemes import Scheme, alike, together
from isoinit.schemes.base import Draw, Steps
from isoinit.schemes.classic import he
from isoinit.schemes.wiring import Wiring


def each_layer(wiring: Wiring, draw: Draw) -> None:
    for layer in wiring.layers:
        layer.weight.copy_(draw.normal(*layer.weight.shape))


def all_layers(wiring: Wiring, draw: Draw) -> Steps:
    matrices = yield from draw.haar([(layer.out_features, layer.in_features) for layer in wiring.layers])  # pyright: ignore
    for layer, matrix in zip(wiring.layers, matrices, strict=True):
        layer.weight.copy_(matrix)


def mine(apply: Callable[..., Any] = each_layer, **fields: Any) -> Scheme:
    return Scheme(name="mine", source="here", summary="a test", apply=apply, **fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"architectures": ("mlp", "rnn")}, "architectures must be of mlp, cnn, resnet, got 'rnn'"),
        ({"architectures": "mlp"}, r"architectures must be a tuple, as \('mlp',\), got 'mlp'"),
        ({"activations": "relu"}, r"activations must be a tuple, as \('relu',\), got 'relu'"),
        ({"bias_modes": ("none", "iid")}, "bias_modes must be of zero, iid, mirrored, got 'none'"),
        ({"normalizations": ("layer",)}, "normalizations must be of none, batch, got 'layer'"),
        ({"blocks": "post"}, r"blocks must be a tuple, as \('post',\), got 'post'"),
        ({"invariants": ("orthonormal",)}, "invariants must be of weight_variance, .*, got 'orthonormal'"),
        ({"options": {"alpha": 2.0}}, r"options\['alpha'\] must be a tuple, as \(2.0,\), got 2.0"),
        ({"invariants": ("weight_variance",)}, "the invariant weight_variance needs variance too, got none"),
        ({"variance": he}, "variance needs the invariant weight_variance too, got"),
        ({"invariants": ("semi_orthogonal",)}, "the invariant semi_orthogonal needs gain too, got none"),
        ({"sparse": True}, "sparse=True needs the invariant density too, got none"),
        ({"needs_data": True}, "needs_data=True needs calibrate too, got none"),
    ],
)
def test_a_record_says_what_is_wrong_with_it(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^scheme mine: {sentence}"):
        mine(**fields)


def test_a_record_of_ones_own_is_applied_without_the_table() -> None:
    alone, again = (
        initialize(MLP(4, 8, 5, 3), mine(apply), generator=torch.Generator().manual_seed(0)).layers[1].weight
        for apply in (each_layer, all_layers)
    )
    assert isinstance(alone, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    assert alone.any()
    torch.testing.assert_close(again @ again.T, torch.eye(8))


@pytest.mark.parametrize("apply", [each_layer, all_layers])
def test_one_that_goes_through_the_layers_may_not_say_by_runs(
    apply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEMES, "mine", mine(apply, by_runs=True))
    requests = [alike.Request(torch.Generator().manual_seed(seed)) for seed in range(3)]
    with pytest.raises(ValueError, match=r"says by_runs draws .* \(3 or 7 here\), .* got a draw of shape \(8, 4\)"):
        together([alike.begin(MLP.alike(4, 8, (3, 4, 6), 2), "mine", requests)])


def test_every_family_in_the_folder_is_in_the_table() -> None:
    for module in pkgutil.iter_modules(isoinit.schemes.__path__):
        family = import_module(f"isoinit.schemes.{module.name}")
        for scheme in vars(family).get("SCHEMES", ()):
            if isinstance(scheme, Scheme):
                assert SCHEMES.get(scheme.name) is scheme, f"{module.name} belongs into checks._FAMILIES"


def test_matrices_that_are_asked_for_without_from_are_told_of() -> None:
    def forgot(_: Wiring, draw: Draw) -> Any:
        yield draw.haar([(4, 4)])

    with pytest.raises(TypeError, match="gave a generator where it asks for matrices; write 'matrices = yield from"):
        initialize(MLP(4, 8, 5, 3), mine(forgot), generator=torch.Generator().manual_seed(0))
