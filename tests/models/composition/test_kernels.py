import blackjax.mcmc.diffusions
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.density import Target
from models.composition.kernels import Info, Kernel, State, first_state, mala, ula
from shammie.errors import UserError
from tests.models.composition.laws import QUARTIC, errors_of_moments, quartic_points, run

NORMAL = Target(lambda x: -jnp.sum(x**2) / 2, lambda x: -x)
CHAINS = 20_000


@pytest.mark.parametrize(("step_size", "facts"), [(0.1, 1.054), (0.5, 1.328), (1.0, 2.003)])
def test_the_variance_that_ula_keeps(step_size: float, facts: float) -> None:
    """v / (1 - eps / (2 v)); AR(1) forgets by 1 - eps at a step, and the start is of the right law but for its size."""
    exact = 1 / (1 - step_size / 2)
    first_NX = jax.random.normal(jax.random.key(0), (CHAINS, 1))
    assert exact == pytest.approx(facts, rel=0.01)
    states, info = run(ula(NORMAL, step_size), first_NX, 40)
    assert np.var(states.position) == pytest.approx(exact, rel=0.035)  # 3.5 standard errors
    assert np.all(info.acceptance == 1)
    assert np.all(info.finite)
    if step_size == 1.0:
        scores, _ = run(ula(NORMAL._replace(log_density=None), step_size), first_NX, 40)
        np.testing.assert_allclose(scores.position, states.position, atol=1e-5)
        tested, _ = run(mala(NORMAL, step_size), first_NX, 40)
        assert np.var(tested.position) == pytest.approx(1, rel=0.035)


def mala_with_denominator(target: Target, step_size: float, denominator: float) -> Kernel:
    """MALA, written out with the denominator of its proposal's exponent, which is 4 eps."""

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        noise_key, test_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, state.position.shape)
        there = first_state(target, state.position + step_size * state.score + jnp.sqrt(2 * step_size) * noise)
        forth = jnp.sum((there.position - state.position - step_size * state.score) ** 2) / denominator
        back = jnp.sum((state.position - there.position - step_size * there.score) ** 2) / denominator
        acceptance = jnp.minimum(1.0, jnp.exp(there.log_density - state.log_density - back + forth))
        accepted = jax.random.uniform(test_key) < acceptance
        kept = jax.tree.map(lambda one, other: jnp.where(accepted, one, other), there, state)
        return kept, Info(acceptance, accepted, jnp.zeros(()), state.alive)

    return Kernel(lambda x, momentum=None: first_state(target, x), step)


def test_mala_keeps_exact_draws_and_a_wrong_denominator_does_not() -> None:
    """From exact draws, so that no burn-in hides an error. The public code's denominator is 2 eps^2."""
    step_size = 0.7
    first_NX = quartic_points(CHAINS)
    assert max(map(abs, errors_of_moments(first_NX).values())) < 3
    states, info = run(mala(QUARTIC, step_size), first_NX, 40)
    assert 0.65 < np.mean(info.acceptance) < 0.8
    assert np.mean(info.accepted) == pytest.approx(float(np.mean(info.acceptance)), abs=0.002)
    assert max(map(abs, errors_of_moments(states.position).values())) < 3
    right, _ = run(mala_with_denominator(QUARTIC, step_size, 4 * step_size), first_NX, 40)
    assert max(map(abs, errors_of_moments(right.position).values())) < 3
    wrong, _ = run(mala_with_denominator(QUARTIC, step_size, 2 * step_size**2), first_NX, 40)
    assert max(map(abs, errors_of_moments(wrong.position).values())) > 10


def test_mala_is_in_detailed_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    """q(x) p(x -> y) a(x, y) = q(y) p(y -> x) a(y, x) for proposals that are made to be y and x."""
    step_size = 0.3
    target = Target(lambda x: -jnp.sum(x**4) / 4 + x[0] * jnp.sin(x[1]), lambda x: x)
    target = target._replace(score=jax.grad(target.log_density or jnp.sum))
    kernel = mala(target, step_size)

    def log_flow(x: jax.Array, y: jax.Array) -> float:
        state = kernel.init(x)
        noise = (y - x - step_size * state.score) / jnp.sqrt(2 * step_size)
        monkeypatch.setattr(blackjax.mcmc.diffusions, "generate_gaussian_noise", lambda key, position: noise)
        _, info = kernel.step(jax.random.key(0), state)
        return float(state.log_density - jnp.sum(noise**2) / 2 + jnp.log(info.acceptance))

    points_N2 = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    flows = [(log_flow(x, y), log_flow(y, x)) for x, y in zip(points_N2[::2], points_N2[1::2], strict=True)]
    assert np.ptp(flows) > 1
    for forth, back in flows:
        assert forth == pytest.approx(back, abs=1e-4)


@pytest.mark.parametrize("beyond", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_not_finite_is_rejected(beyond: float) -> None:
    """Beyond 1 there is nothing: chains stay below it, and have the normal density cut there."""

    def log_density(x: jax.Array) -> jax.Array:
        return jnp.where(x[0] > 1, beyond, -jnp.sum(x**2) / 2)

    first_NX = jnp.minimum(jax.random.normal(jax.random.key(0), (4000, 1)), 0.99)
    states, info = run(mala(Target(log_density, jax.grad(log_density)), 0.5), first_NX, 60)
    assert np.all(info.finite)
    assert np.all(info.acceptance[~info.accepted] < 1)
    x = np.asarray(states.position)
    assert x.max() <= 1
    assert x.max() > 0.9
    assert x.mean() == pytest.approx(-0.2876, abs=0.04)  # - phi(1) / Phi(1)


def test_a_chain_without_a_test_dies_alone_where_it_was_well() -> None:
    target = Target(None, lambda x: jnp.where(x > 3, jnp.nan, 0 * x))
    first_NX = jnp.zeros((4000, 1))
    states, info = run(ula(target, 0.3), first_NX, 20)
    dead_N = ~np.asarray(states.alive)
    assert 0.2 < dead_N.mean() < 0.8
    x_N = np.asarray(states.position)[:, 0]
    assert np.all(np.isfinite(x_N))
    assert np.all(x_N <= 3)
    finite_SN = np.asarray(info.finite)
    assert np.array_equal(finite_SN[-1], ~dead_N)
    assert np.all(finite_SN[1:] <= finite_SN[:-1])  # none comes back
    again, _ = run(ula(target, 0.3), first_NX, 21)
    assert np.array_equal(np.asarray(again.position)[dead_N], np.asarray(states.position)[dead_N])
    assert not np.any(np.asarray(again.alive)[dead_N])


def test_a_chain_that_begins_at_nan_is_dead() -> None:
    first_NX = jnp.array([[0.5], [jnp.nan], [0.5]])
    states, info = run(mala(NORMAL, 0.5), first_NX, 3)
    assert states.alive.tolist() == [True, False, True]
    assert not np.any(np.asarray(info.accepted)[:, 1])
    assert np.isfinite(states.position[0, 0])


def test_scores_alone_have_no_test() -> None:
    with pytest.raises(UserError, match="mala needs a log density"):
        mala(NORMAL._replace(log_density=None), 0.1)
