"""What is computed of an iteration of reinforcement learning: scores of its samples, and the optimizer's steps on them.

B = samples, L = length of a row, N = most new tokens, V = vocabulary.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.lm import DecoderLM
from models.training import (
    Metrics,
    OptimizerConfig,
    TrainState,
    depends_on_length,
    initial_state,
    optimizer_of,
    train_step,
)
from models.training.policy_gradient import (
    PolicyConfig,
    group_advantages,
    next_log_probabilities,
    of_sampled,
    policy_loss,
)
from workflows.policy_samples import Samples

KEPT = 2  # compiled steps; runs that differ only in seed and problems share one


class Updates:
    """The compiled parts of a run.

    Args:
        network: the model.
        config: the policy's.
        optimizer: whose steps are taken.
        steps: optimizer steps of the whole run.
        reference: parameters of the policy at the start, arrays on the host.
        length: L.
        new_tokens: N.
    """

    def __init__(
        self,
        network: DecoderLM,
        config: PolicyConfig,
        optimizer: OptimizerConfig,
        reference: Any,
        *,
        steps: int,
        length: int,
        new_tokens: int,
    ) -> None:
        self._network, self._config, self._length, self._new_tokens = network, config, length, new_tokens
        self._optimizer = optimizer_of(optimizer, steps)
        # told its device, as what a checkpoint gives back is: otherwise a resumed run would be compiled twice
        self._reference = jax.device_put(reference, jax.devices()[0])
        length_counts = depends_on_length(optimizer)
        self._step: Any = _step_of(network, config, optimizer, steps if length_counts else 1)  # pyright: ignore[reportArgumentType]

    def first(self) -> TrainState:
        """The state before the first update; a copy, for each step takes the memory of the state that it is given."""
        copy = jax.tree.map(jnp.array, self._reference)
        return jax.device_put(initial_state(copy, self._optimizer), jax.devices()[0])

    def batch(self, params: Any, drawn: Samples) -> dict[str, np.ndarray]:
        """All samples of an iteration as `policy_loss` reads them, scored by the policies of now and of the start.

        The sampler's own log-probabilities are not used: computed in another order, and at temperature 1, they would
        leave the first ratio a little off 1.

        Args:
            params: of the policy that drew them.
            drawn: the samples.
        """
        config, n = self._config, self._new_tokens
        rows = drawn.rows(self._length, n)
        score = functools.partial(_scores, network=self._network, new_tokens=n, temperature=config.temperature)
        old, reference = [], []
        for part in np.split(np.arange(config.rows), config.minibatches):
            some = rows["tokens"][part], rows["prompts"][part]
            old.append(jax.device_get(score(params, *some, whole=False)))
            reference.append(jax.device_get(score(self._reference, *some, whole=config.kl == "exact")))
        return {
            **rows,
            "advantages": group_advantages(drawn.rewards_GS, scaled=config.scaled).reshape(-1),
            "old_log_p": np.concatenate(old),
            "reference_log_p": np.concatenate(reference),
        }

    def update(
        self, state: TrainState, batch: Mapping[str, np.ndarray], *, seed: int, iteration: int
    ) -> tuple[TrainState, Metrics]:
        """An iteration's optimizer steps, whose order of rows is that of (seed, iteration, epoch).

        Returns:
            The next state, and the metrics of all steps together, `gradient_norm` among them.
        """
        found: dict[str, Any] = {}
        for epoch in range(self._config.epochs):
            order = np.random.default_rng([seed, iteration, epoch]).permutation(self._config.rows)
            for part in np.split(order, self._config.minibatches):
                state, metrics = self._step(state, {name: x[part] for name, x in batch.items()})
                found = {name: found[name].merge(one) for name, one in metrics.items()} if found else dict(metrics)
        return state, found


@functools.lru_cache(KEPT)
def _step_of(network: DecoderLM, config: PolicyConfig, optimizer: OptimizerConfig, steps: int) -> Any:
    """The compiled train step; the state that it is given is used up."""
    return jax.jit(train_step(policy_loss(network, config), optimizer_of(optimizer, steps)), donate_argnums=0)


@functools.partial(jax.jit, static_argnames=("network", "new_tokens", "temperature", "whole"))
def _scores(
    params: Any,
    tokens_BL: jax.Array,
    prompts_B: jax.Array,
    *,
    network: DecoderLM,
    new_tokens: int,
    temperature: float,
    whole: bool,
) -> jax.Array:
    """Log-probabilities of the sampled tokens, float32 [B, N], or of every token at their places, [B, N, V]."""
    found = next_log_probabilities(
        network, params, tokens_BL, prompts_B, new_tokens=new_tokens, temperature=temperature
    )
    return found if whole else of_sampled(found, tokens_BL, prompts_B)


@jax.jit
def is_finite(params: Any) -> jax.Array:
    """Whether every parameter is, bool []."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
