"""The small MLP optimizer: gradients, parameters, six momenta and the time through a network (arXiv:2009.11243)."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from models.learned_optimizers.accumulators import Decays
from models.learned_optimizers.interface import Key, LearnedOptimizer, Theta
from models.learned_optimizers.optax_face import InGroup, Now, Rule, transformation
from models.learned_optimizers.per_parameter import network_outputs
from models.learned_optimizers.star import TIMESCALES, time_features
from models.learned_optimizers.tensor_network import initial_weights
from shammie.errors import UserError


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of the MLP optimizer; the defaults are the reference's.

    Attributes:
        hidden_size: hidden units of the network.
        hidden_layers: its hidden layers.
        decays: of the momenta, which are not learned.
        step_mult: what steps are times.
        exp_mult: what the magnitude is times, before the exponential.
    """

    hidden_size: int = 32
    hidden_layers: int = 2
    decays: tuple[float, ...] = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
    step_mult: float = 1e-3
    exp_mult: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("hidden_size", "hidden_layers"):
            if getattr(self, name) < 1:
                raise UserError(f"MLPConfig.{name} is {getattr(self, name)!r}", "give 1 or more")


def mlp(config: MLPConfig = MLPConfig()) -> LearnedOptimizer:
    """The MLP optimizer: 1,762 meta-parameters, a state of six numbers per parameter.

    p <- p - 1e-3 * d * exp(1e-3 * m), with the network's two outputs d and m.
    """
    return _mlp(config)


@functools.cache  # one rule for one config, so that what is compiled for it is compiled once
def _mlp(config: MLPConfig) -> LearnedOptimizer:
    def steps(theta: Theta, groups: Sequence[InGroup], memory: Any, now: Now) -> tuple[list[jax.Array], Any]:
        layers = [(theta[f"w{i}"][None], theta[f"b{i}"][None]) for i in range(config.hidden_layers + 1)]
        time, found = time_features(now.step), []
        for one in groups:
            features = [one.g, one.p, *one.after.momentum]
            direction, magnitude = network_outputs(features, layers, one.p.shape, time)
            found.append(-direction * jnp.exp(magnitude * config.exp_mult) * config.step_mult)
        return found, memory

    def init_theta(key: Key) -> Theta:
        theta = {}
        for i, size in enumerate(layer_sizes(config)):
            theta[f"w{i}"] = initial_weights(jax.random.fold_in(key, i), size)
            theta[f"b{i}"] = jnp.zeros(size[1])
        return theta

    rule = Rule(
        name="the MLP optimizer",
        counts=(len(config.decays), 0, 0),
        decays=lambda theta: Decays(jnp.asarray(config.decays), jnp.zeros(0), jnp.zeros(0)),
        memory=lambda theta, tensors: (),
        steps=steps,
    )

    def optax_of(theta: Theta, num_steps: Any, **options: Any) -> Any:
        return transformation(rule, theta, num_steps, **options)

    return LearnedOptimizer("mlp", config, jax.jit(init_theta), optax_of)


def layer_sizes(config: MLPConfig) -> list[tuple[int, int]]:
    """(inputs, outputs) of each layer: 19 inputs for six momenta."""
    widths = [2 + len(config.decays) + len(TIMESCALES), *[config.hidden_size] * config.hidden_layers, 2]
    return list(itertools.pairwise(widths))
