"""Finding the parameters of the Lorenz system, exactly as arXiv:2304.12180 sets it (section 5.1).

x' = a (y - x), y' = x (r - z) - y, z' = x y - b z, by Euler steps; theta = (ln a, ln r), b is known. The loss of a step
is the squared distance of z from the true system's z.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.evolution.unrolled import Unrolled
from shammie.errors import UserError, unknown


class LorenzState(NamedTuple):
    """Where a trajectory is; float [] each."""

    x: jax.Array
    y: jax.Array
    z: jax.Array


@dataclass(frozen=True)
class LorenzConfig:
    """The problem; the defaults are the paper's.

    Attributes:
        horizon: T, steps.
        step_size: dt.
        a: true a.
        r: true r.
        b: b, which is not learned.
        start: x, y and z of every episode.
        first_log_a: where learning starts.
        first_log_r: where learning starts.
        dtype: "float64" needs `jax_enable_x64`.
    """

    horizon: int = 2000
    step_size: float = 0.005
    a: float = 10.0
    r: float = 28.0
    b: float = 8.0 / 3.0
    start: tuple[float, float, float] = (1.2, 1.3, 1.6)
    first_log_a: float = 3.116
    first_log_r: float = 3.7
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise UserError(f"LorenzConfig.step_size is {self.step_size}", "give a positive time")
        if self.dtype not in ("float32", "float64"):
            raise unknown("dtype", self.dtype, ("float32", "float64"))


def first_theta(config: LorenzConfig) -> dict[str, jax.Array]:
    """The parameters that learning starts from: "log_a" and "log_r", float [] each."""
    return {"log_a": _array(config, config.first_log_a), "log_r": _array(config, config.first_log_r)}


def true_theta(config: LorenzConfig) -> dict[str, jax.Array]:
    """The parameters of the system that is followed."""
    return {"log_a": _array(config, float(np.log(config.a))), "log_r": _array(config, float(np.log(config.r)))}


def euler_step(config: LorenzConfig, state: LorenzState, a: jax.Array, r: jax.Array) -> LorenzState:
    """One Euler step of the system."""
    x, y, z = state
    dt = config.step_size
    return LorenzState(x + a * (y - x) * dt, y + ((r - z) * x - y) * dt, z + (x * y - config.b * z) * dt)


def lorenz(config: LorenzConfig = LorenzConfig()) -> Unrolled:
    """The unrolled problem. All episodes start alike, so the true z is a table that is made once."""
    start = LorenzState(*(_array(config, value) for value in config.start))
    a, r = _array(config, config.a), _array(config, config.r)

    def true_step(state: LorenzState, _: None) -> tuple[LorenzState, jax.Array]:
        after = euler_step(config, state, a, r)
        return after, after.z

    # as numpy: a constant of whatever is compiled later
    true_z_T = np.asarray(jax.jit(lambda: jax.lax.scan(true_step, start, None, config.horizon)[1])())

    def init(theta: dict[str, jax.Array], key: jax.Array) -> LorenzState:
        del theta, key
        return start

    def step(
        theta: dict[str, jax.Array], state: LorenzState, number: jax.Array, key: jax.Array
    ) -> tuple[LorenzState, jax.Array]:
        del key
        after = euler_step(config, state, jnp.exp(theta["log_a"]), jnp.exp(theta["log_r"]))
        # unsigned and promised: half the cost of the look-up is making sure of the index
        true_z = jnp.asarray(true_z_T).at[number.astype(jnp.uint32)].get(mode="promise_in_bounds")
        return after, jnp.square(after.z - true_z)

    return Unrolled(init, step, config.horizon)


def _array(config: LorenzConfig, value: float) -> jax.Array:
    return jnp.asarray(value, config.dtype)
