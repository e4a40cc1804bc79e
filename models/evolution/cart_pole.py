"""Balancing a pole on a cart with a linear policy that pushes left or right: no gradient but by evolution.

The cart of mass M is pushed by a force F, the pole of mass m and half-length l stands on it at the angle phi from
upright, without friction (Barto, Sutton and Anderson 1983; Florian 2007 for the equations):

    phi'' = [g sin phi - cos phi (F + m l phi'^2 sin phi) / (M + m)] / [l (4/3 - m cos^2 phi / (M + m))]
    x'' = [F + m l (phi'^2 sin phi - phi'' cos phi)] / (M + m)

by explicit Euler steps. Numbers and bounds are those of Gymnasium's CartPole-v1.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.unrolled import Key, Loss, StepNumber, Unrolled
from shammie.errors import UserError


class CartPoleState(NamedTuple):
    """Where cart and pole are; float [] each.

    Attributes:
        place: x, m.
        speed: x', m/s.
        angle: phi, radians from upright.
        turning: phi', radians a second.
        standing: 1 until the pole has fallen or the cart has left, then 0.
    """

    place: jax.Array
    speed: jax.Array
    angle: jax.Array
    turning: jax.Array
    standing: jax.Array


@dataclass(frozen=True)
class CartPoleConfig:
    """The task; the defaults are CartPole-v1's, with episodes of 200 steps as in v0.

    Attributes:
        horizon: T, steps.
        time_step: seconds of a step.
        gravity: g, m/s^2.
        cart_mass: M, kg.
        pole_mass: m, kg.
        half_length: l, m.
        force: the policy pushes with this or its negative, N.
        most_angle: radians; beyond it the pole has fallen.
        most_place: m; beyond it the cart has left.
        spread: episodes begin with all four numbers uniform in +-spread.
    """

    horizon: int = 200
    time_step: float = 0.02
    gravity: float = 9.8
    cart_mass: float = 1.0
    pole_mass: float = 0.1
    half_length: float = 0.5
    force: float = 10.0
    most_angle: float = 0.2094395102393195
    most_place: float = 2.4
    spread: float = 0.05

    def __post_init__(self) -> None:
        for name in ("time_step", "cart_mass", "pole_mass", "half_length", "most_angle", "most_place"):
            if not getattr(self, name) > 0:
                raise UserError(f"CartPoleConfig.{name} is {getattr(self, name)}", "give a positive number")


def first_policy(config: CartPoleConfig) -> dict[str, jax.Array]:
    """The policy that learning starts from: "weights", zeros [4], for x, x', phi and phi'."""
    del config
    return {"weights": jnp.zeros(4)}


def accelerations(config: CartPoleConfig, state: CartPoleState, force: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Those of the place, m/s^2, and of the angle, radians/s^2, under a force, N."""
    total, sine, cosine = config.cart_mass + config.pole_mass, jnp.sin(state.angle), jnp.cos(state.angle)
    swing = config.pole_mass * config.half_length * state.turning**2 * sine
    turned = config.gravity * sine - cosine * (force + swing) / total
    turned = turned / (config.half_length * (4 / 3 - config.pole_mass * cosine**2 / total))
    return (force + swing - config.pole_mass * config.half_length * turned * cosine) / total, turned


def pushed(config: CartPoleConfig, state: CartPoleState, force: jax.Array) -> CartPoleState:
    """One step under a force; whoever stands may have fallen after it."""
    moved, turned = accelerations(config, state, force)
    dt = config.time_step
    after = CartPoleState(
        state.place + dt * state.speed,
        state.speed + dt * moved,
        state.angle + dt * state.turning,
        state.turning + dt * turned,
        state.standing,
    )
    inside = (jnp.abs(after.angle) <= config.most_angle) & (jnp.abs(after.place) <= config.most_place)
    return after._replace(standing=state.standing * inside.astype(state.standing.dtype))


def energy(config: CartPoleConfig, state: CartPoleState) -> jax.Array:
    """Kinetic and potential energy, J, float []; without a force it stays."""
    m, length = config.pole_mass, config.half_length
    kinetic = (config.cart_mass + m) * state.speed**2 / 2
    kinetic = kinetic + m * length * state.speed * state.turning * jnp.cos(state.angle)
    # 4/3 m l^2: the moment of inertia of a rod of length 2 l about its end
    return kinetic + 2 / 3 * m * length**2 * state.turning**2 + m * config.gravity * length * jnp.cos(state.angle)


def cart_pole(config: CartPoleConfig = CartPoleConfig()) -> Unrolled:
    """The unrolled problem. A loss is 0 while the pole stands after the step, then 1; 1 minus it is the reward.

    The policy pushes right where its weights times the four numbers are positive, else left. What has fallen stays
    where it is until the episode ends.
    """

    def init(theta: dict[str, jax.Array], key: Key) -> CartPoleState:
        del theta
        x, v, angle, turning = jax.random.uniform(key, (4,), minval=-config.spread, maxval=config.spread)
        return CartPoleState(x, v, angle, turning, jnp.ones_like(x))

    def step(
        theta: dict[str, jax.Array], state: CartPoleState, number: StepNumber, key: Key
    ) -> tuple[CartPoleState, Loss]:
        del number, key
        wanted = jnp.dot(theta["weights"], jnp.stack(state[:4]))
        after = pushed(config, state, jnp.where(wanted > 0, config.force, -config.force))
        after = jax.tree.map(lambda new, old: jnp.where(state.standing > 0, new, old), after, state)
        return after, 1 - after.standing

    return Unrolled(init, step, config.horizon)
