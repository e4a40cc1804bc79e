"""What a training does inside a network: how far each layer's output moves, how aligned it is, what epsilon swallows.

The coordinate check of arXiv:2203.03466, and sections 3 and 5 of arXiv:2407.05872. Under a right parameterization steps
move every layer's output as far at any width. S = steps that are looked at, L = layers, K = parameters, E = epsilons.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.parameterization.alignment import MEASURES, measure_alignment
from models.parameterization.grid import Shape, Training
from models.parameterization.group_training import (
    Lane,
    batches,
    first_values,
    inputs_and_targets,
    lane_of,
    loss_of,
    multiplied,
    optimizer_for,
)
from models.parameterization.roles import path_name
from models.training import OptimizerConfig
from shammie.errors import UserError

EPSILON_POWERS = tuple(half / 2 for half in range(-20, 1))  # of 10
WEIGHTS = ("kernel", "table")


@dataclass(frozen=True)
class Observed:
    """What a training shows of itself.

    Attributes:
        layers: the names of layers with weights, in the order of their calls.
        steps: after how many steps was looked.
        losses: of the training, float32 [T].
        output_rms_L: of each layer's first output; float64, as all below.
        alone_rms_L: how far an output moves at the first step if that layer alone is updated, root mean square.
        change_rms_SL: how far it has moved since the start, all layers being trained.
        alignment: by name of MEASURES, [S, L]; NaN for layers without a sum over inputs.
        parameters: the names of parameters.
        below_KE: of each one's entries that ever had a gradient, the share whose root of Adam's second moment,
            bias-corrected, is below 10^e times the parameter's share of epsilon, for e in EPSILON_POWERS, after the
            last step; [K, 0] where an optimizer has none.
    """

    layers: list[str]
    steps: list[int]
    losses: np.ndarray
    output_rms_L: np.ndarray
    alone_rms_L: np.ndarray
    change_rms_SL: np.ndarray
    alignment: Mapping[str, np.ndarray]
    parameters: list[str]
    below_KE: np.ndarray


def observe(training: Training, at_steps: Sequence[int]) -> Observed:
    """Trains one cell, and looks at it after some steps, at the examples of its first batch.

    Args:
        training: the cell. A schedule with a warm-up makes no first step: "constant" does.
        at_steps: after how many steps to look, rising; the last one ends it.

    Raises:
        UserError: the steps do not rise from 1 or more to at most the training's own.
    """
    shape = training.shape
    if not at_steps or list(at_steps) != sorted({*at_steps}) or not 1 <= at_steps[0] <= at_steps[-1] <= shape.steps:
        raise UserError(f"steps to look at are {list(at_steps)!r}", f"give rising ones from 1 to {shape.steps}")
    programs, lane, first = _programs(shape), lane_of(training), first_values(training)
    windows_TB = batches(shape, training.seed)[: at_steps[-1]]
    inputs = np.asarray(inputs_and_targets(shape, windows_TB[0])[0])
    params, state = first, programs.start(lane, first)
    second, looks, losses = None, [], []
    for number, window in enumerate(windows_TB, 1):
        params, state, loss = programs.step(lane, params, state, window)
        second = params if second is None else second
        losses.append(loss)
        if number in at_steps:
            looks.append(jax.tree.map(np.asarray, programs.look(lane, first, second, params, inputs)))
    layers = list(looks[0]["change"])
    ratios = [look["alignment"] for look in looks]
    aligned = {
        measure: np.array(
            [[float(aligned.get(name, {}).get(measure, np.nan)) for name in layers] for aligned in ratios]
        )
        for measure in MEASURES
    }
    parameters, below_KE = _below_epsilon(lane, state)
    return Observed(
        layers,
        list(at_steps),
        np.array(losses, np.float32),
        np.array([float(looks[0]["output"][name]) for name in layers]),
        np.array([float(looks[0]["alone"][name]) for name in layers]),
        np.array([[float(look["change"][name]) for name in layers] for look in looks]),
        aligned,
        parameters,
        below_KE,
    )


class _Multiplied:
    """A network under a cell's multipliers."""

    def __init__(self, shape: Shape, lane: Lane) -> None:
        self._network, self._lane = shape.network(), lane

    def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The network's outputs."""
        return self._network.apply({"params": multiplied(variables["params"], self._lane)}, *args, **kwargs)


def outputs_of(network: Any, params: Any, inputs: jax.Array) -> dict[str, jax.Array]:
    """The output of every layer with weights, by its path.

    Args:
        network: what has `apply`.
        params: its parameters.
        inputs: of the network.
    """
    found: dict[str, jax.Array] = {}

    def keep(inner: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output, layer = inner(*args, **kwargs), context.module
        if context.method_name == "__call__" and any(layer.has_variable("params", name) for name in WEIGHTS):
            found["/".join(layer.path)] = output
        return output

    with nn.intercept_methods(keep):
        network.apply({"params": params}, inputs)
    return found


class _Programs(NamedTuple):
    """Compiled functions of one shape."""

    start: Any
    step: Any
    look: Any


@functools.lru_cache(maxsize=16)
def _programs(shape: Shape) -> _Programs:
    def start(lane: Lane, params: Any) -> Any:
        return optimizer_for(shape, lane).init(params)

    def step(lane: Lane, params: Any, state: Any, window: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(functools.partial(loss_of, shape))(params, lane, window)
        updates, state = optimizer_for(shape, lane).update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    def look(lane: Lane, first: Any, second: Any, now: Any, inputs: jax.Array) -> dict[str, Any]:
        network = _Multiplied(shape, lane)
        before, after = outputs_of(network, first, inputs), outputs_of(network, now, inputs)
        alone = {
            name: outputs_of(network, _with_layer(first, second, name.split("/")), inputs)[name] - before[name]
            for name in before
        }
        return {
            "output": {name: _rms(before[name]) for name in before},
            "alone": {name: _rms(alone[name]) for name in before},
            "change": {name: _rms(after[name] - before[name]) for name in before},
            "alignment": measure_alignment(network, first, now, inputs),
        }

    return _Programs(jax.jit(start), jax.jit(step), jax.jit(look))


def _with_layer(params: Any, other: Any, path: Sequence[str]) -> Any:
    """The parameters with one layer's taken from others."""
    head, *rest = path
    return {**params, head: _with_layer(params[head], other[head], rest) if rest else other[head]}


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def _below_epsilon(lane: Lane, state: Any) -> tuple[list[str], np.ndarray]:
    """The parameters, and the shares of their entries that are below epsilons."""
    paths, _ = jax.tree_util.tree_flatten_with_path(lane.epsilon)
    names = [path_name(path) for path, _ in paths]
    found = [one for one in jax.tree.leaves(state, is_leaf=_is_adam) if _is_adam(one)]
    if not found:
        return names, np.zeros((len(names), 0))
    corrected = 1.0 - OptimizerConfig.b2 ** int(found[0].count)
    shares = []
    for moment in jax.tree.leaves(found[0].nu):
        # the optimizer sees gradients over their share of epsilon (`models.training.scaled`), so its roots are too
        roots = np.sqrt(np.asarray(moment, np.float64) / corrected)
        roots = roots[roots > 0]  # symbols that never came have none
        shares.append([np.mean(roots < 10.0**power) if roots.size else np.nan for power in EPSILON_POWERS])
    return names, np.array(shares)


def _is_adam(value: Any) -> bool:
    return isinstance(value, optax.ScaleByAdamState)
