"""How far a layer's weights line up with what they are multiplied with: measured, where theory assumes an exponent.

The log alignment ratio of arXiv:2407.05872 section 3, and its version for the three terms of a change of activations:
W x - W0 x0 = dW x0 (alpha) + W0 dx (omega) + dW dx (u). I = inputs of a layer, O = outputs, B = anything before them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from models.parameterization.products import Product, products_of

MEASURES = ("alignment", "alpha", "omega", "u")


class Network(Protocol):
    """What is measured: a Flax module, or a `Parameterized` around one."""

    def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Its outputs."""
        ...


def log_alignment_ratio(kernel_IO: jax.Array, x_BI: jax.Array) -> jax.Array:
    """log_I of RMS(x W) / (RMS(W) RMS(x)): 1/2 where W and x are independent, 1 where they are aligned in full.

    Args:
        kernel_IO: the weights, as Flax has them: inputs first.
        x_BI: what they are multiplied with.

    Returns:
        float []; NaN where W or x is zero or I is 1.
    """
    return _ratio(lambda kernel, x: x @ kernel, kernel_IO, x_BI, kernel_IO.shape[0])


def measure_alignment(
    network: Network, params_0: Any, params_t: Any, *inputs: Any, **keywords: Any
) -> dict[str, dict[str, jax.Array]]:
    """The log alignment ratios of every layer, between two states of a training.

    A layer is a parameter that the network multiplies, as a matrix or a convolution's window, with something that is
    none (`products_of`). Tables that rows are looked up in are none: nothing is summed over. Can be compiled by
    `jax.jit`.

    Args:
        network: what has `apply`.
        params_0: its parameters before the first step.
        params_t: the same after some.
        inputs: of the network, the same for both.
        keywords: of its `apply`.

    Returns:
        For each layer by its path ("mlp_0/gate"; a layer's later calls in one pass as "mlp_0/gate:2") its MEASURES:
        "alignment" of the weights and inputs now, and "alpha", "omega" and "u" of the three terms; float [] each, NaN
        where a term is zero, as all three are at step 0 (omega and u stay so in a first layer, whose inputs are data).

    Raises:
        ValueError: the network has no such layer.
    """
    before = _layers(network, params_0, inputs, keywords)
    after = _layers(network, params_t, inputs, keywords)
    # kernels are linear in parameters, so this is their change; taken of kernels, a compiler may fuse it with their
    # multipliers, and what stays would change by that one's rounding
    changes = _layers(network, jax.tree.map(lambda now, then: now - then, params_t, params_0), inputs, keywords)
    if not before:
        raise ValueError(f"{type(network).__name__} multiplies nothing with a parameter")
    found = {}
    for name, then in before.items():
        change, x_0, x_t = changes[name].kernel, then.x, after[name].x
        terms = {
            "alignment": (after[name].kernel, x_t),
            "alpha": (change, x_0),
            "omega": (then.kernel, x_t - x_0),
            "u": (change, x_t - x_0),
        }
        found[name] = {key: _ratio(then.of, *term, then.fan_in) for key, term in terms.items()}
    return found


def _layers(network: Network, params: Any, inputs: Any, keywords: Any) -> dict[str, Product]:
    return products_of(lambda params: network.apply({"params": params}, *inputs, **keywords), params)


def _ratio(product: Callable[[Any, Any], Any], kernel: jax.Array, x: jax.Array, fan_in: int) -> jax.Array:
    """The ratio, `product` giving a kernel's outputs; both are made of size 1 first: squares of changes underflow."""
    kernel, x = _of_size_1(kernel), _of_size_1(x)
    ratio = _log_rms(product(kernel, x)) - _log_rms(kernel) - _log_rms(x)
    return ratio / jnp.log(float(fan_in)) if fan_in > 1 else jnp.full_like(ratio, jnp.nan)


def _of_size_1(x: jax.Array) -> jax.Array:
    return x / jnp.max(jnp.abs(x))


def _log_rms(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.log(jnp.mean(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))))
