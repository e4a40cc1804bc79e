"""Sampling of a group of prompts: a fixed number of rows decoded together, refilled from the group as rows end.

All shapes are fixed, so that little is compiled; a prompt that is sampled many times is read once; each draw's key
comes from its sample's seed alone. Which slot takes what, and when, depends on the group alone, so that a group gives
the same bits each time on one machine. B = slots, N = most new tokens.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from models.lm import slots as device
from models.lm.decoding import END_ID, Sampling
from models.lm.network import DecoderLM
from shammie.errors import UserError

COLUMNS = 16  # the cache's length is a multiple of this


@dataclass(frozen=True)
class Slots:
    """How a group is laid out. Another layout may change the last bits of logits, but no draw's key.

    Attributes:
        slots: B, rows that are decoded together.
        refill: rows that end before slots are refilled: fewer waste fewer steps, but stop for it more often.
        prompts: prompts that are read together.
        lengths: what prompts are padded to, rising, from 2; a prompt must not be longer than the last.
    """

    slots: int = 64
    refill: int = 6
    prompts: int = 8
    lengths: tuple[int, ...] = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)

    def __post_init__(self) -> None:
        for name in ("slots", "refill", "prompts"):
            if getattr(self, name) < 1:
                raise ValueError(f"Slots.{name} must be at least 1, got {getattr(self, name)}")
        if not self.lengths or sorted(set(self.lengths)) != list(self.lengths) or self.lengths[0] < 2:
            raise ValueError(f"Slots.lengths must be rising and at least 2, got {self.lengths}")

    def padded(self, length: int) -> int:
        """The length that a prompt is padded to."""
        return next(one for one in self.lengths if one >= length)


@dataclass(frozen=True, eq=False)
class SampledGroup:
    """What was sampled, in the prompts' order, and what work it was.

    Attributes:
        tokens: int32 [n] each, new tokens, the end id included.
        log_probabilities: float32 [n] each, of each token under the model itself (temperature 1, nothing left out).
        finished: whether each ended by its end id rather than by the limit of tokens.
        decode_steps: forward steps of all slots together.
        slot_steps: the same times the number of slots.
        slot_steps_used: of these, those that made a token of a sample.
        prefill_tokens: prompt tokens that were read together, padding left out.
    """

    tokens: list[np.ndarray]
    log_probabilities: list[np.ndarray]
    finished: list[bool]
    decode_steps: int
    slot_steps: int
    slot_steps_used: int
    prefill_tokens: int

    @property
    def slot_use(self) -> float:
        """The share of slot steps that made a token; 1 where there were none."""
        return self.slot_steps_used / self.slot_steps if self.slot_steps else 1.0


@dataclass(frozen=True)
class _Round:
    """Prompts that are read together, and their samples: places in the group, each with its prompt's place here."""

    prompts: list[np.ndarray]
    samples: list[tuple[int, int]]


def _rounds(prompts: Sequence[np.ndarray], slots: Slots) -> list[_Round]:
    """Distinct prompts, those padded alike side by side, otherwise in the order in which they come."""
    samples: dict[tuple[int, ...], list[int]] = {}
    for place, ids in enumerate(prompts):
        samples.setdefault(tuple(int(one) for one in ids), []).append(place)
    distinct = sorted(samples, key=lambda ids: slots.padded(len(ids)))
    rounds = []
    for start in range(0, len(distinct), slots.prompts):
        some = distinct[start : start + slots.prompts]
        places = [(sample, at) for at, ids in enumerate(some) for sample in samples[ids]]
        rounds.append(_Round([np.asarray(ids, np.int32) for ids in some], places))
    return rounds


def sample(
    network: DecoderLM,
    params: Any,
    prompts: Sequence[np.ndarray],
    seeds: Sequence[int],
    *,
    new_tokens: int,
    sampling: Sampling,
    slots: Slots = Slots(),
    end_id: int = END_ID,
    on_done: Callable[[int], None] | None = None,
) -> SampledGroup:
    """Continues each prompt once; equal prompts are read once.

    Args:
        network: the model.
        params: its parameters.
        prompts: int ids each, as the model reads them, so beginning with its start id.
        seeds: of each prompt's draws, 0 to 2^63 - 1; token t is drawn with the key fold_in(seed, t).
        new_tokens: N, the most tokens of a continuation.
        sampling: how tokens are drawn.
        slots: the layout.
        end_id: ends a continuation; -1 for a model that has none.
        on_done: called now and then with the number of continuations that have ended since its last call.

    Returns:
        The continuations, in the prompts' order.

    Raises:
        UserError: a prompt is empty, too long or has an id that the model does not know, or a seed is out of range; it
            names the first such by its place.
        ValueError: `new_tokens` is not positive, or there are not as many seeds as prompts.
    """
    if new_tokens < 1:
        raise ValueError(f"new_tokens must be at least 1, got {new_tokens}")
    _check(prompts, seeds, slots, network.config.vocab_size)
    ledger = _Ledger(len(prompts), slots.slots, new_tokens, end_id)
    if not prompts:
        return ledger.group(0)
    params = jax.tree.map(jax.numpy.asarray, params)  # once, not at each call
    longest = slots.padded(max(map(len, prompts)))
    columns = -(-(longest + new_tokens - 1) // COLUMNS) * COLUMNS
    state = device.empty(network, params, slots=slots.slots, columns=columns)
    rounds, waiting, read = deque(_rounds(prompts, slots)), deque[tuple[int, int]](), None
    prefill_tokens = 0
    while rounds or waiting or ledger.busy:
        if rounds and not waiting:
            one = rounds.popleft()
            waiting.extend(one.samples)
            padded_RP, lengths_R = _padded(one.prompts, slots)
            read = device.read_prompts(network, params, padded_RP, lengths_R, columns=longest - 1)
            prefill_tokens += sum(len(ids) - 1 for ids in one.prompts)
        taken = ledger.take(waiting, seeds)
        if rounds and not waiting and ledger.free:
            enough = slots.slots  # the next prompts first
        else:
            enough = max(0, slots.slots - slots.refill) if rounds or waiting else 0
        assert read is not None
        state, *made = device.advance(
            network, params, state, taken, read, enough, new_tokens=new_tokens, sampling=sampling, end_id=end_id
        )
        ended = ledger.record(*jax.device_get((state.drawn_B, state.alive_B, *made)))
        if on_done is not None and ended:
            on_done(ended)
    return ledger.group(prefill_tokens)


def _check(prompts: Sequence[np.ndarray], seeds: Sequence[int], slots: Slots, vocab_size: int) -> None:
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts have {len(seeds)} seeds")
    for place, (ids, seed) in enumerate(zip(prompts, seeds, strict=True)):
        if not len(ids):
            raise UserError(f"prompt {place} of {len(prompts)} is empty", "begin it with the model's start id")
        if len(ids) > slots.lengths[-1]:
            raise UserError(
                f"prompt {place} of {len(prompts)} has {len(ids)} tokens, the sampler takes {slots.lengths[-1]}",
                "shorten it, or add a length to Slots.lengths",
            )
        if min(ids) < 0 or max(ids) >= vocab_size:
            wrong = next(int(one) for one in ids if not 0 <= one < vocab_size)
            raise UserError(
                f"prompt {place} of {len(prompts)} has the id {wrong}, the model knows {vocab_size} ids",
                "use the tokenizer that the model was trained with",
            )
        if not 0 <= seed < 2**63:
            raise UserError(f"seed {place} of {len(prompts)} is {seed}", "seeds are 0 to 2^63 - 1")


def _padded(prompts: Sequence[np.ndarray], slots: Slots) -> tuple[np.ndarray, np.ndarray]:
    """Prompts padded in front, as many rows as are always read together: int32 [R, P] and their lengths [R]."""
    padded_RP = np.zeros((slots.prompts, slots.padded(max(map(len, prompts)))), np.int32)
    lengths_R = np.ones(slots.prompts, np.int32)
    for row, ids in enumerate(prompts):
        padded_RP[row, -len(ids) :] = ids
        lengths_R[row] = len(ids)
    return padded_RP, lengths_R


class _Ledger:
    """Which slot works on which sample, and what came of the samples."""

    def __init__(self, samples: int, slots: int, new_tokens: int, end_id: int) -> None:
        self._end_id = end_id
        self._sample_B = np.full(slots, -1)
        self._drawn_B = np.zeros(slots, np.int32)
        self._tokens_BN = np.zeros((slots, new_tokens), np.int32)
        self._log_p_BN = np.zeros((slots, new_tokens), np.float32)
        self._ended: list[tuple[np.ndarray, np.ndarray] | None] = [None] * samples
        self._steps = self._used = 0

    @property
    def busy(self) -> bool:
        """Whether any slot is at work."""
        return bool((self._sample_B >= 0).any())

    @property
    def free(self) -> bool:
        """Whether any slot is not."""
        return bool((self._sample_B < 0).any())

    def take(self, waiting: deque[tuple[int, int]], seeds: Sequence[int]) -> device.Taken:
        """Gives the free slots what has waited longest."""
        slots = len(self._sample_B)
        slot_B, prompt_B, seed_B2 = (
            np.zeros(slots, np.int32),
            np.zeros(slots, np.int32),
            np.zeros((slots, 2), np.uint32),
        )
        free = np.flatnonzero(self._sample_B < 0)[: len(waiting)]
        for at, slot in enumerate(free):
            place, prompt = waiting.popleft()
            slot_B[at], prompt_B[at], seed_B2[at] = slot, prompt, divmod(int(seeds[place]), 2**32)
            self._sample_B[slot], self._drawn_B[slot] = place, 0
        return device.Taken(np.int32(len(free)), slot_B, prompt_B, seed_B2)

    def record(
        self, drawn_B: np.ndarray, alive_B: np.ndarray, steps: np.ndarray, tokens_NB: np.ndarray, log_p_NB: np.ndarray
    ) -> int:
        """Keeps what was drawn, frees the slots whose samples ended, and returns how many did."""
        busy_B = self._sample_B >= 0
        new_B = np.where(busy_B, drawn_B - self._drawn_B, 0)
        slot, step = np.nonzero(np.arange(len(tokens_NB))[None] < new_B[:, None])
        self._tokens_BN[slot, self._drawn_B[slot] + step] = tokens_NB[step, slot]
        self._log_p_BN[slot, self._drawn_B[slot] + step] = log_p_NB[step, slot]
        self._drawn_B = np.where(busy_B, drawn_B, self._drawn_B)
        self._steps += int(steps)
        self._used += int(new_B.sum())
        ended = np.flatnonzero(busy_B & ~alive_B)
        for one in ended:
            size = self._drawn_B[one]
            self._ended[self._sample_B[one]] = self._tokens_BN[one, :size].copy(), self._log_p_BN[one, :size].copy()
        self._sample_B[ended] = -1
        return len(ended)

    def group(self, prefill_tokens: int) -> SampledGroup:
        """All samples, once they have ended."""
        ended = [one for one in self._ended if one is not None]
        assert len(ended) == len(self._ended)
        return SampledGroup(
            tokens=[tokens for tokens, _ in ended],
            log_probabilities=[log_p for _, log_p in ended],
            finished=[bool(tokens[-1] == self._end_id) for tokens, _ in ended],
            decode_steps=self._steps,
            slot_steps=self._steps * len(self._sample_B),
            slot_steps_used=self._used,
            prefill_tokens=prefill_tokens,
        )
