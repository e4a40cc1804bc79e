"""One experiment on the plane: two models are trained, composed, and sampled by several samplers.

Training is of `models.training` and `denoising`; one compiled program trains any component, whose arrays are arguments,
and one for each sampler and operation draws. S = steps, B = batch, N = chains, P recorded levels, T levels.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.algebra import mixture, negation, product
from models.composition.annealing import Samples, sample
from models.composition.denoising import denoising_loss, drawn_batch, rows_of
from models.composition.density import Density, of_log_density
from models.composition.diffusion import density_of, first_variables
from models.composition.diffusion_config import DiffusionConfig
from models.composition.plane import BOUND, BOUNDED_STRENGTH, PAIRS, STRENGTH, Component, component, draw_of
from models.composition.sampler_config import SamplerConfig
from models.training import (
    OptimizerConfig,
    TrainState,
    averaged,
    initial_state,
    optimizer_of,
    scan_steps,
    train_step,
)
from shammie.configs import from_plain
from shammie.errors import UserError, unknown

AT_ONCE = 500  # steps of one call of the compiled program, whose rows lie in memory
EDGE = 4.0  # of the square over which energies are normalised, in deviations of unit noise: nothing lies beyond
GRID = 128  # points of an axis of that square
MIXING = ("mixture", "bounded_negation")  # which have a mixture in them


@dataclass(frozen=True)
class PlaneRun:
    """An experiment.

    Attributes:
        pair: one of `plane.PAIRS`.
        model: both components' model.
        optimizer: of their training; its `average` is what is sampled.
        batch: B.
        steps: S.
        seed: of first parameters, draws and chains.
        samplers: by name.
        chains: N, of each sampler.
        recorded: P, levels at which chains are recorded, at equal distances from T - 1 to 0.
        normalised: whether a mixture's energies are normalised at every level, which on a plane a sum over a grid can
            do; else parts of a mixture weigh as their arbitrary constants have it.
    """

    pair: str = "product"
    model: DiffusionConfig = field(default_factory=DiffusionConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", average=0.999))
    batch: int = 256
    steps: int = 3000
    seed: int = 0
    samplers: Mapping[str, SamplerConfig] = field(default_factory=lambda: {"reverse": SamplerConfig("reverse")})
    chains: int = 1000
    recorded: int = 6
    normalised: bool = True

    def __post_init__(self) -> None:
        if self.pair not in PAIRS:
            raise unknown("pair of the plane", self.pair, PAIRS)
        for name, least in (("batch", 1), ("steps", 1), ("chains", 2), ("recorded", 2)):
            if getattr(self, name) < least:
                raise UserError(f"PlaneRun.{name} is {getattr(self, name)!r}", f"give {least} or more")
        if self.recorded > self.model.schedule.levels:
            raise UserError(
                f"PlaneRun.recorded is {self.recorded} of {self.model.schedule.levels} levels", "give fewer"
            )
        if not 0 <= self.seed < 2**30:
            raise UserError(f"PlaneRun.seed is {self.seed!r}", "give a whole number from 0 to below 2**30")
        if self.model.shape != (2,):
            raise UserError(f"a model of the plane has points of shape {self.model.shape}", "set its shape to (2,)")
        if not self.samplers:
            raise UserError("an experiment on the plane has no samplers", "give at least one by name")

    @property
    def recorded_levels(self) -> tuple[int, ...]:
        """The noisiest first."""
        levels = np.linspace(self.model.schedule.levels - 1, 0, self.recorded)
        return tuple(int(level) for level in np.round(levels))


def from_json(values: Mapping[str, Any]) -> PlaneRun:
    """The experiment whose plain JSON (`shammie.configs.plain`) this is."""
    parts: dict[str, Any] = {
        "model": DiffusionConfig.from_json(values["model"]),
        "optimizer": from_plain(OptimizerConfig, values["optimizer"], "setting of an optimizer"),
        "samplers": {
            name: from_plain(SamplerConfig, one, "setting of a sampler") for name, one in values["samplers"].items()
        },
    }
    return from_plain(PlaneRun, {**values, **parts}, "setting of an experiment on the plane")


class Program(NamedTuple):
    """What is compiled, once for all seeds of an experiment.

    Attributes:
        start: a key to a training state.
        train: (state, component, rows int32 [S, B, 2]) to the next state and the mean loss.
        log_normalisers: the two models' parameters to what the parts of a mixture are divided by at each level, float32
            [2, T]: log of the integral of exp(-energy); zeros for other operations and where not `normalised`.
        draw: by the sampler's name: (key, the two models' parameters, their log normalisers [2, T]) to `Samples`.
    """

    start: Callable[[jax.Array], TrainState]
    train: Callable[[TrainState, Component, jax.Array], tuple[TrainState, jax.Array]]
    log_normalisers: Callable[[Sequence[Any]], jax.Array]
    draw: Mapping[str, Callable[[jax.Array, Any, jax.Array], Samples]]


def program_of(run: PlaneRun) -> Program:
    """The program of an experiment; nothing is compiled before it is called.

    Raises:
        UserError: a mixture of models without energies.
    """
    optimizer = optimizer_of(run.optimizer, run.steps)
    one_step = train_step(denoising_loss(run.model), optimizer)
    point = lambda key, component, held_out: (draw_of(component, key), None)  # noqa: E731

    @jax.jit
    def start(key: jax.Array) -> TrainState:
        return initial_state(first_variables(run.model, key)["params"], optimizer)

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: TrainState, component: Component, rows_SB2: jax.Array) -> tuple[TrainState, jax.Array]:
        step = lambda state, rows: one_step(state, drawn_batch(run.model.schedule, point, component, rows))  # noqa: E731
        state, metrics = scan_steps(step)(state, rows_SB2)
        return state, metrics["loss"].reduce().compute()

    def drawing(config: SamplerConfig) -> Callable[[jax.Array, Any, jax.Array], Samples]:
        def draw(key: jax.Array, params: Any, logs_2T: jax.Array) -> Samples:
            whole = composed(run.pair, run.model, params, logs_2T)
            return sample(key, whole, config, run.chains, record=run.recorded_levels)

        return jax.jit(draw)

    no_params = jax.eval_shape(lambda: first_variables(run.model, jax.random.key(0))["params"])
    composed(run.pair, run.model, (no_params, no_params), jnp.zeros((2, run.model.schedule.levels)))  # or it refuses
    wanted = run.normalised and run.model.has_energy and PAIRS[run.pair].operation in MIXING
    one = jax.jit(lambda params: _log_normalisers(run.model, params))

    def log_normalisers(both: Sequence[Any]) -> jax.Array:
        return jnp.stack([one(params) for params in both]) if wanted else jnp.zeros((2, run.model.schedule.levels))

    return Program(start, train, log_normalisers, {name: drawing(run.samplers[name]) for name in samplers_of(run)})


def samplers_of(run: PlaneRun) -> tuple[str, ...]:
    """The names of the samplers that a run's model allows: those with a Metropolis test need energies."""
    return tuple(name for name, one in run.samplers.items() if run.model.has_energy or not one.tested)


def composed(pair: str, model: DiffusionConfig, params: Any, logs_2T: jax.Array) -> Density:
    """The composition of two models.

    Args:
        pair: which.
        model: of both.
        params: of the one and the other.
        logs_2T: log normalisers at each level, that a mixture's parts are divided by; float32 [2, T].

    Raises:
        UserError: a mixture of models without energies.
    """
    operation, names = PAIRS[pair]
    first, second = (density_of(model, one, name=name) for one, name in zip(params, names, strict=True))
    if operation == "product":
        return product((first, second))
    if operation == "negation":
        return negation(first, without=second, strength=STRENGTH)
    if model.has_energy:
        first, second = _divided(first, logs_2T[0]), _divided(second, logs_2T[1])
    if operation == "mixture":
        return mixture((first, second))
    return negation(first, without=mixture((second, first), (1.0 - BOUND, BOUND)), strength=BOUNDED_STRENGTH)


def trained(run: PlaneRun, program: Program, which: int) -> tuple[Any, float]:
    """The averaged parameters of one component's model, and its mean loss over the last steps.

    Args:
        run: the experiment.
        program: its program.
        which: 0 or 1, of the pair.
    """
    of = component(PAIRS[run.pair].components[which])
    seed = 2 * run.seed + which
    state, loss = program.start(jax.random.key(seed)), jnp.nan
    for first in range(0, run.steps, AT_ONCE):
        steps = min(AT_ONCE, run.steps - first)
        rows = rows_of(seed, first * run.batch, steps * run.batch).reshape(steps, run.batch, 2)
        state, loss = program.train(state, of, jnp.asarray(rows))
    return averaged(state.optimizer_state, state.params), float(loss)


def noised_again(run: PlaneRun, x_ND: np.ndarray) -> np.ndarray:
    """Clean points with level 0's noise, which reverse steps end without and kernels end with.

    So all samplers are compared with one density.
    """
    schedule = run.model.schedule
    noise_ND = np.random.default_rng(run.seed).standard_normal(x_ND.shape)
    return np.sqrt(schedule.alpha_bars_T[0]) * x_ND + np.sqrt(schedule.noise_variances_T[0]) * noise_ND


def _divided(part: Density, logs_T: jax.Array) -> Density:
    """A density divided by its normaliser of each level."""
    log_density = lambda x, level: part.log_density(x, level) - logs_T[level]  # noqa: E731
    return of_log_density(log_density, part.shape, part.schedule, part.name)


def _log_normalisers(model: DiffusionConfig, params: Any) -> jax.Array:
    """Log of the integral of exp(-energy) at each level, a sum over the plane; float32 [T]."""
    density = density_of(model, params)
    axis_G = jnp.linspace(-EDGE, EDGE, GRID)
    points = jnp.stack(jnp.meshgrid(axis_G, axis_G), axis=-1).reshape(-1, 2)
    cell = 2.0 * jnp.log(axis_G[1] - axis_G[0])
    at_level = lambda level: jax.scipy.special.logsumexp(  # noqa: E731
        jax.vmap(lambda x: density.log_density(x, level))(points)
    )
    return jax.lax.map(at_level, jnp.arange(model.schedule.levels)) + cell
