"""What runs on the devices: the start, calls of one or many steps, and validation, compiled for a mesh.

What a log line needs is summed up on the devices beside the state, so that the host looks at nothing between log lines.
"""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from models.training import TrainState, average, initial_state, optimizer_of, scan_steps, train_step
from workflows.train.job import Objective, Rows
from workflows.train.mesh import axes_of, batch_sharding, placed, rules_of, sharding, state_shardings
from workflows.train.run_config import RunConfig

KEPT = 2  # compiled runs; sweeps over seeds come one after the other
Call = Callable[..., tuple[TrainState, "Gathered"]]


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
        objective: what is trained.
        config: the run, of which its optimizer, steps, batch_size and microbatches count.
        mesh: its devices.
        resident: the arrays that every step reads, or their shapes.

    Attributes:
        places: of the pair (state, gathered), as `jax.ShapeDtypeStruct` with shardings.
    """

    def __init__(self, objective: Objective, config: RunConfig, mesh: Mesh, resident: Any = ()) -> None:
        self._objective, self._mesh, self._batch_size = objective, mesh, config.batch_size
        # programs that run side by side on one processor can take each other's threads while their devices meet
        self._one_by_one = mesh.size > 1 and jax.default_backend() == "cpu"
        self._calls: dict[int, Future[Call]] = {}
        optimizer = optimizer_of(config.optimizer, config.steps, objective.scales())
        self._step = train_step(objective.loss, optimizer, microbatches=config.microbatches)
        self._whole = whole = sharding(mesh)
        self._resident = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), resident)

        def start(seed: Any) -> TrainState:
            return initial_state(objective.init(jax.random.key(seed))["params"], optimizer)

        def start_with(weights: Any) -> TrainState:
            return initial_state(objective.params_of(weights), optimizer)

        shapes = jax.eval_shape(start, 0)
        axes = axes_of(jax.eval_shape(lambda: objective.init(jax.random.key(0))))
        state_places = state_shardings(mesh, shapes, axes)
        # the step's own metrics without its gradient, which takes longer to trace: they are the loss's and one more
        metrics = {
            **jax.eval_shape(self._metrics, shapes.params, self._rows(1), self._resident),
            "gradient_norm": jax.eval_shape(lambda: average(jnp.zeros(()), 1.0)),
        }
        first_bad: Any = jax.ShapeDtypeStruct((), jnp.int32)
        counted = Gathered(metrics, first_bad)
        self._outputs = (state_places, jax.tree.map(lambda _: whole, counted))
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
        cast = jax.tree.map(lambda x, like: jax.device_put(x.astype(like.dtype), like.sharding), weights, shapes)
        return self._start_with(cast), self.nothing()

    def rows_on_devices(self, rows: Rows, steps: int = 1) -> Any:
        """This process's rows of a call of so many steps, as its part of the whole."""
        return placed(rows, batch_sharding(self._mesh, steps), self._batch_size)

    def resident_on_devices(self, resident: Any) -> Any:
        """A job's resident arrays, whole on every device."""
        return placed(resident, self._whole)

    def _rows(self, steps: int) -> Any:
        shape = (self._batch_size,) if steps == 1 else (steps, self._batch_size)
        place = batch_sharding(self._mesh, steps)
        return jax.tree.map(
            lambda row: jax.ShapeDtypeStruct((*shape, *row.shape), row.dtype, sharding=place), self._objective.row
        )

    def _metrics(self, params: Any, rows: Rows, resident: Any) -> Any:
        return self._objective.loss(params, self._objective.batch_of(rows, resident))[1]

    def prepare(self, steps: int) -> None:
        """Begins to compile a call of so many steps, beside whatever comes next: a start, or a checkpoint's loading."""
        if steps not in self._calls:
            made = self._calls[steps] = Future()
            # no daemon: a process that ended while one compiles would be aborted
            threading.Thread(target=_settle, args=(made, self._compile_call, steps), name="compile").start()

    def call(self, steps: int) -> Call:
        """A call of so many steps: (state, gathered, rows, resident) to the next two; the state's memory is reused.

        Its rows are [B, …], or [steps, B, …] for more than one step; `resident` may be left out where there is none.
        """
        self.prepare(steps)
        return self._calls[steps].result()

    def _compile_call(self, steps: int) -> Call:
        def call(state: TrainState, gathered: Gathered, rows: Rows, resident: Any) -> tuple[TrainState, Gathered]:
            one = lambda state, rows: self._step(state, self._objective.batch_of(rows, resident))  # noqa: E731
            run = one if steps == 1 else scan_steps(one)
            after, metrics = run(state, rows)
            bad = ~(jnp.isfinite(metrics["loss"].compute()) & jnp.isfinite(metrics["gradient_norm"].compute()))
            # steps count from 1: the first of this call is the state's step + 1
            here = jnp.where(jnp.any(bad), state.step + 1 + jnp.argmax(bad.reshape(-1)), 0).astype(jnp.int32)
            first_bad = jnp.where(gathered.first_bad > 0, gathered.first_bad, here)
            summed = metrics if steps == 1 else {name: metric.reduce() for name, metric in metrics.items()}
            merged = {name: gathered.metrics[name].merge(metric) for name, metric in summed.items()}
            return after, Gathered(merged, first_bad)

        # `gathered` is not given away: the host waits for the one of some calls ago
        jitted = jax.jit(call, donate_argnums=0, out_shardings=self._outputs)
        with rules_of(self._mesh):
            compiled: Any = jitted.lower(*self.places, self._rows(steps), self._resident).compile()
        return self._waiting(lambda state, gathered, rows, resident=(): compiled(state, gathered, rows, resident))

    @functools.cached_property
    def evaluate(self) -> Callable[..., Any]:
        """(params, rows [B, …], resident) to metrics; rows and resident as `call` takes them."""

        def evaluate(params: Any, rows: Rows, resident: Any = ()) -> Any:
            return self._metrics(params, rows, resident)

        return self._in_mesh(jax.jit(evaluate, out_shardings=self._whole))

    @functools.cached_property
    def measure(self) -> Callable[..., dict[str, jax.Array]]:
        """(params before step 0, params, rows [B, …], resident) to numbers by name, as `Objective.measure` has it."""

        def measure(params_0: Any, params: Any, rows: Rows, resident: Any = ()) -> dict[str, jax.Array]:
            return self._objective.measure(params_0, params, self._objective.batch_of(rows, resident))

        return self._in_mesh(jax.jit(measure, out_shardings=self._whole))

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


def compute_of(objective: Objective, config: RunConfig, mesh: Mesh, resident: Any = ()) -> Compute:
    """The compiled parts of a run; runs that differ only in seed, data of one kind and logging share them."""
    compiled = RunConfig(
        optimizer=config.optimizer,
        steps=config.steps,
        batch_size=config.batch_size,
        microbatches=config.microbatches,
    )
    leaves, structure = jax.tree.flatten(resident)
    # not the arrays: what is compiled does not hold them
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    return _compute_of(objective, compiled, mesh, structure, shapes)


@functools.lru_cache(KEPT)
def _compute_of(
    objective: Objective, config: RunConfig, mesh: Mesh, structure: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> Compute:
    return Compute(objective, config, mesh, jax.tree.unflatten(structure, shapes))


def _all_finite(params: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
