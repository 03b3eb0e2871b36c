"""Sample variance: the table, the decay law as an exponent, simulation, and the general map behind it."""

import numpy as np
import pytest

from isoinit.theory import meanfield, sample_variance
from isoinit.theory.activations import ACTIVATIONS

LAYERS = np.array([1, 2, 3, 5, 10, 20, 30, 50, 100, 200])
M = [0.564190, 0.702660, 0.777705, 0.857873, 0.933561, 0.973873, 0.985906, 0.993912, 0.998210, 0.999508]
V = [0.825645, 0.711526, 0.628629, 0.513862, 0.358419, 0.227094, 0.167300, 0.110173, 0.059807, 0.031374]
RATIO = [0.683332, 0.987540, 1.237146, 1.669464, 2.604660, 4.288420, 5.893060, 9.021392, 16.690577, 31.857372]


def test_decay_table() -> None:
    he = sample_variance.decay(200)
    assert np.sqrt(he.mean_square[LAYERS]) == pytest.approx(M, abs=1e-5)
    assert np.sqrt(he.variance[LAYERS]) == pytest.approx(V, abs=1e-5)
    assert he.ratio[LAYERS] == pytest.approx(RATIO, rel=1e-5)
    assert he.mean_square[1] == pytest.approx(1 / np.pi, abs=1e-12)


def test_decay_law() -> None:
    """v ~ 6.664 / l and m/v ~ 0.15005 l: exponents -1 and 1, fitted far out, and prefactors."""
    he, far = sample_variance.decay(20_000), np.arange(4000, 20_001, 100)
    assert np.polyfit(np.log(far), np.log(he.variance[far]) / 2, 1)[0] == pytest.approx(-1, abs=0.005)
    assert np.polyfit(far, he.ratio[far], 1)[0] == pytest.approx(0.15005, rel=2e-3)
    assert pytest.approx(6.664, abs=1e-3) == sample_variance.DECAY
    assert np.sqrt(he.variance[-1]) * 20_000 == pytest.approx(sample_variance.DECAY, rel=3e-3)
    assert he.ratio[[50, 1000]] / [50, 1000] == pytest.approx([0.18043, 0.1523], abs=5e-5)


def test_the_total_is_kept_and_the_mean_is_the_correlation() -> None:
    he = sample_variance.decay(30)
    assert he.mean_square + he.variance == pytest.approx(np.ones(31))
    assert he.variance == pytest.approx(meanfield.relu_decorrelation(30), rel=1e-12)


def test_the_ratio_does_not_depend_on_the_weights() -> None:
    assert sample_variance.decay(20, sw2=0.7).ratio == pytest.approx(sample_variance.decay(20).ratio)


def test_the_corrected_argument_of_kappa1() -> None:
    """The blog's c^2 = m^2 / s2 would give 0.256841."""
    step = sample_variance.decay(1, mean_square=0.2, variance=0.8)
    assert step.mean_square[1] == pytest.approx(0.424698, abs=1e-6)
    c = 0.2
    paper = 0.2 * (1 + (np.sqrt(1 / c**2 - 1) - np.arccos(c)) / np.pi)
    assert step.mean_square[1] == pytest.approx(paper)


def test_with_bias_it_is_the_mean_field_map() -> None:
    with_bias, c, q = sample_variance.decay(8, sw2=1.7, sb2=0.3), 0.0, 1.0
    for layer in range(1, 9):
        c, q = (
            meanfield.correlation_map(ACTIVATIONS["relu"], c, q, 1.7, 0.3),
            meanfield.length_map(ACTIVATIONS["relu"], q, 1.7, 0.3),
        )
        assert with_bias.mean_square[layer] == pytest.approx(q * c)
        assert with_bias.variance[layer] == pytest.approx(q * (1 - c))


def test_preserving_by_scale_alone() -> None:
    rule = sample_variance.preserving(60)
    assert rule.sw2[[0, 1, 4, 9, 49]] == pytest.approx([2.933884, 2.692996, 2.416528, 2.260403, 2.069655], abs=1e-6)
    assert rule.total[[1, 2, 5, 10, 50]] == pytest.approx([1.466942, 1.975235, 3.787109, 7.784253, 82.385522], abs=1e-5)
    assert np.exp(rule.log_gradient) == pytest.approx(rule.total), "squared gradients grow as the total does"
    assert rule.total == pytest.approx(1 / sample_variance.decay(60).variance)
    scales = sample_variance.decay(1, sw2=float(rule.sw2[0]))
    assert scales.variance[1] == pytest.approx(1)
    assert sample_variance.standardized_variance() == pytest.approx(2.933884, abs=1e-6)


def test_finite_width_saturates() -> None:
    """N = 300, layer 10: 2.3 +- 0.35 (the wide limit says 2.60); a narrow net is further below it."""
    rng = np.random.default_rng(6)
    wide = sample_variance.simulated_ratio(300, 10, nets=3, samples=400, rng=rng)
    assert np.mean(wide[:, 10]) == pytest.approx(2.3, abs=0.35)
    assert wide[:, :6].mean(axis=0)[1:] == pytest.approx(sample_variance.decay(5).ratio[1:], rel=0.15)
    narrow = sample_variance.simulated_ratio(30, 50, nets=20, samples=400, rng=rng)
    assert np.mean(narrow[:, 50]) == pytest.approx(1.8, abs=0.4)
    assert np.mean(narrow[:, 50]) < sample_variance.decay(50).ratio[50] / 3


def test_price_of_batchnorm_on_a_real_net() -> None:
    """Pre-BN sample variances and ratios of squared gradients of a He net, width 400, batch 300."""
    rng = np.random.default_rng(7)
    n, batch, layers = 400, 300, 8
    x, tape, variances = rng.standard_normal((batch, n)), [], []
    for _ in range(layers):
        w = rng.standard_normal((n, n)) * np.sqrt(2 / n)
        y = x @ w
        mean, sd = y.mean(0), y.std(0)
        normed = (y - mean) / sd
        variances.append(np.mean(sd**2))
        x = np.maximum(normed, 0)
        tape.append((w, sd, normed, x > 0))
    gradient, squares = rng.standard_normal((batch, n)), []
    for w, sd, normed, on in reversed(tape):
        g = gradient * on
        g = (g - g.mean(0) - normed * np.mean(g * normed, 0)) / sd
        squares.append(np.sum(g**2))
        gradient = g @ w.T
    ratios = np.array(squares[1:]) / np.array(squares[:-1])
    assert np.mean(variances[1:]) == pytest.approx(1 - 1 / np.pi, rel=0.03)
    # the first layer, last here, sees inputs that no ReLU has halved
    assert np.exp(np.mean(np.log(ratios[:-1]))) == pytest.approx(sample_variance.PRICE, rel=0.03)
    assert sample_variance.batchnorm_log_gradient(7) == pytest.approx(7 * np.log(1.466942), abs=1e-5)


def test_bad_moments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"variance must be a number from .*, but got 0"):
        sample_variance.decay(3, variance=0)


@pytest.mark.parametrize(
    ("sw2", "layers"), [(1.0, 2000), (1 / 3, 500), (0.01, 200), (1e-100, 10), (1e100, 10), (4.0, 2000)]
)
def test_the_ratio_does_not_depend_on_weights_whose_signal_leaves_the_floats(sw2: float, layers: int) -> None:
    found, he = sample_variance.decay(layers, sw2=sw2), sample_variance.decay(layers)
    assert found.ratio == pytest.approx(he.ratio, rel=1e-9)
    assert found.variance[-1] in (0, np.inf)
    assert he.ratio == pytest.approx(np.sqrt(he.mean_square / he.variance), rel=1e-9)


def test_a_bias_that_is_left_alone_or_lost() -> None:
    """Weights of next to nothing leave the bias, which all samples share; huge ones leave the signal."""
    faint = sample_variance.decay(10, sw2=1e-100, sb2=0.3)
    assert faint.mean_square[1:] == pytest.approx(0.3)
    assert faint.variance[5:] == pytest.approx(0)
    assert faint.ratio[-1] == np.inf
    loud = sample_variance.decay(2000, sw2=4.0, sb2=1.0)
    assert np.isfinite(loud.ratio).all()
    assert (np.diff(loud.ratio) > 0).all()
