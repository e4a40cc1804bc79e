"""Pendulum, cart and pole: their equations against mechanics, their losses, and that policies can be learned."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import losses, mean_loss
from models.evolution.cart_pole import CartPoleConfig, CartPoleState, accelerations, cart_pole, first_policy, pushed
from models.evolution.cart_pole import energy as cart_energy
from models.evolution.pendulum import PendulumConfig, PendulumState, energy, pendulum, swung
from models.evolution.pendulum import first_policy as first_torques
from shammie.errors import UserError


def _drift(step: Any, energy_of: Any, state: Any, time_step: float, seconds: float) -> float:
    """The largest change of the energy over a free fall, J."""
    steps = round(seconds / time_step)
    energies = jax.jit(lambda s: jax.lax.scan(lambda c, _: (step(c), energy_of(c)), s, None, steps)[1])(state)
    return float(jnp.max(jnp.abs(energies - energies[0])))


def test_a_pendulum_without_torque_keeps_its_energy() -> None:
    drifts = {}
    for dt in (0.004, 0.002, 0.001):
        config = PendulumConfig(time_step=dt, most_speed=100.0)
        state = PendulumState(jnp.float32(0.7), jnp.float32(0.3))
        drifts[dt] = _drift(
            lambda s, c=config: swung(c, s, jnp.zeros(())), lambda s, c=config: energy(c, s), state, dt, 4.0
        )
    assert drifts[0.001] < 0.03  # of 5 J between top and bottom
    assert drifts[0.004] / drifts[0.001] == pytest.approx(4, rel=0.25)  # the method is of first order


def test_a_torque_does_the_work_it_should() -> None:
    config = PendulumConfig(time_step=1e-4, most_speed=100.0)
    before = PendulumState(jnp.float32(0.5), jnp.float32(2.0))
    after = before
    for _ in range(20):
        after = swung(config, after, jnp.float32(1.5))
    work = 1.5 * float(after.angle - before.angle)
    assert float(energy(config, after) - energy(config, before)) == pytest.approx(work, rel=0.02)


def test_a_cart_and_its_pole_without_force_keep_energy_and_momentum() -> None:
    drifts, momenta = {}, {}
    for dt in (0.002, 0.0005):
        config = CartPoleConfig(time_step=dt, most_angle=100.0, most_place=100.0, pole_mass=0.4)

        def momentum(s: CartPoleState, c: CartPoleConfig = config) -> jax.Array:
            total = (c.cart_mass + c.pole_mass) * s.speed
            return total + c.pole_mass * c.half_length * s.turning * jnp.cos(s.angle)

        state = CartPoleState(*(jnp.float32(value) for value in (0.0, 0.2, 0.3, -0.5, 1.0)))
        step = lambda s, c=config: pushed(c, s, jnp.zeros(()))  # noqa: E731
        drifts[dt] = _drift(step, lambda s, c=config: cart_energy(c, s), state, dt, 1.5)
        momenta[dt] = _drift(step, momentum, state, dt, 1.5)
    for found in (drifts, momenta):
        assert 0 < found[0.0005] < 0.02
        assert found[0.002] / found[0.0005] == pytest.approx(4, rel=0.4)


def test_accelerations_are_those_of_lagrange() -> None:
    """The equations of motion as a linear system, M(q) q'' = f, solved by numpy."""
    config = CartPoleConfig(pole_mass=0.3, cart_mass=1.2, half_length=0.7)
    m, total, length = config.pole_mass, config.cart_mass + config.pole_mass, config.half_length
    for angle, turning, force in ((0.1, 0.5, 10.0), (-1.2, 2.0, -3.0), (2.5, -1.0, 0.0)):
        state = CartPoleState(*(jnp.float32(value) for value in (0.3, -0.1, angle, turning, 1.0)))
        coupling = m * length * math.cos(angle)
        matrix = np.array([[total, coupling], [coupling, 4 / 3 * m * length**2]])
        forces = np.array(
            [force + m * length * turning**2 * math.sin(angle), m * config.gravity * length * math.sin(angle)]
        )
        np.testing.assert_allclose(
            accelerations(config, state, jnp.float32(force)), np.linalg.solve(matrix, forces), rtol=1e-4
        )


def test_a_pole_that_is_pushed_one_way_falls_and_stays_so() -> None:
    problem = cart_pole()
    found = np.asarray(losses(problem, {"weights": jnp.zeros(4)}, jax.random.key(0)))
    fell = int(np.argmax(found))
    assert 5 < fell < 15  # CartPole-v1 takes about ten pushes
    assert found[:fell].sum() == 0
    assert (found[fell:] == 1).all()
    # x and x' outweighed by the angle and its speed: a balance that is known to hold
    good = {"weights": jnp.array([0.2, 0.5, 5.0, 2.0])}
    assert float(mean_loss(problem, good, jax.random.key(1), 20)) == 0


def test_a_pendulum_costs_what_it_should() -> None:
    config = PendulumConfig(spread=0.0, first_speed=0.0)
    hanging = np.asarray(losses(pendulum(config), first_torques(config), jax.random.key(0)))
    np.testing.assert_allclose(hanging, math.pi**2 / config.worst_cost, rtol=1e-3)
    # full torque to one side: cos, sin, speed = -1, 0, 0 at the bottom
    pushed = np.asarray(losses(pendulum(config), {"weights": jnp.array([-9.0, 0.0, 0.0])}, jax.random.key(0)))
    assert pushed[0] == pytest.approx((math.pi**2 + 0.001 * 4) / config.worst_cost, rel=1e-5)
    # 3 / (m l^2) * 2 N m * 0.05 s = 0.3 /s, then 0.015 radians from hanging
    assert pushed[1] == pytest.approx(((math.pi - 0.015) ** 2 + 0.1 * 0.09 + 0.004) / config.worst_cost, rel=1e-4)
    assert (pushed <= 1).all()


def test_first_policies_have_an_input_each() -> None:
    assert first_policy(CartPoleConfig())["weights"].shape == (4,)
    assert first_torques(PendulumConfig())["weights"].shape == (3,)


def test_bad_settings_are_refused() -> None:
    for build, message in (
        (lambda: PendulumConfig(mass=0.0), "PendulumConfig.mass is 0.0"),
        (lambda: CartPoleConfig(time_step=-1.0), "CartPoleConfig.time_step is -1.0"),
        (lambda: pendulum(PendulumConfig(horizon=0)), "horizon is 0"),
    ):
        with pytest.raises(UserError, match=message):
            build()
