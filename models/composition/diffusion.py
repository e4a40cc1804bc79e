"""Learned diffusion models: what their networks' output means, and the densities they are (arXiv:2302.11552 section 4).

eps is the noise that a model predicts, the score minus eps / sqrt(1 - abar_t). Models with an energy E predict its
gradient, eps = dE/dx, and log q_t = -E / sqrt(1 - abar_t) up to a constant. B = batch, X = shape of a point.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.composition.conditions import some_condition
from models.composition.density import Density, of_log_density, of_score
from models.composition.diffusion_config import DiffusionConfig
from models.composition.mlp import MLP
from models.composition.unet import UNet
from shammie.errors import UserError

NETWORKS: Mapping[str, Any] = {"mlp": MLP, "unet": UNet}


def network_of(config: DiffusionConfig) -> nn.Module:
    """The network: `__call__(x_BX, level_B, condition, present_B)` gives f, [B, X]."""
    return NETWORKS[config.network](config)


def first_variables(config: DiffusionConfig, key: jax.Array) -> Any:
    """New variables: "params", and the names of their axes, "params_axes"."""
    return _first_variables(config, key)


@functools.partial(jax.jit, static_argnums=0)  # op by op a U-Net's takes ten times as long
def _first_variables(config: DiffusionConfig, key: jax.Array) -> Any:
    x_BX = jnp.zeros((1, *config.shape))
    one = jnp.zeros(1, jnp.int32)
    return network_of(config).init(key, x_BX, one, some_condition(config.condition, 1), one == 0)


def parameter_count(config: DiffusionConfig) -> int:
    """How many numbers training changes."""
    shapes: Any = jax.eval_shape(lambda: first_variables(config, jax.random.key(0)))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes["params"]))


def output(
    config: DiffusionConfig,
    params: Any,
    x_BX: jax.Array,
    level_B: jax.Array,
    condition: Any = None,
    present_B: jax.Array | None = None,
) -> jax.Array:
    """f, what the network gives.

    Args:
        config: the model.
        params: its parameters.
        x_BX: noised points.
        level_B: of each, int32.
        condition: of each, a pytree of arrays [B, …]; None asks the unconditional model.
        present_B: bool; where False the condition counts as not told. None: all are told.

    Returns:
        float32 [B, X]; of a classifier [B, classes].

    Raises:
        UserError: a condition for a model that takes none.
    """
    batch = x_BX.shape[0]
    if condition is not None and config.condition.kind == "none":
        raise UserError("a model without conditions is given one", "leave it out, or train one that takes conditions")
    if condition is None:
        condition, present_B = some_condition(config.condition, batch), jnp.zeros(batch, bool)
    present_B = jnp.ones(batch, bool) if present_B is None else present_B
    result: Any = network_of(config).apply({"params": params}, x_BX, level_B, condition, present_B)
    return result


def _squares(x_BX: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x_BX), axis=tuple(range(1, x_BX.ndim)))


ENERGIES: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {  # of x and f, [B, X] each: [B]
    "dae": lambda x_BX, f_BX: _squares(x_BX - f_BX),
    "dae_half": lambda x_BX, f_BX: 0.5 * _squares(x_BX - f_BX),
    "l2": lambda x_BX, f_BX: 0.5 * _squares(f_BX),
    "inner": lambda x_BX, f_BX: jnp.sum(x_BX * f_BX, axis=tuple(range(1, x_BX.ndim))),
}


def energy(
    config: DiffusionConfig,
    params: Any,
    x_BX: jax.Array,
    level_B: jax.Array,
    condition: Any = None,
    present_B: jax.Array | None = None,
) -> jax.Array:
    """E of some points, float32 [B]; the arguments are those of `output`.

    Raises:
        UserError: a model that has none.
    """
    if not config.has_energy:
        raise UserError(f"a model of the form {config.form!r} has no energy", "train one of 'dae', 'l2' or 'inner'")
    return ENERGIES[config.form](x_BX, output(config, params, x_BX, level_B, condition, present_B))


def noise_of(
    config: DiffusionConfig,
    params: Any,
    x_BX: jax.Array,
    level_B: jax.Array,
    condition: Any = None,
    present_B: jax.Array | None = None,
) -> jax.Array:
    """eps, the noise that is predicted in some points, [B, X]; the arguments are those of `output`.

    Raises:
        UserError: the config is a classifier's.
    """
    if config.form == "classifier":
        raise UserError("a classifier predicts no noise", "ask models.composition.classifier for its log probability")
    if config.form == "score":
        return output(config, params, x_BX, level_B, condition, present_B)
    # points of a batch do not know each other: the sum's gradient is each point's own
    total = lambda x_BX: jnp.sum(energy(config, params, x_BX, level_B, condition, present_B))  # noqa: E731
    return jax.grad(total)(x_BX)


def density_of(config: DiffusionConfig, params: Any, condition: Any = None, name: str = "model") -> Density:
    """The density that a model has learned, at every level.

    Args:
        config: the model.
        params: its parameters.
        condition: of one point, as `ConditionConfig.kind` says; None for the unconditional model.
        name: for people.

    Raises:
        UserError: the config is a classifier's, or a condition is given to a model that takes none.
    """
    if config.form == "classifier":
        raise UserError("a classifier is no density", "multiply a model by algebra.likelihood of its log probability")
    if condition is not None and config.condition.kind == "none":
        raise UserError(f"{name} takes no condition, but is given one", "leave it out")
    given = None if condition is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], condition)

    def of_one(function: Callable[..., jax.Array], x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        level_B = jnp.asarray(level, jnp.int32)[None]
        return -function(config, params, x[None], level_B, given)[0] / config.schedule.noise(level)

    if config.has_energy:
        return of_log_density(lambda x, level: of_one(energy, x, level), config.shape, config.schedule, name)
    return of_score(lambda x, level: of_one(noise_of, x, level), config.shape, config.schedule, name)
