"""The clipped policy gradient: against closed forms on two arms, by hand, and against the sampler's own numbers."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.decoding import Sampling
from models.lm.sampler import Slots, sample
from models.training.policy_gradient import (
    PolicyConfig,
    clipped_objective,
    exact_kl,
    flat_groups,
    group_advantages,
    k3_kl,
    next_log_probabilities,
    of_sampled,
    policy_loss,
)
from shammie.errors import UserError

ARMS = jnp.array([0.3, -0.5])  # logits of two arms, tokens 0 and 1
PAYS = np.array([0.2, 1.0])


class Bandit:
    """A model whose next token's logits are its parameters, whatever it read."""

    def apply(self, variables: Any, tokens_BL: jax.Array) -> jax.Array:
        """See `Network`."""
        logits_V = variables["params"]
        return jnp.broadcast_to(logits_V, (*tokens_BL.shape, logits_V.shape[0]))


def _batch(arms: Any, advantages: Any, *, old: jax.Array = ARMS, reference: jax.Array = ARMS, temperature=1.0) -> Any:
    """One pull a sample, behind a prompt of one token."""
    arms = np.asarray(arms, np.int32)
    log_old_V = jax.nn.log_softmax(old / temperature)
    return {
        "tokens": np.stack([np.zeros_like(arms), arms], axis=1),
        "prompts": np.ones(len(arms), np.int32),
        "lengths": np.ones(len(arms), np.int32),
        "advantages": np.asarray(advantages, np.float32),
        "old_log_p": np.asarray(log_old_V)[arms][:, None],
        "reference_log_p": jnp.broadcast_to(jax.nn.log_softmax(reference / temperature), (len(arms), 1, len(old))),
    }


@functools.cache
def _compiled(**config: Any) -> Any:
    loss = policy_loss(Bandit(), PolicyConfig(**{"kl_weight": 0.0, **config}))
    return jax.jit(jax.grad(lambda params, batch: loss(params, batch)[0]))


def _gradient(params: jax.Array, batch: Any, **config: Any) -> np.ndarray:
    return np.asarray(_compiled(**config)(params, batch))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("samples", [2, 3])
def test_the_mean_gradient_of_a_group_is_the_policy_gradient(samples: int, temperature: float) -> None:
    """Over all that a group may draw: (1 - 1/S) of d J / d logits = p (r - J) / temperature, J = sum of p r."""
    p = np.asarray(jax.nn.softmax(ARMS / temperature), np.float64)
    found = np.zeros(2)
    for arms in itertools.product(range(2), repeat=samples):
        advantages = group_advantages(PAYS[list(arms)][None])[0]
        batch = _batch(arms, advantages, temperature=temperature)
        found -= np.prod(p[list(arms)]) * _gradient(ARMS, batch, temperature=temperature)
    closed = p * (PAYS - p @ PAYS) / temperature
    assert abs(closed[1]) > 0.1
    np.testing.assert_allclose(found, (1 - 1 / samples) * closed, rtol=1e-5)


def test_samples_of_an_old_policy_give_the_new_ones_gradient() -> None:
    """The ratio is an importance weight: sum of p_old (p / p_old) A grad log p, where the clip holds nothing."""
    new, old = ARMS + jnp.array([0.05, -0.05]), ARMS
    p, p_old = (np.asarray(jax.nn.softmax(x), np.float64) for x in (new, old))
    advantages = np.array([-1.0, 2.0])
    found = -sum(p_old[a] * _gradient(new, _batch([a], [advantages[a]]), clip=0.2) for a in range(2))
    np.testing.assert_allclose(found, p * (advantages - p @ advantages), rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope", "held"),
    [
        (1.0, 2.0, 2.0, 2.0, False),
        (1.1, 2.0, 2.2, 2.2, False),
        (1.3, 2.0, 2.4, 0.0, True),  # no more than 1.2 A
        (0.5, 2.0, 1.0, 1.0, False),  # worse than the clip's: it may come back
        (0.9, -2.0, -1.8, -1.8, False),
        (0.5, -2.0, -1.6, 0.0, True),
        (1.5, -2.0, -3.0, -3.0, False),
        (1.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_the_clip_by_hand(ratio: float, advantage: float, objective: float, slope: float, held: bool) -> None:
    of = lambda log_p: clipped_objective(log_p, jnp.log(0.25), jnp.float32(advantage), 0.2)  # noqa: E731
    log_p = jnp.log(0.25) + jnp.log(ratio)
    value, told, clipped = of(log_p)
    assert float(value) == pytest.approx(objective, abs=1e-6)
    assert float(told) == pytest.approx(ratio, rel=1e-6)
    assert bool(clipped) is held
    # d (r A) / d log p = r A
    assert float(jax.grad(lambda x: of(x)[0])(log_p)) == pytest.approx(slope, abs=1e-6)


def test_advantages_by_hand() -> None:
    rewards_GS = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0], [0.1, 0.1, 0.1, 0.1]])
    plain = [[0.75, -0.25, -0.25, -0.25], [0.0] * 4, [-1.0, -1.0, 1.0, 1.0], [0.0] * 4]
    np.testing.assert_array_equal(group_advantages(rewards_GS), np.array(plain, np.float32))
    deviation = np.sqrt(3) / 4
    scaled = [[0.75 / deviation, *[-0.25 / deviation] * 3], [0.0] * 4, [-1.0, -1.0, 1.0, 1.0], [0.0] * 4]
    np.testing.assert_allclose(group_advantages(rewards_GS, scaled=True), scaled, rtol=1e-6)
    assert flat_groups(rewards_GS) == 2


def test_a_flat_group_has_no_gradient_but_the_kls() -> None:
    batch = _batch([0, 1, 1], [0.0, 0.0, 0.0], reference=jnp.array([0.0, 0.0]))
    np.testing.assert_array_equal(_gradient(ARMS, batch), [0.0, 0.0])
    assert np.abs(_gradient(ARMS, batch, kl_weight=0.5)).min() > 0.01


def test_the_kl_is_exact_and_k3_right_in_the_mean() -> None:
    logits, start = jnp.array([0.3, -1.0, 0.8, 0.0]), jnp.array([0.0, 0.5, -0.2, 0.1])
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(start)
    p, q = np.exp(np.asarray(log_p, np.float64)), np.exp(np.asarray(log_q, np.float64))
    by_hand = float(np.sum(p * np.log(p / q)))
    assert by_hand > 0.1
    assert float(exact_kl(log_p, log_q)) == pytest.approx(by_hand, rel=1e-5)
    each = np.asarray(k3_kl(log_p, log_q))
    np.testing.assert_allclose(each, q / p - 1 - np.log(q / p), rtol=1e-4)
    assert each.min() >= 0
    assert float(p @ each) == pytest.approx(by_hand, rel=1e-5)
    assert float(exact_kl(log_p, log_p)) == 0.0
    gradient = jax.grad(lambda x: exact_kl(jax.nn.log_softmax(x), log_q))(logits)
    np.testing.assert_allclose(gradient, p * (np.log(p / q) - by_hand), rtol=1e-4)
    # k3's: draws from p held fixed, it is that of the other divergence, p - q
    of_draws = jax.grad(lambda x: jnp.sum(jnp.asarray(p) * k3_kl(jax.nn.log_softmax(x), log_q)))(logits)
    np.testing.assert_allclose(of_draws, p - q, rtol=1e-4)


@pytest.mark.parametrize("kl", ["exact", "k3"])
def test_the_loss_and_its_metrics_by_hand(kl: Any) -> None:
    """Three samples of two arms, of an old policy, at weights that are not 0."""
    params, old, start = jnp.array([0.9, -0.4]), ARMS, jnp.array([0.0, 0.0])
    batch = _batch([0, 1, 1], [1.0, -0.5, 2.0], old=old, reference=start)
    if kl == "k3":
        batch["reference_log_p"] = np.full((3, 1), np.log(0.5), np.float32)
    config = PolicyConfig(kl_weight=0.3, entropy_weight=0.1, clip=0.1, kl=kl)
    loss, metrics = policy_loss(Bandit(), config)(params, batch)
    p, p_old = (np.exp(x) / np.exp(x).sum() for x in (np.array([0.9, -0.4]), np.array([0.3, -0.5])))
    r = p / p_old
    assert r[0] > 1.1  # arm 0 moved as asked: held; so is arm 1 at -0.5, and not at 2
    assert r[1] < 0.9
    objective = (1.1 * 1.0 + 0.9 * -0.5 + r[1] * 2.0) / 3
    k3 = np.mean([0.5 / p[a] - 1 - np.log(0.5 / p[a]) for a in (0, 1, 1)])
    exact = float(np.sum(p * np.log(p / 0.5)))
    entropy = -float(np.sum(p * np.log(p)))
    told = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert told == pytest.approx(
        {
            "loss": -objective + 0.3 * (exact if kl == "exact" else k3) - 0.1 * entropy,
            "objective": objective,
            "kl": exact if kl == "exact" else k3,
            "kl_k3": k3,
            "entropy": entropy,
            "clip_share": 2 / 3,
            "ratio_mean": (r[0] + 2 * r[1]) / 3,
        },
        rel=1e-4,
    )
    assert float(loss) == pytest.approx(told["loss"], rel=1e-6)


LM = LMConfig(vocab_size=13, width=16, layers=1, heads=2, head_width=8, mlp_width=32, max_distance=4)
NETWORK = DecoderLM(LM)
PROMPTS = [np.array(ids, np.int32) for ids in ([0, 5, 7, 2], [0, 3], [0, 9, 9, 4, 2, 8], [0, 3])]
N = 5


@functools.cache
def _drawn() -> tuple[Any, Any, dict[str, np.ndarray]]:
    params: Any = jax.jit(NETWORK.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    params["logits"]["kernel"] = params["logits"]["kernel"] * 4.0  # sharper: some samples end
    drawn = sample(
        NETWORK,
        params,
        PROMPTS,
        [3, 1, 4, 15],
        new_tokens=N,
        sampling=Sampling(),
        slots=Slots(slots=2, prompts=2, lengths=(8,)),
    )
    tokens_BL = np.zeros((4, 12), np.int32)
    for row, both in enumerate(zip(PROMPTS, drawn.tokens, strict=True)):
        ids = np.concatenate(both)
        tokens_BL[row, : len(ids)] = ids
    prompts, lengths = (np.array([len(ids) for ids in some], np.int32) for some in (PROMPTS, drawn.tokens))
    return params, drawn, {"tokens": tokens_BL, "prompts": prompts, "lengths": lengths}


def _scored(params: Any, rows: dict[str, np.ndarray], temperature: float) -> tuple[jax.Array, jax.Array]:
    tokens, prompts = jnp.asarray(rows["tokens"]), jnp.asarray(rows["prompts"])
    score = jax.jit(lambda *rows: next_log_probabilities(NETWORK, *rows, new_tokens=N, temperature=temperature))
    whole = score(params, tokens, prompts)
    return whole, of_sampled(whole, tokens, prompts)


def test_samples_are_scored_as_the_sampler_drew_them() -> None:
    """Prompts of unequal lengths: a place or a token too far would not give the sampler's own log-probabilities."""
    params, drawn, rows = _drawn()
    whole, own = _scored(params, rows, 1.0)
    assert whole.shape == (4, N, LM.vocab_size)
    for row, told in enumerate(drawn.log_probabilities):
        np.testing.assert_allclose(own[row, : len(told)], told, atol=2e-5)
    cold, _ = _scored(params, rows, 0.5)
    by_hand = jax.nn.log_softmax(whole * 2.0)  # a log-probability is a logit but for a constant
    np.testing.assert_allclose(cold, by_hand, atol=2e-5)


def test_what_stands_behind_a_sample_counts_for_nothing() -> None:
    params, _, rows = _drawn()
    rows = {**rows, "lengths": np.array([2, 5, 1, 3], np.int32)}
    whole, own = _scored(params, rows, 1.0)
    batch = {**rows, "advantages": np.array([1.0, -1.0, 0.5, 2.0], np.float32), "old_log_p": own - 0.1}
    batch["reference_log_p"] = whole + 0.05 * jnp.sin(jnp.arange(13.0))[None, None]
    config = PolicyConfig(kl_weight=0.2, entropy_weight=0.1)
    of = jax.jit(jax.value_and_grad(policy_loss(NETWORK, config), has_aux=True))
    (loss, metrics), gradient = of(params, batch)
    assert float(metrics["loss"].count) == 11
    behind_BN = np.arange(N)[None] >= rows["lengths"][:, None]
    spoilt: Any = {name: np.array(x) for name, x in batch.items()}
    spoilt["old_log_p"][behind_BN] = -np.inf
    spoilt["reference_log_p"][behind_BN] = 7.0
    for row in range(4):
        spoilt["tokens"][row, rows["prompts"][row] + rows["lengths"][row] :] = 6
    (other, told), spoilt_gradient = of(params, spoilt)
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    assert {name: float(one.compute()) for name, one in told.items()} == pytest.approx(
        {name: float(one.compute()) for name, one in metrics.items()}, rel=1e-4
    )
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(spoilt_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_at_the_start_ratios_are_1_and_the_kl_is_0() -> None:
    params, _, rows = _drawn()
    whole, own = _scored(params, rows, 0.7)
    batch = {**rows, "advantages": np.ones(4, np.float32), "old_log_p": own, "reference_log_p": whole}
    _, metrics = jax.jit(policy_loss(NETWORK, PolicyConfig(temperature=0.7)))(params, batch)
    assert float(metrics["ratio_mean"].compute()) == pytest.approx(1.0, abs=1e-5)
    assert float(metrics["kl"].compute()) == pytest.approx(0.0, abs=1e-6)
    assert float(metrics["clip_share"].compute()) == 0.0
    assert 0.1 < float(metrics["entropy"].compute()) < np.log(13)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"samples": 1}, "samples is 1"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"temperature": 0}, "temperature is 0"),
        ({"kl_weight": -1.0}, "kl_weight is -1.0"),
        ({"entropy_weight": float("nan")}, "entropy_weight is nan"),
        ({"kl": "k2"}, "'k2'"),
        ({"prompts": 3, "samples": 5, "minibatches": 4}, "minibatches=4 does not divide"),
    ],
)
def test_settings_that_cannot_be(setting: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        PolicyConfig(**setting)
