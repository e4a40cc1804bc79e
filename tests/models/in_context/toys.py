"""Small contexts and parameters that the tests of single learners share; what holds for all is in test_learner."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.in_context.learner_config import LearnerConfig

B, N = 2, 7


def examples(config: LearnerConfig) -> tuple[jax.Array, jax.Array]:
    """A context of random examples and labels."""
    random = np.random.default_rng(0)
    x = random.standard_normal((B, N, config.features), np.float32)
    return jnp.asarray(x), jnp.asarray(random.integers(0, config.classes, (B, N)), jnp.int32)


def params_of(network: Any) -> Any:
    """Parameters of no special values: biases too."""
    shapes: Any = jax.eval_shape(network.init, jax.random.key(0), *examples(network.config))["params"]
    random = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: np.float32(0.5 * random.standard_normal(leaf.shape)), shapes)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """In NumPy."""
    return 1 / (1 + np.exp(-x))


def check_gradient(network: Any, params: Any) -> None:
    """The gradient of the labels' nats is finite and reaches all parameters."""
    x, labels = examples(network.config)

    def loss(params: Any) -> jax.Array:
        logits = network.apply({"params": params}, x, labels)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert np.all(np.isfinite(leaf))
        assert np.abs(leaf).max() > 0
