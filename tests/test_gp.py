"""The logistic Gaussian process: gradients, mode and moments against independent routes, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, log_expit, logit

from analysis.gp import JITTER, LogisticGP, evidence, learn, log_evidence, thin
from analysis.kernels import OFFSET, Kernel
from analysis.points import CENTRE, Counts, Points, Scale
from analysis.posterior import expectation, laplace

KERNELS = [Kernel(1, 0), Kernel(3, 2), Kernel(0, 1), Kernel(1, 1, frontier=True), Kernel(3, 2, frontier=True)]


def draw(kernel: Kernel, n: int, seed: int = 0) -> tuple[Points, Counts]:
    """Points at random, with two to four noisy networks each and a limit along the first axis."""
    rng = np.random.default_rng(seed)
    points = Points(rng.random((n, kernel.numeric)), rng.integers(0, 3, (n, kernel.categorical)))
    drive = points.x.sum(axis=1) if kernel.numeric else points.c.sum(axis=1).astype(float)
    tries = rng.integers(2, 5, n).astype(float)
    trained = rng.binomial(tries.astype(int), expit(6 * (drive.mean() - drive))).astype(float)
    return points, Counts(trained, tries)


def by_laplace(kernel: Kernel, theta: np.ndarray, points: Points, counts: Counts) -> LogisticGP:
    K = kernel.matrix(theta, points, points) + JITTER * np.eye(len(counts.k))
    return LogisticGP(kernel, theta, points, laplace(K, counts))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_agrees_with_finite_differences(kernel: Kernel, seed: int):
    points, counts = draw(kernel, 30, seed)
    mean, deviation = kernel.prior
    theta = mean + 0.5 * deviation * np.random.default_rng(seed).standard_normal(len(mean))
    _, gradient, _ = evidence(kernel, theta, points, counts)
    numeric = np.asarray(approx_fprime(theta, lambda t: evidence(kernel, t, points, counts)[0], 1e-5))
    np.testing.assert_allclose(gradient, numeric, rtol=2e-3, atol=2e-3)


def test_limits_go_from_a_sum_over_axes_to_one_product_with_the_share_of_interaction():
    """Far apart along one axis alone, the sum keeps half its correlation and the product none."""
    kernel = Kernel(3, 0, frontier=True)
    theta = kernel.prior[0].copy()
    theta[:4] = np.log([0.3, 0.02, 0.02, 1e-9])  # short scales; no bend
    *_, g, _, _ = kernel.split(theta)
    a, b = (Points(np.array([[0.5, v, 0.5]]), np.zeros((1, 0), int)) for v in (0.1, 0.9))
    for logit_share, kept in ((-40.0, 0.5), (0.0, 0.25), (40.0, 0.0)):
        theta[-1] = logit_share
        assert kernel.matrix(theta, a, b)[0, 0] - OFFSET == pytest.approx(kept * g, rel=1e-6, abs=1e-6)
        assert kernel.matrix(theta, a, a)[0, 0] == pytest.approx(kernel.diagonal(theta, a)[0])
    assert len(Kernel(2, 0, frontier=True).prior[0]) == 5  # one axis beside the first has nothing to interact with


def test_mode_agrees_with_a_general_optimiser():
    """Newton on f against BFGS on the same log joint, which knows nothing of Laplace."""
    kernel = KERNELS[-1]
    points, counts = draw(kernel, 25)
    K = kernel.matrix(kernel.prior[0], points, points) + JITTER * np.eye(25)
    root = np.linalg.cholesky(K)

    def loss(z: np.ndarray) -> float:
        f = root @ z
        return 0.5 * z @ z - np.sum(counts.k * log_expit(f) + (counts.n - counts.k) * log_expit(-f))

    best = minimize(loss, np.zeros(25), method="BFGS", options={"gtol": 1e-6, "maxiter": 2000})
    mode = laplace(K, counts, tolerance=1e-10)
    assert mode.log_joint == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(mode.f, root @ best.x, atol=1e-3)


def test_moments_agree_with_importance_sampling():
    """One point, many networks: the exact posterior by quadrature, where Laplace is nearly exact."""
    kernel, counts = Kernel(1, 0), Counts(np.array([60.0]), np.array([100.0]))
    at = Points(np.array([[0.3]]), np.zeros((1, 0), int))
    gp = LogisticGP.condition(kernel, kernel.prior[0], at, counts)
    mean, variance, _ = gp.moments(at)
    f = np.linspace(-6, 6, 4001)
    weight = np.exp(60 * log_expit(f) + 40 * log_expit(-f) - 0.5 * f**2 / (16 + OFFSET))
    weight /= weight.sum()
    exact = weight @ f
    assert mean[0] == pytest.approx(exact, abs=0.01)
    assert variance[0] == pytest.approx(weight @ (f - exact) ** 2, rel=0.03)


@pytest.mark.parametrize("k", [(1.0, 1.0), (1.0, 0.0), (3.0, 1.0)])
@pytest.mark.parametrize("scale", [4.0, 400.0])
def test_posterior_of_two_points_agrees_with_quadrature(k: tuple[float, float], scale: float):
    """With certain labels (`scale` 400) the Laplace approximation misses the deviations by tens of per cent."""
    K = scale * np.array([[1.0, 0.8], [0.8, 1.0]])
    counts = Counts(np.array(k), np.full(2, max(k)))
    line = np.linspace(-6, 6, 1201) * np.sqrt(scale)
    f = np.stack(np.meshgrid(line, line, indexing="ij"))
    log = -0.5 * np.einsum("iab,ij,jab->ab", f, np.linalg.inv(K), f)
    log += sum(k * log_expit(g) + (n - k) * log_expit(-g) for g, k, n in zip(f, *counts, strict=True))
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = np.einsum("iab,ab->i", f, weight)
    deviation = np.sqrt(np.einsum("iab,ab->i", f**2, weight) - mean**2)
    mode = expectation(K, counts, laplace(K, counts))
    inverse = np.linalg.inv(np.linalg.inv(K) + np.diag(mode.root**2))
    np.testing.assert_allclose(mode.f, mean, rtol=0.05, atol=0.02 * np.sqrt(scale))
    np.testing.assert_allclose(np.sqrt(np.diag(inverse)), deviation, rtol=0.05)


@pytest.mark.parametrize("networks", [1.0, 100.0, 1e4, 1e6])
@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.3, 0.7), (0.0, 0.0, 1.0), (0.1, 0.5, 0.8, 0.8)], ids=str)
def test_trials_of_one_place_that_contradict_each_other_agree_with_quadrature(networks: float, shares: tuple):
    """Of many networks each: where likelihood and the others' word have a top there are then no nodes between them."""
    n = np.full(len(shares), networks)
    k = np.round(networks * np.array(shares))
    counts, K = Counts(k, n), np.full((len(n), len(n)), 24.0)
    width = 1 / np.sqrt(1 / 24 + 0.05 * n.sum())
    f = logit((k.sum() + 0.5) / (n.sum() + 1)) + width * np.linspace(-30, 30, 20001)
    log = k.sum() * log_expit(f) + (n - k).sum() * log_expit(-f) - f**2 / 48
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ f
    deviation = np.sqrt(weight @ (f - mean) ** 2)
    mode = expectation(K, counts, laplace(K, counts))
    np.testing.assert_allclose(mode.f, mean, atol=0.1 * deviation)
    assert 1 / np.sqrt(1 / 24 + np.sum(mode.root**2)) == pytest.approx(deviation, rel=0.1)


def test_many_certain_labels_leave_no_doubt_between_them():
    """The Laplace approximation gives every point its prior variance back, and P(in region) 0.84 beside 0.999."""
    x = np.linspace(0, 1, 60)
    points, counts = Points(x[:, None], np.zeros((60, 0), int)), Counts(2.0 * (x < 0.5), np.full(60, 2.0))
    theta = Kernel(1, 0).prior[0] + np.array([0.0, 6.0])
    at = Points(np.array([[0.2], [0.8]]), np.zeros((2, 0), int))
    mean, variance, _ = LogisticGP.condition(Kernel(1, 0), theta, points, counts).moments(at)
    assert np.all(np.abs(mean) > 2.5 * np.sqrt(variance))


@pytest.mark.parametrize("kernel", KERNELS)
def test_counts_are_repeated_points(kernel: Kernel):
    """k of n at one point is the same evidence as n single networks there, up to the jitter."""
    points, counts = draw(kernel, 12)
    index = np.repeat(np.arange(12), counts.n.astype(int))
    single = np.concatenate([np.arange(n) < k for k, n in zip(*counts, strict=True)]).astype(float)
    theta = kernel.prior[0]
    packed = by_laplace(kernel, theta, points, counts)  # for expectation propagation it is not an identity
    alone = by_laplace(kernel, theta, points.take(index), Counts(single, np.ones(len(index))))
    at, _ = draw(kernel, 20, seed=5)
    for ours, theirs in zip(packed.moments(at)[:2], alone.moments(at)[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_is_a_covariance(kernel: Kernel):
    points, _ = draw(kernel, 40)
    theta = kernel.prior[0] + 0.3
    K = kernel.matrix(theta, points, points)
    np.testing.assert_allclose(K, K.T)
    np.testing.assert_allclose(np.diag(K), kernel.diagonal(theta, points))
    assert np.linalg.eigvalsh(K).min() > -1e-8 * np.trace(K)


def test_categories_correlate_by_the_product_of_their_correlations():
    kernel = Kernel(1, 2)
    theta = np.array([0.0, np.log(2.0), 1.0, -0.5])
    x = np.full((4, 1), 0.5)
    K = kernel.matrix(theta, Points(x, np.array([[0, 0], [1, 0], [0, 1], [1, 1]])), Points(x, np.zeros((4, 2), int)))
    first, second = expit([1.0, -0.5])
    np.testing.assert_allclose(K[:, 0] - OFFSET, 2.0 * np.array([1, first, second, first * second]))


def test_the_centre_of_all_levels_is_their_mean_brought_back_to_their_variance():
    kernel, theta = Kernel(1, 1, levels=(3,)), np.array([0.0, np.log(2.0), 0.7])
    levels, x = np.array([[0], [1], [2]]), np.full((3, 1), 0.5)
    among = kernel.matrix(theta, Points(x, levels), Points(x, levels)) - OFFSET
    mean = np.full(3, 1 / 3)
    expected = among @ mean / np.sqrt(mean @ among @ mean / 2.0)
    centre = Points(x[:1], np.array([[CENTRE]]))
    np.testing.assert_allclose(kernel.matrix(theta, Points(x, levels), centre)[:, 0] - OFFSET, expected)
    np.testing.assert_allclose(kernel.matrix(theta, centre, centre), kernel.diagonal(theta, centre)[:, None])


@pytest.mark.parametrize("frontier", [False, True])
def test_points_of_all_levels_keep_a_covariance_and_its_gradient(frontier: bool):
    kernel = Kernel(2, 2, frontier, levels=(3, 3))
    points, counts = draw(kernel, 40)
    points.c[::3, 0] = CENTRE
    points.c[::5, 1] = CENTRE
    theta = kernel.prior[0] + 0.2
    K, derivatives = kernel.gradients(theta, points)
    assert np.linalg.eigvalsh(K).min() > -1e-8 * np.trace(K)
    steps = 1e-5 * np.eye(len(theta))
    for derivative, step in zip(derivatives, steps, strict=True):
        above, below = (kernel.matrix(theta + s, points, points) for s in (step, -step))
        np.testing.assert_allclose(derivative, (above - below) / 2e-5, rtol=1e-5, atol=1e-6)
    assert np.isfinite(evidence(kernel, theta, points, counts)[0])


def test_frontier_kernel_without_its_terms_is_plain_matern():
    points, _ = draw(Kernel(3, 1), 10)
    plain = np.array([0.1, -0.4, 0.2, 1.0, 0.3])
    bend = plain + np.array([0, 0, 0, 40.0, 0])  # s is a share of l
    ours = Kernel(3, 1, frontier=True).matrix(np.append(bend, [-40.0, -40.0]), points, points)
    np.testing.assert_allclose(ours, Kernel(3, 1).matrix(plain, points, points), rtol=1e-12)


@pytest.mark.parametrize("frontier", [False, True])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_class_does_not_break_the_fit(frontier: bool, share: float):
    kernel = Kernel(2, 1, frontier)
    points, counts = draw(kernel, 30)
    counts = Counts(share * counts.n, counts.n)
    kernel, theta = learn(kernel, points, counts)
    mean, variance, _ = LogisticGP.condition(kernel, theta, points, counts).moments(points)
    assert np.all(np.isfinite(variance))
    assert np.all((mean > 0) == (share == 1.0))


def test_no_trials_give_back_the_prior():
    kernel = Kernel(2, 1, frontier=True)
    at, _ = draw(kernel, 5)
    nothing = Points(np.zeros((0, 2)), np.zeros((0, 1), int))
    theta = kernel.prior[0]
    mean, variance, _ = LogisticGP.condition(kernel, theta, nothing, Counts(np.zeros(0), np.zeros(0))).moments(at)
    np.testing.assert_allclose(mean, 0.0)
    np.testing.assert_allclose(variance, kernel.diagonal(theta, at))


@pytest.mark.parametrize("kernel", KERNELS)
def test_evidence_alone_is_that_which_has_a_gradient_wherever_the_mode_is_sought_from(kernel: Kernel):
    points, counts = draw(kernel, 40)
    theta = kernel.prior[0] + 0.3
    value, _, mode = evidence(kernel, theta, points, counts)
    for start in (np.zeros(40), mode.a, -3 * mode.a):
        assert log_evidence(kernel, theta, points, counts, start) == pytest.approx(value, abs=1e-5)


def test_learning_raises_the_evidence_and_is_reproducible():
    kernel = Kernel(2, 1, frontier=True)
    points, counts = draw(kernel, 200)
    (chosen, first), (_, second) = (learn(kernel, points, counts) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert evidence(chosen, first, points, counts)[0] > evidence(chosen, chosen.prior[0], points, counts)[0] + 1


@pytest.mark.parametrize(("bump", "frontier"), [(False, True), (True, False)])
def test_evidence_chooses_the_kernel(bump: bool, frontier: bool):
    """Success below a tilted limit asks for the frontier kernel, success inside a ball for plain Matern."""
    kernel = Kernel(2, 0, frontier=True)
    points, _ = draw(kernel, 150)
    u, v = points.x.T
    inside = np.hypot(u - 0.5, v - 0.5) < 0.3 if bump else u < 0.3 + 0.4 * v
    chosen, _ = learn(kernel, points, Counts(inside.astype(float), np.ones(150)))
    assert chosen.frontier == frontier


@pytest.mark.slow
def test_thinned_posterior_keeps_the_map():
    """A fifth of the trials gives the same side nearly everywhere; a random fifth is worse near the boundary."""
    kernel = Kernel(2, 1, frontier=True)
    points, counts = draw(kernel, 1000)
    kernel, theta = learn(kernel, points, counts)
    index = thin(kernel, theta, points, counts, 200, np.random.default_rng(0))
    assert len(set(index.tolist())) == 200
    at, _ = draw(kernel, 1000, seed=9)
    full = LogisticGP.condition(kernel, theta, points, counts).moments(at)[0]
    few = LogisticGP.condition(kernel, theta, points.take(index), counts.take(index)).moments(at)[0]
    assert np.mean((full > 0) != (few > 0)) < 0.05


def test_of_thinned_trials_three_quarters_are_those_that_a_pilot_doubts_most_whatever_they_showed():
    kernel = Kernel(2, 0)
    points, counts = draw(kernel, 200)
    chance, others = np.split(np.random.default_rng(1).permutation(200), [15])
    index = thin(kernel, kernel.prior[0], points, counts, 60, np.random.default_rng(1))
    assert set(chance) < set(index)
    mean, variance, _ = LogisticGP.condition(kernel, kernel.prior[0], points.take(chance), counts.take(chance)).moments(
        points
    )
    sure, near = np.abs(mean) / np.sqrt(variance), np.isin(others, index)
    assert near.sum() == 45
    assert sure[others[near]].max() < sure[others[~near]].min()
    flipped = counts.k.copy()
    flipped[others] = counts.n[others] - counts.k[others]
    again = thin(kernel, kernel.prior[0], points, Counts(flipped, counts.n), 60, np.random.default_rng(1))
    np.testing.assert_array_equal(again, index)
    np.testing.assert_array_equal(
        thin(kernel, kernel.prior[0], points, counts, 200, np.random.default_rng(1)), np.arange(200)
    )


def test_a_frontier_without_a_numeric_axis_is_refused():
    with pytest.raises(ValueError, match=r"a frontier kernel needs at least one numeric axis, but got none"):
        Kernel(0, 1, frontier=True)


@pytest.mark.parametrize("numeric", [1, 2, 3])
@pytest.mark.parametrize("frontier", [True, False])
def test_the_covariance_on_a_grid_is_that_which_the_evidence_is_of(numeric: int, frontier: bool):
    """It is computed column by column, the other point by point: to the last bit the same."""
    kernel = Kernel(numeric, 1, frontier)
    rng = np.random.default_rng(3)
    others = rng.random((4, numeric - 1)).repeat(5, axis=0)
    order = rng.permutation(20)
    grid = Points(np.column_stack([np.tile(np.linspace(0, 1, 5), 4), others])[order], rng.integers(0, 2, (20, 1)))
    theta = kernel.prior[0] + 0.3
    np.testing.assert_array_equal(kernel.matrix(theta, grid, grid), kernel.gradients(theta, grid)[0])
    nowhere = grid.take([])
    assert kernel.matrix(theta, grid, nowhere).shape == (20, 0)
    assert kernel.matrix(theta, nowhere, grid).shape == (0, 20)


@pytest.mark.parametrize("many", [0, 1, 7, 9, 40])
def test_marginals_are_the_moments_some_points_at_a_time(many: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("analysis.gp.AT_ONCE", 9)
    kernel = Kernel(2, 1, frontier=True)
    points, counts = draw(kernel, 30)
    gp = LogisticGP.condition(kernel, kernel.prior[0], points, counts)
    at = draw(kernel, 40, seed=2)[0].take(slice(0, many))
    for some, together in zip(gp.marginals(at), gp.moments(at), strict=False):
        np.testing.assert_allclose(some, together, rtol=1e-9, atol=1e-12)
        assert some.shape == (many,)


@pytest.mark.parametrize(
    "scale",
    [
        Scale(2, 100, log=True),
        Scale(-1, 3),
        Scale(1e-5, 1.0, log=True, floor=1e-4),
        Scale(1e-300, 1e300, log=True),
        Scale(1e-300, 1e4, log=True),
    ],
)
def test_scale_goes_there_and_back(scale: Scale):
    assert scale.encode(np.array([scale.low, scale.high])) == pytest.approx([0.0, 1.0])
    unit = np.linspace(0.3, 1, 7)
    np.testing.assert_allclose(scale.encode(scale.decode(unit)), unit)


def test_below_the_floor_is_one_coordinate():
    scale = Scale(1e-5, 1.0, log=True, floor=1e-4)
    np.testing.assert_allclose(scale.encode(np.array([0.0, 1e-5, 9e-5, 1e-4])), [0, 0, 0, 0.2])
    np.testing.assert_allclose(scale.decode(np.array([0.0, 0.19])), 1e-5)
