"""A clipped policy gradient on sampled token sequences, with a penalty on the distance from the policy at the start.

The objective is PPO's (arXiv:1707.06347 eq. 7), with the mean reward of a prompt's samples in place of a learned value
function, as in GRPO (arXiv:2402.03300 section 4.1). A policy is the softmax of a model's logits over the temperature at
which it was sampled. Three of them meet: the current one; the one that drew the samples ("old"); and the one at the
start of the whole run ("reference").

B = samples, L = length of a row, N = most new tokens, V = vocabulary, G = prompts, S = samples of each.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from models.training.losses import Batch, LossFunction, Metrics, Params, average
from shammie.errors import UserError, unknown

KLS = ("exact", "k3")
LEAST_DEVIATION = 1e-6  # a group whose rewards deviate less is flat


@dataclass(frozen=True)
class PolicyConfig:
    """How a policy is sampled and changed in an iteration.

    Attributes:
        prompts: G, prompts of an iteration.
        samples: S, samples of each; the baseline is their mean reward, so at least 2.
        temperature: of the samples, and of the policy that is trained.
        epochs: passes over an iteration's samples.
        minibatches: optimizer steps of a pass; it divides prompts * samples.
        clip: epsilon of eq. 7: a token whose probability has moved by more than this share, the way that its advantage
            asks for, pulls no further.
        kl_weight: of the KL divergence from the reference policy, in nats a token.
        kl: how it is computed: "exact", over the whole vocabulary, or "k3", from the sampled token's probabilities
            alone, for vocabularies whose whole distributions do not fit in memory (floats: prompts * samples * N * V).
        entropy_weight: of the policy's entropy, in nats a token, which is added to the objective.
        scaled: whether a group's advantages are divided by the standard deviation of its rewards, as GRPO does.
    """

    prompts: int = 32
    samples: int = 8
    temperature: float = 1.0
    epochs: int = 2
    minibatches: int = 2
    clip: float = 0.2
    kl_weight: float = 0.05
    kl: Literal["exact", "k3"] = "exact"
    entropy_weight: float = 0.0
    scaled: bool = False

    def __post_init__(self) -> None:
        for name, least in (("prompts", 1), ("samples", 2), ("epochs", 1), ("minibatches", 1)):
            if not getattr(self, name) >= least:
                raise UserError(f"PolicyConfig.{name} is {getattr(self, name)!r}", f"give {least} or more")
        for name in ("temperature", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"PolicyConfig.{name} is {getattr(self, name)!r}", "give a number above 0")
        for name in ("kl_weight", "entropy_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"PolicyConfig.{name} is {getattr(self, name)!r}", "give 0 or a number above it")
        if self.kl not in KLS:
            raise unknown("PolicyConfig.kl", str(self.kl), KLS)
        if self.prompts * self.samples % self.minibatches:
            raise UserError(
                f"PolicyConfig.minibatches={self.minibatches} does not divide prompts * samples ="
                f" {self.prompts * self.samples}",
                "choose one that does",
            )

    @property
    def rows(self) -> int:
        """Samples of an iteration."""
        return self.prompts * self.samples

    @property
    def updates(self) -> int:
        """Optimizer steps of an iteration."""
        return self.epochs * self.minibatches


class Network(Protocol):
    """What computes logits: `models.lm.DecoderLM`, or anything with its `apply`."""

    def apply(self, variables: Any, tokens: Any, /) -> Any:
        """({"params": params}, int [B, L]) to float [B, L, V], the logits of each next token."""
        ...


def group_advantages(rewards_GS: np.ndarray, *, scaled: bool = False) -> np.ndarray:
    """Each sample's reward less the mean of its prompt's samples, or that over their standard deviation.

    The mean holds the sample's own reward, so that the expected gradient of a group is (1 - 1/S) times the policy
    gradient: shorter, but not turned. A standard deviation in the divisor weighs prompts by how seldom their outcomes
    differ, which does turn it; it is GRPO's choice (arXiv:2402.03300 section 4.1.2).

    Args:
        rewards_GS: float [G, S].
        scaled: whether to divide.

    Returns:
        float32 [G, S]; 0 where a group's rewards are all equal.
    """
    rewards_GS = np.asarray(rewards_GS, np.float64)
    advantages_GS = rewards_GS - rewards_GS.mean(axis=1, keepdims=True)
    deviation_G1 = rewards_GS.std(axis=1, keepdims=True)
    advantages_GS = np.where(deviation_G1 > LEAST_DEVIATION, advantages_GS, 0.0)
    if scaled:
        advantages_GS = advantages_GS / np.maximum(deviation_G1, LEAST_DEVIATION)
    return advantages_GS.astype(np.float32)


def flat_groups(rewards_GS: np.ndarray) -> int:
    """How many groups have equal rewards, from which nothing is learned."""
    return int(np.sum(np.asarray(rewards_GS, np.float64).std(axis=1) <= LEAST_DEVIATION))


def next_log_probabilities(
    network: Network, params: Params, tokens_BL: jax.Array, prompts_B: jax.Array, *, new_tokens: int, temperature: float
) -> jax.Array:
    """The policy's log-probabilities of every token at each place behind the prompts; float32 [B, N, V].

    Args:
        network: the model.
        params: its parameters.
        tokens_BL: prompts, which begin with the start id, and behind each its sample; int [B, L], padded behind.
        prompts_B: tokens of each prompt, at least 1.
        new_tokens: N.
        temperature: of the policy.
    """
    logits_BLV = network.apply({"params": params}, tokens_BL)
    place_BN = _places(tokens_BL, prompts_B, new_tokens) - 1  # a place's logits are those of the next token
    logits_BNV = jnp.take_along_axis(logits_BLV, place_BN[:, :, None], axis=1)
    return jax.nn.log_softmax(logits_BNV.astype(jnp.float32) / temperature)


def of_sampled(log_p_BNV: jax.Array, tokens_BL: jax.Array, prompts_B: jax.Array) -> jax.Array:
    """Of those, the sampled tokens' own; float32 [B, N], arbitrary behind a sample's end."""
    place_BN = _places(tokens_BL, prompts_B, log_p_BNV.shape[1])
    sampled_BN = jnp.take_along_axis(tokens_BL, place_BN, axis=1)
    return jnp.take_along_axis(log_p_BNV, sampled_BN[:, :, None], axis=2)[:, :, 0]


def _places(tokens_BL: jax.Array, prompts_B: jax.Array, new_tokens: int) -> jax.Array:
    """Where each sample's tokens stand in its row; int [B, N]."""
    return jnp.minimum(prompts_B[:, None] + jnp.arange(new_tokens)[None], tokens_BL.shape[1] - 1)


def clipped_objective(
    log_p: jax.Array, old_log_p: jax.Array, advantages: jax.Array, clip: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """PPO's clipped objective of each token: min(r A, clip(r, 1 - epsilon, 1 + epsilon) A), arXiv:1707.06347 eq. 7.

    Args:
        log_p: of the sampled tokens under the current policy, float [...].
        old_log_p: under the policy that drew them, float [...].
        advantages: A, float [...].
        clip: epsilon.

    Returns:
        The objective; r, the ratio of the probabilities; and whether the clip holds the token, so that it has no
        gradient, bool; [...] each.
    """
    ratio = jnp.exp(log_p - old_log_p)
    objective = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantages)
    held = ((advantages > 0) & (ratio > 1.0 + clip)) | ((advantages < 0) & (ratio < 1.0 - clip))
    return objective, ratio, held


def exact_kl(log_p_V: jax.Array, reference_log_p_V: jax.Array) -> jax.Array:
    """KL(policy || reference) of distributions over the last axis, in nats; float [..., V] each to [...]."""
    return jnp.sum(jnp.exp(log_p_V) * (log_p_V - reference_log_p_V), axis=-1)


def k3_kl(log_p: jax.Array, reference_log_p: jax.Array) -> jax.Array:
    """An estimate of the same KL from a token that the policy drew: q - 1 - log q, q = reference / policy.

    Never below 0, and right in the mean (arXiv:2402.03300 eq. 4). Its gradient's mean is that of the other divergence,
    KL(reference || policy), for nothing of it tells how the draws themselves change.

    Args:
        log_p: of the tokens under the policy, float [...].
        reference_log_p: under the reference, float [...].
    """
    log_q = reference_log_p - log_p
    return jnp.expm1(log_q) - log_q


def policy_loss(network: Network, config: PolicyConfig) -> LossFunction:
    """The loss of a minibatch of samples: minus the clipped objective, plus the weighted KL, less the weighted entropy.

    Each term is the mean over the minibatch's sampled tokens, eq. 7's mean over time steps. A longer sample so counts
    more, as it does in the policy gradient; GRPO's own mean of each sample's mean would favour long wrong answers.

    Args:
        network: the model.
        config: weights, clip, temperature and kind of KL.

    Returns:
        (params, batch) -> the loss, and metrics `loss`, `objective`, `kl` (exact where config.kl is, else k3), `kl_k3`,
        `entropy` (nats a token), `clip_share` (of tokens that the clip holds) and `ratio_mean` (current over old
        probability), all means over tokens. A batch has
            "tokens", int [B, L]: prompts, and behind each its sample, padded behind;
            "prompts", int [B]: tokens of each prompt, the start id included;
            "lengths", int [B]: tokens of each sample, the end id included;
            "advantages", float [B];
            "old_log_p", float [B, N]: of the sampled tokens under the policy that drew them;
            "reference_log_p", float [B, N, V], or [B, N] of the sampled tokens where config.kl is "k3".
    """

    def loss_function(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        tokens_BL, prompts_B, old_BN = batch["tokens"], batch["prompts"], batch["old_log_p"]
        new_tokens = old_BN.shape[1]
        real_BN = jnp.arange(new_tokens)[None] < batch["lengths"][:, None]
        count = jnp.maximum(jnp.sum(real_BN), 1).astype(jnp.float32)
        log_p_BNV = next_log_probabilities(
            network, params, tokens_BL, prompts_B, new_tokens=new_tokens, temperature=config.temperature
        )
        # a constant behind a sample's end: no gradient comes from there, whatever stands in the other arrays
        log_p_BN = jnp.where(real_BN, of_sampled(log_p_BNV, tokens_BL, prompts_B), 0.0)
        objective_BN, ratio_BN, held_BN = clipped_objective(
            log_p_BN, old_BN, batch["advantages"][:, None] * jnp.ones_like(old_BN), config.clip
        )
        whole = config.kl == "exact"
        reference = batch["reference_log_p"]
        reference_BN = of_sampled(reference, tokens_BL, prompts_B) if whole else reference
        k3_BN = k3_kl(log_p_BN, reference_BN)
        kl_BN = exact_kl(log_p_BNV, reference) if whole else k3_BN
        entropy_BN = -jnp.sum(jnp.exp(log_p_BNV) * log_p_BNV, axis=-1)

        def total(x_BN: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(real_BN, x_BN, 0.0))

        objective, kl, entropy = total(objective_BN), total(kl_BN), total(entropy_BN)
        loss = -objective + config.kl_weight * kl - config.entropy_weight * entropy
        totals = {
            "loss": loss,
            "objective": objective,
            "kl": kl,
            "kl_k3": total(k3_BN),
            "entropy": entropy,
            "clip_share": total(held_BN.astype(jnp.float32)),
            "ratio_mean": total(ratio_BN),
        }
        return loss / count, {name: average(value, count) for name, value in totals.items()}

    return loss_function
