"""Evolution strategies over whole episodes. N = workers."""

from typing import Any

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig
from models.evolution.es import PAIR
from models.evolution.estimate import scale, weights
from models.evolution.estimator import Estimator, Gradient, Info
from models.evolution.perturbation import choose, draw, perturbed, weighted_sum
from models.evolution.unrolled import Key, Params, Unrolled
from models.evolution.workers import HORIZON, INIT, NOISE, STEP, draw_horizons, keys_for, one_key


def full_es(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """Every estimate makes whole episodes: mean over workers of eps (L(+) - L(-)) / (2 sigma^2), L over the episode.

    Unbiased for the smoothed objective; T sequential steps an estimate, where online methods need W. Where horizons are
    drawn, each worker's loss is the mean over its own episode, and it stops there. `window`, `offsets` and `burn_in`
    do nothing; the workers are their numbers, int32 [N].
    """
    config.check_horizon(problem.horizon)
    begin_each = jax.vmap(jax.vmap(problem.begin), in_axes=(0, None, None))
    step_each = jax.vmap(jax.vmap(problem.step), in_axes=(0, 0, None, None))
    fixed = config.horizon_sampling == "fixed"

    def init(theta: Params, key: Key) -> jax.Array:
        del theta, key
        return jnp.arange(config.particles, dtype=jnp.int32)

    def gradient(theta: Params, numbers_N: jax.Array, key: Key) -> tuple[Gradient, jax.Array, Info]:
        horizon_N = draw_horizons(config, problem.horizon, keys_for(key, numbers_N, 0, HORIZON))
        noise = draw(theta, one_key(key, 0, NOISE), config.sigma, numbers_N.shape[0])
        thetas = perturbed(theta, noise, PAIR)
        inner = begin_each(thetas, keys_for(key, numbers_N, 0, INIT), horizon_N)

        def turn(carry: Any, number: jax.Array) -> Any:
            inner, difference_N, plus_N, skipped_N = carry
            number_N = jnp.broadcast_to(number, numbers_N.shape)
            after, losses_SN = step_each(thetas, inner, number_N, keys_for(key, numbers_N, number, STEP))
            plus, difference = losses_SN[0], losses_SN[0] - losses_SN[1]
            used_N = jnp.ones(numbers_N.shape, bool)
            if config.skip_nonfinite:
                used_N = jnp.isfinite(difference)
                skipped_N += (~used_N & (number < horizon_N)).astype(jnp.int32)
            if not fixed:  # who has arrived stays where it is
                used_N &= number < horizon_N
                after = choose(number < horizon_N, after, inner, axis=1)
            if config.skip_nonfinite or not fixed:
                plus, difference = jnp.where(used_N, plus, 0), jnp.where(used_N, difference, 0)
            return after, difference_N + difference, plus_N + plus, skipped_N

        loss = jax.eval_shape(lambda: step_each(thetas, inner, horizon_N, keys_for(key, numbers_N, 0, STEP))[1])
        zero_N = jnp.zeros(numbers_N.shape, loss.dtype)
        carry = inner, zero_N, zero_N, jnp.zeros(numbers_N.shape, jnp.int32)
        longest = jnp.max(horizon_N)
        if fixed:
            every = jnp.arange(problem.horizon, dtype=jnp.int32)
            unroll = min(config.unroll, problem.horizon)
            carry = jax.lax.scan(lambda c, number: (turn(c, number), None), carry, every, unroll=unroll)[0]
        else:
            carry = jax.lax.fori_loop(0, longest, lambda number, c: turn(c, number), carry)
        _, difference_N, plus_N, skipped_N = carry
        counted_N = horizon_N - skipped_N
        used_N = counted_N > 0
        # each worker's mean counts alike, however long its episode was
        per_step_N = jnp.where(used_N, weights(config, difference_N, counted_N) / jnp.maximum(counted_N, 1), 0)
        means_SN = jnp.stack([plus_N, plus_N - difference_N]) / jnp.maximum(counted_N, 1)[None]
        workers = jnp.sum(used_N.astype(jnp.int32))
        factor = scale(config, workers, means_SN, used_N)
        total = jax.tree.map(lambda g: g * factor.astype(g.dtype), weighted_sum(noise, per_step_N))
        info = Info(
            jnp.sum(jnp.where(used_N[None], means_SN, 0)) / (2 * jnp.maximum(workers, 1)),
            2 * jnp.sum(horizon_N),
            longest,
            jnp.sum(counted_N),
            jnp.sum((jnp.isfinite(difference_N) & (skipped_N == 0)).astype(jnp.int32)),
        )
        return total, numbers_N, info

    return Estimator("full_es", init, gradient)
