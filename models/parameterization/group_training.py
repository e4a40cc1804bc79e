"""Trainings of a grid's cells: many of the same shapes at a time in one compiled program, or one by one.

T = steps, B = batch, C = cells.
"""

import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.parameterization.byte_mlp import ByteMLPConfig, draw_byte_mlp
from models.parameterization.grid import Shape, Training
from models.parameterization.scaling import Scales
from models.parameterization.text import check_text, windows
from models.training import cross_entropy, inputs_of, optimizer_of, schedule_of
from shammie.processors import processors

CURVE_POINTS = 32
LOSSES_KEPT = 8  # the final loss is the mean over the last 1/8 of the steps


class Lane(NamedTuple):
    """What a compiled program is given of one cell: numbers for each parameter, and the learning rate."""

    multiplier: Any
    learning_rate: Any
    epsilon: Any
    rate: Any


def lane_of(training: Training) -> Lane:
    """The numbers of a cell, as float32."""
    scales = training.scales()
    narrow = functools.partial(jax.tree.map, np.float32)
    rate = np.float32(2.0**training.log2_learning_rate)
    return Lane(narrow(scales.multiplier), narrow(scales.learning_rate), narrow(scales.epsilon), rate)


def optimizer_for(shape: Shape, lane: Lane) -> optax.GradientTransformation:
    """The optimizer of a cell without its schedule; its learning rate may be traced: every update is linear in it."""
    rates = jax.tree.map(lambda share: share * lane.rate, lane.learning_rate)
    return optimizer_of(shape.optimizer_config(), shape.steps, Scales(None, None, rates, lane.epsilon))


def multiplied(params: Any, lane: Lane) -> Any:
    """The weights that the plain network computes with."""
    return jax.tree.map(jnp.multiply, params, lane.multiplier)


def loss_of(shape: Shape, params: Any, lane: Lane, windows: jax.Array) -> jax.Array:
    """The mean nats of the symbols to predict: an MLP's last one, a decoder's all; float32 [].

    Args:
        shape: the model's.
        params: its parameters.
        lane: its multipliers.
        windows: `batches`, int [B, context + 1] of an MLP, [B, context] of a decoder.
    """
    inputs, targets = inputs_and_targets(shape, windows)
    logits: Any = shape.network().apply({"params": multiplied(params, lane)}, inputs)
    return jnp.mean(cross_entropy(logits, targets)[0])


def inputs_and_targets(shape: Shape, windows: Any) -> tuple[jax.Array, jax.Array]:
    """What the model reads and is to predict, int32: [B, context] and [B] of an MLP, [B, context] each of a decoder."""
    windows = jnp.asarray(windows).astype(jnp.int32)
    return (windows[:, :-1], windows[:, -1]) if shape.model == "mlp" else (inputs_of(windows), windows)


@functools.lru_cache(maxsize=16)
def batches(shape: Shape, seed: int) -> np.ndarray:
    """What a training reads, uint8 [T, B, context (+ 1)]; the same for every cell of a seed."""
    return windows(seed, shape.steps, shape.batch, shape.context + (shape.model == "mlp"))


def train(shape: Shape, lane: Lane, params: Any, windows_TB: Any, steps: Any) -> jax.Array:
    """A training as one pure function; the loss before each step, float32 [T].

    Args:
        shape: sizes.
        lane: the cell's numbers, which may be traced.
        params: its first values.
        windows_TB: `batches`.
        steps: how many to make, which may be traced: a part of them is a sample of the time that all take.
    """
    optimizer = optimizer_for(shape, lane)
    # a schedule within the loop is a dozen operations on single numbers, which take as long as the network does
    schedule = schedule_of(shape.optimizer_config(shape.schedule), shape.steps)
    schedule_T: Any = jax.vmap(schedule)(jnp.arange(shape.steps))

    def step(number: Any, state: tuple[Any, Any, jax.Array]) -> tuple[Any, Any, jax.Array]:
        params, optimizer_state, losses_T = state
        loss, gradient = jax.value_and_grad(functools.partial(loss_of, shape))(params, lane, windows_TB[number])
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        params = jax.tree.map(lambda x, update: x + schedule_T[number] * update, params, updates)
        return params, optimizer_state, losses_T.at[number].set(loss)

    start = (params, optimizer.init(params), jnp.zeros(shape.steps, jnp.float32))
    return jax.lax.fori_loop(0, steps, step, start)[2]


@functools.lru_cache(maxsize=256)
def _own_values(shape: Shape, seed: int) -> Any:
    if shape.model == "mlp":
        return draw_byte_mlp(ByteMLPConfig(shape.symbols, shape.context, shape.width, shape.layers), seed)
    return jax.tree.map(np.asarray, _init(shape)(jax.random.key(seed)))


@functools.lru_cache(maxsize=32)
def _init(shape: Shape) -> Any:
    example = jnp.zeros((1, shape.context), jnp.int32)
    init: Any = shape.network().init
    return jax.jit(lambda key: init(key, example)["params"])


def first_values(training: Training) -> Any:
    """A cell's first parameters: the network's own of that seed, rescaled; numpy arrays."""
    own = _own_values(training.shape.without_training(), training.seed)
    return jax.tree.map(lambda x, factor: x * np.float32(factor), own, training.scales().init)


# these compile faster, and what they make is faster too: loops here are short
_COMPILER_OPTIONS: dict[str, Any] = {"xla_backend_optimization_level": 1, "xla_cpu_prefer_vector_width": 512}


class Programs:
    """Compiled trainings by shape and lanes; threads may share them, and each is compiled once."""

    def __init__(self, most: int = 16) -> None:
        self._most, self._known, self._lock = most, {}, threading.Lock()

    def get(self, shape: Shape, lanes: int, arguments: Sequence[Any]) -> Any:
        """The program of so many cells at a time (0: one, without an axis for cells), for arguments of such shapes."""
        with self._lock:
            compiled = self._known.setdefault((shape, lanes), _Once())
            while len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        with compiled.lock:  # one thread compiles, while others compile other programs
            if compiled.program is None:
                one = functools.partial(train, shape)
                many = jax.vmap(one, in_axes=(0, 0, 0, None)) if lanes else one
                compiled.program = jax.jit(many).lower(*arguments).compile(compiler_options=_COMPILER_OPTIONS)
            return compiled.program


@dataclass
class _Once:
    lock: Any = field(default_factory=threading.Lock)
    program: Any = None


_PROGRAMS = Programs()


def losses_of(
    trainings: Sequence[Training],
    way: str,
    *,
    steps: int | None = None,
    threads: int | None = None,
    programs: Programs = _PROGRAMS,
) -> np.ndarray:
    """The losses of trainings that have one shape.

    Args:
        trainings: the cells.
        way: "group": `Shape.lanes` cells at a time in one program; "loop": one by one.
        steps: make only the first so many.
        threads: programs that run at a time; None for one a processor.
        programs: compiled ones.

    Returns:
        float32 [C, T]; 0 where no step was made.
    """
    shape = trainings[0].shape
    if any(one.shape != shape for one in trainings):
        raise ValueError("trainings of several shapes are given as one group")
    for digest in {one.text for one in trainings}:
        check_text(digest)
    count = np.int32(shape.steps if steps is None else steps)
    lanes = shape.lanes() if way == "group" else 0
    windows_of = {seed: batches(shape, seed) for seed in {one.seed for one in trainings}}
    given = [(lane_of(one), first_values(one), windows_of[one.seed]) for one in trainings]

    def run(start: int) -> np.ndarray:
        if not lanes:
            arguments = given[start]
        else:
            # a last chunk that is too short is filled up with its last cell: the program is compiled for full ones
            chunk = [given[min(start + place, len(given) - 1)] for place in range(lanes)]
            arguments = jax.tree.map(lambda *one: np.stack(one), *chunk)
        arguments = *arguments, count
        program = programs.get(shape, lanes, arguments)
        return np.atleast_2d(np.asarray(program(*arguments)))[: len(given) - start]

    starts = range(0, len(given), max(1, lanes))
    with ThreadPoolExecutor(threads or processors()) as pool:
        return np.concatenate(list(pool.map(run, starts)))


def final_loss(losses_T: np.ndarray) -> float:
    """The mean over the last 1/8 of the steps, in nats; not finite where the training ended so."""
    return float(np.mean(losses_T[-max(1, len(losses_T) // LOSSES_KEPT) :], dtype=np.float64))


def curve(losses_T: np.ndarray) -> np.ndarray:
    """Means over CURVE_POINTS equal parts of the steps, or the losses of a training of fewer; float32."""
    parts = np.array_split(losses_T, min(CURVE_POINTS, len(losses_T)))
    return np.array([part.mean(dtype=np.float64) for part in parts], np.float32)
