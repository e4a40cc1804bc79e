"""Weights of chains along a sequence of densities: annealed importance sampling, and resampling by weights.

A chain that goes from q_{t+1} to q_t gains log q_t(x) - log q_{t+1}(x), at its point before it moves (Neal 2001). The
mean weight is then the ratio of the normalisers of the last and first density, on average exactly. N chains.
"""

import jax
import jax.numpy as jnp
from blackjax.smc.ess import log_ess
from blackjax.smc.resampling import systematic


def log_standard_normal(x: jax.Array) -> jax.Array:
    """Log density of N(0, I) at a point of any shape, normalised; float32 []."""
    return -0.5 * jnp.sum(x**2) - 0.5 * x.size * jnp.log(2.0 * jnp.pi)


def log_normaliser(log_weights_N: jax.Array) -> jax.Array:
    """Log of the mean weight: the estimated log ratio of normalisers; chains of weight 0 count. float32 []."""
    return jax.scipy.special.logsumexp(log_weights_N) - jnp.log(float(log_weights_N.shape[0]))


def normalised(log_weights_N: jax.Array) -> jax.Array:
    """Weights that add up to 1, for means over chains; float32 [N]."""
    return jax.nn.softmax(log_weights_N)


def effective_share(log_weights_N: jax.Array) -> jax.Array:
    """Kish's effective number of chains, as a share of them: 1 for equal weights, 1 / N for a single one; [].

    0 where no chain has a weight.
    """
    share = jnp.exp(log_ess(log_weights_N)) / log_weights_N.shape[0]
    return jnp.where(jnp.any(log_weights_N > -jnp.inf), share, 0.0)


def resampling(key: jax.Array, log_weights_N: jax.Array, below: float) -> tuple[jax.Array, jax.Array]:
    """Which chains go on: systematic resampling where the effective share is below a limit, and all otherwise.

    Args:
        key: of the draw.
        log_weights_N: float32; minus infinity for dead chains.
        below: the limit, 0 to 1.

    Returns:
        The chains, int32 [N], and their log weights, [N]: after resampling all have the mean weight.
    """
    chains = log_weights_N.shape[0]
    share = effective_share(log_weights_N)
    drawn_N = systematic(key, normalised(log_weights_N), chains)
    again = (share < below) & (share > 0)
    mean_N = jnp.full(chains, log_normaliser(log_weights_N))
    return (
        jnp.where(again, drawn_N, jnp.arange(chains)).astype(jnp.int32),
        jnp.where(again, mean_N, log_weights_N),
    )
