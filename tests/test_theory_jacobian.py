"""Jacobian spectra: closed densities against their own moments, edges, random matrices and exponents."""

import numpy as np
import pytest

from isoinit.theory import factors
from isoinit.theory.activations import ACTIVATIONS
from isoinit.theory.jacobian import (
    FAMILIES,
    activation_variance,
    largest_singular_value,
    relative_variance,
    spectrum,
)
from isoinit.theory.lyapunov import deep_log_singular_values, lyapunov_exponents

EDGES = {  # L = 1, 4, 16
    "gaussian": (2.4142, 4.6753, 9.3281),
    "orthogonal": (1.4142, 3.0792, 6.4905),
    "mirrored_gaussian": (2.8284, 4.9411, 9.4705),
    "mirrored_orthogonal": (1.4142, 1.4142, 1.4142),
}


@pytest.mark.parametrize(("family", "edges"), EDGES.items())
def test_largest_singular_values(family: str, edges: tuple[float, ...]) -> None:
    assert [largest_singular_value(family, n) for n in (1, 4, 16)] == pytest.approx(edges, abs=5e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 2, 4, 16, 100])
def test_the_density_has_the_declared_mass_mean_variance_and_edge(family: str, layers: int) -> None:
    """Five independent checks of one closed density: the formulas for moments and edge do not come from it."""
    law = spectrum(family, layers)
    mass, mean, square = (sum(m * place**k for place, m in law.atoms) for k in (0, 1, 2))
    if len(law.eigenvalues):
        x, step = law.eigenvalues, np.diff(law.masses)
        mass += law.masses[-1]
        mean += np.sum(step * (x[1:] + x[:-1]) / 2)
        square += np.sum(step * (x[1:] ** 2 + x[:-1] ** 2) / 2)
        assert np.all(law.density > 0)
        assert np.sqrt(x[-1]) == pytest.approx(largest_singular_value(family, layers), rel=1e-6)
        if layers <= 16:
            assert abs(law.masses[0]) < 1e-5, "the density integrates to its mass by itself"
    assert (mass, mean) == pytest.approx((1, 1), abs=1e-5)
    assert square / mean**2 - 1 == pytest.approx(relative_variance(family, layers), abs=1e-4 * (1 + layers))


def test_slopes_of_the_relative_variance_in_depth() -> None:
    """2L, L, 2L + 1: slope and intercept, from the densities themselves."""
    depths = np.array([2, 4, 8, 16])
    for family, slope, intercept in (("gaussian", 2, 0), ("orthogonal", 1, 0), ("mirrored_gaussian", 2, 1)):
        variances = []
        for depth in depths:
            law = spectrum(family, int(depth))
            x, step = law.eigenvalues, np.diff(law.masses)
            variances.append(np.sum(step * (x[1:] ** 2 + x[:-1] ** 2) / 2) - 1)
        assert np.polyfit(depths, variances, 1) == pytest.approx([slope, intercept], abs=1e-3)


def test_edges_grow_like_the_root_of_e_l() -> None:
    for family, factor in (("gaussian", 2), ("orthogonal", 1), ("linear_gaussian", 1)):
        assert largest_singular_value(family, 4000) ** 2 / 4000 == pytest.approx(factor * np.e, rel=1e-3)


def test_one_gaussian_layer_is_marchenko_pastur() -> None:
    law = spectrum("linear_gaussian", 1)
    x, density = law.eigenvalues[100:-100], law.density[100:-100]
    assert density == pytest.approx(np.sqrt(x * (4 - x)) / (2 * np.pi * x), rel=1e-6)


def _singular_values(family: str, n: int, layers: int, rng: np.random.Generator) -> np.ndarray:
    """Of a real net at a random input, hidden to hidden, `n` units."""
    x, jacobian = rng.standard_normal(n), np.eye(n)
    if family.startswith("mirrored"):
        x = np.maximum(np.concatenate([x[: n // 2], -x[: n // 2]]), 0)
    for _ in range(layers):
        if family == "gaussian":
            w = rng.standard_normal((n, n)) * np.sqrt(2 / n)
        elif family == "orthogonal":
            w = _haar(n, rng) * np.sqrt(2)
        else:
            h = n // 2
            core = rng.standard_normal((h, h)) / np.sqrt(h) if family == "mirrored_gaussian" else _haar(h, rng)
            w = np.block([[core, -core], [-core, core]])
        x = w @ x
        on = x > 0
        x, jacobian = x * on, on[:, None] * (w @ jacobian)
    return np.linalg.svd(jacobian, compute_uv=False)


def _haar(n: int, rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


@pytest.mark.parametrize("family", EDGES)
def test_random_networks_have_these_spectra(family: str) -> None:
    """N = 160, 3 nets, L = 4: variance within 20 %, edge within 12 %, quantiles within 0.08 of the mean."""
    rng = np.random.default_rng(4)
    nets = np.array([_singular_values(family, 160, 4, rng) for _ in range(3)])
    e = nets**2 / np.mean(nets**2)
    law = spectrum(family, 4)
    assert np.var(e) == pytest.approx(law.relative_variance, rel=0.2)
    assert np.mean(nets.max(axis=1)) == pytest.approx(law.largest_singular_value, rel=0.12)
    levels = np.array([0.2, 0.4, 0.55, 0.6, 0.7, 0.8])
    assert np.quantile(np.sqrt(e), levels) == pytest.approx(law.singular_values(levels), abs=0.08)
    if family == "mirrored_orthogonal":
        assert np.sort(nets, axis=1)[:, 80:] == pytest.approx(np.sqrt(2), abs=1e-10)


def test_tanh_spread_table_and_quadrature() -> None:
    tanh = ACTIVATIONS["tanh"]
    for q, spread in ((0.01, 0.000727), (0.1, 0.039709), (0.5, 0.299244)):
        assert activation_variance(tanh, q, 1, gaussian=False) == pytest.approx(spread, abs=1e-6)
        assert activation_variance(tanh, q, 7, gaussian=True) == pytest.approx(7 * (spread + 1), abs=1e-5)


def test_general_activations_reduce_to_relu_and_linear() -> None:
    for name, gaussian, family in (
        ("relu", True, "gaussian"),
        ("relu", False, "orthogonal"),
        ("linear", True, "linear_gaussian"),
        ("linear", False, "linear_orthogonal"),
    ):
        assert activation_variance(ACTIVATIONS[name], 1.0, 5, gaussian) == relative_variance(family, 5)


@pytest.mark.parametrize("family", ["linear_gaussian", "gaussian", "orthogonal"])
def test_exponents_of_deep_products(family: str) -> None:
    """Growth per layer of the volume of the first k directions, orthonormalized on the way, over 3000 layers."""
    rng = np.random.default_rng(5)
    n, k, layers = 32, 4, 3000
    frame, logs = np.eye(n)[:, :k], np.zeros(k)
    for _ in range(layers):
        g = rng.standard_normal((n, n))
        if family == "orthogonal":
            q, _ = np.linalg.qr(g)
            frame = np.sqrt(2) * q @ frame
        else:
            frame = g @ frame * np.sqrt((2 if family == "gaussian" else 1) / n)
        if family != "linear_gaussian":
            frame = frame * (rng.random(n) < 0.5)[:, None]
        frame, r = np.linalg.qr(frame)
        logs += np.log(np.abs(np.diag(r)))
    assert logs / layers == pytest.approx(lyapunov_exponents(family, n)[:k], abs=0.015)


def test_the_first_exponent_is_half_the_log_mean_of_the_norm() -> None:
    assert lyapunov_exponents("gaussian", 20)[0] == pytest.approx(factors.gaussian(20).log_mean / 2, abs=1e-6)
    assert lyapunov_exponents("orthogonal", 20)[0] == pytest.approx(factors.orthogonal(20).log_mean / 2, abs=1e-6)
    assert lyapunov_exponents("linear_gaussian", 10)[0] == factors.mirrored_gaussian(20).log_mean / 2
    assert np.isneginf(lyapunov_exponents("gaussian", 20)[15:]).all(), "half of the directions die in every layer"


def test_singular_values_of_deep_gaussian_products() -> None:
    """Median log s_k of 40 products, N = 24, L = 48: mean error below 0.25, where L lambda alone is off by 1."""
    rng = np.random.default_rng(9)
    n, layers = 24, 48
    product, logs = np.broadcast_to(np.eye(n), (40, n, n)), np.zeros(40)
    for _ in range(layers):
        product = rng.standard_normal((40, n, n)) / np.sqrt(n) @ product
        size = np.sqrt(np.mean(product**2, axis=(1, 2)))
        product, logs = product / size[:, None, None], logs + np.log(size)
    drawn = np.median(np.log(np.linalg.svd(product, compute_uv=False)) + logs[:, None], axis=0)[:8]
    theory = deep_log_singular_values("linear_gaussian", n, layers)[:8]
    assert np.mean(np.abs(theory - drawn)) < 0.25
    assert np.mean(np.abs(layers * lyapunov_exponents("linear_gaussian", n)[:8] - drawn)) > 0.6


def test_unknown_families_are_refused() -> None:
    with pytest.raises(ValueError, match="family must be one of gaussian"):
        spectrum("he", 3)
    with pytest.raises(ValueError, match="layers must be a whole number from 1 to"):
        spectrum("gaussian", 0)
    with pytest.raises(ValueError, match="got 'mirrored_gaussian'"):
        lyapunov_exponents("mirrored_gaussian", 8)
