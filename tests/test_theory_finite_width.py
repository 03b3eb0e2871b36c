"""The exact law of the squared norm: table, two numerical routes, Monte Carlo on the chain and on real matrices."""

import numpy as np
import pytest
from scipy import special, stats

from isoinit.theory import factors
from isoinit.theory.finite_width import (
    Chain,
    death_probability,
    operator_eigenvalue,
    transition_laws,
    typical_gain,
)
from isoinit.theory.fluctuation import Fluctuation
from isoinit.theory.norm_law import product_laws

# N: mu, variance, g_N
LOG_FACTOR = {
    2: (-0.80826473, 4.26524884, 2.24401063),
    4: (-0.71657266, 2.92636248, 2.04740402),
    8: (-0.39877727, 1.24698913, 1.49000171),
    10: (-0.30746101, 0.86673425, 1.35996778),
    16: (-0.17639732, 0.41959339, 1.19291194),
    32: (-0.08254021, 0.17749779, 1.08604234),
    64: (-0.04010860, 0.08299735, 1.04092381),
    100: (-0.02542089, 0.05193999, 1.02574675),
    128: (-0.01978640, 0.04023399, 1.01998345),
    256: (-0.00982866, 0.01981871, 1.00987712),
    300: (-0.00837915, 0.01687542, 1.00841436),
    500: (-0.00501643, 0.01007469, 1.00502903),
    512: (-0.00489848, 0.00983684, 1.00491050),
}


@pytest.mark.parametrize(("width", "row"), LOG_FACTOR.items())
def test_log_factor_of_he_is_the_tabulated_one(width: int, row: tuple[float, ...]) -> None:
    he = factors.gaussian(width)
    assert (he.log_mean, he.log_variance, typical_gain(width)) == pytest.approx(row, abs=2e-8 if width < 99 else 1e-7)


def test_log_moments_tend_to_their_leading_orders() -> None:
    """mu -> -a / N and v -> b / N, fitted as exponents and prefactors over widths."""
    for make, a, b in (
        (factors.gaussian, 2.5, 5),
        (factors.mirrored_gaussian, 2, 4),
        (factors.orthogonal, 1.5, 3),
    ):
        widths = np.array([256, 512, 1024, 2048])
        laws = [make(int(n)) for n in widths]
        for values, prefactor in (([-f.log_mean for f in laws], a), ([f.log_variance for f in laws], b)):
            slope, _ = np.polyfit(np.log(widths), np.log(values), 1)
            assert slope == pytest.approx(-1, abs=0.01)
            assert values[-1] * widths[-1] == pytest.approx(prefactor, rel=0.01)


@pytest.mark.parametrize(
    ("make", "variances"),
    [
        (factors.gaussian, (0.625, 0.25)),
        (factors.mirrored_gaussian, (0.5, 0.2)),
        (factors.orthogonal, (0.3, 3 / 22)),
        (lambda _: factors.isometry(), (0, 0)),
    ],
)
def test_factor_variances_of_the_four_weight_laws(make, variances: tuple[float, float]) -> None:
    for width, variance in zip((8, 20), variances, strict=True):
        factor = make(width)
        assert factor.moment(1) == pytest.approx(1, abs=1e-12)
        assert factor.moment(2) - 1 == pytest.approx(variance, abs=1e-12)


def test_exact_logs_of_orthogonal_and_mirrored_layers() -> None:
    assert (factors.orthogonal(20).log_mean, factors.orthogonal(20).log_variance) == pytest.approx(
        (-0.0863550, 0.2065914), abs=2e-6
    )
    assert (factors.orthogonal(100).log_mean, factors.orthogonal(100).log_variance) == pytest.approx(
        (-0.0153876, 0.0317387), abs=2e-7
    )
    for width, row in ((20, (-0.1033202, 0.2213230)), (100, (-0.0201333, 0.0408107))):
        factor = factors.mirrored_gaussian(width)
        assert (factor.log_mean, factor.log_variance) == pytest.approx(row, abs=1e-7)


def _relu_factor(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.sum(np.maximum(weights @ x, 0) ** 2, axis=-1)


def _haar(rng: np.random.Generator, draws: int, n: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((draws, n, n)))
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]


def test_factors_are_the_laws_of_real_layers() -> None:
    """Kolmogorov-Smirnov distance between matrices applied to a vector and draws from the factor."""
    rng = np.random.default_rng(2)
    n, draws = 8, 6000
    x = rng.standard_normal(n)
    x /= np.linalg.norm(x)
    core = rng.standard_normal((draws, n // 2, n // 2)) / np.sqrt(n // 2)
    block = np.block([[core, -core], [-core, core]])
    mirrored_input = np.concatenate([np.maximum(x[:4], 0), np.maximum(-x[:4], 0)])
    mirrored_input /= np.linalg.norm(mirrored_input)
    cases = (
        (factors.gaussian(n), rng.standard_normal((draws, n, n)) * np.sqrt(2 / n), x),
        (factors.orthogonal(n), np.sqrt(2) * _haar(rng, draws, n), x),
        (factors.mirrored_gaussian(n), block, mirrored_input),
    )
    for factor, weights, start in cases:
        _, p = stats.ks_2samp(_relu_factor(weights, start), factor.sample((draws,), rng))
        assert p > 1e-3, factor  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize(("width", "s2w", "s2b"), [(2, 1.0, 0.0), (5, 0.4, 0.0), (10, 0.2, 0.3), (50, 0.04, 0.0)])
def test_one_layer_law_against_gaussian_layers(width: int, s2w: float, s2b: float) -> None:
    """40,000 real layers: the distance is of the order of its own noise, 1/sqrt(40,000) = 0.005."""
    rng = np.random.default_rng(3)
    draws = 40_000
    h = rng.standard_normal((draws, width)) * np.sqrt(s2w * 1.0 + s2b)
    z = np.sum(np.maximum(h, 0) ** 2, axis=1)
    law = Chain((width,), (s2w,), s2b).law()
    assert np.mean(z == 0) == pytest.approx(law.atom, abs=4 * np.sqrt(law.atom / draws) + 1e-9)
    points = np.quantile(z, np.linspace(0.02, 0.98, 60))
    empirical = np.searchsorted(np.sort(z), points, side="right") / draws
    assert np.max(np.abs(law.cdf(points) - empirical)) < 0.009


def test_quantiles_of_the_product_law() -> None:
    levels = [0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
    law = Chain.equal(10, 5).law()
    assert law.quantile(levels) == pytest.approx([0.0140, 0.0637, 0.2622, 0.8992, 2.431, 11.10], rel=5e-3)
    law = Chain.equal(20, 10).law()
    assert law.quantile(levels) == pytest.approx([0.0255, 0.0810, 0.2724, 0.8583, 2.2955, 11.33], rel=5e-3)
    assert law.log_mean == pytest.approx(10 * factors.gaussian(20).log_mean, abs=1e-6)
    assert law.log_variance == pytest.approx(10 * factors.gaussian(20).log_variance, abs=1e-4)


def test_typical_norms_at_width_100() -> None:
    for depth, median, sd in ((10, 0.776, 0.721), (50, 0.281, 1.61), (100, 0.0787, 2.28), (300, 5e-4, 3.95)):
        law = Chain.equal(100, depth).law()
        assert np.exp(law.log_mean) == pytest.approx(median, rel=0.03)
        assert float(law.quantile(0.5)) == pytest.approx(np.exp(law.log_mean), rel=0.08), "the log is nearly symmetric"
        assert np.sqrt(law.log_variance) == pytest.approx(sd, rel=5e-3)


def test_log_variance_is_5_l_over_n() -> None:
    """Slope of the log-variance in depth, from laws built by FFT."""
    depths = [10, 20, 40, 80]
    laws = Chain.equal(256, 80).laws()
    slope = np.polyfit(depths, [laws[d - 1].log_variance for d in depths], 1)[0]
    assert slope * 256 == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize(("width", "layers"), [(20, 10), (64, 20), (2, 3)])
def test_the_two_routes_to_the_law_agree_without_bias(width: int, layers: int) -> None:
    chain = Chain.equal(width, layers)
    fft, matrix = chain.laws(), transition_laws(chain)
    for a, b in zip(fft, matrix, strict=True):
        assert a.atom == pytest.approx(b.atom, abs=1e-12)
        points = np.exp(np.linspace(-12, 4, 200))
        assert np.max(np.abs(a.cdf(points) - b.cdf(points))) < 1e-3
    assert matrix[-1].log_mean == pytest.approx(layers * factors.gaussian(width).log_mean, abs=0.02)


def test_bias_tends_to_no_bias() -> None:
    free = Chain.equal(32, 8).law().quantile([0.1, 0.5, 0.9])
    faint = Chain.equal(32, 8, bias_variance=1e-9).law().quantile([0.1, 0.5, 0.9])
    assert faint == pytest.approx(free, rel=2e-3)


def test_moments_with_bias_three_ways() -> None:
    """Recursion, law on the grid, draws of the chain."""
    chain = Chain((20,) * 6, (0.1,) * 6, 0.05)
    m1, m2 = chain.moments()
    assert (m1[[1, 3, 6]], m2[[1, 3, 6]]) == (
        pytest.approx([1.5, 2.5, 4.0]),
        pytest.approx([2.8125, 9.9414, 34.5535], abs=1e-4),
    )
    law = chain.laws()[-1]
    z = np.exp((law.log_z[1:] + law.log_z[:-1]) / 2)
    masses = np.diff(law.log_cdf) * (1 - law.atom)
    assert masses @ z == pytest.approx(4.0, rel=3e-3)
    assert masses @ z**2 == pytest.approx(34.5535, rel=6e-3)
    draws = chain.sample(60_000, np.random.default_rng(4))[:, -1]
    assert np.mean(draws) == pytest.approx(4.0, abs=4 * np.std(draws) / np.sqrt(60_000))
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    assert law.quantile(levels) == pytest.approx(np.quantile(draws, levels), rel=0.04)


def test_the_stationary_mean_and_he_with_bias() -> None:
    m1, _ = Chain.equal(20, 400, sw2=1.0, bias_variance=0.05).moments()
    assert m1[-1] == pytest.approx(10 * 0.05 / (1 - 0.5))
    m1, _ = Chain.equal(20, 5, bias_variance=0.05).moments()
    assert np.diff(m1) == pytest.approx(20 * 0.05 / 2)


def test_unequal_widths_and_the_whole_net_of_matrices() -> None:
    rng = np.random.default_rng(5)
    widths, fan_in, draws = (8, 4, 16), (5, 8, 4), 8000
    chain = Chain(widths, tuple(2 / n for n in fan_in))
    x = np.zeros((draws, 5))
    x[:, 0] = 1
    for n, into in zip(widths, fan_in, strict=True):
        w = rng.standard_normal((draws, n, into)) * np.sqrt(2 / into)
        x = np.maximum(np.einsum("bij,bj->bi", w, x), 0)
    z = np.sum(x**2, axis=1)
    law = chain.law()
    assert np.mean(z == 0) == pytest.approx(law.atom, abs=4 * np.sqrt(law.atom / draws))
    log_z = np.log(z[z > 0])
    assert np.mean(log_z) == pytest.approx(law.log_mean, abs=4 * np.sqrt(law.log_variance / draws))
    levels = np.array([0.2, 0.5, 0.8, 0.95])
    assert law.quantile(levels) == pytest.approx(np.quantile(z, levels), rel=0.08)
    m1, m2 = chain.moments()
    assert m1[-1] == pytest.approx(16 / 5)
    assert m2[-1] == pytest.approx((16 / 5) ** 2 * np.prod([1 + 5 / n for n in widths]))


def test_density_and_quantile_belong_to_the_distribution() -> None:
    law = Chain.equal(4, 6).law()
    points = np.exp(np.linspace(-3, 1, 9))
    numeric = (law.cdf(points * 1.05) - law.cdf(points * 0.95)) / (0.1 * points)
    assert law.pdf(points) == pytest.approx(numeric, rel=5e-3)
    levels = np.array([0.4, 0.6, 0.9])
    assert law.cdf(law.quantile(levels)) == pytest.approx(levels, abs=1e-6)
    assert law.atom == pytest.approx(1 - (1 - 1 / 16) ** 6)
    assert float(law.quantile(law.atom / 2)) == 0
    assert float(law.cdf(0)) == pytest.approx(law.atom)


@pytest.mark.parametrize("width", [1, 2, 5, 64])
def test_one_layer_law_is_the_chi_square_mixture(width: int) -> None:
    """No wrap-around: the law by FFT is the exact one from far below its bulk to far above."""
    law, z = Chain((width,), (1.0,)).law(), np.exp(np.linspace(-40, 8, 2000))
    k = np.arange(1, width + 1)
    weights = stats.binom.pmf(np.arange(width + 1), width, 0.5)
    exact = weights[0] + stats.chi2.cdf(z[:, None], k) @ weights[1:]
    found = law.cdf(z)
    assert found == pytest.approx(exact, abs=2e-5)
    assert np.all(np.diff(found) >= 0)
    assert 0 <= found.min() <= found.max() <= 1
    levels = np.array([1e-6, 0.01, 0.3, 0.7, 0.99, 1 - 1e-6])
    assert law.cdf(law.quantile(levels)) == pytest.approx(np.maximum(levels, law.atom), abs=1e-9)


def test_norms_beyond_the_floats() -> None:
    """exp(-1300) is 0 as a number and known as a logarithm; a net that is surely dead has no other quantile."""
    levels = [0.05, 0.5, 0.95]
    law = Chain.equal(64, 700, sw2=1 / 3).law()
    mean, sd = 700 * (factors.gaussian(64).log_mean - np.log(6)), np.sqrt(700 * factors.gaussian(64).log_variance)
    assert law.log_quantile(levels) == pytest.approx(mean + sd * stats.norm.ppf(levels), rel=1e-3)
    assert law.quantile(levels) == pytest.approx([0, 0, 0])
    dead = Chain.equal(1, 60).law()
    assert dead.atom == 1
    assert list(dead.quantile(levels)) == [0, 0, 0]


def test_death_probability() -> None:
    assert death_probability([6]) == pytest.approx(1 / 64)
    assert death_probability([4] * 11) == pytest.approx(1 - (15 / 16) ** 11)
    assert death_probability([64] * 100) == pytest.approx(100 * 2.0**-64)
    dead = Chain.equal(2, 5).sample(20_000, np.random.default_rng(6))[:, -1] == 0
    assert np.mean(dead) == pytest.approx(death_probability([2] * 5), abs=0.01)


def test_operator_eigenvalues() -> None:
    found = [operator_eigenvalue(m, 6, 1 / 3) for m in (-1, -1.5, -2, -3)]
    assert found == pytest.approx([0.984375, 0.89144764, 1.0, 1.83333333], abs=1e-8)
    assert operator_eigenvalue(-1, 6, 0.77) == pytest.approx(1 - 2**-6)
    with pytest.raises(ValueError, match=r"m must be a finite number below -0.5, but got -0.5"):
        operator_eigenvalue(-0.5, 6, 1.0)


@pytest.mark.parametrize("m", [-1.0, -1.5, -2.0, -3.0])
def test_eigenvalues_by_quadrature_of_the_kernel(m: float) -> None:
    """T y^m at z = 1: integrate the kernel of one layer over the previous norm, chi2 density by density."""
    width, s2w = 6, 1 / 3
    y = np.exp(np.linspace(-14, 14, 40_001))
    kernel = sum(stats.binom.pmf(k, width, 0.5) * stats.chi2.pdf(1 / (s2w * y), k) for k in range(1, width + 1))
    integral = np.trapezoid(kernel / (s2w * y) * y**m * y, np.log(y))
    assert integral == pytest.approx(operator_eigenvalue(m, width, s2w), rel=2e-3 if m == -1 else 1e-6)


def test_moments_of_any_order() -> None:
    he = factors.gaussian(6)
    draws = he.sample((400_000,), np.random.default_rng(7))
    assert he.moment(0.5) == pytest.approx(np.mean(np.sqrt(draws)), rel=0.01)
    assert he.moment(-0.25) == pytest.approx(np.mean(draws[draws > 0] ** -0.25), rel=0.01)
    assert he.moment(-0.5) == np.inf


def test_moments_of_a_constant_are_its_powers() -> None:
    """Of an isometry, and of an orthogonal matrix of one unit given that it is on: nothing diverges."""
    for s in (-30.0, -2.0, -1.0, -0.5, 0.5, 3.0):
        assert factors.isometry(3.0).moment(s) == pytest.approx(1.5**s, rel=1e-12)
        assert factors.orthogonal(1).moment(s) == pytest.approx(2.0**s * (0.5 if s > 0 else 1), rel=1e-12)
    assert factors.orthogonal(2).moment(-0.5) == np.inf, "one of two units on is no constant"


def test_a_moment_beyond_floats_is_inf() -> None:
    assert factors.gaussian(8).moment(400.0) == np.inf


def test_beta_products_are_their_draws() -> None:
    """The orthogonal factor's density has edges in narrow layers: the smoothed inverse still has its quantiles."""
    rng = np.random.default_rng(8)
    levels = np.array([0.1, 0.5, 0.9])
    for width in (4, 32):
        z = np.prod(factors.orthogonal(width).sample((40_000, 3), rng), axis=1)
        law = product_laws([factors.orthogonal(width)] * 3)[-1]
        assert law.quantile(levels) == pytest.approx(np.quantile(z, levels), rel=0.03)


def test_an_isometry_has_no_density() -> None:
    with pytest.raises(ValueError, match="constant"):
        product_laws([factors.isometry()] * 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ()), "widths"),
        (((4, 0), (1.0, 1.0)), "widths"),
        (((4,), (1.0, 1.0)), "weight_variances must be 1 positive"),
        (((4,), (1.0,), -0.1), "bias_variance must be a finite number of at least 0, but got -0.1"),
    ],
)
def test_a_chain_validates_itself(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chain(*arguments)


@pytest.mark.parametrize("law", [factors.gaussian(5), factors.orthogonal(9), factors.mirrored_gaussian(12)])
def test_the_cumulants_of_a_log_are_the_derivatives_of_its_moments(law: factors.Factor) -> None:
    h = 0.02
    survival = np.array([1, 1, 1, 1 - law.death, 1 - law.death])
    logs = np.log(np.array([law.moment(s * h) for s in (-2, -1, 0, 1, 2)]) / survival)
    assert law.log_mean == pytest.approx((logs[3] - logs[1]) / (2 * h), rel=5e-3)
    assert law.log_variance == pytest.approx((logs[3] - 2 * logs[2] + logs[1]) / h**2, rel=5e-3)
    third = (logs[4] - 2 * logs[3] + 2 * logs[1] - logs[0]) / (2 * h**3)
    assert law.log_third == pytest.approx(third, rel=2e-2)


@pytest.mark.parametrize(("both", "units"), [(0.05, 8), (0.25, 5), (0.1, 40)])
def test_two_slopes_are_those_of_drawn_units(both: float, units: int) -> None:
    """To first order in 1 / units, at 8 units the variance would be twice that, and the mean 0.02 instead of 0.05."""
    rng = np.random.default_rng(0)
    squares, uniform = rng.standard_normal((60_000, units)) ** 2, rng.random((60_000, units))
    slopes = np.where(uniform < both, 0.0, np.where(uniform < 2 * both, 4.0, 1.0))
    product = np.sum(squares * slopes, axis=1) / np.sum(squares, axis=1)
    logs = np.log(product[product > 0])
    mean, variance = factors.two_slopes(both, units)
    assert mean == pytest.approx(logs.mean(), abs=4 * logs.std() / np.sqrt(len(logs)))
    assert variance == pytest.approx(logs.var(), rel=0.04)


def test_two_slopes_without_a_bias_are_an_isometry() -> None:
    assert factors.two_slopes(0.0, 12) == pytest.approx((0, 0), abs=1e-9)
    mean, variance = factors.two_slopes(1e-4, 4000)
    assert (mean, variance) == pytest.approx((2e-4, 3 * 10e-4 / 4000), rel=2e-2)


def test_noise_of_a_sum_of_squares_has_the_moments_of_a_log_gamma_variable() -> None:
    found = Fluctuation().with_noise(0.1)
    exact = [float(special.digamma(10) - np.log(10)), *(float(special.polygamma(n, 10)) for n in (1, 2))]
    assert list(found) == pytest.approx(exact, rel=1e-3)


def test_laws_are_in_the_order_in_which_layers_are_asked_for() -> None:
    layer = factors.gaussian(8)
    found = product_laws([layer] * 5, layers=[5, 1, 5])
    assert [law.log_mean for law in found] == pytest.approx([n * layer.log_mean for n in (5, 1, 5)], abs=1e-6)


@pytest.mark.parametrize(("width", "layers", "sw2"), [(1000, 100, 30.0), (256, 600, 3.0)])
def test_a_signal_that_grows_far_keeps_its_spread(width: int, layers: int, sw2: float) -> None:
    """With a bias of next to nothing the grid has what the Fourier transform has without, and with one the draws."""
    levels, start = np.array([0.05, 0.25, 0.5, 0.75, 0.95]), float(width)
    expected = Chain.equal(width, layers, sw2, start=start).law()
    found = Chain.equal(width, layers, sw2, 1e-12, start).law()
    near = 0.03 * np.sqrt(expected.log_variance)
    assert found.log_quantile(levels) == pytest.approx(expected.log_quantile(levels), abs=near)
    biased = Chain.equal(width, layers, sw2, 0.1, start)
    drawn = np.log(biased.sample(20_000, np.random.default_rng(11))[:, -1])
    assert biased.law().log_quantile(levels) == pytest.approx(np.quantile(drawn, levels), abs=0.07 * drawn.std())


def test_an_eigenvalue_is_a_moment_of_the_factor_at_any_power() -> None:
    """`lambda_m = E F^-(m + 1)`, also where the Gamma functions alone leave the floats, and inf where it does."""
    for m, width, s2w in ((-3.5, 8, 0.3), (-1.2, 5, 2.0), (-400.0, 6, 0.00335), (-150.0, 1000, 1e-3)):
        moment = factors.gaussian(width, 1, s2w).moment(-(m + 1))
        assert operator_eigenvalue(m, width, s2w) == pytest.approx(moment, rel=1e-9)
    assert operator_eigenvalue(-400.0, 6, 10.0) == np.inf
