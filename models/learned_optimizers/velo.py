"""VeLO, the versatile learned optimizer (arXiv:2211.09760): an LSTM over tensors mixes a small network for each.

A tensor's network is a mixture of a bank; it turns each parameter's features into a direction d and a magnitude m, and

    p <- p - step_size * 1e-3 * d * exp(1e-3 * m) * sqrt(mean p^2 + 1e-9)

where step_size is the LSTM's own linear output. This is the released code's form, which differs from the paper's.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.learned_optimizers import loss_features as losses
from models.learned_optimizers import tensor_network
from models.learned_optimizers.accumulators import Decays
from models.learned_optimizers.interface import Key, LearnedOptimizer, Theta
from models.learned_optimizers.optax_face import InGroup, Now, Rule, transformation
from models.learned_optimizers.per_parameter import adafactor_features, network_outputs
from models.learned_optimizers.tensor_network import LSTMState
from shammie.errors import UserError

MIXTURE_SCALE = 100.0
GRADIENT_LIMIT = 1000.0
OUTPUTS = 3  # direction, magnitude, and one that nothing reads
BUGGED_LENGTH = 10
MAX_STEPS = 150_000  # beyond the lengths that VeLO was trained for; the reference averages gradients from here on


@dataclass(frozen=True)
class VeloConfig:
    """VeLO's sizes and switches; the defaults are those of the released weights.

    Attributes:
        lstm_size: the LSTM's width.
        bank_size: how many small networks there are to mix.
        hidden_size: their hidden units.
        hidden_layers: their hidden layers.
        momentum_decays: of the gradients' averages.
        rms_decay: of the squared gradients' average.
        factored_decays: of the factored averages of squared gradients.
        step_mult: what all steps are times.
        exp_mult: what the magnitude is times, before the exponential.
        bugged_loss_features: all averages of the loss have the half-life of a run of 10 steps. Some early weights were
            trained so.
        bugged_lstm_state: the LSTM starts each step from its initial state. The six oldest weights were trained so.
    """

    lstm_size: int = 512
    bank_size: int = 256
    hidden_size: int = 4
    hidden_layers: int = 2
    momentum_decays: tuple[float, ...] = (0.9, 0.99, 0.999)
    rms_decay: float = 0.999
    factored_decays: tuple[float, ...] = (0.9, 0.99, 0.999)
    step_mult: float = 1e-3
    exp_mult: float = 1e-3
    bugged_loss_features: bool = False
    bugged_lstm_state: bool = False

    def __post_init__(self) -> None:
        for name in ("lstm_size", "bank_size", "hidden_size", "hidden_layers"):
            if getattr(self, name) < 1:
                raise UserError(f"VeloConfig.{name} is {getattr(self, name)!r}", "give 1 or more")
        if len(self.momentum_decays) != len(self.factored_decays):
            raise UserError(
                f"VeloConfig has {len(self.momentum_decays)} momentum_decays and {len(self.factored_decays)} "
                "factored_decays",
                "give as many of each",
            )


class VeloMemory(NamedTuple):
    """What VeLO remembers besides the gradients' averages: its LSTM's state, and the loss's averages."""

    lstm: LSTMState
    losses: losses.LossState


def velo(config: VeloConfig = VeloConfig()) -> LearnedOptimizer:
    """VeLO as a learned optimizer; `released.load_velo` reads the weights that its authors trained."""
    return _velo(config)


@functools.cache  # one rule for one config, so that what is compiled for it is compiled once
def _velo(config: VeloConfig) -> LearnedOptimizer:
    rule = Rule(
        name="VeLO",
        counts=(len(config.momentum_decays), 1, len(config.factored_decays)),
        decays=lambda theta: Decays(
            jnp.asarray(config.momentum_decays), jnp.asarray([config.rms_decay]), jnp.asarray(config.factored_decays)
        ),
        memory=_initial_memory,
        steps=lambda theta, groups, memory, now: _steps(config, theta, groups, memory, now),
        reads_loss=True,
        clip=GRADIENT_LIMIT,
    )

    def optax_of(theta: Theta, num_steps: Any, **options: Any) -> Any:
        return transformation(rule, theta, num_steps, **options)

    return LearnedOptimizer("velo", config, jax.jit(lambda key: _initial_theta(config, key)), optax_of)


def feature_widths(config: VeloConfig) -> list[int]:
    """The widths of a parameter's 14 kinds of features, in order; 30 in all for three momenta."""
    m, f = len(config.momentum_decays), len(config.factored_decays)
    return [1, 1, 1, m, 1, m, 1, f, 1, f, f, f, f, m]


def layer_sizes(config: VeloConfig) -> list[tuple[int, int]]:
    """(inputs, outputs) of each layer of a parameter's network."""
    widths = [sum(feature_widths(config)), *[config.hidden_size] * config.hidden_layers, OUTPUTS]
    return list(itertools.pairwise(widths))


def _initial_theta(config: VeloConfig, key: Key) -> Theta:
    bank_key, network_key = jax.random.split(key)
    bank = {}
    for i, (size, layer_key) in enumerate(
        zip(layer_sizes(config), jax.random.split(bank_key, config.hidden_layers + 1), strict=True)
    ):
        keys = jax.random.split(layer_key, config.bank_size)
        bank[f"w{i}"] = jax.vmap(lambda key, size=size: tensor_network.initial_weights(key, size))(keys)
        bank[f"b{i}"] = jnp.zeros((config.bank_size, size[1]))
    features = tensor_network.width_of(len(config.momentum_decays), 1)
    return {
        "bank": bank,
        "initial_state": {"hidden": jnp.zeros(config.lstm_size), "cell": jnp.zeros(config.lstm_size)},
        "network": tensor_network.initial_network(network_key, features, config.lstm_size, config.bank_size),
    }


def _initial_memory(theta: Theta, tensors: int) -> VeloMemory:
    start = theta["initial_state"]
    lstm = LSTMState(*(jnp.tile(jnp.asarray(start[name])[None], (tensors, 1)) for name in ("hidden", "cell")))
    return VeloMemory(lstm, losses.initial_losses())


def mixed(bank: Theta, mixture: jax.Array) -> Theta:
    """The weights of each tensor's network: 100 times the mean over the bank, weighted.

    Args:
        bank: arrays [B, ...].
        mixture: float32 [N, B].

    Returns:
        Arrays [N, ...].
    """
    leaves, structure = jax.tree.flatten(bank)
    size = mixture.shape[1]
    flat = jnp.concatenate([leaf.reshape(size, -1) for leaf in leaves], axis=1)
    whole = jnp.matmul(mixture, flat, precision=jax.lax.Precision.HIGHEST) * (MIXTURE_SCALE / size)
    ends = np.cumsum([leaf.size // size for leaf in leaves])[:-1].tolist()
    parts = jnp.split(whole, ends, axis=1)
    return jax.tree.unflatten(
        structure, [part.reshape(-1, *leaf.shape[1:]) for part, leaf in zip(parts, leaves, strict=True)]
    )


def _steps(
    config: VeloConfig, theta: Theta, groups: Sequence[InGroup], memory: VeloMemory, now: Now
) -> tuple[list[jax.Array], VeloMemory]:
    told, loss_state = _loss_features(config, memory.losses, now)
    fraction = now.step / jnp.asarray(now.num_steps, jnp.float32)
    order = np.argsort([i for one in groups for i in one.group.members])
    by_group = [
        tensor_network.tensor_features(one.p, one.before, now.shapes[one.group.members[0]], fraction, told)
        for one in groups
    ]
    features = jnp.concatenate(by_group)[order]
    mixture, step_size, lstm = tensor_network.network(theta["network"], features, memory.lstm)
    network = mixed(theta["bank"], mixture)
    steps = []
    for one in groups:
        places = np.asarray(one.group.members)
        own = {name: x[places] for name, x in network.items()}
        layers = [(own[f"w{i}"], own[f"b{i}"]) for i in range(config.hidden_layers + 1)]
        features, _ = adafactor_features(one.g, one.p, one.after, velo=True)
        direction, magnitude, _ = network_outputs(features, layers, one.p.shape)
        size = jnp.sqrt(jnp.mean(jnp.square(one.p), axis=tuple(range(1, one.p.ndim)), keepdims=True) + 1e-9)
        multiplier = size * step_size[places].reshape(size.shape) * -config.step_mult
        steps.append(multiplier * direction * jnp.exp(magnitude * config.exp_mult))
    kept = memory.lstm if config.bugged_lstm_state else lstm
    return steps, VeloMemory(kept, loss_state)


def _loss_features(config: VeloConfig, state: losses.LossState, now: Now) -> tuple[jax.Array, losses.LossState]:
    if now.loss is None:
        return jnp.zeros(losses.FEATURES), state
    decays = losses.decays_of(BUGGED_LENGTH if config.bugged_loss_features else now.num_steps)
    state = losses.next_losses(state, now.loss, now.step, decays)
    return losses.loss_features(state, now.step + 1, decays), state
