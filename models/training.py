"""Training as pure functions of arrays: initialise, step, schedule. No data, files or logging."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Params = Any
Batch = Any
LossFunction = Callable[[Params, Batch], jax.Array]


class TrainState(NamedTuple):
    """What a step changes: step number (int32 []), parameters and optimizer state (pytrees)."""

    step: jax.Array
    params: Params
    optimizer_state: optax.OptState


def initial_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def train_step(
    loss_function: LossFunction, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Batch], tuple[TrainState, jax.Array]]:
    """One optimizer step as a jitted function.

    Args:
        loss_function: (params, batch) -> mean loss, float [].
        optimizer: an Optax transformation.

    Returns:
        (state, batch) -> (next state, loss before the step); the state's memory is reused.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        loss, gradient = jax.value_and_grad(loss_function)(state.params, batch)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, optimizer_state), loss

    return jax.jit(step, donate_argnums=0)


def adamw_with_cosine(*, peak_learning_rate: float, warmup_steps: int, steps: int) -> optax.GradientTransformation:
    """AdamW behind gradient clipping at norm 1; linear warm-up, then a cosine to a tenth of the peak."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, peak_learning_rate, min(warmup_steps, steps // 4), steps, peak_learning_rate / 10
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.01))


def next_token_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats.

    Args:
        logits: float [..., V].
        targets: int [...], ids below V.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets).mean()
