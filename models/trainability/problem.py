"""What all pixels of a picture share: a condition, its network's start and its data."""

import functools
from dataclasses import dataclass

from models.trainability.conditions import Condition, check_sizes, condition_of
from models.trainability.notebook import Draws, draw


@dataclass(frozen=True, eq=False)
class Problem:
    """A training without its two hyperparameters.

    The network has one hidden layer and no biases: with inputs X [N, n], weights W [n, n] and readout v [n], its output
    is phi(X W / sqrt(n)) v / n, where phi(z) is tanh(sqrt(2) z), sqrt(2) relu(z) or z. The loss is the mean of squared
    errors, without 1/2; each weight takes plain gradient descent. Source: arXiv:2402.06184, its notebook.

    Args:
        condition: what is learnt from what.
        width: n.
        steps: of gradient descent.
        draws: the start and the data.
    """

    condition: Condition
    width: int
    steps: int
    draws: Draws


@functools.lru_cache(maxsize=32)
def problem_of(
    condition: str, *, width: int = 16, steps: int = 500, seed: int = 0, partitionable: bool = True
) -> Problem:
    """A condition's problem with the notebook's random numbers; the same arguments give the same object.

    Args:
        condition: a name of `models.trainability.conditions.CONDITIONS`.
        width: n; the paper has 16.
        steps: of gradient descent; the paper has 500 or 1,000.
        seed: of all draws; the notebook has 0.
        partitionable: False for the random numbers of JAX at the notebook's time, True for those of its default now.

    Raises:
        UserError: an unknown condition; a width or number of steps that is no whole number of at least 1.
    """
    found = condition_of(condition)
    check_sizes(width, steps, seed)
    draws = draw(
        width,
        found.data_count(width),
        steps=steps,
        batch_size=found.batch_size,
        seed=seed,
        partitionable=partitionable,
    )
    for array in draws:
        array.flags.writeable = False
    return Problem(found, width, steps, draws)
