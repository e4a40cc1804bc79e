"""What learners are judged by: contexts of seen and unseen tasks, of other projections, labels and data sets.

All evaluations of a learner are one program: a row says which it is of. E = evaluations, R = contexts of each,
N = examples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.in_context.base_data import Bank
from models.in_context.contexts import check_bank, contexts_of
from models.in_context.objective import position_scores
from models.in_context.tasks import Mixture, TaskDistribution, met_rows, seen_rows, unseen_rows
from shammie.configs import LATER
from shammie.errors import UserError

SCORED_AT_ONCE = 64  # contexts


@dataclass(frozen=True)
class Evaluation:
    """Contexts that a learner is judged by.

    Attributes:
        name: one word.
        distribution: what they are of.
        seen: whether their tasks are spread over all of the distribution's, which it may have been trained on.
        split: of the data set, "train" or "test".
        met: whether their tasks are those that its training has met by then, with the examples of an evaluation on
            unseen tasks. Neither seen nor met: unseen tasks.
    """

    name: str
    distribution: TaskDistribution = field(default_factory=TaskDistribution)
    seen: bool = False
    split: str = "test"
    met: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if self.seen and self.met:
            raise UserError(f"evaluation {self.name} is of seen tasks and of met ones", "set one of the two")

    def rows(self, count: int, met_M: Sequence[int] | np.ndarray = ()) -> np.ndarray:
        """Its contexts, the same ones for every learner of the same training rows; int32 [count, 3].

        Args:
            count: how many.
            met_M: the tasks that the learner's training has met (`tasks.met_ids`); read where `met`.

        Raises:
            UserError: met tasks are asked for, and none has been met.
        """
        if self.met:
            return met_rows(np.asarray(met_M, np.int32), count)
        return seen_rows(self.distribution, count) if self.seen else unseen_rows(count)


def evaluation_from_json(values: Mapping[str, Any]) -> Evaluation:
    """The evaluation whose plain JSON this is."""
    return Evaluation(**{**values, "distribution": TaskDistribution(**values["distribution"])})


def judged_rows(evaluations: Sequence[Evaluation], count: int, met_M: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """The rows of some evaluations, each with so many contexts; int32 [E, R, 3]. See `Evaluation.rows`."""
    rows_ER3 = np.stack([one.rows(count, met_M) for one in evaluations])
    rows_ER3[:, :, 0] = np.arange(len(evaluations))[:, None]
    return rows_ER3


def judge(
    network: Any, evaluations: Sequence[Evaluation]
) -> Callable[[Any, Bank, jax.Array], tuple[jax.Array, jax.Array]]:
    """The function from parameters, data sets and `judged_rows` to accuracy and mean nats, float32 [E, N] each.

    The data sets are those of the evaluations, in their order, each of its split: a bank that `check_judges` has seen.
    Rotations are made for the evaluations alone that ask for them.

    Args:
        network: of `learner.network_of`.
        evaluations: what the rows are of.
    """
    sizes: Any = {"examples": network.config.examples, "classes": network.config.classes}
    mixture = Mixture([one.distribution for one in evaluations])
    kinds = sorted({one.distribution.projection for one in evaluations})
    kind_E = np.array([kinds.index(one.distribution.projection) for one in evaluations])

    def scores(params: Any, bank: Bank, rows_ER3: jax.Array) -> tuple[jax.Array, jax.Array]:
        count = rows_ER3.shape[1]
        size = min(SCORED_AT_ONCE, count)
        if count % size:
            raise UserError(f"{count} contexts of each evaluation", f"give a multiple of {SCORED_AT_ONCE}")

        def one(rows_B3: jax.Array) -> tuple[jax.Array, jax.Array]:
            make = [lambda rows, of=kind: contexts_of(mixture, bank, rows, projection=of, **sizes) for kind in kinds]
            contexts = jax.lax.switch(jnp.asarray(kind_E)[rows_B3[0, 0]], make, rows_B3)  # all are of one evaluation
            return position_scores(network, params, contexts)

        found = jax.lax.map(one, rows_ER3.reshape(-1, size, 3))
        by_evaluation = lambda x: x.reshape(len(evaluations), -1, x.shape[-1]).mean(axis=1)  # noqa: E731
        return by_evaluation(found[0]), by_evaluation(found[1])

    return scores


def check_judges(evaluations: Sequence[Evaluation], bank: Bank, *, examples: int, classes: int) -> None:
    """Raises UserError where an evaluation's data set does not fit a learner's contexts."""
    check_bank(Mixture([one.distribution for one in evaluations]), bank, examples=examples, classes=classes)
