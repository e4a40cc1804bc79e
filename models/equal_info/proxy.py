"""How learnable is a code? A bigram count model over its tokens answers in seconds.

The model interpolates bigram and unigram counts (Witten-Bell); its bits per byte on held-out text order codes much
as a small trained language model does. V = vocabulary size.
"""

from collections.abc import Sequence

import numpy as np


def bigram_bits_per_byte(
    train: Sequence[np.ndarray], test: Sequence[np.ndarray], *, vocab_size: int, test_bytes: int
) -> float:
    """Held-out code length of tokens, and of each document's end, in bits per byte of text.

    Args:
        train: the token rows of training documents, ints below V.
        test: the token rows of held-out documents.
        vocab_size: V.
        test_bytes: the size of the held-out text.
    """
    symbols = vocab_size + 1  # one more: the border of documents
    # a table of V x V pairs would not fit: pairs are counted by sorting, and looked up by binary search
    before, after = _pairs(train, vocab_size)
    unigram = np.bincount(after, minlength=symbols)
    unigram_share = (unigram + 0.5) / (unigram.sum() + 0.5 * symbols)
    keys, counts = np.unique(before * symbols + after, return_counts=True)
    seen_before = keys // symbols
    total = np.bincount(seen_before, weights=counts, minlength=symbols)
    kinds = np.bincount(seen_before, minlength=symbols)
    test_before, test_after = _pairs(test, vocab_size)
    wanted = test_before * symbols + test_after
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    count = np.where(keys[place] == wanted, counts[place], 0)
    evidence = np.maximum(total[test_before] + kinds[test_before], 1)
    backed_off = np.where(total[test_before] > 0, kinds[test_before] / evidence, 1.0)
    probability = count / evidence + backed_off * unigram_share[test_after]
    return float(-np.log2(probability).sum() / test_bytes)


def _pairs(rows: Sequence[np.ndarray], border: int) -> tuple[np.ndarray, np.ndarray]:
    """Each token with the one before it, documents set between borders; int64 [tokens + documents] each."""
    joined = np.concatenate([np.concatenate([row.astype(np.int64), [border]]) for row in rows])
    return np.concatenate([[border], joined[:-1]]), joined
