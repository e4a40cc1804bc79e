"""What a decoder costs: multiplications and additions of its matrix products, each counted as one.

Embedding look-ups cost none; softmax over the vocabulary and attention are counted; norms, activations and the
optimizer are not (a few per cent; `tests/models/lm/test_flops.py` compares with the compiler's own count).
"""

from models.lm.config import LMConfig


def forward_flops_per_token(config: LMConfig, length: int) -> float:
    """FLOPs of predicting one token.

    Args:
        config: the model's sizes.
        length: tokens of the sequences; masked keys are computed too, and count.
    """
    matrices = config.block_parameters() + config.vocab_size * config.width
    heads = config.layers * config.heads * config.head_width
    keys, values, distances = length, length, config.max_distance
    return 2.0 * (matrices + heads * (keys + values + distances))


def training_flops_per_token(config: LMConfig, length: int) -> float:
    """FLOPs of one token in training: forward, and twice that for the two gradients of each product."""
    return 3.0 * forward_flops_per_token(config, length)


def steps_for(config: LMConfig, *, training_flops: float, batch_size: int, length: int) -> int:
    """The optimizer steps that a budget pays for, at least 1."""
    return max(1, round(training_flops / (training_flops_per_token(config, length) * batch_size * length)))
