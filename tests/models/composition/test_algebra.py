from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.algebra import (
    guided,
    likelihood,
    mixture,
    negation,
    on_canvas,
    product,
    product_over,
    uniform,
)
from models.composition.density import Density, of_log_density, of_score
from models.composition.gaussians import gaussian, gaussian_mixture
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from tests.models.composition.laws import score_only

SCHEDULE = NoiseSchedule(levels=10)
FREE = gaussian_mixture(np.array([[0.6, 0.0], [-0.6, 0.3], [0.0, -0.5]]), 0.5, SCHEDULE, name="free")
ONE = gaussian(np.array([0.5, 0.0]), 0.4, SCHEDULE, name="one")
OTHER = gaussian(np.array([-0.5, 0.2]), 0.7, SCHEDULE, name="other")
POINTS_N2 = np.random.default_rng(0).normal(size=(6, 2))
CASES_K2 = jnp.array([[0.3, 0.1], [-0.4, 0.2], [0.0, 0.9]])


def label(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
    return jax.nn.log_sigmoid(3 * x[0] - x[1] ** 2 + 0.1 * jnp.asarray(level))


def given(mean: jax.Array) -> Density:
    def log_density(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        return -jnp.sum((x - mean) ** 2) - jnp.cos(x[0] * x[1] + mean[0]) * SCHEDULE.noise(level)

    return of_log_density(log_density, (2,), SCHEDULE, "given")


COMPOSED: dict[str, Density] = {
    "product": product((FREE, ONE, OTHER)),
    "quotient": FREE / OTHER,
    "power": FREE**3.0,
    "mixture": mixture((FREE, ONE, OTHER), weights=(3.0, 1.0, 0.5), log_normalisers=(0.2, -1.0, 0.0)),
    "negation": negation(FREE, without=ONE, strength=0.3),
    "guided": guided(FREE, (ONE, OTHER), 4.0),
    "likelihood": FREE * likelihood(label, (2,), SCHEDULE) ** 4.0,
    "uniform": uniform((2,), SCHEDULE) * FREE,
    "product over": product_over(given, CASES_K2, jnp.array([1.0, -0.5, 2.0])),
    "nested": mixture((negation(guided(FREE, (ONE,), 2.0), without=OTHER, strength=0.2), FREE * ONE)) ** 0.5 * OTHER,
}
OF_SCORES: dict[str, Callable[[Callable[[Density], Density]], Density]] = {
    "product": lambda of: product((of(FREE), of(ONE))),
    "negation": lambda of: negation(of(FREE), without=of(ONE), strength=0.3),
    "guided": lambda of: guided(of(FREE), (of(ONE), of(OTHER)), 4.0),
    "product over": lambda of: product_over(lambda case: of(given(case)), CASES_K2, jnp.array([1.0, -0.5, 2.0])),
    "canvas": lambda of: on_canvas(of(ONE), (5,), (1,)) * on_canvas(of(OTHER), (5,), (2,)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_the_score_is_the_energys_gradient_and_has_no_curl(name: str) -> None:
    """Central differences in float64, at two levels; the score's Jacobian is symmetric.

    The public code's guidance has the energy of one density and the score of another.
    """
    with jax.enable_x64(True):
        density, step = COMPOSED[name], 1e-5

        @jax.jit
        @jax.vmap
        def found(x: jax.Array, level: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            shifted = jax.vmap(lambda shift: density.log_density(x + shift, level))(
                step * jnp.concatenate([jnp.eye(2), -jnp.eye(2)])
            )
            score = lambda x: density.score(x, level)  # noqa: E731
            return score(x), (shifted[:2] - shifted[2:]) / (2 * step), jax.jacfwd(score)(x)

        levels_N = jnp.array([0, 6] * 6)
        score_N2, slope_N2, jacobian_N22 = found(jnp.asarray(np.repeat(POINTS_N2, 2, axis=0)), levels_N)
        assert np.abs(score_N2).max() > 0.1
        np.testing.assert_allclose(score_N2, slope_N2, rtol=1e-4, atol=1e-4)
        assert np.abs(jacobian_N22[:, 0, 1]).max() > 1e-3
        np.testing.assert_allclose(jacobian_N22[:, 0, 1], jacobian_N22[:, 1, 0], rtol=1e-5, atol=1e-5)


def test_a_curl_is_seen() -> None:
    turning = of_score(lambda x, level: jnp.array([-x[1], x[0]]) - x, (2,), SCHEDULE)
    jacobian_22 = jax.jacfwd(lambda x: (FREE * turning).score(x, 4))(jnp.array([0.2, 0.1]))
    assert float(jacobian_22[1, 0] - jacobian_22[0, 1]) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("name", OF_SCORES)
def test_scores_alone_compose_as_energies_do(name: str) -> None:
    energies, scores = OF_SCORES[name](lambda part: part), OF_SCORES[name](score_only)
    assert energies.has_energy
    assert not scores.has_energy
    assert scores.shape == energies.shape
    x = jnp.linspace(-1.0, 1.0, energies.shape[0])
    found = np.asarray(energies.score(x, 4))
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(scores.score(x, 4), found, rtol=1e-4, atol=1e-5)


def check_equal(one: Density, other: Density) -> None:
    @jax.jit
    @jax.vmap
    def both(x: jax.Array, level: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(f(x, level) for part in (one, other) for f in (part.log_density, part.score))

    log_N, score_N2, other_log_N, other_score_N2 = both(
        jnp.asarray(np.repeat(POINTS_N2, 2, axis=0), jnp.float32), jnp.array([0, 6] * 6)
    )
    np.testing.assert_allclose(log_N, other_log_N, atol=2e-4)
    np.testing.assert_allclose(score_N2, other_score_N2, rtol=1e-4, atol=1e-3)


def test_identities() -> None:
    check_equal(guided(FREE, (ONE,), 1.0), ONE)
    check_equal(guided(FREE, (ONE,), 0.0), FREE)
    check_equal(guided(FREE, (ONE, OTHER), 1.5), FREE**-2.0 * ONE**1.5 * OTHER**1.5)
    check_equal(FREE * uniform((2,), SCHEDULE), FREE)
    check_equal(mixture((FREE, FREE, FREE)), FREE)
    check_equal(mixture((FREE, FREE), weights=(0.9, 0.1)), FREE)
    check_equal(mixture((FREE * ONE**0.0, FREE), log_normalisers=(0.0, 0.0)), FREE)
    check_equal(product((ONE, OTHER)), ONE * OTHER)
    check_equal(negation(ONE, without=ONE, strength=0.4), ONE)
    check_equal(FREE * likelihood(label, (2,), SCHEDULE) ** 0.0, FREE)
    check_equal(product_over(given, CASES_K2), product([given(case) for case in CASES_K2]))
    weights = jnp.array([1.0, 0.0, 2.0])
    check_equal(product_over(given, CASES_K2, weights), given(CASES_K2[0]) * given(CASES_K2[2]) ** 2)
    check_equal(on_canvas(ONE, (2,), (0,)), ONE)


def test_a_mixture_weighs_its_parts() -> None:
    parts = [float(jnp.exp(part.log_density(jnp.array([0.1, 0.2]), 3))) for part in (ONE, OTHER)]
    mixed = mixture((ONE, OTHER), weights=(3.0, 1.0))
    assert float(jnp.exp(mixed.log_density(jnp.array([0.1, 0.2]), 3))) == pytest.approx(
        0.75 * parts[0] + 0.25 * parts[1], rel=1e-5
    )
    # a part whose density is told times e^2 weighs the same where its normaliser says so
    twice = of_log_density(lambda x, level: OTHER.log_density(x, level) + 2.0, (2,), SCHEDULE)
    check_equal(mixture((ONE, twice), log_normalisers=(0.0, 2.0)), mixture((ONE, OTHER)))


def test_windows_of_a_canvas() -> None:
    """A window says nothing about what is outside it; overlapping ones add up."""
    corner = gaussian(np.zeros(2), 0.5, SCHEDULE)
    square = of_log_density(lambda x, level: corner.log_density(x[0], level) + x[1, 0] ** 3, (2, 2), SCHEDULE, "square")
    x_34 = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)
    for part in (square, score_only(square)):
        score_34 = np.asarray(on_canvas(part, (3, 4), (1, 2)).score(x_34, 2))
        expected_34 = np.zeros((3, 4))
        expected_34[1:, 2:] = square.score(x_34[1:, 2:], 2)
        np.testing.assert_allclose(score_34, expected_34, atol=1e-6)
    both = on_canvas(square, (3, 4), (1, 1)) * on_canvas(square, (3, 4), (1, 2))
    expected = float(square.log_density(x_34[1:, 1:3], 2) + square.log_density(x_34[1:, 2:], 2))
    assert float(both.log_density(x_34, 2)) == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_composed() -> None:
    with pytest.raises(UserError, match="net has no energy, which a mixture needs"):
        mixture((ONE, score_only(OTHER, "net")))
    for weights in ((1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, float("inf"))):
        with pytest.raises(UserError, match="a mixture of 2 densities has weights"):
            mixture((ONE, OTHER), weights=weights)
    with pytest.raises(UserError, match="has weights"):
        mixture((ONE, OTHER), log_normalisers=(0.0,))
    for strength in (0.0, -0.3, float("nan")):
        with pytest.raises(UserError, match="strength is"):
            negation(ONE, without=OTHER, strength=strength)
    with pytest.raises(UserError, match="product of no densities"):
        product(())
    with pytest.raises(UserError, match="guidance of no densities"):
        guided(ONE, (), 1.0)
    with pytest.raises(UserError, match="different noise schedules"):
        mixture((ONE, gaussian(np.zeros(2), 1.0, NoiseSchedule(levels=5))))
    for canvas, corner in (((3,), (2,)), ((3,), (-1,)), ((3, 3), (0, 0)), ((3,), (0, 0))):
        with pytest.raises(UserError, match="does not lie in a canvas"):
            on_canvas(ONE, canvas, corner)
