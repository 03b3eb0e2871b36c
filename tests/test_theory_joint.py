"""Exact moments of two inputs and of the Jacobian: table, Monte Carlo on real matrices, limits."""

import numpy as np
import pytest

from isoinit.theory.gaussian import kappa1
from isoinit.theory.joint import covariance, gram_moments, jacobian_moments, length_spread


@pytest.mark.parametrize(
    ("width", "rho", "row"),
    [
        (8, 0.0, (1.158648, 1.488392, 13.2496)),
        (8, 0.5, (2.216752, 4.067818, 16.275466)),
        (20, -0.6, (0.705683, 0.383531, 79.077930)),
    ],
)
def test_two_input_moments_table_and_draws(width: int, rho: float, row: tuple[float, ...]) -> None:
    sa, sb = 1.3, 0.7
    c = np.array([[sa**2, rho * sa * sb], [rho * sa * sb, sb**2]])
    exact = gram_moments(width, c)
    assert (exact.inner, exact.inner_variance, exact.product) == pytest.approx(row, rel=1e-6)

    rng = np.random.default_rng(0)
    h = np.maximum(rng.standard_normal((60_000, width, 2)) @ np.linalg.cholesky(c).T, 0)
    gram = h.transpose(0, 2, 1) @ h
    inner, product = gram[:, 0, 1], gram[:, 0, 0] * gram[:, 1, 1]
    assert np.mean(inner) == pytest.approx(exact.inner, rel=0.02)
    assert np.var(inner) == pytest.approx(exact.inner_variance, rel=0.04)
    assert np.mean(product) == pytest.approx(exact.product, rel=0.03)
    assert np.mean((h[..., 0] > 0) & (h[..., 1] > 0)) == pytest.approx(exact.both_on, abs=0.003)
    assert np.mean((h[..., 0] > 0) & (h[..., 1] == 0)) == pytest.approx(exact.one_on, abs=0.003)


def test_the_inner_product_is_the_wide_map_at_every_width() -> None:
    gram = np.array([[2.0, 0.6], [0.6, 2.0]])
    c = covariance(gram, s2w=2 / 5)
    assert gram_moments(5, c).inner / 2.0 == pytest.approx(float(kappa1(0.3)))
    biased = covariance(gram, s2w=2 / 5, s2b=0.5)
    assert biased[0, 1] / biased[0, 0] > 0.3


def test_equal_inputs_reduce_to_one_input() -> None:
    exact = gram_moments(12, np.ones((2, 2)))
    assert exact.inner == pytest.approx(12 / 2)
    assert exact.inner_variance == pytest.approx(5 * 12 / 4)
    assert exact.product == pytest.approx(12 * 17 / 4)
    assert exact.one_on == pytest.approx(0)


def _jacobians(inputs: int, widths: tuple[int, ...], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Jacobians (draws, width, inputs) at a random input, with biases: their law must not matter."""
    x = rng.standard_normal((draws, inputs))
    jacobian = np.broadcast_to(np.eye(inputs), (draws, inputs, inputs))
    for n in widths:
        w = rng.standard_normal((draws, n, x.shape[1])) * np.sqrt(2 / x.shape[1])
        h = np.einsum("bij,bj->bi", w, x) + rng.standard_normal((draws, n))
        jacobian = (h > 0)[:, :, None] * (w @ jacobian)
        x = np.maximum(h, 0)
    return jacobian


def test_hanin_oracle_and_draws() -> None:
    exact = jacobian_moments(4, (8, 8, 8))
    assert (exact.norms, exact.overlap) == pytest.approx((1.8770, 1.2070), abs=1e-4)
    assert 16 * exact.entry_fourth == pytest.approx(25.746, abs=1e-3)
    assert 16 * exact.spread == pytest.approx(12.873, abs=1e-3)
    assert exact.beta == 3 / 8

    rng = np.random.default_rng(1)
    jacobian = _jacobians(4, (8, 8, 8), 40_000, rng) * np.sqrt(4 / 8)
    v, w = jacobian[..., 0], jacobian[..., 1]
    for draws, value in (
        (np.sum(v**2, 1) * np.sum(w**2, 1), exact.norms),
        (np.sum(v * w, 1) ** 2, exact.overlap),
        (np.sum(v**2, 1) ** 2, exact.fourth),
    ):
        assert np.mean(draws) == pytest.approx(value, abs=5 * np.std(draws) / np.sqrt(len(draws)))


def test_entries_of_the_output_jacobian() -> None:
    """Z of a net 4-8-8-1 with a ReLU on the output unit, and without it."""
    rng = np.random.default_rng(2)
    z = _jacobians(4, (8, 8, 1), 100_000, rng)[:, 0, :]
    exact, linear = jacobian_moments(4, (8, 8)), jacobian_moments(4, (8, 8), linear_readout=True)
    square = z**2
    for draws, value in (
        (square.mean(1), exact.entry_square),
        ((square**2).mean(1), exact.entry_fourth),
        (square[:, 0] * square[:, 1], exact.entry_pair),
        (square.var(1), exact.spread),
    ):
        assert np.mean(draws) == pytest.approx(value, abs=5 * np.std(draws) / np.sqrt(len(draws)))
    assert linear.entry_fourth == 2 * exact.entry_fourth


def test_one_layer_oracle() -> None:
    one = jacobian_moments(4, (20,))
    assert (one.norms, one.overlap, one.fourth) == pytest.approx((1.05, 0.1, 1.25))


def test_equal_widths_are_best_for_a_budget() -> None:
    assert jacobian_moments(4, (8, 8)).spread < jacobian_moments(4, (4, 12)).spread


def test_spread_is_exponential_in_beta() -> None:
    depths = np.array([10, 20, 40, 80])
    spreads = [jacobian_moments(10, (400,) * d).spread for d in depths]
    assert np.polyfit(depths / 400, np.log(spreads), 1)[0] == pytest.approx(5, rel=0.01)


def test_length_spread() -> None:
    assert length_spread([20] * 10) == pytest.approx(1.4157, abs=1e-4)
    rng = np.random.default_rng(3)
    m = np.ones((200_000, 1))
    for _ in range(4):
        k = rng.binomial(40, 0.5, (len(m), 1))
        m = np.hstack([m, m[:, -1:] * rng.chisquare(np.maximum(k, 1)) * (k > 0) / 20])
    draws = np.var(m[:, 1:], axis=1)
    assert np.mean(draws) == pytest.approx(length_spread([40] * 4), abs=5 * np.std(draws) / np.sqrt(len(draws)))


def test_empty_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="widths must be a sequence of one or more"):
        jacobian_moments(4, ())


def test_a_gram_matrix_may_be_written_as_lists_or_in_float32() -> None:
    rows = [[1.3**2, 0.1], [0.1, 0.7**2]]
    assert gram_moments(8, rows) == gram_moments(8, np.array(rows))  # pyright: ignore[reportArgumentType]
    small = np.array(rows, dtype=np.float32)
    assert repr(gram_moments(8, small)) == repr(gram_moments(8, small.astype(float)))  # pyright: ignore[reportArgumentType]
    assert covariance(small, 0.3, 0.1).dtype == np.float64  # pyright: ignore[reportArgumentType]
