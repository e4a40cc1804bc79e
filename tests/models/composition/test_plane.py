"""The plane's components and their exact compositions against closed forms."""

import jax
import numpy as np
import pytest
from scipy.special import ndtr

from models.composition import plane
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError

LEVEL_0 = float(NoiseSchedule().signal(0)), float(NoiseSchedule().noise(0))


@pytest.fixture(scope="module", params=plane.PAIRS)
def clean(request):
    return plane.truth(request.param)


def along(low, high, at, signal, noise):
    """The density of noised uniform numbers."""
    edges = (at - signal * low) / noise, (at - signal * high) / noise
    return (ndtr(edges[0]) - ndtr(edges[1])) / (signal * (high - low))


def box(name, x_ND, signal, noise):
    low_x, high_x, low_y, high_y = plane.BOXES[name]
    return along(low_x, high_x, x_ND[:, 0], signal, noise) * along(low_y, high_y, x_ND[:, 1], signal, noise)


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    [
        ("ring", (0, 0), (0.1259, 0.1259)),  # r^2 / 2 + .03^2
        ("bar", (0, 0), (0.04 / 3, 1 / 3)),
        ("left_bar", (-0.2, 0), (0.01 / 3, 1 / 3)),
        ("right_bar", (0.2, 0), (0.01 / 3, 1 / 3)),
        ("box", (0, 0), (0.49 / 3, 0.49 / 3)),
        ("inner_box", (0, 0), (0.03, 0.03)),
    ],
)
def test_components_have_the_notebooks_moments(name, mean, variance):
    keys = jax.random.split(jax.random.key(3), 20_000)
    x_ND = np.asarray(jax.vmap(lambda key: plane.draw(name, key))(keys), np.float64)
    density_GG, at_G = plane.density_on_grid(name), plane.centres()
    cell = (at_G[1] - at_G[0]) ** 2
    assert density_GG.sum() * cell == pytest.approx(1.0, abs=1e-6)
    for axis, along_G in enumerate((density_GG.sum(axis=1) * cell, density_GG.sum(axis=0) * cell)):
        assert along_G @ at_G == pytest.approx(mean[axis], abs=1e-6)
        assert along_G @ (at_G - mean[axis]) ** 2 == pytest.approx(variance[axis], abs=3e-6)
        standard_error = np.sqrt(variance[axis] / len(x_ND))
        assert x_ND[:, axis].mean() == pytest.approx(mean[axis], abs=4 * standard_error)
        assert x_ND[:, axis].var() == pytest.approx(variance[axis], rel=0.04)


def test_ring_has_eight_modes_of_one_deviation():
    keys = jax.random.split(jax.random.key(0), 8_000)
    x_ND = np.asarray(jax.vmap(lambda key: plane.draw("ring", key))(keys), np.float64)
    turns_N = np.arctan2(x_ND[:, 1], x_ND[:, 0]) / (2 * np.pi) * 8
    nearest_N = np.round(turns_N).astype(int) % 8
    assert np.bincount(nearest_N) == pytest.approx(np.full(8, 1000), abs=4 * np.sqrt(1000))
    radius_N = np.hypot(*x_ND.T)
    assert radius_N.mean() == pytest.approx(0.5, abs=0.003)
    assert radius_N.std() == pytest.approx(0.03, rel=0.04)


def test_boxes_keep_their_edges():
    keys = jax.random.split(jax.random.key(1), 5_000)
    for name, (low_x, high_x, low_y, high_y) in plane.BOXES.items():
        x_ND = np.asarray(jax.vmap(lambda key, name=name: plane.draw(name, key))(keys))
        assert low_x - 1e-6 <= x_ND[:, 0].min() < low_x + 0.01
        assert high_x - 0.01 < x_ND[:, 0].max() <= high_x + 1e-6
        assert low_y - 1e-6 <= x_ND[:, 1].min() < low_y + 0.01
        assert high_y - 0.01 < x_ND[:, 1].max() <= high_y + 1e-6


@pytest.mark.parametrize(
    ("pair", "variance"),
    [("product", (0.0009, 0.2509)), ("mixture", (0.13 / 3, 1 / 3)), ("negation", (0.2, 0.2))],
)
def test_compositions_have_the_closed_variances(pair, variance):
    # the frame's: (1.96 * .49 / 3 - .36 * .03) / 1.6 = .19335
    expected = variance if pair != "negation" else ((1.96 * 0.49 / 3 - 0.36 * 0.03) / 1.6,) * 2
    covariance_DD = plane.truth(pair).covariance()
    assert np.diag(covariance_DD) == pytest.approx(expected, rel=2e-3 if pair == "product" else 1e-5)
    assert covariance_DD[0, 1] == pytest.approx(0.0, abs=1e-9)


def test_mass_is_where_it_belongs():
    at_G = plane.centres()
    product_GG, mixture_GG, negation_GG = (plane.composed_on_grid(pair) for pair in plane.PAIRS)
    assert product_GG[:, at_G > 0].sum() == pytest.approx(0.5)
    near_G = np.abs(np.abs(at_G) - 0.5) < 0.15
    assert product_GG[np.ix_(np.abs(at_G) < 0.15, near_G)].sum() > 0.999
    assert mixture_GG[np.abs(at_G) < 0.1].sum() == 0.0
    inner_G = np.abs(at_G) < 0.3
    assert negation_GG[np.ix_(inner_G, inner_G)].sum() == 0.0
    box_GG = plane.density_on_grid("box")
    assert box_GG[np.ix_(inner_G, inner_G)].sum() / box_GG.sum() == pytest.approx(0.36 / 1.96)  # 18.4 %


def test_samples_have_the_exact_covariance(clean):
    for exact in (clean, plane.truth(clean.pair, 0.8, 0.6)):
        x_ND = exact.sample(5, 40_000)
        covariance_DD = exact.covariance()
        assert np.cov(x_ND.T) == pytest.approx(covariance_DD, abs=0.02 * covariance_DD.max())
        assert np.var(x_ND[:, 0]) == pytest.approx(covariance_DD[0, 0], rel=0.03)
    assert np.array_equal(clean.sample(5, 10), clean.sample(5, 10))
    assert not np.array_equal(clean.sample(5, 10), clean.sample(6, 10))


@pytest.mark.parametrize(("signal", "noise"), [LEVEL_0, (0.9, np.sqrt(1 - 0.81))])
def test_noised_log_densities_are_closed_forms(signal, noise):
    x_ND = np.random.default_rng(0).uniform(-0.9, 0.9, (2000, 2))
    left, right = (box(name, x_ND, signal, noise) for name in ("left_bar", "right_bar"))
    outer, inner = (box(name, x_ND, signal, noise) for name in ("box", "inner_box"))
    closed = {"mixture": (left + right) / 2, "negation": (1.96 * outer - 0.36 * inner) / 1.6}
    for pair, density_N in closed.items():
        log_N = np.log(np.maximum(density_N, np.exp(plane.LOWEST)))
        thick_N = log_N > -6
        assert thick_N.sum() > 500
        assert plane.truth(pair, signal, noise).log_density(x_ND)[thick_N] == pytest.approx(log_N[thick_N], abs=0.02)


def test_product_at_level_0_is_the_product_of_noised_components():
    signal, noise = LEVEL_0
    exact = plane.truth("product", signal, noise)
    x_ND = exact.sample(0, 2000)
    variance = signal**2 * 0.03**2 + noise**2
    modes_KD = signal * np.array([[0.0, 0.5], [0.0, -0.5]])
    squares_NK = ((x_ND[:, None] - modes_KD) ** 2).sum(axis=-1)
    log_N = np.log(np.exp(-squares_NK / (2 * variance)).sum(axis=1) / (4 * np.pi * variance))
    assert exact.log_density(x_ND) == pytest.approx(log_N, abs=0.03)
    assert np.diag(exact.covariance()) == pytest.approx((variance, variance + signal**2 * 0.25), rel=2e-3)


def test_a_density_integrates_to_one_and_ends_at_the_floor(clean):
    noised = plane.truth(clean.pair, *LEVEL_0)
    at_G = plane.centres()
    assert np.exp(noised.log_density_GG).sum() * (at_G[1] - at_G[0]) ** 2 == pytest.approx(1.0, abs=1e-3)
    assert noised.log_density(np.array([[1.4, 1.4], [50.0, 0.0]])) == pytest.approx([plane.LOWEST] * 2)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="'rng'"):
        plane.draw("rng", jax.random.key(0))
    with pytest.raises(UserError, match="'sum'"):
        plane.truth("sum")
