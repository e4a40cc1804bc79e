"""What runs on the devices: the start, calls of one or many steps, and validation, compiled for a mesh.

What a log line needs is summed up on the devices beside the state, so that the host looks at nothing between log lines.
"""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from models.lm import logical_axes
from models.parameterization.alignment import measure_alignment
from models.training import (
    TrainState,
    average,
    initial_state,
    inputs_of,
    lm_loss,
    optimizer_of,
    packed_batch,
    scan_steps,
    train_step,
)
from workflows.train.config import TrainConfig
from workflows.train.mesh import batch_sharding, rules_of, sharding, state_shardings
from workflows.train.network import network_of, params_of, scales_of, weights_of

# settings that no compiled code depends on
NOT_COMPILED = (
    "tokenizer",
    "seed",
    "start_from",
    "start_params",
    "keep",
    "checkpoint_every",
    "log_every",
    "eval_every",
    "eval_batches",
    "alignment_every",
    "steps_per_call",
)
KEPT = 2  # compiled runs; sweeps over seeds come one after the other
Call = Callable[[TrainState, "Gathered", jax.Array], tuple[TrainState, "Gathered"]]


class Gathered(NamedTuple):
    """What has been counted since the last log line.

    Attributes:
        metrics: name to clu metric, merged over the steps.
        first_bad: the first step (from 1 on) whose loss or gradient was not finite; 0 while there is none; int32 [].
    """

    metrics: Any
    first_bad: jax.Array


class Compute:
    """The compiled parts of a run.

    Args:
        config: the run.
        mesh: its devices.
        packed: whether its data are rows of packed examples (`seqio_tasks.pair_rows`), not windows of a stream.

    Attributes:
        network: with `init` and `apply`; under a parameterization it multiplies the parameters first.
        places: of the pair (state, gathered), as `jax.ShapeDtypeStruct` with shardings.
    """

    def __init__(self, config: TrainConfig, mesh: Mesh, *, packed: bool = False) -> None:
        self._mesh = mesh
        self._packed, self._predicted_from = packed, config.predicted_from
        # programs that run side by side on one processor can take each other's threads while their devices meet
        self._one_by_one = mesh.size > 1 and jax.default_backend() == "cpu"
        self._calls: dict[int, Future[Call]] = {}
        self.network = network_of(config.model, config.parameterization)
        self._loss = lm_loss(self.network, config.z_loss, predicted_from=config.predicted_from)
        optimizer = optimizer_of(config.optimizer, config.steps, scales_of(self.network))
        self._step = train_step(self._loss, optimizer, microbatches=config.microbatches)
        whole = sharding(mesh)

        def start(seed: Any) -> TrainState:
            params: Any = self.network.init(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))["params"]
            return initial_state(params, optimizer)

        def start_with(weights: Any) -> TrainState:
            return initial_state(params_of(self.network, weights), optimizer)

        shapes = jax.eval_shape(start, 0)
        state_places = state_shardings(mesh, shapes, logical_axes(config.model))
        self._shape = config.batch_size, config.length
        batch = jax.ShapeDtypeStruct(self._shape, jnp.int32)
        # the step's own metrics without its gradient, which takes longer to trace: they are the loss's and one more
        metrics = {
            **jax.eval_shape(self._loss, shapes.params, {"targets": batch})[1],
            "gradient_norm": jax.eval_shape(lambda: average(jnp.zeros(()), 1.0)),
        }
        first_bad: Any = jax.ShapeDtypeStruct((), jnp.int32)
        counted = Gathered(metrics, first_bad)
        self._outputs = (state_places, jax.tree.map(lambda _: whole, counted))
        self._whole = whole
        self.places = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), (shapes, counted), self._outputs
        )
        # drawn once: on a processor its random numbers take longer to optimise than to draw
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        self._start = self._in_mesh(jax.jit(start, out_shardings=state_places, compiler_options=quick))
        self._start_with = self._in_mesh(jax.jit(start_with, out_shardings=state_places))
        # all sums: zero is where each begins
        self.nothing = jax.jit(
            lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), counted), out_shardings=self._outputs[1]
        )
        self._finite = jax.jit(_all_finite, out_shardings=whole)

    def start(self, seed: int) -> tuple[TrainState, Gathered]:
        """The state before the first step."""
        return self._start(seed), self.nothing()

    def start_with(self, weights: Any) -> tuple[TrainState, Gathered]:
        """The state before the first step, with these weights of a model: arrays on the host, of the places' shapes."""
        shapes = self.places[0].params
        placed = jax.tree.map(lambda x, like: jax.device_put(x.astype(like.dtype), like.sharding), weights, shapes)
        return self._start_with(placed), self.nothing()

    def _batch(self, rows_BL: jax.Array) -> dict[str, jax.Array]:
        return packed_batch(rows_BL, self._predicted_from) if self._packed else {"targets": rows_BL}

    def batch_place(self, steps: int) -> Any:
        """Where the batches of a call of so many steps lie."""
        return batch_sharding(self._mesh, steps)

    def prepare(self, steps: int) -> None:
        """Begins to compile a call of so many steps, beside whatever comes next: a start, or a checkpoint's loading."""
        if steps not in self._calls:
            made = self._calls[steps] = Future()
            # no daemon: a process that ended while one compiles would be aborted
            threading.Thread(target=_settle, args=(made, self._compile_call, steps), name="compile").start()

    def call(self, steps: int) -> Call:
        """A call of so many steps: (state, gathered, targets) to the next two; the state's memory is reused.

        Its targets are int32 [B, L], or [steps, B, L] for more than one step; of packed examples as they are stored.
        """
        self.prepare(steps)
        return self._calls[steps].result()

    def _compile_call(self, steps: int) -> Call:
        one = lambda state, rows: self._step(state, self._batch(rows))  # noqa: E731
        run = one if steps == 1 else scan_steps(one)

        def call(state: TrainState, gathered: Gathered, targets: jax.Array) -> tuple[TrainState, Gathered]:
            after, metrics = run(state, targets)
            bad = ~(jnp.isfinite(metrics["loss"].compute()) & jnp.isfinite(metrics["gradient_norm"].compute()))
            # steps count from 1: the first of this call is the state's step + 1
            here = jnp.where(jnp.any(bad), state.step + 1 + jnp.argmax(bad.reshape(-1)), 0).astype(jnp.int32)
            first_bad = jnp.where(gathered.first_bad > 0, gathered.first_bad, here)
            summed = metrics if steps == 1 else {name: metric.reduce() for name, metric in metrics.items()}
            merged = {name: gathered.metrics[name].merge(metric) for name, metric in summed.items()}
            return after, Gathered(merged, first_bad)

        shape = self._shape if steps == 1 else (steps, *self._shape)
        targets = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=self.batch_place(steps))
        # `gathered` is not given away: the host waits for the one of some calls ago
        jitted = jax.jit(call, donate_argnums=0, out_shardings=self._outputs)
        with rules_of(self._mesh):
            compiled: Any = jitted.lower(*self.places, targets).compile()
        return self._waiting(compiled)

    @functools.cached_property
    def evaluate(self) -> Callable[[Any, jax.Array], Any]:
        """(params, targets [B, L]) to metrics; targets as `call` takes them."""

        def evaluate(params: Any, targets: jax.Array) -> Any:
            return self._loss(params, self._batch(targets))[1]

        return self._in_mesh(jax.jit(evaluate, out_shardings=self._whole))

    @functools.cached_property
    def alignment(self) -> Callable[[Any, Any, jax.Array], dict[str, jax.Array]]:
        """(params before step 0, params, targets [B, L]) to "alpha/mlp_0/gate" and so on; targets as `call` takes them.

        See `models.parameterization.alignment.measure_alignment`; NaN where there is nothing to measure.
        """

        def alignment(params_0: Any, params: Any, targets: jax.Array) -> dict[str, jax.Array]:
            batch = self._batch(targets)
            inputs = batch["inputs"] if "inputs" in batch else inputs_of(targets)
            found = measure_alignment(self.network, params_0, params, inputs, segments_BL=batch.get("segments"))
            return {f"{name}/{layer}": value for layer, told in found.items() for name, value in told.items()}

        return self._in_mesh(jax.jit(alignment, out_shardings=self._whole))

    def weights_of(self, params: Any) -> Any:
        """A run's parameters as weights of the plain network, which a model's file holds."""
        return weights_of(self.network, params)

    def is_finite(self, state: TrainState) -> bool:
        """Whether every parameter is finite; waits for the device."""
        return bool(self._finite(state.params))

    def _in_mesh(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*arguments: Any) -> Any:
            with rules_of(self._mesh):
                return function(*arguments)

        return self._waiting(inside)

    def _waiting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self._one_by_one:
            return function
        return lambda *arguments: jax.block_until_ready(function(*arguments))


def _settle(future: Future[Any], function: Callable[..., Any], *arguments: Any) -> None:
    try:
        future.set_result(function(*arguments))
    except BaseException as error:  # it is raised where the result is asked for
        future.set_exception(error)


def compute_of(config: TrainConfig, mesh: Mesh, *, packed: bool = False) -> Compute:
    """The compiled parts of a run; runs that differ only in seed, data of one kind and logging share them."""
    plain = {name: field.default for name, field in TrainConfig.__dataclass_fields__.items() if name in NOT_COMPILED}
    return _compute_of(replace(config, **plain, data="any"), mesh, packed)


@functools.lru_cache(KEPT)
def _compute_of(config: TrainConfig, mesh: Mesh, packed: bool) -> Compute:
    return Compute(config, mesh, packed=packed)


def _all_finite(params: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
