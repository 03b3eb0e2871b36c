"""Networks that scale their input and end with probabilities: neither is anything to an initialization."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isoinit import MLP, initialize, probe
from isoinit.schemes import SCHEMES
from isoinit.schemes.reading import read

LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "log_softmax": lambda z: functional.log_softmax(z, dim=1),
    "method": lambda z: z.log_softmax(-1),
    "softmax": lambda z: torch.softmax(z, 1),
    "sigmoid": torch.sigmoid,
    "logsigmoid": functional.logsigmoid,
    "module": nn.LogSoftmax(1),
    "softmax module": nn.Softmax(1),
    "sigmoid module": nn.Sigmoid(),
}
SCALINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "pixels": lambda x: x / 255,
    "of bytes": lambda x: x.float().double().div(255.0),
    "centred": lambda x: (x - 0.1307) / 0.3081,
    "to both sides": lambda x: x / 127.5 - 1,
    "in place": lambda x: x.clone().mul_(2.0) if not isinstance(x, torch.fx.Proxy) else x.mul_(2.0),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(3), dtype=torch.float64)


def same(x: Tensor) -> Tensor:
    return x


class Net(nn.Module):
    """Four weight layers, `before` on the input and `after` on the logits."""

    def __init__(
        self, before: Callable[[Tensor], Tensor] = same, after: Callable[[Tensor], Tensor] = same,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in ((4, 8), (8, 8), (8, 8), (8, 4)))
        self.before, self.after, self.activation = before, after, activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        x = self.before(x.flatten(1))
        for layer in hidden:
            x = self.activation(layer(x))
        return self.after(head(x))


def alike(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("link", LINKS)
def test_what_makes_probabilities_of_the_logits_changes_no_draw(link: str) -> None:
    for scheme in SCHEMES.values():
        if "mlp" not in scheme.architectures or scheme.name == "ll_crelu":  # which is of another activation
            continue
        data = noise(32, 4) if scheme.needs_data else None
        made = [Net().double(), Net(after=LINKS[link]).double()]
        for model in made:
            initialize(model, scheme.name, generator=generator(), data=data)
        assert alike(*made), scheme.name


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_scales_the_input_changes_no_draw_but_those_that_see_the_data(scaling: str) -> None:
    for scheme in ("he_normal", "ll_orth", "orthogonal", "lsuv", "sample_variance"):
        made, x = [Net().double(), Net(before=SCALINGS[scaling]).double()], noise(32, 4)
        data = (SCALINGS[scaling](x), x) if SCHEMES[scheme].needs_data else (None, None)
        for model, mine in zip(made, data, strict=True):
            initialize(model, scheme, generator=generator(), data=mine)
        for a, b in zip(*(model.parameters() for model in made), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_probe_sees_the_whole_model() -> None:
    """A looks-linear network is an isometry from the input of its first layer to its logits. The whole has singular
    values of 1/255 if it divides its input; of one with a log-softmax one is 0, for probabilities add up to 1."""
    plain, scaled, linked = Net().double(), Net(lambda x: x / 255).double(), Net(after=LINKS["log_softmax"]).double()
    x = noise(6, 4)
    told = [probe(initialize(m, "ll_orth", generator=generator()), x) for m in (plain, scaled, linked)]
    np.testing.assert_allclose(told[0].jacobian_singular_values, 1, rtol=1e-9)
    np.testing.assert_allclose(told[1].jacobian_singular_values, 1 / 255, rtol=1e-9)
    assert told[2].jacobian_sv_min < 1e-9
    assert told[2].jacobian_sv_max > 0.5
    hidden = [t.squared_norms[1:] for t in told]
    np.testing.assert_allclose(hidden[2], hidden[0], rtol=1e-12)
    np.testing.assert_allclose(hidden[1], hidden[0] / 255**2, rtol=1e-9)
    np.testing.assert_allclose(told[1].squared_norms[0], told[0].squared_norms[0], err_msg="the input as it is given")


def test_the_network_of_the_classic_example_is_initialized() -> None:
    class Classic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
            x = torch.flatten(self.dropout1(functional.max_pool2d(x, 2)), 1)
            return functional.log_softmax(self.fc2(self.dropout2(functional.relu(self.fc1(x)))), dim=1)

    model = Classic()
    assert read(model).layers == (model.conv1, model.conv2, model.fc1, model.fc2)
    initialize(model, "he_normal", generator=generator())
    with pytest.raises(ValueError, match="does not survive max_pool2d"):
        initialize(model, "ll_orth", generator=generator())


def test_a_sigmoid_at_the_end_is_no_activation_of_a_network() -> None:
    """Not of a linear one, whose identities then are, nor where the hidden units have sigmoids too."""
    linear = nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Linear(8, 4), nn.Sigmoid())
    assert isinstance(read(linear).activation, nn.Identity)
    assert isinstance(read(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid())).activation, nn.Identity)
    assert len(read(Net(after=torch.sigmoid, activation=torch.sigmoid)).signals) == 3


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "softmax of the input": ({"before": LINKS["softmax"]}, "the function softmax in Net is not understood before"),
    "softmax between": ({"activation": nn.Softmax(1)}, "a Softmax is not understood before the last layer"),
    "relu of the logits": ({"after": torch.relu}, "got none before the first layer, .*relu after layer 4"),
    "tanh of the logits": ({"after": torch.tanh}, "tanh after layer 4"),
    "logits scaled": ({"after": lambda z: z / 10}, "truediv after layer 4"),
    "softmax and more": ({"after": lambda z: torch.softmax(z, 1).exp()}, "exp after layer 4"),
    "input cut off": ({"before": lambda x: x.clamp(-9000, 9000)}, "clamp before the first layer"),
    "input to nothing": ({"before": lambda x: x * 0}, "mul before the first layer"),
    "input rounded": ({"before": lambda x: x.round()}, "round before the first layer"),
    "input squashed": ({"before": torch.tanh}, "tanh before the first layer"),
    "hidden units scaled": ({"activation": lambda z: torch.relu(z) / 2}, "relu and truediv after layer 1"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_else_stands_at_the_ends_or_stands_elsewhere_is_refused_by_name(form: str) -> None:
    changed, message = REFUSED[form]
    with pytest.raises(ValueError, match=message):
        initialize(Net(**changed), "he_normal", generator=generator())


def test_an_mlp_of_ours_has_the_draws_of_the_same_with_both_ends() -> None:
    ours, other = MLP(4, 8, 4, 4).double(), Net(lambda x: x / 255, LINKS["log_softmax"]).double()
    for model in (ours, other):
        initialize(model, "ll_orth", bias_mode="mirrored", bias_variance=0.1, generator=generator())
    assert alike(ours, other)
