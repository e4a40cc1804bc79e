"""How uniform a method's tokens are: what they cost if nothing but their frequencies is known (Tables 2 and 3).

A compressor that leaves nothing to find gives uniform tokens; then neither frequencies nor a language model save a bit.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Uniformity:
    """Bits per byte of text, and what was seen of the tokens.

    Attributes:
        uniform_bits_per_byte: were all tokens of the vocabulary equally frequent.
        unigram_bits_per_byte: held-out tokens by the frequencies of training tokens, a half added to each count.
        entropy_bits_per_byte: of the held-out tokens' own frequencies, the paper's number; too low where tokens are few
            for the vocabulary.
        used: tokens of the vocabulary that occur in the held-out text.
    """

    uniform_bits_per_byte: float
    unigram_bits_per_byte: float
    entropy_bits_per_byte: float
    used: int


def uniformity(train_counts: np.ndarray, test_counts: np.ndarray, test_bytes: int) -> Uniformity:
    """The bits per byte of tokens that know nothing of each other (arXiv:2404.03626 Tables 2 and 3).

    Args:
        train_counts: how often each token of the vocabulary occurs in training text, int [V].
        test_counts: likewise in held-out text.
        test_bytes: bytes of the held-out text.

    Raises:
        ValueError: there is no held-out text, or the vocabularies differ.
    """
    if train_counts.shape != test_counts.shape:
        raise ValueError(f"counts of {len(train_counts)} and of {len(test_counts)} tokens are not of one vocabulary")
    tokens = int(test_counts.sum())
    if tokens < 1 or test_bytes < 1:
        raise ValueError("uniformity needs held-out text, got none")
    share = (train_counts + 0.5) / (train_counts.sum() + 0.5 * len(train_counts))
    own = test_counts[test_counts > 0] / tokens
    tokens_per_byte = tokens / test_bytes
    return Uniformity(
        uniform_bits_per_byte=math.log2(len(test_counts)) * tokens_per_byte,
        unigram_bits_per_byte=float(-(test_counts * np.log2(share)).sum()) / test_bytes,
        entropy_bits_per_byte=float(-(own * np.log2(own)).sum()) * tokens_per_byte,
        used=int(np.count_nonzero(test_counts)),
    )
