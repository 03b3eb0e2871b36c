"""The numbers of the reference: what each family of schemes does, against closed forms and known values."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from isoinit import CNN, MLP, ResNet, initialize, probe
from isoinit.schemes.base import Draw, haar_from_normal
from isoinit.schemes.classic import truncated_normals
from isoinit.schemes.densities import layer_densities
from isoinit.schemes.identity import idi, idiz, partial_hadamard
from isoinit.schemes.kumar import kumar_variance
from isoinit.schemes.reading import read
from isoinit.schemes.rotations import rotations
from isoinit.schemes.sparse import _shuffled
from isoinit.schemes.wiring import Wiring
from isoinit.spectrum import jacobian


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def singular(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix)


def deviation(model: nn.Module, *shape: int) -> float:
    return float((singular(jacobian(model, noise(2, *shape))) - 1).abs().max())


def chain(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Linear(into, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


# Classic


def test_truncated_draws_have_unit_variance_and_end_at_two_uncorrected_deviations() -> None:
    (values,) = truncated_normals(Draw(generator(), torch.float64), [(200_000,)])
    assert float(values.std()) == pytest.approx(1, abs=0.01)
    assert float(values.abs().max()) == pytest.approx(2 / 0.87962566, abs=1e-3)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (nn.Sigmoid(), 12.8),  # 3.5777^2
        (nn.Softplus(), 1 / (0.25 * (1 + math.log(2) ** 2))),
        (nn.Tanh(), 1.0),
        (nn.Hardtanh(), 1.0),
        (nn.Identity(), 1.0),
        (nn.ReLU(), 2.0),
        (nn.GELU(), 4.0),
    ],
)
def test_kumar_follows_value_and_slope_at_zero(activation: nn.Module, expected: float) -> None:
    assert kumar_variance(activation) == pytest.approx(expected, rel=1e-6)
    model = nn.Sequential(nn.Linear(50, 400), activation, nn.Linear(400, 400), activation, nn.Linear(400, 5))
    initialize(model, "kumar", generator=generator())
    assert float(read(model).layers[1].weight.detach().square().mean()) * 400 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.ELU(alpha=0.5)])
def test_kumar_refuses_a_kink_at_zero(activation: nn.Module) -> None:
    with pytest.raises(ValueError, match="differentiable at 0"):
        initialize(nn.Sequential(nn.Linear(3, 3), activation, nn.Linear(3, 3)), "kumar", generator=generator())


@pytest.mark.parametrize("activation", [nn.PReLU(), nn.Softmax(dim=1), nn.GLU()])
def test_kumar_refuses_what_is_no_function_of_one_number(activation: nn.Module) -> None:
    """As only a network that says its wiring has it for its activation."""
    with pytest.raises(ValueError, match=f"kumar needs .*, and {type(activation).__name__} takes none: "):
        kumar_variance(activation)


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("xavier_normal", -math.log(2)),
        ("lecun_normal", -math.log(2)),
        ("torch_default", -math.log(6)),
        ("he_normal", 0.0),
    ],
)
def test_the_typical_norm_falls_with_the_predicted_slope(name: str, slope: float) -> None:
    """Mean log factor of a layer: log(fan_in Var(w) / 2) + mu, with He's mu = -0.0401086 and variance 0.0829974 at
    width 64 (uniform weights differ by 1/N^2 only)."""
    layers, networks = 11, 40
    ratios = []
    for seed in range(networks):
        model = initialize(MLP(64, 64, layers + 1, 10).double(), name, generator=generator(seed))
        for layer in read(model).layers:
            assert layer.bias is not None
            layer.bias.data.zero_()  # torch's default biases would take over once the signal is small
        ratios.append(probe(model, noise(1, 64, seed=seed), jacobian=False).log_forward_ratio)
    sure = 4 * math.sqrt(layers * 0.0829974 / networks)
    assert np.mean(ratios) == pytest.approx(layers * (slope - 0.0401086), abs=sure)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("he_normal", stats.norm()),
        ("he_uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("torch_default", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("he_truncated", stats.truncnorm(-2, 2, scale=1 / 0.87962566103423978)),
    ],
)
def test_weights_follow_their_law_not_only_its_variance(name: str, law: Any) -> None:
    layer = read(initialize(MLP(200, 400, 2, 5).double(), name, generator=generator())).stem[0]
    standard = layer.weight.detach().flatten().numpy() * math.sqrt(200 * (3 if name == "torch_default" else 1 / 2))
    assert stats.kstest(standard, law.cdf).pvalue > 1e-3


def test_haar_matrices_have_the_traces_of_the_orthogonal_group() -> None:
    """E tr = 0, E tr^2 = 1, E tr(U^2) = 1, E det = 0; QR without the signs of diag R has E tr = -1.07 here."""
    u = haar_from_normal(torch.randn(4000, 5, 5, generator=generator(), dtype=torch.float64))
    trace, squared = (m.diagonal(dim1=1, dim2=2).sum(1) for m in (u, u @ u))
    for values, expected in ((trace, 0.0), (trace**2, 1.0), (squared, 1.0), (torch.linalg.det(u), 0.0)):
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(4000))


@pytest.mark.parametrize("name", ["he_normal", "he_uniform", "he_truncated", "orthogonal"])
def test_the_gain_of_a_leaky_relu_keeps_the_second_moment(name: str) -> None:
    """2/(1 + a^2): with He's 2 the signal of a = 0.5 would grow by 1.25 a layer, to 45 in 17 layers."""
    layers = [part for _ in range(17) for part in (nn.Linear(256, 256), nn.LeakyReLU(0.5))]
    model = nn.Sequential(*layers, nn.Linear(256, 4)).double()
    measured = [probe(initialize(model, name, generator=generator(s)), noise(8, 256), jacobian=False) for s in range(3)]
    assert abs(np.mean([m.log_forward_ratio for m in measured])) < 0.6


def test_a_flattened_orthogonal_kernel_is_no_isometry_and_a_delta_kernel_is() -> None:
    spectra = {}
    for name in ("orthogonal", "delta_orthogonal"):
        model = CNN((4, 5, 5), 4, 4, 100, activation="linear", pooling="none").double()
        spectra[name] = singular(jacobian(initialize(model, name, generator=generator()), noise(1, 4, 5, 5)))
    assert spectra["orthogonal"].max() / spectra["orthogonal"].min() > 5
    assert float((spectra["delta_orthogonal"] - 1).abs().max()) < 1e-9


def test_ones_orthogonal_maps_ones_to_ones() -> None:
    layer = read(initialize(chain(6, 9, 4), "ones_orthogonal", generator=generator())).layers[0]
    unit = torch.ones(6).double() / math.sqrt(6)
    torch.testing.assert_close(layer.weight @ unit, torch.ones(9).double() / 3)


def test_ones_orthogonal_keeps_units_alive_at_depth_where_gain_one_haar_dies() -> None:
    signal = {}
    for name, scale in (("ones_orthogonal", 1.0), ("orthogonal", 0.5)):
        model = initialize(MLP(128, 128, 60, 10).double(), name, weight_scale=scale, generator=generator())
        signal[name] = probe(model, noise(32, 128).abs(), jacobian=False).squared_norms[-1].mean() / 128
    assert signal["ones_orthogonal"] > 0.1
    assert signal["orthogonal"] < 1e-6


# Mirrored


def test_exactly_half_of_the_units_are_active() -> None:
    model = initialize(MLP(12, 24, 9, 5).double(), "ll_orth", generator=generator())
    shares: list[float] = []
    read(model).signals[0].register_forward_hook(lambda _m, _i, out: shares.append((out > 0).double().mean().item()))
    model(noise(40, 12))
    assert shares == [0.5] * 8


def test_hidden_gradients_stay_level_where_he_spreads_them() -> None:
    spread = {}
    for name in ("ll_orth", "he_normal"):
        model = initialize(MLP(20, 40, 100, 10).double(), name, generator=generator())
        norms = probe(model, noise(64, 20), torch.arange(64) % 10, jacobian=False).gradient_norms[1:-1]
        spread[name] = norms.max() / norms.min()
    assert spread["ll_orth"] < 1.5
    assert spread["he_normal"] > 5


def test_norms_angles_and_sample_variance_survive_two_hundred_layers() -> None:
    measured = probe(initialize(MLP(24, 48, 200, 24).double(), "ll_orth", generator=generator()), noise(50, 24))
    np.testing.assert_allclose(measured.squared_norms, np.broadcast_to(measured.squared_norms[0], (200, 50)), rtol=1e-9)
    np.testing.assert_allclose(measured.correlation, measured.correlation[0], rtol=1e-9)
    np.testing.assert_allclose(measured.sample_variance, measured.sample_variance[0], rtol=1e-9)
    assert measured.log_forward_ratio == pytest.approx(0, abs=1e-9)


def test_a_gaussian_core_is_linear_but_not_isometric() -> None:
    model = initialize(MLP(32, 64, 20, 32).double(), "ll_gauss", generator=generator())
    first, second = jacobian(model, noise(2, 32))
    assert float((first - second).abs().max()) < 1e-9
    assert singular(first).max() > 2
    assert singular(first).median() < 0.05
    hidden = read(model).layers[5].weight.detach()
    assert float(hidden[:32, :32].square().mean()) == pytest.approx(2 / 64, rel=0.15)


def test_the_input_is_not_halved() -> None:
    """The plain block form on a raw input would have rank 12 here."""
    model = initialize(MLP(24, 48, 3, 24).double(), "ll_gauss", generator=generator())
    assert torch.linalg.matrix_rank(jacobian(model, noise(1, 24))[0]) == 24


@pytest.mark.parametrize("widths", [(24, 64, 128, 64, 48, 96, 24), (24, 64, 48, 200, 10), (30, 64, 128, 96, 8)])
def test_tracked_narrowing_is_isometric_where_free_narrowing_is_not(widths: tuple[int, ...]) -> None:
    model = chain(*widths)
    assert deviation(initialize(model, "ll_orth", narrowing="free", generator=generator()), widths[0]) > 0.01
    assert deviation(initialize(model, "ll_orth", narrowing="tracked", generator=generator()), widths[0]) < 1e-9


@pytest.mark.parametrize("widths", [(24, 64, 128, 64, 48, 96, 24), (24, 50, 50, 50, 24)])
def test_every_tracked_core_is_semi_orthogonal(widths: tuple[int, ...]) -> None:
    """And not only on the image of the input, which is all that the Jacobian sees; beside it there may be one unit."""
    model = initialize(chain(*widths), "ll_orth", narrowing="tracked", generator=generator())
    for layer in read(model).layers[1:-1]:
        core = layer.weight.detach()[: layer.weight.shape[0] // 2, : layer.weight.shape[1] // 2]
        torch.testing.assert_close(singular(core), torch.ones(min(core.shape)).double())


def test_tracked_narrowing_is_a_partial_isometry_below_the_input_width() -> None:
    model = initialize(chain(24, 64, 16, 80, 24), "ll_orth", narrowing="tracked", generator=generator())
    values = singular(jacobian(model, noise(1, 24))[0])
    torch.testing.assert_close(values[:8], torch.ones(8).double(), rtol=0, atol=1e-9)
    assert float(values[8:].max()) < 1e-9


def test_a_flattened_network_refuses_tracked_narrowing() -> None:
    with pytest.raises(ValueError, match="pooling instead of a flatten"):
        initialize(CNN((2, 4, 4), 8, 4, 3, pooling="none"), "ll_orth", narrowing="tracked", generator=generator())


def test_crelu_is_isometric_under_any_bias() -> None:
    model = MLP(24, 24, 200, 24, "crelu").double()
    initialize(model, "ll_crelu", bias_mode="iid", bias_variance=10.0, generator=generator())
    assert deviation(model, 24) < 1e-9


# Sparse


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (16, 16), (24, 10), (10, 24), (33, 64)])
def test_eoi_is_orthogonal_and_nearest_at_every_density(shape: tuple[int, int]) -> None:
    least = 1 / max(shape)
    for density in np.linspace(least, 1, 12):
        for a in rotations(3, *shape, float(density), Draw(generator(), torch.float64)):
            short = a if shape[0] <= shape[1] else a.mT
            assert float((short @ short.mT - torch.eye(len(short))).abs().max()) < 1e-12
            assert abs(float((a != 0).double().mean()) - density) <= 1 / (2 * max(shape)) + 1e-12


def test_supports_grow_by_the_birth_law() -> None:
    """Support sizes of the rows follow P(k -> k+1) = 2k(m-k)/(m(m-1)): not only their mean, which is the density."""
    m, target = 64, 0.125
    law, k, count = np.eye(1, m)[0], np.arange(1, m + 1), 0
    while law @ k / m < target:
        born = law * 2 * k * (m - k) / (m * (m - 1))
        law, count = law - born + np.concatenate([[0], born[:-1]]), count + 1
    assert count == 73  # the reference's table
    sizes = (rotations(200, m, m, target, Draw(generator())) != 0).sum(2).double()
    assert float(sizes.mean()) == pytest.approx(law @ k, rel=0.02)
    assert float(sizes.var()) == pytest.approx(law @ k**2 - (law @ k) ** 2, rel=0.1)


def test_shuffling_moves_the_pattern_off_the_first_inputs_and_keeps_the_rest() -> None:
    reached = {}
    for shuffle in (False, True):
        model = initialize(MLP(400, 20, 3, 20).double(), "ll_eoi", density=0.1, shuffle=shuffle, generator=generator())
        assert deviation(initialize(MLP(10, 20, 9, 10).double(), "ll_eoi", density=0.1, shuffle=shuffle,
                                    generator=generator()), 10) < 1e-9  # fmt: skip
        sparse = rotations(1, 10, 400, 1 / 400, Draw(generator(), torch.float64))[0]
        matrix = _shuffled(sparse, Draw(generator(1), torch.float64)) if shuffle else sparse
        torch.testing.assert_close(matrix @ matrix.mT, torch.eye(10, dtype=torch.float64))
        assert int(matrix.count_nonzero()) == 10
        reached[shuffle] = int(matrix.any(0).nonzero().max())
        assert model(noise(2, 400)).isfinite().all()
    assert reached[False] == 9
    assert reached[True] > 100


def test_erk_keeps_the_total_density_and_gives_the_reference_example() -> None:
    layers = [m for m in chain(784, *[100] * 6, 10) if isinstance(m, nn.Linear)]
    densities = layer_densities(layers, 0.1, "erk")
    assert densities == pytest.approx([0.0732, *[0.1298] * 5, 0.7138], abs=5e-4)
    sizes = [layer.weight.numel() for layer in layers]
    assert np.dot(densities, sizes) == pytest.approx(0.1 * sum(sizes))
    capped = layer_densities(layers, 0.3, "erk")
    assert capped[-1] == 1
    assert np.dot(capped, sizes) == pytest.approx(0.3 * sum(sizes))
    for shape in ((75, 79), (79, 79)):  # of a layer of the first alone the density would be rounded to above 1
        assert layer_densities([nn.Linear(*shape)], 1.0, "erk") == [1.0]


def test_unfrozen_taps_start_at_zero_and_reach_the_density() -> None:
    model = initialize(CNN((3, 8, 8), 16, 4, 5), "eoi", density=0.2, generator=generator())
    conv = read(model).layers[1]
    mask = conv.get_buffer("mask")
    assert float(mask.double().mean()) == pytest.approx(0.2, abs=1 / mask.numel())
    assert mask[:, :, 0, 0].any()
    assert not conv.weight[:, :, 0, 0].any()


# Identity


def test_repeating_the_identity_downwards_multiplies_singular_values() -> None:
    expected = torch.tensor([3, 3, 2, 2]).double().sqrt()
    torch.testing.assert_close(singular(idi(10, 4, 1.0)), expected)


@pytest.mark.parametrize("shape", [(10, 4), (4, 4), (4, 6), (16, 64), (64, 16)])
def test_idiz_annihilates_a_constant_with_two_weights_a_row(shape: tuple[int, int]) -> None:
    matrix = idiz(*shape, 1e-6)
    assert not matrix.sum(1).any()
    assert (matrix.count_nonzero(1) == 2).all()
    assert set(matrix.unique().tolist()) == {-1e-6, 0.0, 1e-6}


def test_idiz_is_written_out() -> None:
    assert idiz(4, 3, 1.0).tolist() == [[1, -1, 0], [0, 1, -1], [-1, 0, 1], [1, -1, 0]]
    assert idiz(2, 5, 1.0).tolist() == [[1, 0, -1, 0, 0], [0, 1, 0, -1, 0]]


def test_idiz_of_one_input_alternates() -> None:
    assert idiz(4, 1, 0.5).flatten().tolist() == [0.5, -0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    ("order", "channels", "taps"),
    [("khwc", 18, [(0, 0)]), ("torch", 2, [(i, j) for i in range(3) for j in range(3)]), ("channel", 18, [(1, 1)]),
     ("centre_first", 18, [(1, 1)])],
)  # fmt: skip
def test_the_order_of_flattening_decides_what_a_kernel_reads(order: str, channels: int, taps: list[Any]) -> None:
    model = nn.Sequential(nn.Conv2d(18, 18, 3, padding=1), nn.ReLU(), nn.Conv2d(18, 18, 3, padding=1))
    weight = read(initialize(model, "idinit", order=order, generator=generator())).layers[0].weight
    assert int(weight.any(0).flatten(1).any(1).sum()) == channels
    assert [tuple(t) for t in weight.flatten(0, 1).any(0).nonzero().tolist()] == taps


def test_the_papers_layout_pushes_the_image_of_a_deep_plain_cnn_out_of_the_frame_and_warns() -> None:
    model, x = CNN((1, 12, 12), 4, 14, 4).double(), noise(3, 1, 12, 12)
    with pytest.warns(UserWarning, match="order='centre_first' or 'channel' does not"):
        initialize(model, "idinit", loosen="none", generator=generator())
    assert not probe(model, x, jacobian=False).squared_norms[-1].any()
    initialize(model, "idinit", order="channel", loosen="none", generator=generator())
    assert probe(model, x, jacobian=False).squared_norms[-1].all()
    initialize(CNN((1, 12, 12), 8, 6, 4), "idinit", generator=generator())
    with pytest.warns(UserWarning, match="5 convolutions on 4 pixels lose it"):
        initialize(CNN((1, 4, 12), 8, 6, 4), "idinit", generator=generator())


def test_loosening_adds_noise_where_it_says() -> None:
    counts = {}
    for loosen in ("none", "diag", "dense"):
        weight = read(initialize(chain(8, 8, 8), "idinit", loosen=loosen, generator=generator())).layers[0].weight
        counts[loosen] = (int(weight.count_nonzero()), bool((weight.diagonal() == 1).all()))
    assert counts == {"none": (8, True), "diag": (8, False), "dense": (64, False)}


def test_loosening_below_the_resolution_of_half_precision_warns() -> None:
    model = MLP(8, 8, 3, 8).to(torch.bfloat16)
    with pytest.warns(UserWarning, match="rounded away in half precision"):
        initialize(model, "idinit", generator=generator())
    initialize(model, "idinit", eps_tau=1e-2, generator=generator())


def test_idinit_blocks_are_the_identity_up_to_eps() -> None:
    model = ResNet((16,), 16, 202, 16, "open").double()
    initialize(model, "idinit", loosen="none", generator=generator())
    assert deviation(model, 16) < 10 * 100 * 1e-6


def test_hadamard_widening_has_the_known_gains() -> None:
    torch.testing.assert_close(singular(partial_hadamard(64, 16)), torch.full((16,), math.sqrt(2)).double())
    values = singular(partial_hadamard(96, 40))
    assert float(values.square().mean()) == pytest.approx(1.5)
    assert 1 - 1e-9 < values.min() < values.max() < math.sqrt(2) + 1e-9
    torch.testing.assert_close(singular(partial_hadamard(16, 64)), torch.ones(16).double())


# Residual


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("name", ["risotto_b", "risotto_c"])
def test_risotto_is_isometric_over_a_hundred_blocks(name: str, alpha: float) -> None:
    model = ResNet((12,), 24, 202, 12, {"risotto_b": "post", "risotto_c": "projection"}[name]).double()
    initialize(model, name, alpha=alpha, bias_mode="mirrored", bias_variance=0.5, generator=generator())
    assert len(read(model).blocks) == 100
    assert deviation(model, 12) < 1e-9


@pytest.mark.parametrize("name", ["risotto_b", "risotto_c"])
def test_convolutional_risotto_is_isometric_with_zero_padding(name: str) -> None:
    model = ResNet((3, 4, 4), 6, 40, 48, {"risotto_b": "post", "risotto_c": "projection"}[name], pooling="none")
    assert deviation(initialize(model.double(), name, generator=generator()), 3, 4, 4) < 1e-9


@pytest.mark.parametrize("name", ["risotto_b", "risotto_c"])
def test_iid_biases_destroy_risotto(name: str) -> None:
    model = ResNet((12,), 24, 62, 12, {"risotto_b": "post", "risotto_c": "projection"}[name]).double()
    initialize(model, name, bias_mode="iid", bias_variance=0.1, generator=generator())
    assert deviation(model, 12) > 0.5


def test_the_sum_is_orthogonal_and_its_parts_are_not() -> None:
    model = ResNet((12,), 24, 12, 12, "projection").double()
    block = read(initialize(model, "risotto_c", generator=generator())).blocks[0]
    assert block.skip is not None
    skip, (first, last) = block.skip.weight.detach()[:12, :12], [x.weight.detach()[:12, :12] for x in block.branch]
    assert float((singular(skip + last @ first) - 1).abs().max()) < 1e-12
    assert float((singular(skip) - 1).abs().max()) > 0.1


def test_alpha_is_on_the_last_layer_of_a_branch_of_risotto() -> None:
    model = ResNet((12,), 24, 12, 12, "projection").double()
    for block in read(initialize(model, "risotto_c", alpha=0.3, generator=generator())).blocks:
        first, last = (singular(layer.weight.detach()[:12, :12]) for layer in block.branch)
        torch.testing.assert_close(first, torch.ones(12).double())
        torch.testing.assert_close(last, torch.full((12,), 0.3).double())


def test_fixup_shrinks_by_fan_out_and_the_number_of_blocks() -> None:
    model = ResNet((3, 6, 6), 32, 52, 10, "fixup")
    wiring = read(initialize(model, "fixup", generator=generator()))
    first, last = wiring.blocks[7].branch
    assert float(first.weight.detach().std()) == pytest.approx(math.sqrt(2 / (32 * 9)) * 25**-0.5, rel=0.05)
    assert not last.weight.any()
    assert not wiring.head.weight.any()
    assert float(wiring.stem[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.1)


def _moved(wiring: Wiring, block: int) -> list[bool]:
    """Which of (first layer, last layer, multiplier) of the block have a gradient."""
    b = wiring.blocks[block]
    parameters = [*[layer.weight for layer in b.branch], *([b.multiplier] if b.multiplier is not None else [])]
    return [bool(p.grad is not None and p.grad.any()) for p in parameters]


@pytest.mark.parametrize(
    ("name", "moved"),
    [("fixup", [False, True, False]), ("skipinit", [False, False, True]), ("rezero", [False, False, True])],
)
def test_what_moves_at_the_first_step_of_a_zero_branch(name: str, moved: list[bool]) -> None:
    model = ResNet((8,), 16, 20, 4, name).double()
    wiring = read(initialize(model, name, generator=generator()))
    if name == "fixup":
        torch.nn.init.normal_(wiring.head.weight, generator=generator())  # its own zero head would stop everything
    model(noise(32, 8)).square().sum().backward()
    assert _moved(wiring, 3) == moved


# Data driven


def test_scaling_alone_needs_the_variances_of_luther_and_seung() -> None:
    """fan_in * Var(w) = 2 v^2 / (sigma^2 (1 - kappa1)): 1 for the first layer, then pi/(pi - 1) times 2, falling."""
    scales = []
    for seed in range(4):
        model = MLP(300, 300, 7, 10).double()
        initialize(model, "sample_variance_scale", data=noise(600, 300, seed=seed), generator=generator(seed))
        scales.append([float(x.weight.detach().square().mean()) * 300 for x in read(model).layers[:5]])
    measured = np.mean(scales, 0)
    np.testing.assert_allclose(measured, [1, 2.933884, 2.692996, 2.56, 2.4165], rtol=0.08)
    assert measured[1] > measured[2] > measured[4] > 2


def test_sample_init_keeps_the_variance_of_fresh_data_where_he_loses_it() -> None:
    left = {}
    for name in ("sample_variance", "he_normal", "lsuv"):
        model = MLP(100, 100, 30, 10).double()
        initialize(model, name, data=noise(400, 100, seed=1), generator=generator())
        measured = probe(model, noise(400, 100, seed=2), jacobian=False)
        left[name] = measured.sample_variance_last / (measured.sample_variance_last + measured.squared_sample_mean[-1])
    assert left["sample_variance"] > 0.9
    assert left["he_normal"] < 0.2
    assert left["lsuv"] < 0.2  # unit total variance is not sample variance
