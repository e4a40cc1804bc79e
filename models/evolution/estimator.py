"""What an estimator of gradients is: two pure functions and what they cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from models.evolution.unrolled import Key, Params

WorkersState = Any
Gradient = Any


class Info(NamedTuple):
    """What an estimate found and cost.

    Attributes:
        loss: mean over the steps that count and over both trajectories of each pair, float [].
        environment_steps: steps of trajectories that were made, int32 [].
        sequential_steps: steps that had to be made one after the other, int32 [].
        counted: steps of workers that the gradient averages over, int32 []; steps before a worker's first noise, and
            left-out ones, are not among them.
        finite: workers whose losses were all finite, int32 [].
    """

    loss: jax.Array
    environment_steps: jax.Array
    sequential_steps: jax.Array
    counted: jax.Array
    finite: jax.Array


@dataclass(frozen=True)
class Estimator:
    """An estimator of the gradient of an unrolled problem's objective. All functions can be jitted and scanned.

    Attributes:
        name: for reports, such as "nres".
        init: (theta, key) -> the workers, burn-in done. Their arrays can lie on many devices (`shard_workers`).
        gradient: (theta, workers, key) -> the gradient (theta's structure), the workers moved on, and an `Info`.
        burn_in_environment_steps: steps of trajectories that `init` makes.
        burn_in_sequential_steps: those of them that follow each other.
    """

    name: str
    init: Callable[[Params, Key], WorkersState]
    gradient: Callable[[Params, WorkersState, Key], tuple[Gradient, WorkersState, Info]]
    burn_in_environment_steps: int = 0
    burn_in_sequential_steps: int = 0
