import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.density import Target
from models.composition.hmc import first_momentum, hmc, kernel_of, leapfrog, uhmc
from models.composition.kernels import Info, Kernel, State, mala, ula
from models.composition.sampler_config import SamplerConfig
from shammie.errors import UserError
from tests.models.composition.laws import QUARTIC, errors_of_moments, quartic_points, run

NORMAL = Target(lambda x: -jnp.sum(x**2) / 2, lambda x: -x)
CHAINS = 20_000
ROUGH = {"step_size": 0.8, "leapfrog_steps": 3, "damping": 0.9}  # accepts .77 of the quartic's


def bent(x: jax.Array) -> jax.Array:
    return -jnp.sum(x**4) / 4 + x[0] * jnp.sin(2 * x[1]) - jnp.sum(x**2) / 2


BENT = Target(bent, jax.grad(bent))


def without_flip(kernel: Kernel) -> Kernel:
    """The mutant that keeps +v' on rejection, as the paper's notebook."""

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        state, info = kernel.step(key, state)
        assert state.momentum is not None
        return state._replace(momentum=jnp.where(info.accepted, state.momentum, -state.momentum)), info

    return Kernel(kernel.init, step)


def with_aliased_momentum(target: Target, step_size: float, damping: float) -> Kernel:
    """The mutant whose kinetic energies cancel, as in the public torch code: leapfrog changed v' in place."""

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        fresh_key, test_key = jax.random.split(key)
        assert state.momentum is not None
        fresh = first_momentum(fresh_key, state.position.shape)
        begun = state._replace(momentum=damping * state.momentum + jnp.sqrt(1 - damping**2) * fresh)
        ended = leapfrog(target, begun, step_size, 3)
        acceptance = jnp.minimum(1.0, jnp.exp(ended.log_density - begun.log_density))
        accepted = jax.random.uniform(test_key) < acceptance
        kept = jax.tree.map(lambda one, other: jnp.where(accepted, one, other), ended, state)
        return kept, Info(acceptance, accepted, jnp.zeros(()), state.alive)

    return Kernel(hmc(target, step_size).init, step)


@pytest.mark.parametrize("mass", [1.0, 2.5])
def test_hmc_keeps_exact_draws(mass: float) -> None:
    step_size = ROUGH["step_size"] * mass**0.5  # the same path in x
    kernel = hmc(QUARTIC, step_size, 3, ROUGH["damping"], mass)
    states, info = run(kernel, quartic_points(CHAINS), 40, mass=mass)
    assert 0.7 < np.mean(info.acceptance) < 0.8
    assert max(map(abs, errors_of_moments(states.position).values())) < 3
    assert states.momentum is not None
    assert np.var(states.momentum) == pytest.approx(mass, rel=0.03)


def test_a_missing_flip_is_caught() -> None:
    states, _ = run(without_flip(hmc(QUARTIC, **ROUGH)), quartic_points(CHAINS), 40, mass=1.0)
    assert max(map(abs, errors_of_moments(states.position).values())) > 5
    assert np.mean(np.square(states.position)) == pytest.approx(0.7153, abs=0.02)  # what the notebook's gives


def test_a_kinetic_energy_that_cancels_is_caught() -> None:
    states, _ = run(with_aliased_momentum(QUARTIC, 0.4, 0.5), quartic_points(CHAINS), 40, mass=1.0)
    assert max(map(abs, errors_of_moments(states.position).values())) > 20
    assert np.mean(np.square(states.position)) == pytest.approx(0.4718, abs=0.02)  # what the torch code gives


def states_of(points: int) -> State:
    """Random points with momenta, arrays [N, 2], of BENT."""
    generator = np.random.default_rng(0)
    x_N2, momentum_N2 = (jnp.asarray(generator.normal(size=(points, 2))) for _ in range(2))
    return jax.vmap(hmc(BENT, 0.1).init)(x_N2, momentum_N2)


def test_leapfrog_is_reversible_and_keeps_volume() -> None:
    with jax.enable_x64(True):
        states = states_of(5)
        assert states.position.dtype == jnp.float64
        there = jax.vmap(lambda state: leapfrog(BENT, state, 0.15, 7, 2.0))(states)
        assert np.abs(there.position - states.position).min() > 1e-3
        assert there.momentum is not None
        back = jax.vmap(lambda state: leapfrog(BENT, state, 0.15, 7, 2.0))(there._replace(momentum=-there.momentum))
        assert back.momentum is not None
        assert states.momentum is not None
        np.testing.assert_allclose(back.position, states.position, atol=1e-6)
        np.testing.assert_allclose(-back.momentum, states.momentum, atol=1e-6)
        np.testing.assert_allclose(back.log_density, states.log_density, atol=1e-6)

        def flow(both_4: jax.Array) -> jax.Array:
            ended = leapfrog(BENT, hmc(BENT, 0.1).init(both_4[:2], both_4[2:]), 0.15, 7, 2.0)
            assert ended.momentum is not None
            return jnp.concatenate([ended.position, ended.momentum])

        both_N4 = jnp.concatenate([states.position, states.momentum], axis=1)
        jacobian_N44 = jax.vmap(jax.jacfwd(flow))(both_N4)
        assert np.abs(np.asarray(jacobian_N44) - np.eye(4)).max() > 0.5
        np.testing.assert_allclose(np.linalg.det(jacobian_N44), 1, atol=1e-9)


def test_the_energy_error_is_of_second_order() -> None:
    """Over the same time, in steps half as long, it is a quarter."""
    with jax.enable_x64(True):
        states = states_of(20)

        def energy(states: State) -> jax.Array:
            assert states.momentum is not None
            return jnp.sum(states.momentum**2, axis=1) / 2 - states.log_density

        step_sizes = np.array([0.1, 0.05, 0.025, 0.0125])
        errors = [
            np.abs(energy(jax.vmap(lambda s: leapfrog(BENT, s, e, round(1 / e)))(states)) - energy(states)).mean()  # noqa: B023
            for e in step_sizes
        ]
        slope, _ = np.polyfit(np.log(step_sizes), np.log(errors), 1)
        assert slope == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("kernel", "each"), [(hmc, 4), (uhmc, 4), (mala, 1), (ula, 1)])
def test_a_step_asks_for_no_score_twice(kernel: object, each: int) -> None:
    asked = []

    def log_density(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda _: asked.append(1), x)
        return -jnp.sum(x**2) / 2

    target = Target(log_density, jax.grad(log_density))
    made = kernel(target, 0.1, each) if each > 1 else kernel(target, 0.1)  # pyright: ignore[reportCallIssue]
    state = made.init(jnp.ones(3))
    jax.effects_barrier()
    assert len(asked) == 1
    for key in jax.random.split(jax.random.key(0), 5):
        state, _ = jax.jit(made.step)(key, state)
    jax.effects_barrier()
    assert len(asked) == 1 + 5 * each


def test_without_a_test_hmc_is_off_by_the_step_size_squared() -> None:
    """On N(0, 1) leapfrog keeps x^2 (1 - eps^2 / 4) + v^2: the variance is 1 / (1 - eps^2 / 4)."""
    first_NX = jax.random.normal(jax.random.key(0), (CHAINS, 1))
    for target in (NORMAL, NORMAL._replace(log_density=None)):
        states, info = run(uhmc(target, 1.0, 2, 0.5), first_NX, 40, mass=1.0)
        assert np.var(states.position) == pytest.approx(4 / 3, rel=0.035)
        assert np.all(info.acceptance == 1)
        assert np.all(np.isnan(info.energy_error)) == (target.log_density is None)
    states, _ = run(hmc(NORMAL, 1.0, 2, 0.5), first_NX, 40, mass=1.0)
    assert np.var(states.position) == pytest.approx(1, rel=0.035)


def test_damping_keeps_the_momentum() -> None:
    """With c = .99 and no force the chain goes on as it went; with c = 0 it forgets."""
    flat = Target(lambda x: 0 * jnp.sum(x), lambda x: 0 * x)
    first_NX, spread = jnp.zeros((2000, 1)), {}
    for damping in (0.0, 0.99):  # ten steps one way, or at random: 10 steps of length .1, or sqrt(10)
        states, _ = run(hmc(flat, 0.1, 1, damping), first_NX, 10, mass=1.0)
        spread[damping] = float(np.std(states.position))
    assert spread[0.0] == pytest.approx(0.1 * 10**0.5, rel=0.1)
    assert spread[0.99] == pytest.approx(0.1 * 10, rel=0.1)


@pytest.mark.parametrize("beyond", [jnp.nan, -jnp.inf])
def test_what_is_not_finite_is_rejected(beyond: float) -> None:
    """As in test_kernels: the normal density, cut at 1."""

    def log_density(x: jax.Array) -> jax.Array:
        return jnp.where(x[0] > 1, beyond, -jnp.sum(x**2) / 2)

    target = Target(log_density, jax.grad(log_density))
    first_NX = jnp.minimum(jax.random.normal(jax.random.key(0), (4000, 1)), 0.99)
    states, info = run(hmc(target, 0.5), first_NX, 30, mass=1.0)
    assert np.all(info.finite)
    assert np.all(np.isfinite(info.energy_error))
    x = np.asarray(states.position)
    assert x.max() <= 1
    assert x.mean() == pytest.approx(-0.2876, abs=0.05)
    if not beyond == -jnp.inf:  # without a test that kills chains; no density is no death
        dying, _ = run(uhmc(target, 0.5), first_NX, 5, mass=1.0)
        assert 0.1 < np.mean(dying.alive) < 0.9
        assert np.all(np.isfinite(dying.position))
        assert np.max(dying.position) <= 1


def test_kernels_by_name() -> None:
    found = [kernel_of(SamplerConfig(kind=kind), NORMAL, 0.1) for kind in ("ula", "mala", "uhmc", "hmc")]
    assert all(isinstance(kernel, Kernel) for kernel in found)
    for kind in ("reverse", "ddim"):
        with pytest.raises(UserError, match="unknown kernel"):
            kernel_of(SamplerConfig(kind=kind), NORMAL, 0.1)
    with pytest.raises(UserError, match="hmc needs a log density"):
        kernel_of(SamplerConfig(kind="hmc"), NORMAL._replace(log_density=None), 0.1)
