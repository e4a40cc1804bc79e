"""An unrolled computation: a state that a step moves on, again and again, under parameters that gradients are for.

s_0 = init(theta), s_t = f_t(s_{t-1}, theta), L_t = loss of step t; the objective is (1/T) sum_t L_t (arXiv:2304.12180).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from shammie.errors import UserError

Params = Any
Key = Any  # a JAX random key, typed or uint32 [2]
State = Any
Loss = Any  # float []
StepNumber = Any  # int32 []


@dataclass(frozen=True)
class Unrolled:
    """An unrolled computation, as pure functions of one trajectory; estimators do the batching.

    Attributes:
        init: (theta, key) -> the state of a new episode, any pytree; with `tells_horizon`, (theta, key, horizon).
        step: (theta, state, number, key) -> the next state, of the same structure, and the loss of this step, float [].
            `number`, int32 [], says how many steps of the episode were made before. Both trajectories of an antithetic
            pair get the same keys. A step that ignores its key pays nothing for it: the compiler drops what is unused.
        horizon: T, the steps of an episode; the longest where horizons are drawn.
        tells_horizon: whether `init` wants to know how many steps this episode has, int32 [].
    """

    init: Callable[..., State]
    step: Callable[[Params, State, StepNumber, Key], tuple[State, Loss]]
    horizon: int
    tells_horizon: bool = False

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise UserError(f"Unrolled.horizon is {self.horizon}", "an episode has at least 1 step")

    def begin(self, theta: Params, key: Key, horizon: jax.Array | int | None = None) -> State:
        """The state of a new episode of `horizon` steps (T unless given)."""
        if not self.tells_horizon:
            return self.init(theta, key)
        return self.init(theta, key, jnp.asarray(self.horizon if horizon is None else horizon, jnp.int32))


def losses(problem: Unrolled, theta: Params, key: Key) -> jax.Array:
    """The losses of one episode under theta, unperturbed; float [T]."""
    init_key, step_key = jax.random.split(key)

    def step(state: State, number: jax.Array) -> tuple[State, Loss]:
        return problem.step(theta, state, number, jax.random.fold_in(step_key, number))

    return jax.lax.scan(step, problem.begin(theta, init_key), jnp.arange(problem.horizon, dtype=jnp.int32))[1]


def mean_loss(problem: Unrolled, theta: Params, key: Key, episodes: int = 1) -> jax.Array:
    """The objective (1/T) sum_t L_t under theta, unperturbed, averaged over episodes; float []."""
    keys = jax.random.split(key, episodes)
    return jnp.mean(jax.vmap(lambda one: losses(problem, theta, one))(keys))
