"""The sampler: slots, refills and the cache change nothing in what is drawn, and a group gives the same bits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from models.lm import DecoderLM, LMConfig
from models.lm import slots as device
from models.lm.decoding import Sampling, draw, extend, generate, restricted
from models.lm.sampler import SampledGroup, Slots, sample
from shammie.errors import UserError

CONFIG = LMConfig(vocab_size=13, width=16, layers=2, heads=2, head_width=8, mlp_width=32, max_distance=5)
NETWORK = DecoderLM(CONFIG)
PARAMS: Any = NETWORK.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
PROMPTS = [np.concatenate([[0], np.arange(size) * 5 % 11 + 2]).astype(np.int32) for size in (3, 0, 6, 1, 9, 4, 2)]
SMALL = Slots(slots=4, refill=1, prompts=2, lengths=(4, 12))
GREEDY, PAPER = Sampling(0.0), Sampling(0.7, top_k=8)


def _run(
    prompts: list[np.ndarray], *, slots: Slots = SMALL, sampling: Sampling = PAPER, **settings: Any
) -> SampledGroup:
    seeds = [2**40 * place + 7 for place in range(len(prompts))]
    return sample(NETWORK, PARAMS, prompts, seeds, **{"new_tokens": 12, **settings}, slots=slots, sampling=sampling)


def _memoryless(end_logit: float) -> Any:
    """Parameters with which each token but the end id has the logit 0, whatever went before."""
    quiet = jax.tree.map(jnp.zeros_like, PARAMS)
    kernel = jnp.zeros((16, 13)).at[:, 1].set(end_logit / 16)
    ones = {"embedding": jnp.ones((13, 16)), "final_norm": {"scale": jnp.ones(16)}}
    return {**quiet, **ones, "logits": {"kernel": kernel}}


@jax.jit
def _forward(tokens_BL: jax.Array) -> jax.Array:
    return jnp.asarray(NETWORK.apply({"params": PARAMS}, tokens_BL))


@jax.jit
def _extended(cache: Any, tokens_BL: jax.Array) -> tuple[jax.Array, Any]:
    return extend(NETWORK, PARAMS, cache, tokens_BL)


def _uncached(ids: np.ndarray) -> np.ndarray:
    """Logits after each id by a forward pass without a cache, float [L, V]; what pads the ids stands behind them."""
    return np.asarray(_forward(jnp.asarray(np.pad(ids, (0, 32 - len(ids)))[None])))[0, : len(ids)]


def _log_probabilities(prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Of each token, by a forward pass without a cache."""
    logits = _uncached(np.concatenate([prompt, tokens])).astype(float)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return log_p[np.arange(len(prompt) - 1, len(prompt) - 1 + len(tokens)), tokens]


def test_log_probabilities_are_those_of_the_uncached_forward_after_refills_too() -> None:
    many = PROMPTS * 3
    group = _run(many)
    assert group.decode_steps > 2 * 12  # several generations in each slot: the ring of 24 columns went around
    assert len({len(tokens) for tokens in group.tokens}) > 3
    for prompt, tokens, log_p in zip(many, group.tokens, group.log_probabilities, strict=True):
        np.testing.assert_allclose(log_p, _log_probabilities(prompt, tokens), atol=1e-5)


def test_cached_logits_are_the_uncached_ones_at_every_position_after_refills_too() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 13, 20).astype(np.int32) for _ in range(3)]
    state = device.empty(NETWORK, PARAMS, slots=2, columns=16)

    def put(slot: int, text: np.ndarray, size: int) -> None:
        nonlocal state
        padded = np.zeros((2, 8), np.int32)
        padded[0, 8 - size :] = text[:size]
        prompts = device.read_prompts(NETWORK, PARAMS, padded, np.array([size, 1], np.int32), columns=9)
        taken = device.Taken(
            np.int32(1), np.full(2, slot, np.int32), np.zeros(2, np.int32), np.zeros((2, 2), np.uint32)
        )
        state, *_ = device.advance(NETWORK, PARAMS, state, taken, prompts, 2, new_tokens=4, sampling=GREEDY, end_id=-1)

    def check(steps: int, at: dict[int, tuple[np.ndarray, int]]) -> None:
        nonlocal state
        for step in range(steps):
            fed = np.array([at[slot][0][at[slot][1] - 1 + step] for slot in (0, 1)])
            logits, cache = _extended(state.cache, jnp.asarray(fed[:, None]))
            state = state._replace(cache=cache)
            for slot, (text, size) in at.items():
                np.testing.assert_allclose(logits[slot, 0], _uncached(text[: size + step])[-1], atol=1e-5)

    put(0, texts[0], 5)
    put(1, texts[1], 8)
    check(6, {0: (texts[0], 5), 1: (texts[1], 8)})
    put(0, texts[2], 3)  # while the other goes on
    check(3, {0: (texts[2], 3), 1: (texts[1], 14)})
    put(1, texts[0], 1)
    check(9, {0: (texts[2], 6), 1: (texts[0], 1)})  # both go around the ring


def test_greedy_tokens_are_those_of_generate_whatever_the_slots() -> None:
    padded = np.zeros((len(PROMPTS), 10), np.int32)
    for row, ids in zip(padded, PROMPTS, strict=True):
        row[: len(ids)] = ids
    lengths = jnp.array([len(ids) for ids in PROMPTS])
    out = generate(NETWORK, PARAMS, jnp.asarray(padded), lengths, jax.random.key(0), new_tokens=12, sampling=GREEDY)
    expected = [np.asarray(row)[:size].tolist() for row, size in zip(out.tokens, out.lengths, strict=True)]
    assert any(tokens != expected[0] for tokens in expected)
    for slots in (SMALL, Slots(slots=3, refill=3, prompts=8), Slots(slots=16, prompts=1)):
        group = _run(PROMPTS, slots=slots, sampling=GREEDY)
        assert [tokens.tolist() for tokens in group.tokens] == expected
        assert group.finished == [tokens[-1] == 1 for tokens in expected]


def test_a_draw_depends_on_its_seed_and_prompt_alone() -> None:
    group = _run(PROMPTS * 2)
    again = _run(PROMPTS * 2)
    for one, same in zip(group.tokens + group.log_probabilities, again.tokens + again.log_probabilities, strict=True):
        assert one.tobytes() == same.tobytes()
    assert group.tokens[0].tolist() != group.tokens[len(PROMPTS)].tolist()  # another seed
    seeds = [2**40 * place + 7 for place in range(2 * len(PROMPTS))]
    turned = sample(NETWORK, PARAMS, (PROMPTS * 2)[::-1], seeds[::-1], new_tokens=12, sampling=PAPER, slots=SMALL)
    assert [tokens.tolist() for tokens in turned.tokens[::-1]] == [tokens.tolist() for tokens in group.tokens]
    # both words of a seed count
    low, high = (
        sample(
            NETWORK, PARAMS, PROMPTS[:1] * 8, range(base, base + 8), new_tokens=12, sampling=PAPER, slots=SMALL
        ).tokens
        for base in (0, 2**62)
    )
    assert [one.tolist() for one in low] != [one.tolist() for one in high]


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(0.7, top_k=5), Sampling(1.3, top_p=0.8)])
def test_first_tokens_follow_the_models_distribution(sampling: Sampling) -> None:
    prompt = PROMPTS[2]
    count = 3000
    group = sample(NETWORK, PARAMS, [prompt] * count, list(range(count)), new_tokens=1, sampling=sampling,
                   slots=Slots(slots=256, refill=256))  # fmt: skip
    logits = jnp.asarray(_uncached(prompt)[-1:])
    shares = np.asarray(jax.nn.softmax(restricted(logits, sampling)))[0].astype(float)
    drawn = np.bincount([int(tokens[0]) for tokens in group.tokens], minlength=13)
    assert all(len(tokens) == 1 for tokens in group.tokens)
    assert drawn[shares == 0].sum() == 0
    likely = shares > 0.003
    rest = 1 - shares[likely].sum()
    expected, seen = shares[likely] * count, drawn[likely]
    if rest > 1e-3:
        expected, seen = np.append(expected, rest * count), np.append(seen, count - seen.sum())
    assert len(seen) >= 4
    assert stats.chisquare(seen, expected * (seen.sum() / expected.sum())).pvalue > 1e-3


def test_a_samples_draws_do_not_depend_on_each_other() -> None:
    layout = Slots(slots=256, refill=256)
    group = sample(NETWORK, _memoryless(0.0), [PROMPTS[0]] * 2560, range(2560), new_tokens=3, sampling=Sampling(1.0),
                   slots=layout, end_id=-1)  # fmt: skip
    rows = np.stack(group.tokens)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        pairs = np.histogram2d(rows[:, first], rows[:, second], bins=13, range=[[0, 13], [0, 13]])[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3  # all pairs alike


@pytest.mark.parametrize("vocab_size", [5, 300])
def test_restricted_keeps_what_a_sort_would_keep_and_draws_stay_inside(vocab_size: int) -> None:
    logits = 3 * jax.random.normal(jax.random.key(vocab_size), (50, vocab_size))
    falling = np.sort(np.asarray(logits), axis=-1)[:, ::-1]
    keys = jax.random.split(jax.random.key(5), 50)
    kept_of = lambda sampling: np.asarray(jax.jit(restricted, static_argnums=1)(logits, sampling)) > -1e20  # noqa: E731
    drawn = lambda sampling: jax.jit(draw, static_argnums=2)(keys, logits, sampling)  # noqa: E731
    for top_k in (1, 4, vocab_size - 1):
        kept = kept_of(Sampling(1.0, top_k=top_k))
        np.testing.assert_array_equal(kept, logits >= falling[:, top_k - 1 : top_k])
        assert kept[np.arange(50), drawn(Sampling(1.0, top_k=top_k))].all()
    for top_p in (0.1, 0.9):
        shares = np.exp(falling - falling.max()).astype(float)
        shares /= shares.sum(axis=-1, keepdims=True)
        size = (np.cumsum(shares, axis=-1) - shares < top_p).sum(axis=-1)
        kept = kept_of(Sampling(1.0, top_p=top_p))
        np.testing.assert_array_equal(kept.sum(axis=-1), size)
        assert kept[np.arange(50), drawn(Sampling(1.0, top_p=top_p))].all()


def test_equal_logits_at_the_edge_all_stay() -> None:
    logits = jnp.array([[2.0, 1.0, 1.0, 1.0, 0.0], [3.0, 3.0, 3.0, 3.0, 3.0]])
    kept = np.asarray(restricted(logits, Sampling(1.0, top_k=2))) > -1e20
    assert kept.tolist() == [[True, True, True, True, False], [True] * 5]


def test_slots_are_in_use_on_a_group_of_unequal_lengths() -> None:
    # the end id alone is drawn with a chance of about 1/24: lengths fall off as in a trained model's samples
    params = _memoryless(float(np.log(12 / 23)))
    prompts = [PROMPTS[place // 32 % len(PROMPTS)] for place in range(512)]
    done: list[int] = []
    group = sample(
        NETWORK, params, prompts, list(range(512)), new_tokens=64, sampling=Sampling(1.0), on_done=done.append
    )
    sizes = [len(tokens) for tokens in group.tokens]
    assert 15 < np.mean(sizes) < 30
    assert min(sizes) == 1
    assert max(sizes) == 64
    assert group.slot_steps_used == sum(sizes)
    assert group.slot_steps == 64 * group.decode_steps
    assert group.slot_use >= 0.8
    assert sum(done) == 512
    assert len(done) > 10
    assert group.prefill_tokens == sum(len(ids) - 1 for ids in PROMPTS)  # each distinct prompt once
    static = sum(max(sizes[start : start + 64]) for start in range(0, 512, 64))
    assert group.decode_steps < static  # whole batches would wait for their longest


def test_ends_and_limits() -> None:
    none = _run([])
    assert (none.tokens, none.finished, none.decode_steps, none.slot_use) == ([], [], 0, 1.0)
    endless = _run(PROMPTS, end_id=-1, new_tokens=5)
    assert [len(tokens) for tokens in endless.tokens] == [5] * len(PROMPTS)
    assert endless.finished == [False] * len(PROMPTS)
    ending = _run(PROMPTS * 4, new_tokens=12)
    for tokens, finished in zip(ending.tokens, ending.finished, strict=True):
        assert finished == (tokens[-1] == 1)
        assert 1 not in tokens[:-1]
        assert finished or len(tokens) == 12
    assert 0 < sum(ending.finished) < len(ending.finished)


def test_a_prompt_may_be_as_long_as_the_longest_length_and_no_longer() -> None:
    longest = np.full(12, 3, np.int32)
    group = _run([longest, PROMPTS[0]])
    np.testing.assert_allclose(group.log_probabilities[0], _log_probabilities(longest, group.tokens[0]), atol=1e-5)
    with pytest.raises(UserError, match="prompt 1 of 2 has 13 tokens, the sampler takes 12"):
        _run([longest, np.full(13, 3, np.int32)])


@pytest.mark.parametrize(
    ("prompts", "seeds", "message"),
    [
        ([[0], []], [1, 2], "prompt 1 of 2 is empty"),
        ([[0, 13]], [1], "prompt 0 of 1 has the id 13, the model knows 13 ids"),
        ([[0, -1]], [1], "has the id -1"),
        ([[0]], [2**63], "seed 0 of 1 is 9223372036854775808"),
        ([[0]], [1, 2], "1 prompts have 2 seeds"),
    ],
)
def test_bad_input_is_named(prompts: list[list[int]], seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(NETWORK, PARAMS, [np.array(ids, np.int32) for ids in prompts], seeds, new_tokens=2, sampling=PAPER)


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"refill": 0}, {"prompts": 0}, {"lengths": (8, 4)}, {"lengths": (1,)}])
def test_impossible_layouts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Slots(**wrong)
