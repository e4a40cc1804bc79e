"""Swinging a pendulum up with a linear policy: the classic task of continuous control, as one unrolled problem.

A rod of mass m and length l turns about its end; phi is its angle from upright:

    phi'' = 3 g / (2 l) sin phi + 3 / (m l^2) u

with a bounded torque u, by semi-implicit Euler steps (first the speed, which is bounded too, then the angle). The cost
of a step is phi^2 + 0.1 phi'^2 + 0.001 u^2 before the step, phi in (-pi, pi]. Numbers and cost are those of
Gymnasium's Pendulum-v1.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.unrolled import Key, Loss, StepNumber, Unrolled
from shammie.errors import UserError


class PendulumState(NamedTuple):
    """Where the pendulum is; float [] each.

    Attributes:
        angle: phi, radians from upright; it is not wrapped.
        speed: phi', radians a second.
    """

    angle: jax.Array
    speed: jax.Array


@dataclass(frozen=True)
class PendulumConfig:
    """The task; the defaults are Pendulum-v1's.

    Attributes:
        horizon: T, steps.
        time_step: seconds of a step.
        gravity: g, m/s^2.
        mass: m, kg.
        length: l, m.
        most_torque: bound of |u|, N m.
        most_speed: bound of |phi'|, radians a second.
        spread: episodes begin at an angle uniform in +-spread radians of `first_angle`.
        first_angle: radians; pi hangs.
        first_speed: episodes begin at a speed uniform in +-first_speed.
    """

    horizon: int = 200
    time_step: float = 0.05
    gravity: float = 10.0
    mass: float = 1.0
    length: float = 1.0
    most_torque: float = 2.0
    most_speed: float = 8.0
    spread: float = math.pi
    first_angle: float = math.pi
    first_speed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("time_step", "mass", "length", "most_torque", "most_speed"):
            if not getattr(self, name) > 0:
                raise UserError(f"PendulumConfig.{name} is {getattr(self, name)}", "give a positive number")

    @property
    def worst_cost(self) -> float:
        """The most that a step can cost; losses are divided by it."""
        return math.pi**2 + 0.1 * self.most_speed**2 + 0.001 * self.most_torque**2


def first_policy(config: PendulumConfig) -> dict[str, jax.Array]:
    """The policy that learning starts from: "weights", zeros [3], for cos phi, sin phi and phi' / most_speed."""
    del config
    return {"weights": jnp.zeros(3)}


def swung(config: PendulumConfig, state: PendulumState, torque: jax.Array) -> PendulumState:
    """One step under a torque, N m, that is bounded already."""
    pull = 1.5 * config.gravity / config.length * jnp.sin(state.angle)
    pushed = 3 / (config.mass * config.length**2) * torque
    speed = state.speed + (pull + pushed) * config.time_step
    speed = jnp.clip(speed, -config.most_speed, config.most_speed)
    return PendulumState(state.angle + speed * config.time_step, speed)


def energy(config: PendulumConfig, state: PendulumState) -> jax.Array:
    """Kinetic and potential energy, J, float []; without torque it stays."""
    moment = config.mass * config.length**2 / 3
    return moment * state.speed**2 / 2 + config.mass * config.gravity * config.length / 2 * jnp.cos(state.angle)


def pendulum(config: PendulumConfig = PendulumConfig()) -> Unrolled:
    """The unrolled problem: u is the policy's weights times its three inputs, times `most_torque`, bounded.

    A loss is the step's cost over the worst that a step can cost, in [0, 1]; 1 minus it is the reward.
    """

    def init(theta: dict[str, jax.Array], key: Key) -> PendulumState:
        del theta
        angle, speed = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        return PendulumState(config.first_angle + config.spread * angle, config.first_speed * speed)

    def step(
        theta: dict[str, jax.Array], state: PendulumState, number: StepNumber, key: Key
    ) -> tuple[PendulumState, Loss]:
        del number, key
        seen = jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed / config.most_speed])
        torque = config.most_torque * jnp.clip(jnp.dot(theta["weights"], seen), -1, 1)
        wrapped = jnp.mod(state.angle + math.pi, 2 * math.pi) - math.pi
        cost = wrapped**2 + 0.1 * state.speed**2 + 0.001 * torque**2
        return swung(config, state, torque), cost / config.worst_cost

    return Unrolled(init, step, config.horizon)
