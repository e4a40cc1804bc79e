"""The plane's components and their exact compositions against closed forms."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from models.composition import plane
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError

LEVEL_0 = float(NoiseSchedule().signal(0)), float(NoiseSchedule().noise(0))


@pytest.fixture(scope="module", params=plane.PAIRS)
def clean(request):
    return plane.truth(request.param)


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


LEFT = (0.1 / 1.96) / (0.9 / 0.36 + 0.1 / 1.96)  # of the density within, by the bounded negation


@pytest.mark.parametrize(
    ("pair", "variance"),
    [
        ("product", (0.0009, 0.2509)),
        ("mixture", (0.13 / 3, 1 / 3)),
        ("negation", ((1.96 * 0.49 / 3 - 0.36 * 0.03) / 1.6,) * 2),
        ("frame", ((1.96 * 0.49 / 3 - (1 - LEFT) * 0.36 * 0.03) / (1.96 - (1 - LEFT) * 0.36),) * 2),
    ],
)
def test_compositions_have_the_closed_variances(pair, variance):
    covariance_DD = plane.truth(pair).covariance()
    assert np.diag(covariance_DD) == pytest.approx(variance, rel=2e-3 if pair == "product" else 1e-5)
    assert covariance_DD[0, 1] == pytest.approx(0.0, abs=1e-9)


def test_mass_is_where_it_belongs():
    at_G = plane.centres()
    product_GG, mixture_GG, negation_GG, frame_GG = (plane.composed_on_grid(pair) for pair in plane.PAIRS)
    assert product_GG[:, at_G > 0].sum() == pytest.approx(0.5)
    near_G = np.abs(np.abs(at_G) - 0.5) < 0.15
    assert product_GG[np.ix_(np.abs(at_G) < 0.15, near_G)].sum() > 0.999
    assert mixture_GG[np.abs(at_G) < 0.1].sum() == 0.0
    inner_G = np.abs(at_G) < 0.3
    assert negation_GG[np.ix_(inner_G, inner_G)].sum() == 0.0
    assert frame_GG[np.ix_(inner_G, inner_G)].sum() == pytest.approx(0.36 * LEFT / (1.6 + 0.36 * LEFT))  # 0.45 %
    box_GG = plane.density_on_grid("box")
    assert box_GG[np.ix_(inner_G, inner_G)].sum() / box_GG.sum() == pytest.approx(0.36 / 1.96)  # 18.4 %


def test_samples_have_the_exact_covariance(clean):
    for exact in (clean, plane.truth(clean.pair, *LEVEL_0)):
        x_ND = exact.sample(5, 40_000)
        covariance_DD = exact.covariance()
        assert np.cov(x_ND.T) == pytest.approx(covariance_DD, abs=0.02 * covariance_DD.max())
        assert np.var(x_ND[:, 0]) == pytest.approx(covariance_DD[0, 0], rel=0.03)
    assert np.array_equal(clean.sample(5, 10), clean.sample(5, 10))
    assert not np.array_equal(clean.sample(5, 10), clean.sample(6, 10))


@pytest.mark.parametrize("name", plane.COMPONENTS)
def test_noised_components_are_noised_draws(name):
    signal, noise = 0.9, np.sqrt(1 - 0.81) / 4
    draw_key, noise_key = jax.random.split(jax.random.key(2))
    clean_ND = jax.vmap(lambda key: plane.draw(name, key))(jax.random.split(draw_key, 20_000))
    x_ND = np.asarray(signal * clean_ND + noise * jax.random.normal(noise_key, (20_000, 2)))
    density_GG, at_G = plane.density_on_grid(name, signal, noise), plane.centres()
    cell = at_G[1] - at_G[0]
    assert density_GG.sum() * cell**2 == pytest.approx(1.0, abs=1e-3)
    for axis, along_G in enumerate((density_GG.sum(axis=1) * cell, density_GG.sum(axis=0) * cell)):
        below_G = np.cumsum(along_G) * cell
        for place in range(100, plane.CELLS, 100):
            found = np.mean(x_ND[:, axis] < at_G[place] + cell / 2)
            assert found == pytest.approx(below_G[place], abs=0.015)  # four standard errors


def test_noise_and_mixtures_commute_and_the_frame_is_a_difference():
    blurred = lambda pair: ndimage.gaussian_filter(plane.composed_on_grid(pair), 0.05 / 0.0025, truncate=8)  # noqa: E731
    for pair in ("mixture", "negation"):
        exact_GG = plane.composed_on_grid(pair, 1.0, 0.05)
        assert np.abs(blurred(pair) - exact_GG).max() < 2e-3 * exact_GG.max()
    for pair in ("product", "frame"):  # not so: samplers of noised components end elsewhere
        exact_GG = plane.composed_on_grid(pair, 1.0, 0.05)
        assert np.abs(blurred(pair) - exact_GG).max() > 0.02 * exact_GG.max()


def test_thin_tails_are_not_lost():
    density_GG = plane.density_on_grid("inner_box", *LEVEL_0)
    row_G = density_GG[:, plane.CELLS // 2]
    assert row_G == pytest.approx(row_G[::-1], rel=1e-9)
    outside_G = plane.centres() > 0.75
    assert (row_G[outside_G][:100] > 0).all()
    assert (np.diff(row_G[outside_G][:100]) < 0).all()


def test_the_notebooks_negation_ends_outside_of_its_box():
    # along the diagonal; by Gaussian tails box^1.3 / inner_box^0.3 is highest at .7 + .3 * .4
    at_G = plane.centres()
    first_G, second_G = (np.diag(plane.density_on_grid(name, *LEVEL_0)) for name in ("box", "inner_box"))
    seen_G = (at_G > 0) & (second_G > 1e-300)
    log_G = (1 + plane.STRENGTH) * np.log(first_G[seen_G]) - plane.STRENGTH * np.log(second_G[seen_G])
    highest = at_G[seen_G][np.argmax(log_G)]
    assert highest == pytest.approx(0.82, abs=0.03)
    middle = np.argmin(np.abs(at_G[seen_G] - 0.5))
    assert log_G.max() > log_G[middle] + 20


def test_product_at_level_0_is_the_product_of_noised_components():
    signal, noise = LEVEL_0
    exact = plane.truth("product", signal, noise)
    x_ND = exact.sample(0, 2000)
    near_N = np.abs(x_ND[:, 0]) < 0.12  # further out the bar's edge counts; a few in a thousand are at the next modes
    assert 0.99 < near_N.mean() < 1
    variance = signal**2 * 0.03**2 + noise**2
    modes_KD = signal * np.array([[0.0, 0.5], [0.0, -0.5]])
    squares_NK = ((x_ND[near_N, None] - modes_KD) ** 2).sum(axis=-1)
    log_N = np.log(np.exp(-squares_NK / (2 * variance)).sum(axis=1) / (4 * np.pi * variance))
    assert exact.log_density(x_ND[near_N]) == pytest.approx(log_N, abs=0.03)
    variances_D = np.diag(exact.covariance())
    assert variances_D[1] == pytest.approx(variance + signal**2 * 0.25, rel=5e-3)
    assert variance < variances_D[0] < variance + 5e-4


def test_a_density_integrates_to_one_and_ends_at_the_floor(clean):
    noised = plane.truth(clean.pair, *LEVEL_0)
    at_G = plane.centres()
    assert np.exp(noised.log_density_GG).sum() * (at_G[1] - at_G[0]) ** 2 == pytest.approx(1.0, abs=1e-6)
    assert noised.log_density(np.array([[1.4, 1.4], [50.0, 0.0]])) == pytest.approx([plane.LOWEST] * 2)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="'rng'"):
        plane.draw("rng", jax.random.key(0))
    with pytest.raises(UserError, match="'sum'"):
        plane.truth("sum")
