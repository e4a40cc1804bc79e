"""What every learner reads at a position: an example, and the label of the one before it (arXiv:2212.04458 Eq. 3)."""

import jax
import jax.numpy as jnp


def previous_labels(labels_BN: jax.Array, classes: int) -> jax.Array:
    """The one-hot label of the example before; zeros at the first and where a label is none of the classes.

    Args:
        labels_BN: int32 [B, N].
        classes: C.

    Returns:
        float32 [B, N, C].
    """
    return jax.nn.one_hot(jnp.pad(labels_BN, ((0, 0), (1, 0)), constant_values=-1)[:, :-1], classes)
