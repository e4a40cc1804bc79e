"""How far a change of the text reaches into its tokens: a small edit, another word before, another context.

`edit_stability` is ours; `prefix_stability`, `sequences_of_word` and `repeated_share` ask what arXiv:2404.03626 asks in
section 6.1 (with Table 7) and appendix D.8.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Encode = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Stability:
    """Means over random one-byte insertions.

    Attributes:
        changed_tokens: tokens of the edited text that are not shared with the original's start or end.
        changed_bytes: the text that those tokens stand for.
        resynchronised: share of edits after which the rest of the text has the same tokens again.
    """

    changed_tokens: float
    changed_bytes: float
    resynchronised: float


def edit_stability(
    encode: Encode,
    decoded_size: Callable[[np.ndarray], int],
    texts: Sequence[bytes],
    *,
    edits: int = 300,
    seed: int = 0,
) -> Stability:
    """Inserts one letter at random places of texts and compares the tokens before and after.

    Args:
        encode: one document's tokens.
        decoded_size: how many bytes tokens stand for.
        texts: documents, each cut to its first 2,000 bytes; where all are short, they are joined.
        edits: how many to try.
        seed: of the places and letters.
    """
    generator = np.random.default_rng(seed)
    long_enough = [text[:2000] for text in texts if len(text) >= 200] or [b"\n".join(texts)[:2000]]
    if len(long_enough[0]) < 200:
        raise ValueError(f"edit stability needs a text of at least 200 bytes, got {len(long_enough[0])}")
    tokens, sizes, rejoined = [], [], []
    for _ in range(edits):
        text = long_enough[generator.integers(len(long_enough))]
        at = int(generator.integers(len(text) // 4, len(text) // 2))
        letter = bytes([generator.integers(ord("a"), ord("z") + 1)])
        before, after = encode(text), encode(text[:at] + letter + text[at:])
        start = _common(before, after)
        end = min(_common(before[::-1], after[::-1]), len(after) - start, len(before) - start)
        changed = after[start : len(after) - end]
        tokens.append(len(changed))
        sizes.append(decoded_size(changed))
        rejoined.append(end > 0)
    return Stability(float(np.mean(tokens)), float(np.mean(sizes)), float(np.mean(rejoined)))


def _common(one: np.ndarray, other: np.ndarray) -> int:
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size


@dataclass(frozen=True)
class PrefixStability:
    """One sentence behind many words.

    Attributes:
        distance: mean edit distance of two of the token sequences, in tokens.
        share: the same over the longer one's tokens: 0 where words change nothing, 1 where nothing agrees.
        sequences: distinct token sequences.
        prefixes: words that were tried.
    """

    distance: float
    share: float
    sequences: int
    prefixes: int


def prefix_stability(
    encode: Encode, sentence: bytes, prefixes: Sequence[bytes], *, pairs: int = 2000, seed: int = 0
) -> PrefixStability:
    """Tokens of one sentence behind many words, each compared with others (arXiv:2404.03626 section 6.1).

    The tokens of the word itself count too, as in the paper: a few where the code stays in step.

    Args:
        encode: one text's tokens.
        sentence: what follows every prefix.
        prefixes: at least two.
        pairs: how many pairs to compare, drawn at random with both members different; all where there are no more.
        seed: of the draw.

    Raises:
        ValueError: there are no two prefixes.
    """
    if len(prefixes) < 2:
        raise ValueError(f"prefix stability compares at least 2 prefixes, got {len(prefixes)}")
    rows = [np.asarray(encode(prefix + sentence), np.int64) for prefix in prefixes]
    one, other = np.triu_indices(len(rows), 1)
    if len(one) > pairs:
        drawn = np.random.default_rng(seed).choice(len(one), pairs, replace=False)
        one, other = one[drawn], other[drawn]
    distances = edit_distances([rows[i] for i in one], [rows[i] for i in other])
    longest = np.array([max(len(rows[i]), len(rows[j]), 1) for i, j in zip(one, other, strict=True)])
    return PrefixStability(
        distance=float(distances.mean()),
        share=float((distances / longest).mean()),
        sequences=len({row.tobytes() for row in rows}),
        prefixes=len(rows),
    )


def edit_distances(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Levenshtein distances of pairs: insertions, deletions and changes of one token count one each.

    Args:
        ones: int [tokens] each.
        others: as many.

    Returns:
        int64 [pairs].
    """
    pairs = len(ones)
    one_size = np.array([len(row) for row in ones], np.int64)
    other_size = np.array([len(row) for row in others], np.int64)
    most_one, most_other = int(one_size.max(initial=0)), int(other_size.max(initial=0))
    table = np.full((2, pairs, max(most_one, most_other)), -1, np.int64)
    for side, rows in enumerate((ones, others)):
        for number, row in enumerate(rows):
            table[side, number, : len(row)] = row
    # one row of all pairs' tables at a time: the cell left of a place is known once the place before it is done
    row_of_costs = np.broadcast_to(np.arange(most_other + 1), (pairs, most_other + 1)).copy()
    found = np.where(one_size == 0, other_size, 0)
    step = np.arange(most_other + 1)
    for place in range(most_one):
        changed = row_of_costs[:, :-1] + (table[0, :, place, None] != table[1, :, :most_other])
        best = np.minimum(changed, row_of_costs[:, 1:] + 1)
        costs = np.concatenate([np.full((pairs, 1), place + 1), best], axis=1)
        row_of_costs = np.minimum.accumulate(costs - step, axis=1) + step  # a run of insertions from the left
        done = one_size == place + 1
        found[done] = row_of_costs[done, other_size[done]]
    return found


def sequences_of_word(
    encode: Encode,
    ends: Callable[[np.ndarray], np.ndarray],
    word: bytes,
    contexts: Sequence[bytes],
) -> Counter[tuple[int, ...]]:
    """The token sequences that cover a word in different contexts (arXiv:2404.03626 Table 7).

    Args:
        encode: one text's tokens.
        ends: tokens to the byte of the text at which each ends, or its window where a window has several; rising,
            int [tokens].
        word: what is looked for; its first place in each context counts.
        contexts: texts; those without the word are left out.

    Returns:
        How often each sequence covers the word.
    """
    found: Counter[tuple[int, ...]] = Counter()
    for context in contexts:
        start = context.find(word)
        if start < 0:
            continue
        tokens = np.asarray(encode(context))
        ending = ends(tokens)
        first = int(np.searchsorted(ending, start, side="right"))
        last = min(int(np.searchsorted(ending, start + len(word), side="left")), len(ending) - 1)
        behind = int(np.searchsorted(ending, ending[last], side="right"))  # the tokens of a window end together
        found[tuple(tokens[first:behind].tolist())] += 1
    return found


def repeated_share(rows: Sequence[np.ndarray]) -> float:
    """Of the tokens that occur at all, the share that occurs more than once (arXiv:2404.03626 appendix D.8).

    Args:
        rows: the tokens of documents, int [tokens] each, at least one token in all.
    """
    _, counts = np.unique(np.concatenate([np.asarray(row) for row in rows]), return_counts=True)
    if not len(counts):
        raise ValueError("no token occurs: give texts that are not empty")
    return float((counts > 1).mean())
