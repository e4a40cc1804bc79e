"""The train step: gradient, update, metrics; alone or many in one compiled loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from models.training.losses import Batch, LossFunction, Metrics, Params, average


class TrainState(NamedTuple):
    """What a step changes: step number (int32 []), parameters and optimizer state (pytrees)."""

    step: jax.Array
    params: Params
    optimizer_state: optax.OptState


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def initial_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def train_step(loss_function: LossFunction, optimizer: optax.GradientTransformation, *, microbatches: int = 1) -> Step:
    """One optimizer step as a pure function; compile it with `jax.jit(step, donate_argnums=0)`.

    Args:
        loss_function: (params, batch) -> mean loss and metrics.
        optimizer: an Optax transformation; one that asks for it, as learned ones do, is told `value`, the metric
            `loss` of the batch.
        microbatches: parts of the batch whose gradients are summed one after the other, to save memory. Parts weigh
            alike, so a batch with unequal padding has a slightly different mean.

    Returns:
        (state, batch) -> (next state, metrics before the update, `gradient_norm` among them).
    """
    gradient_of = jax.value_and_grad(loss_function, has_aux=True)
    told = optax.with_extra_args_support(optimizer)

    def accumulated(params: Params, batch: Batch) -> tuple[Params, Metrics]:
        if microbatches == 1:
            (_, metrics), gradient = gradient_of(params, batch)
            return gradient, metrics
        parts = jax.tree.map(lambda x: x.reshape(microbatches, x.shape[0] // microbatches, *x.shape[1:]), batch)

        def add(total: Params, part: Batch) -> tuple[Params, Metrics]:
            (_, metrics), gradient = gradient_of(params, part)
            return jax.tree.map(jnp.add, total, gradient), metrics

        total, metrics = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return (
            jax.tree.map(lambda x: x / microbatches, total),
            {name: metric.reduce() for name, metric in metrics.items()},
        )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient, metrics = accumulated(state.params, batch)
        norm = average(optax.tree.norm(gradient), 1.0)
        loss = metrics["loss"].compute()
        updates, optimizer_state = told.update(gradient, state.optimizer_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, optimizer_state), {**metrics, "gradient_norm": norm}

    return step


def scan_steps(step: Step) -> Step:
    """Many steps in one compiled loop: (state, batches [n, ...]) -> (state, metrics [n])."""
    return lambda state, batches: jax.lax.scan(step, state, batches)
