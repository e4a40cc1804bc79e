"""STAR, the stable learned optimizer (arXiv:2209.11208), and the Adafactor-MLP that it is built on (2203.11860).

STAR adds to the small network's step a nominal one, which is stable by itself, and decay towards 0; it may divide the
network's step by the root of the squared gradients' average (preconditioning). With o0..o3 the network's outputs,

    p <- (1 - w exp(1e-3 o3)) p - 1e-3 o0 exp(1e-3 o1) [1 / sqrt(rms + 1e-6)] - a exp(1e-3 o2) g_nominal
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from models.learned_optimizers.accumulators import Decays
from models.learned_optimizers.interface import Key, LearnedOptimizer, Theta
from models.learned_optimizers.optax_face import InGroup, Now, Rule, transformation
from models.learned_optimizers.per_parameter import adafactor_features, network_outputs
from models.learned_optimizers.tensor_network import initial_weights
from shammie.errors import UserError, unknown

NOMINAL = ("SGD", "SGDM", "AggMo", "Adam", "AdamAggMo")
TIMESCALES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)
STAR_OUTPUTS = 4
ADAFACTOR_MLP_OUTPUTS = 2


@dataclass(frozen=True)
class AdafactorMLPConfig:
    """Sizes of the Adafactor-MLP; the defaults are its paper's and the reference's.

    Attributes:
        hidden_size: hidden units of the network.
        hidden_layers: its hidden layers.
        momentum_decays: of the gradients' averages, where meta-training starts; it learns all decays.
        rms_decay: of the squared gradients' average.
        factored_decays: of the factored averages of squared gradients.
        step_mult: what the network's steps are times.
        exp_mult: what its magnitudes are times, before the exponential.
    """

    hidden_size: int = 4
    hidden_layers: int = 2
    momentum_decays: tuple[float, ...] = (0.9, 0.99, 0.999)
    rms_decay: float = 0.999
    factored_decays: tuple[float, ...] = (0.9, 0.99, 0.999)
    step_mult: float = 1e-3
    exp_mult: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("hidden_size", "hidden_layers"):
            if getattr(self, name) < 1:
                raise UserError(f"{type(self).__name__}.{name} is {getattr(self, name)!r}", "give 1 or more")
        if len(self.momentum_decays) != len(self.factored_decays):
            raise UserError(
                f"{type(self).__name__} has {len(self.momentum_decays)} momentum_decays and "
                f"{len(self.factored_decays)} factored_decays",
                "give as many of each",
            )


@dataclass(frozen=True)
class StarConfig(AdafactorMLPConfig):
    """STAR's sizes and switches. The defaults are its paper's best: a nominal step of 1e-3 and preconditioning.

    The reference's class has all of it off (nominal_stepsize 0, precondition False, no controllers).

    Attributes:
        nominal_stepsize: a, of the nominal step.
        nominal: its direction: the gradient ("SGD"), its longest average ("SGDM"), the mean of its averages ("AggMo"),
            and the last two over sqrt(rms + 1e-6) ("Adam", "AdamAggMo").
        nominal_controller: whether the network sizes the nominal step; if not it is times exp(1e-3), as in the
            reference, not 1.
        weight_decay: w, what parameters lose each step.
        regularization_controller: whether the network sizes the decay.
        precondition: divide the network's step by sqrt(rms + 1e-6).
        scale_by_mean_gradient: times the mean of the tensor's gradients.
        aggregate_magnitude: take the tensor's mean for o1.
        aggregate_nominal: for o2.
        aggregate_regularization: for o3.
    """

    nominal_stepsize: float = 1e-3
    nominal: Literal["SGD", "SGDM", "AggMo", "Adam", "AdamAggMo"] = "AdamAggMo"
    nominal_controller: bool = True
    weight_decay: float = 0.0
    regularization_controller: bool = True
    precondition: bool = True
    scale_by_mean_gradient: bool = False
    aggregate_magnitude: bool = False
    aggregate_nominal: bool = False
    aggregate_regularization: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nominal not in NOMINAL:
            raise unknown("nominal direction", self.nominal, NOMINAL)


def star(config: StarConfig = StarConfig()) -> LearnedOptimizer:
    """STAR as a learned optimizer: 207 meta-parameters."""
    return _optimizer("star", "STAR", config, STAR_OUTPUTS)


def adafactor_mlp(config: AdafactorMLPConfig = AdafactorMLPConfig()) -> LearnedOptimizer:
    """The Adafactor-MLP as a learned optimizer, STAR's baseline: 197 meta-parameters."""
    return _optimizer("adafactor_mlp", "the Adafactor-MLP", config, ADAFACTOR_MLP_OUTPUTS)


def time_features(count: jax.Array) -> jax.Array:
    """How long training has gone on, seen over 11 lengths of time: tanh(count / tau - 1), float32 [11]."""
    return jnp.tanh(count / jnp.asarray(TIMESCALES, jnp.float32) - 1.0)


@functools.cache  # one rule for one config, so that what is compiled for it is compiled once
def _optimizer(name: str, called: str, config: Any, outputs: int) -> LearnedOptimizer:
    def steps(theta: Theta, groups: Sequence[InGroup], memory: Any, now: Now) -> tuple[list[jax.Array], Any]:
        layers = [
            (theta["network"][f"w{i}"][None], theta["network"][f"b{i}"][None]) for i in range(config.hidden_layers + 1)
        ]
        time, found = time_features(now.step), []
        for one in groups:
            features, roots = adafactor_features(one.g, one.p, one.after, velo=False)
            said = network_outputs(features, layers, one.p.shape, time)
            found.append(
                _star_step(config, said, one, roots[0]) if outputs == STAR_OUTPUTS else -_free_step(config, said)
            )
        return found, memory

    rule = Rule(
        name=called,
        counts=(len(config.momentum_decays), 1, len(config.factored_decays)),
        decays=lambda theta: _decays(config, theta),
        memory=lambda theta, tensors: (),
        steps=steps,
    )

    def optax_of(theta: Theta, num_steps: Any, **options: Any) -> Any:
        return transformation(rule, theta, num_steps, **options)

    return LearnedOptimizer(name, config, jax.jit(lambda key: _initial_theta(config, outputs, key)), optax_of)


def layer_sizes(config: AdafactorMLPConfig, outputs: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of each layer: 39 inputs for three momenta."""
    inputs = 4 + 3 * len(config.momentum_decays) + 5 * len(config.factored_decays) + len(TIMESCALES)
    widths = [inputs, *[config.hidden_size] * config.hidden_layers, outputs]
    return list(itertools.pairwise(widths))


def _initial_theta(config: AdafactorMLPConfig, outputs: int, key: Key) -> Theta:
    network = {}
    for i, size in enumerate(layer_sizes(config, outputs)):
        network[f"w{i}"] = initial_weights(jax.random.fold_in(key, i), size)
        network[f"b{i}"] = jnp.zeros(size[1])
    return {
        "momentum_decays": jnp.zeros(len(config.momentum_decays)),
        "rms_decays": jnp.zeros(1),
        "factored_decays": jnp.zeros(len(config.factored_decays)),
        "network": network,
    }


def _decays(config: AdafactorMLPConfig, theta: Theta) -> Decays:
    return Decays(
        learned_decays(config.momentum_decays, theta["momentum_decays"]),
        learned_decays((config.rms_decay,), theta["rms_decays"]),
        learned_decays(config.factored_decays, theta["factored_decays"]),
    )


def learned_decays(initial: Sequence[float], change: jax.Array) -> jax.Array:
    """Decays that are meta-parameters: 1 - exp(10 * (log(1 - d0) / 10 + change)), so that a change of 0 gives d0.

    Args:
        initial: d0, [K].
        change: the meta-parameters, [K].
    """
    return 1 - jnp.exp((jnp.log(1 - jnp.asarray(initial)) / 10.0 + change) * 10.0)


def _free_step(config: AdafactorMLPConfig, outputs: Sequence[jax.Array]) -> jax.Array:
    return outputs[0] * jnp.exp(outputs[1] * config.exp_mult) * config.step_mult


def _star_step(config: StarConfig, outputs: Sequence[jax.Array], one: InGroup, root: jax.Array) -> jax.Array:
    axes = tuple(range(1, one.p.ndim))

    def of_tensor(x: jax.Array, whole: bool) -> jax.Array:
        return jnp.mean(x, axes, keepdims=True) if whole else x

    direction, magnitude, nominal, decay = outputs
    step = _free_step(config, (direction, of_tensor(magnitude, config.aggregate_magnitude)))
    if config.precondition:
        step = step * root
    if config.scale_by_mean_gradient:
        step = step * jnp.mean(one.g, axes, keepdims=True)
    change = -step
    if config.nominal_stepsize:
        # without the controller the reference puts 1 in the output's place, not in the exponential's
        size = of_tensor(nominal, config.aggregate_nominal) if config.nominal_controller else jnp.ones((), one.p.dtype)
        change = change - config.nominal_stepsize * jnp.exp(size * config.exp_mult) * _nominal(config, one, root)
    if config.weight_decay:
        size = of_tensor(decay, config.aggregate_regularization) if config.regularization_controller else 0.0
        change = change - config.weight_decay * jnp.exp(size * config.exp_mult) * one.p
    return change


def _nominal(config: StarConfig, one: InGroup, root: jax.Array) -> jax.Array:
    momentum = one.after.momentum
    if config.nominal == "SGD":
        return one.g
    if config.nominal in ("SGDM", "Adam"):
        return momentum[-1] * root if config.nominal == "Adam" else momentum[-1]
    mean = sum(momentum[1:], momentum[0]) / len(momentum)
    return mean * root if config.nominal == "AdamAggMo" else mean
