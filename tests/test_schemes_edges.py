"""The edge cases of the reference, row by row: each works, or is refused with what is possible."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isoinit import CNN, MLP, SCHEMES, ResNet, build, initialize
from isoinit.activations import CReLU
from isoinit.schemes import check
from isoinit.schemes.base import Draw
from isoinit.schemes.rotations import _numbers, rotations
from isoinit.spectrum import jacobian

PLAIN = [n for n, s in SCHEMES.items() if "mlp" in s.architectures and s.activations != ("crelu",)]
MIRRORED = ["ll_gauss", "ll_orth", "ll_eoi"]
DELTA = ["delta_orthogonal", "ll_orth", "eoi", "ll_eoi", "zero"]


def filled(model: nn.Module, name: str, *shape: int, **arguments: Any) -> nn.Module:
    if SCHEMES[name].needs_data:
        arguments["data"] = noise(16, *shape)
    return initialize(model.double(), name, generator=torch.Generator().manual_seed(0), **arguments)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def spectrum(model: nn.Module, *shape: int) -> Tensor:
    return torch.linalg.svdvals(jacobian(model, noise(2, *shape)))


def is_affine(model: nn.Module, *shape: int) -> bool:
    first, second = jacobian(model, noise(2, *shape))
    return bool((first - second).abs().max() < 1e-12)


def convolutions(*layers: nn.Module) -> nn.Sequential:
    """The layers with a ReLU after each, then a linear head over everything that is left."""
    body = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())])
    left = body(torch.zeros(1, 4, 4, 4))[0].numel()
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(left, 6))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("sizes", [(1, 6, 4, 1), (5, 7, 3, 2), (9, 8, 4, 2)], ids=["one", "odd", "narrowing"])
def test_one_input_or_output_odd_widths_and_narrowing_work(name: str, sizes: tuple[int, int, int, int]) -> None:
    model = (
        MLP(*sizes)
        if sizes[0] != 9
        else nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    )
    assert filled(model, name, sizes[0])(noise(3, sizes[0])).isfinite().all()


@pytest.mark.filterwarnings("ignore:the data do not vary")
@pytest.mark.parametrize("name", PLAIN)
def test_a_hidden_width_of_one_works_unless_it_has_to_be_mirrored(name: str) -> None:
    if name in MIRRORED:
        with pytest.raises(ValueError, match="width of at least 2, got 1"):
            filled(MLP(4, 1, 3, 2), name, 4)
    else:
        filled(MLP(4, 1, 3, 2), name, 4)


@pytest.mark.parametrize("name", ["lsuv", "sample_variance_scale"])
def test_behind_a_dead_layer_there_is_nothing_to_scale_and_a_warning(name: str) -> None:
    model = MLP(4, 1, 9, 2)  # the one ReLU of some layer is dead for this draw
    with pytest.warns(UserWarning, match=r"do not vary at the output of Linear\(in_features=1"):
        filled(model, name, 4)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["ll_orth", "ll_eoi"])
def test_a_hidden_width_of_two_is_one_mirrored_pair(name: str) -> None:
    assert float((spectrum(filled(MLP(1, 2, 5, 1), name, 1), 1) - 1).abs().max()) < 1e-12


def test_crelu_refuses_two_groups() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 1), CReLU(), nn.Conv1d(8, 4, 1, groups=2), CReLU(), nn.Conv1d(8, 2, 1))
    with pytest.raises(ValueError, match="ll_crelu needs layers without groups"):
        filled(model, "ll_crelu", 3, 5)


def test_a_sparse_column_of_length_one_is_a_sign() -> None:
    signs = rotations(50, 1, 1, 1.0, Draw(torch.Generator().manual_seed(0)))
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}


def test_the_largest_number_drawn_is_a_column_that_there_is() -> None:
    drawn = np.full((1, 3, 1), np.nextafter(np.float32(1), np.float32(0)))
    for columns in (*range(2, 5000), 2**14 - 1, 2**14, 2**14 + 1):
        one, further, *_ = _numbers(drawn, columns)
        assert one == columns - 1
        assert further == columns - 2


@pytest.mark.parametrize("name", ["risotto_b", "risotto_c"])
def test_risotto_refuses_an_odd_width_and_names_an_even_one(name: str) -> None:
    with pytest.raises(ValueError, match="even width, got 7; 8 is possible"):
        filled(ResNet((4,), 7, 6, 4, (SCHEMES[name].blocks or ("",))[0]), name, 4)


@pytest.mark.parametrize("name", ["ll_orth", "ll_eoi"])
def test_the_spare_unit_of_an_odd_width_changes_nothing_but_learns(name: str) -> None:
    model = filled(MLP(4, 9, 12, 4), name, 4)
    assert float((spectrum(model, 4) - 1).abs().max()) < 1e-9
    model(noise(64, 4)).square().sum().backward()
    outgoing = torch.stack([layer.weight.grad[:, -1].norm() for layer in model.get_submodule("layers")[1:]])  # type: ignore[index, union-attr]
    assert (outgoing > 0).float().mean() > 0.3


@pytest.mark.parametrize("name", [n for n in PLAIN if n != "sample_variance"])
def test_layers_without_bias_are_skipped(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))
    bias = {"bias_mode": "iid", "bias_variance": 1.0} if "iid" in SCHEMES[name].bias_modes else {}
    assert filled(model, name, 4, **bias)(noise(3, 4)).isfinite().all()


def test_sample_variance_without_bias_is_refused() -> None:
    with pytest.raises(ValueError, match="every layer needs one"):
        filled(nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2)), "sample_variance", 4)


GROUPED = [n for n in PLAIN if "cnn" in SCHEMES[n].architectures]


@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_initialized_each_on_its_own(name: str) -> None:
    layers = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 1, groups=4)
    model = filled(convolutions(*layers, nn.Conv2d(8, 8, 3, padding=1)), name, 4, 4, 4)
    assert model(noise(3, 4, 4, 4)).isfinite().all()
    if name in MIRRORED:
        assert is_affine(model, 4, 4, 4)
    if name in ("delta_orthogonal", "eoi"):
        for group in layers[1].weight.detach()[:, :, 1, 1].chunk(2):
            gram = group @ group.mT
            assert float((gram - gram[0, 0] * torch.eye(4)).abs().max()) < 1e-12


def test_a_grouped_fan_out_is_that_of_a_group() -> None:
    layer = nn.Conv2d(64, 64, 3, padding=1, groups=8)
    filled(convolutions(nn.Conv2d(4, 64, 1), layer), "xavier_normal", 4, 4, 4)
    assert float(layer.weight.detach().var()) == pytest.approx(2 / (72 + 72), rel=0.1)


@pytest.mark.parametrize("name", MIRRORED)
def test_groups_too_small_to_mirror_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="needs a width divisible by 16, got 8"):
        filled(convolutions(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1, groups=8)), name, 4, 4, 4)


@pytest.mark.parametrize("name", [n for n in GROUPED if n not in MIRRORED and "mirrored" in SCHEMES[n].bias_modes])
def test_biases_of_groups_too_small_to_mirror_are_refused_before_anything_changes(name: str) -> None:
    """The halves of a bias were to be put into the groups after the weights had been drawn, and did not fit."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 8, 1))
    before = [p.detach().double() for p in model.parameters()]
    with pytest.raises(ValueError, match="inside 4 groups needs a width divisible by 8, got 4; 'iid' takes any"):
        filled(model, name, 4, 4, 4, bias_mode="mirrored", bias_variance=0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    for arguments in ({"bias_mode": "iid", "bias_variance": 0.1}, {"bias_mode": "mirrored"}):
        assert filled(model, name, 4, 4, 4, **arguments)(noise(2, 4, 4, 4)).isfinite().all()


def test_the_bias_of_a_head_with_groups_is_not_mirrored_so_may_be_of_any_size() -> None:
    model = nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Conv1d(8, 6, 1, groups=2))
    initialize(model, "ll_orth", bias_mode="mirrored", bias_variance=1.0, generator=torch.Generator().manual_seed(0))
    hidden, head = (p for name, p in model.named_parameters() if name.endswith("bias"))
    assert torch.equal(hidden[[0, 1, 4, 5]], -hidden[[2, 3, 6, 7]])
    assert len(head.abs().unique()) == 6


def test_a_mirrored_bias_of_an_odd_width_without_groups_has_one_number_without_a_partner() -> None:
    model = filled(MLP(4, 7, 3, 2), "he_normal", 4, bias_mode="mirrored", bias_variance=1.0)
    bias = model.get_submodule("layers.0").get_parameter("bias").detach()
    assert torch.equal(bias[3:6], -bias[:3])
    assert bias[6] != 0


def test_mirrored_groups_of_monotone_sizes_are_isometric() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=4),
        nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 64),
    )  # fmt: skip
    filled(model, "ll_orth", 4, 4, 4, bias_mode="mirrored", bias_variance=1.0)
    assert float((spectrum(model, 4, 4, 4) - 1).abs().max()) < 1e-9


@pytest.mark.parametrize("name", ["ll_orth", "ll_eoi"])
def test_a_stride_loses_rank_but_stays_mirrored(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16))
    filled(model, name, 4, 4, 4)
    assert is_affine(model, 4, 4, 4)
    assert float((spectrum(model, 4, 4, 4) - 1).abs().max()) < 1e-9
    assert model[0](noise(1, 4, 4, 4)).numel() == 32


@pytest.mark.parametrize("name", GROUPED)
def test_an_even_kernel_is_refused_by_delta_kernels_only(name: str) -> None:
    model = convolutions(nn.Conv2d(4, 8, 2), nn.Conv2d(8, 8, 2))
    if name in DELTA:
        with pytest.raises(ValueError, match="odd kernel sizes; got \\(2, 2\\)"):
            filled(model, name, 4, 4, 4)
    else:
        assert filled(model, name, 4, 4, 4)(noise(3, 4, 4, 4)).isfinite().all()


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("name", ["ll_orth", "ll_eoi"])
def test_delta_kernels_are_isometric_under_every_padding(name: str, padding: Any) -> None:
    model = CNN((2, 4, 4), 4, 6, 32, padding_mode=padding, pooling="none")
    assert float((spectrum(filled(model, name, 2, 4, 4), 2, 4, 4) - 1).abs().max()) < 1e-9


@pytest.mark.parametrize("name", ["ll_orth", "ll_eoi"])
def test_average_pooling_scales_the_spectrum_by_the_root_of_the_positions(name: str) -> None:
    values = spectrum(filled(CNN((3, 4, 4), 6, 10, 3), name, 3, 4, 4), 3, 4, 4)
    assert float((values - 1 / 4).abs().max()) < 1e-9


@pytest.mark.parametrize("dimension", [1, 3])
def test_convolutions_of_one_and_three_dimensions_are_understood(dimension: int) -> None:
    conv = nn.Conv1d if dimension == 1 else nn.Conv3d
    left = 4 * 3**dimension
    model = nn.Sequential(conv(2, 4, 3, padding=1), nn.ReLU(), conv(4, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(left, left // 2))
    filled(model, "ll_eoi", 2, *[3] * dimension)
    assert float((spectrum(model, 2, *[3] * dimension) - 1).abs().max()) < 1e-9


def test_max_pooling_and_dropout_are_refused_where_they_break_the_mirror() -> None:
    for module in (nn.MaxPool2d(2), nn.Dropout(0.1)):
        model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), module, nn.Flatten(), nn.Linear(8, 2))
        filled(model, "he_normal", 4, 4, 4)
        with pytest.raises(ValueError, match=f"does not survive {type(module).__name__}; average pooling and"):
            filled(model, "ll_orth", 4, 4, 4)


@pytest.mark.parametrize(("name", "most"), [("eoi", 64), ("ll_eoi", 16)])
def test_a_kernel_bears_a_lower_density_than_its_core(name: str, most: int) -> None:
    """Its least is one weight per row of the core, among all taps: where d * 9 and sqrt(d) are 1/side."""
    model = CNN((2, 4, 4), 8, 4, 8, pooling="none")
    filled(model, name, 2, 4, 4, density=1 / most)
    for layer in list(model.layers)[:-1]:
        assert isinstance(layer, nn.Conv2d)
        assert float(layer.get_buffer("mask").double().mean()) == pytest.approx(1 / most, abs=1 / (2 * 9 * 4))
    for refused in (lambda d: filled(CNN((2, 4, 4), 8, 4, 8), name, 2, 4, 4, density=d),
                    lambda d: check(name, architecture="cnn", depth=4, width=8, density=d)):  # fmt: skip
        with pytest.raises(ValueError, match=f"at least 1/{most}, got"):
            refused(0.9 / most)


@pytest.mark.parametrize("alpha", [0.0, -1.0, torch.inf])
@pytest.mark.parametrize("name", ["risotto_b", "risotto_c"])
def test_risotto_refuses_an_alpha_without_a_branch(name: str, alpha: float) -> None:
    """A negative one would turn relu(x / alpha), which has to give x back, into zero."""
    with pytest.raises(ValueError, match="alpha must be"):
        filled(ResNet((4,), 8, 6, 4, (SCHEMES[name].blocks or ("",))[0]), name, 4, alpha=alpha)


def test_a_narrow_layer_gets_its_least_density_where_the_others_bear_the_target() -> None:
    model = nn.Sequential(nn.Linear(80, 60), nn.ReLU(), nn.Linear(60, 4), nn.ReLU(), nn.Linear(4, 10))
    with pytest.warns(UserWarning, match=r"0.05 of a \(10, 4\) matrix raised to its least, 0.1"):
        filled(model, "eoi", 80, density=0.05)
    shares = [float((m.weight != 0).double().mean()) for m in model if isinstance(m, nn.Linear)]
    assert shares == pytest.approx([0.05, 0.05, 0.1], abs=1 / 120)


def test_calibration_takes_dropout_away_and_leaves_the_mode_and_the_global_generator() -> None:
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 3))
    before = torch.get_rng_state()
    filled(model, "lsuv", 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(m.training for m in model.modules())
    assert float(model.eval()(noise(16, 4)).detach().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_calibration_takes_dropout_by_a_function_away_too() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 50), nn.Linear(50, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(nn.functional.dropout(torch.relu(self.first(x)), training=self.training))

    model, before = Functional(), torch.get_rng_state()
    filled(model, "lsuv", 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert float(model.eval()(noise(16, 4)).detach().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_of_a_network_half_on_the_meta_device_the_other_half_is_initialized() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2, device="meta"))
    whole = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    for network in (model, whole):
        initialize(network, "ll_orth", generator=torch.Generator().manual_seed(0))
    first, reference = model[0], whole[0]
    assert isinstance(first, nn.Linear)
    assert isinstance(reference, nn.Linear)
    assert torch.equal(first.weight, reference.weight)


class _Elsewhere(TorchDispatchMode):
    """A model on a device of its own: what computes on its tensors and on others at once is refused, but for copies."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = {t.untyped_storage().data_ptr() for t in (*self.model.parameters(), *self.model.buffers())}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()]
        sides = {t.untyped_storage().data_ptr() in there for t in tensors}
        assert len(sides) < 2 or "copy" in str(func), f"{func} on two devices"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if not scheme.needs_data])
def test_a_network_on_another_device_than_the_generator_gets_its_numbers_by_copies(name: str) -> None:
    scheme = SCHEMES[name]
    architecture, mode = scheme.architectures[0], scheme.bias_modes[-1]
    activation = scheme.activations[0] if scheme.activations else "relu"
    block = name if architecture == "resnet" else None
    model = build(architecture, (4,), width=6, depth=5, out_features=3, activation=activation, scheme=block)
    arguments: dict[str, Any] = {"density": 0.5} if scheme.sparse else {}
    with _Elsewhere(model):
        generator, variance = torch.Generator().manual_seed(0), 0.1 * (mode != "zero")
        initialize(model, name, generator=generator, bias_mode=mode, bias_variance=variance, **arguments)


def test_a_network_initialized_in_inference_mode_trains() -> None:
    model = MLP(4, 8, 3, 2)
    with torch.inference_mode():
        initialize(model, "ll_eoi", density=0.5, generator=torch.Generator().manual_seed(0))
    model(torch.ones(3, 4)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_leaving_the_meta_device_and_a_transposed_memory_layout_change_no_weight() -> None:
    with torch.device("meta"):
        model = MLP(4, 8, 4, 3, normalization="batch")
    strided = MLP(4, 8, 4, 3, normalization="batch")
    for layer in strided.get_submodule("layers").children():
        assert isinstance(layer, nn.Linear)
        layer.weight = nn.Parameter(torch.zeros(layer.weight.shape[::-1]).T)
    networks = [model.to_empty(device="cpu"), strided, MLP(4, 8, 4, 3, normalization="batch")]
    states = [
        initialize(m, "ll_orth", generator=torch.Generator().manual_seed(0)).state_dict().values() for m in networks
    ]
    for one, two, three in zip(*states, strict=True):
        assert torch.equal(one, three)
        assert torch.equal(two, three)


@pytest.mark.parametrize(("name", "least"), [("eoi", "1/8"), ("ll_eoi", "1/4")])
def test_a_density_below_one_per_row_is_refused_with_the_least(name: str, least: str) -> None:
    with pytest.raises(ValueError, match=f"density of at least {least}, got 0.1"):
        initialize(MLP(4, 8, 3, 2), name, density=0.1, generator=torch.Generator())


def test_a_layer_that_erk_leaves_too_sparse_is_raised_with_a_warning() -> None:
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with pytest.warns(UserWarning, match=r"0.00835 of a \(64, 64\) matrix raised to its least, 0.0156"):
        initialize(model, "eoi", density=1 / 64, distribution="erk", generator=torch.Generator())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.LSTM(8, 2), "a LSTM is not understood"),
        (MLP, "a type is not understood"),
        (nn.Sequential(nn.Linear(2, 2), nn.Bilinear(2, 2, 2)), "a Bilinear is not understood"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "exactly one activation after every weight layer"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "exactly one activation after every weight layer"),
        (nn.Sequential(nn.ReLU()), "no linear or convolutional layer"),
    ],
)
def test_a_network_that_is_not_understood_is_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        initialize(model, "he_normal", generator=torch.Generator())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "ll_ort"}, "did you mean 'll_orth'"),
        ({"bias_variance": 1.0}, "needs bias_mode 'iid' or 'mirrored'"),
        ({"bias_variance": -1.0, "bias_mode": "iid"}, "at least 0, got -1.0"),
        ({"bias_mode": "mirror"}, "bias_mode must be one of zero, iid, mirrored"),
        ({"weight_scale": 0.0}, "finite and positive, got 0.0"),
        ({"density": 0.5}, "is dense, got density 0.5; sparse are eoi, ll_eoi"),
        ({"density": 0.0}, r"density must be in \(0, 1\]"),
        ({"scheme": "eoi", "density": "a"}, r"density must be in \(0, 1\], got 'a'"),
        ({"scheme": None}, "scheme must be one of xavier_normal, .*, got None"),
        ({"narrowing": "loose"}, "narrowing must be one of 'free', 'tracked', got 'loose'"),
        ({"narrow": "free"}, "has the options narrowing, got 'narrow'"),
        ({"scheme": "lsuv"}, "give data="),
        ({"scheme": "lsuv", "data": torch.tensor(1.0)}, "give data="),
        ({"scheme": "lsuv", "data": torch.empty(4, 4, device="meta")}, "give data="),
        ({"scheme": "lsuv", "data": torch.full((4, 4), torch.nan)}, "data= has numbers that are not finite"),
        ({"scheme": "idinit", "tau": torch.nan}, "tau must be finite and at least 0, got nan"),
        ({"scheme": "idinit", "eps_tau": -1.0}, "eps_tau must be finite and at least 0, got -1.0"),
        ({"scheme": "orthogonal", "gain": "sqrt(2)"}, r"gain must be finite and at least 0, got 'sqrt\(2\)'"),
        ({"weight_scale": torch.inf}, "finite and positive, got inf"),
        ({"bias_variance": "0.1", "bias_mode": "iid"}, "at least 0, got '0.1'"),
        ({"generator": None}, "generator must be a torch.Generator"),
        ({"generator": 7}, "generator must be a torch.Generator"),
        ({"scheme": "lsuv", "bias_mode": "iid"}, "knows bias_mode zero, got 'iid'"),
        ({"scheme": "ll_crelu"}, "is for the activation crelu, not relu; for relu there are"),
    ],
)
def test_an_argument_that_is_not_possible_is_refused_before_anything_changes(arguments: Any, message: str) -> None:
    model = MLP(4, 6, 3, 2)
    with pytest.raises(ValueError, match=message):
        initialize(model, **{"scheme": "ll_orth", "generator": torch.Generator(), **arguments})
    assert not any(p.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ll_orth", "architecture": "transformer"}, "architecture must be one of mlp, cnn, resnet"),
        ({"name": "fixup", "architecture": "resnet", "normalization": "batch"}, "for normalization none, got 'batch'"),
        (
            {"name": "he_normal", "architecture": "resnet", "activation": "crelu"},
            "applies to mlp or cnn, not to resnet",
        ),
        ({"name": "he_normal", "depth": 1}, "depth must be at least 2"),
        ({"name": "he_normal", "width": 0}, "width must be at least 1"),
        ({"name": "he_normal", "depth": "5"}, "depth must be a whole number, got '5'"),
        ({"name": "he_normal", "width": 2.5}, "width must be a whole number, got 2.5"),
        ({"name": "ll_eoi", "density": 0.2, "width": 8}, "at least 1/4, got 0.2"),
    ],
)
def test_check_refuses_without_a_network(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(**{"architecture": "mlp", "depth": 5, "width": 8, **arguments})


def tokens(activation: nn.Module) -> nn.Sequential:
    """Linear layers on every one of seven positions, and a head on all of them."""
    layers = nn.Linear(12, 10), activation, nn.Linear(10, 6), activation, nn.Flatten(), nn.Linear(42, 4)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.needs_data])
def test_the_units_of_a_linear_layer_are_on_its_last_axis(name: str) -> None:
    """Positions of different means were taken for units, and the units for positions."""
    model, x = tokens(nn.Tanh()), noise(64, 7, 12) + 3 * torch.arange(7.0)[:, None]
    initialize(model, name, data=x, generator=torch.Generator().manual_seed(0))
    for end in (1, 3, 6):
        units = model[:end](x).detach().flatten(0, -2)
        variance = units.var(0, correction=0)
        if name == "sample_variance":
            torch.testing.assert_close(variance, torch.ones_like(variance))
            torch.testing.assert_close(units.mean(0), torch.zeros_like(variance))
        else:
            total = units.var(correction=0) if name == "lsuv" else variance.mean()
            torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.needs_data])
@pytest.mark.parametrize("plain", [True, False])
def test_data_that_the_network_does_not_take_are_refused_before_anything_changes(name: str, plain: bool) -> None:
    """torch's own error came through, of a network of which some layers were set."""
    other = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    model = MLP(4, 6, 3, 2) if plain else other
    before, drawn = [p.clone() for p in model.parameters()], torch.get_rng_state()
    message = "4 numbers each, got 5 in the shape" if plain else r"take the shape \(16, 5\) in torch.float64: .+"
    with pytest.raises(ValueError, match=f"data= must be inputs .*{message}"):
        filled(model, name, 5)
    assert all(torch.equal(a.double(), b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(drawn, torch.get_rng_state())


@pytest.mark.parametrize("name", MIRRORED)
def test_mirrored_units_that_a_flatten_tears_apart_are_refused(name: str) -> None:
    """Half of the inputs of the head were taken for the mirror of the other half, and the network was not linear."""
    with pytest.raises(ValueError, match="6 mirrored units in front of one that reads 42 inputs has several positions"):
        filled(tokens(nn.ReLU()), name, 7, 12)
    positions = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 6))
    first, second = jacobian(nn.Sequential(*filled(positions, name, 7, 12).children(), nn.Flatten()), noise(2, 7, 12))
    assert float((first - second).abs().max()) < 1e-12


def test_crelu_that_doubles_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="20 inputs behind a linear layer of 10 units, got 10"):
        filled(tokens(CReLU()), "ll_crelu", 7, 12)


def pixels(inputs: int, size: int) -> Tensor:
    """(inputs, 3, size, size), as images come: whole numbers up to 255."""
    return torch.randint(0, 256, (inputs, 3, size, size), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["lsuv", "sample_variance", "sample_variance_scale"])
@pytest.mark.parametrize(
    ("model", "data"),
    [(MLP(12, 48, 4, 3), pixels(1400, 2) / 128), (CNN((3, 20, 20), 16, 3, 3), pixels(32, 20))],
    ids=["more numbers than float16 has", "a larger norm than float16 has"],
)
def test_half_precision_is_adapted_to_many_inputs(name: str, model: MLP | CNN, data: Tensor) -> None:
    """Their number was infinite, or the norm of the outputs, by which the weights were divided, so all were zero."""
    model, data = model.half(), data.half()
    initialize(model, name, data=data, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = data.flatten(1) if isinstance(model, MLP) else data
        units = model.layers[0](x).double().movedim(1, -1).flatten(0, -2)
    deviations = units - (units.mean() if name == "lsuv" else units.mean(0))
    assert float(deviations.square().mean()) == pytest.approx(1, rel=0.02)
