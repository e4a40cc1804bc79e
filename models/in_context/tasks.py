"""Tasks made on the fly: a random projection of a data set's examples, and a permutation of its labels.

A task is a number; nothing of it is stored (arXiv:2212.04458 §3: A ~ N(0, 1 / F), rho a random permutation). B = rows,
F = features, C = classes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.extend.random import threefry_2x32

from shammie.errors import UserError, unknown

HASH = "threefry2x32"  # tasks are the same whatever generator JAX is set to
UNSEEN = 2**30  # ids from here on are never trained on
MOST_TASKS = 2**24
FIXED = 2**31 - 1  # the id of a distribution's one fixed permutation
PROJECTIONS = ("gaussian", "orthogonal", "none")
SCALES = ("variance", "std")


@dataclass(frozen=True)
class TaskDistribution:
    """Tasks over one data set.

    Attributes:
        data: the name of the data set.
        tasks: T, how many there are, ids 0 to T - 1; 0 for no end.
        seed: of the tasks: the same id of the same seed is the same task.
        projection: "gaussian", "orthogonal" (a rotation) or "none".
        scale: what 1 / F is of a Gaussian projection's entries: their "variance", as the paper writes it, or their
            "std", as its ports have it, which makes all inputs sqrt(F) times as small; those of a rotation too.
        permute: whether labels are permuted; else each class has its own.
        biased_share: the share of contexts whose labels have one fixed permutation, which shortens the plateau.
        classes: the most classes of a task, drawn from the data set's; 0 for all of them.
        fewest_classes: the fewest; each task's number is drawn between the two.
        noise: standard deviation of what is added to each example's features, in those of the data set.
        label_noise: the share of labels that are drawn anew from the task's own.
        repeat: whether a context may hold an example more than once.
        curriculum_from: how many tasks there are at first; 0 for all.
        curriculum_draws: contexts after which they are twice as many.
    """

    data: str = "digits"
    tasks: int = 0
    seed: int = 0
    projection: Literal["gaussian", "orthogonal", "none"] = "gaussian"
    scale: Literal["variance", "std"] = "variance"
    permute: bool = True
    biased_share: float = 0.0
    classes: int = 0
    fewest_classes: int = 0
    noise: float = 0.0
    label_noise: float = 0.0
    repeat: bool = False
    curriculum_from: int = 0
    curriculum_draws: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.tasks <= MOST_TASKS:
            raise UserError(f"TaskDistribution.tasks is {self.tasks!r}", f"give 1 to {MOST_TASKS}, or 0 for no end")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"TaskDistribution.seed is {self.seed!r}", "give a whole number from 0 to below 2**31")
        if self.projection not in PROJECTIONS:
            raise unknown("projection", self.projection, PROJECTIONS)
        if self.scale not in SCALES:
            raise unknown("scale", self.scale, SCALES)
        for name in ("biased_share", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"TaskDistribution.{name} is {getattr(self, name)!r}", "give a share from 0 to 1")
        if not 0 <= self.noise < float("inf"):
            raise UserError(f"TaskDistribution.noise is {self.noise!r}", "give 0 or more")
        if not 0 <= self.fewest_classes <= (self.classes or self.fewest_classes):
            raise UserError(
                f"fewest_classes={self.fewest_classes} are more than classes={self.classes}", "lower the first"
            )
        if self.curriculum_from < 0 or self.curriculum_draws < 1:
            raise UserError(
                f"curriculum_from={self.curriculum_from}, curriculum_draws={self.curriculum_draws}",
                "give 0 or more tasks, and 1 or more draws",
            )

    def tasks_at(self, draws: np.ndarray) -> np.ndarray:
        """How many tasks there are at each draw of a training: int64, of the draws' shape."""
        last = self.tasks or UNSEEN
        if not self.curriculum_from:
            return np.full(draws.shape, last, np.int64)
        doublings = np.minimum(draws // self.curriculum_draws, 31).astype(np.int64)
        return np.minimum(self.curriculum_from << doublings, last)


@dataclass(frozen=True)
class Mixture:
    """Several distributions, of which each context is from one.

    Attributes:
        distributions: at least one.
        shares: their weights; () for equal ones.
    """

    distributions: Sequence[TaskDistribution] = (TaskDistribution(),)
    shares: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name in ("distributions", "shares"):  # gin gives lists, which have no hash
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.distributions:
            raise UserError("Mixture.distributions is empty", "give at least one")
        if self.shares and (len(self.shares) != len(self.distributions) or min(self.shares) <= 0):
            raise UserError(
                f"Mixture.shares are {list(self.shares)!r} for {len(self.distributions)} distributions",
                "give each a number above 0, or none at all",
            )


class Task(NamedTuple):
    """A task: projection float32 [F, F], and the label of each class int32 [C]."""

    projection_FF: jax.Array
    permutation_C: jax.Array


def rows_of(mixture: Mixture, seed: int, first: int, count: int) -> np.ndarray:
    """The rows of a training's contexts `first` on: all that decides them, on every host and in any process.

    Args:
        mixture: what they are drawn from.
        seed: of the training.
        first: contexts before them.
        count: B.

    Returns:
        int32 [B, 3]: distribution, task's id, draw.
    """
    words_B4 = np.random.Philox(key=seed).advance(first).random_raw(4 * count).reshape(count, 4)
    draws_B = first + np.arange(count)
    shares = np.asarray(mixture.shares or [1.0] * len(mixture.distributions))
    ends = np.cumsum(shares / shares.sum())[:-1]
    which_B = np.searchsorted(ends, (words_B4[:, 0] >> np.uint64(11)) * 2.0**-53, side="right")
    tasks_DB = np.stack([one.tasks_at(draws_B) for one in mixture.distributions]).astype(np.uint64)
    ids_B = words_B4[:, 1] % tasks_DB[which_B, np.arange(count)]
    return np.stack([which_B, ids_B, draws_B % 2**31], axis=1).astype(np.int32)


def unseen_rows(count: int, first: int = 0) -> np.ndarray:
    """Rows of a mixture's first distribution whose tasks are never trained on, each once; int32 [B, 3]."""
    ids = first + np.arange(count)
    return np.stack([np.zeros_like(ids), UNSEEN + ids, UNSEEN + ids], axis=1).astype(np.int32)


def seen_rows(distribution: TaskDistribution, count: int) -> np.ndarray:
    """Rows of tasks that may be trained on, spread over all ids, with draws that are not; int32 [B, 3].

    Of many tasks a training meets but few: `met_rows` are of those.
    """
    ids = np.arange(count) * max(1, (distribution.tasks or UNSEEN) // count) % (distribution.tasks or UNSEEN)
    return np.stack([np.zeros_like(ids), ids, UNSEEN + count + np.arange(count)], axis=1).astype(np.int32)


def met_ids(rows_B3: np.ndarray, before_M: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """The tasks of a mixture's first distribution in some rows, each once, as they are met; int32 [M].

    A task of another distribution, such as one of two classes, is not met with all that it has.

    Args:
        rows_B3: int32 [B, 3], of `rows_of`.
        before_M: what has been met before them.
    """
    ids = np.concatenate([np.asarray(before_M, np.int32), rows_B3[rows_B3[:, 0] == 0, 1]])
    return ids[np.sort(np.unique(ids, return_index=True)[1])]


def met_rows(ids_M: np.ndarray, count: int) -> np.ndarray:
    """Rows of tasks that a training has met, spread evenly from the first to the last; int32 [B, 3].

    Their draws are those of `unseen_rows`, and so are their examples: only the tasks are others.

    Args:
        ids_M: of `met_ids`.
        count: B; where it is more than M, tasks come again.

    Raises:
        UserError: none has been met.
    """
    if not len(ids_M):
        raise UserError(
            "no context of the mixture's first distribution has been met, so that no task is a seen one",
            "train for more steps before the first point, or raise Mixture.shares of the first",
        )
    number = np.arange(count)
    ids = ids_M[number * len(ids_M) // count] if len(ids_M) >= count else ids_M[number % len(ids_M)]
    return np.stack([np.zeros_like(number), ids, UNSEEN + number], axis=1).astype(np.int32)


def task_of(distribution: TaskDistribution, id: jax.typing.ArrayLike, features: int, classes: int) -> Task:
    """A task by its number.

    Args:
        distribution: what it is of.
        id: int32 [].
        features: F.
        classes: C.
    """
    projecting, permuting, _ = task_keys(distribution.seed, id)
    projection_FF = unscaled_projection(distribution.projection, projecting, features)
    permutation_C = permutation_of(permuting, classes) if distribution.permute else jnp.arange(classes)
    return Task(projection_FF * deviation_of(distribution, features), permutation_C)


def task_keys(seed: jax.typing.ArrayLike, id: jax.typing.ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the projection, of the permutation, and of the choice of classes."""
    projecting, permuting, choosing = jax.random.split(jax.random.fold_in(jax.random.key(seed, impl=HASH), id), 3)
    return projecting, permuting, choosing


def deviation_of(distribution: TaskDistribution, features: int) -> float:
    """What an `unscaled_projection` is times: 1 for "none", whose inputs stay as they are."""
    if distribution.projection == "none":
        return 1.0
    length = 1.0 if distribution.scale == "variance" else features**-0.5  # an input's, as a share of what it was
    return length if distribution.projection == "orthogonal" else length * features**-0.5


def unscaled_projection(kind: str, key: jax.Array, features: int) -> jax.Array:
    """A projection before its scale, float32 [F, F].

    Args:
        kind: one of PROJECTIONS.
        key: of the task.
        features: F.
    """
    if kind == "none":
        return jnp.eye(features)
    if kind == "orthogonal":
        return jax.random.orthogonal(key, features)
    return normals(key, features**2).reshape(features, features)


def permutation_of(key: jax.Array, count: int) -> jax.Array:
    """A random permutation, int32 [count]: the ranks of random words, counted, since sorting is slow under `vmap`."""
    words, places = jax.random.bits(key, (count,)), jnp.arange(count)
    smaller = words[None, :] < words[:, None]
    tied = (words[None, :] == words[:, None]) & (places[None, :] < places[:, None])
    return jnp.sum(smaller | tied, axis=1, dtype=jnp.int32)


def normals(key: jax.Array, count: int) -> jax.Array:
    """Standard normal numbers, the middles of 65,536 equal parts: two of each random word, float32 [count].

    `jax.random.normal` hashes two words for each number; this is 2 to 5 times as fast on a processor, and the numbers
    are the same on every machine, whatever batch they are drawn in.
    """
    words = threefry_2x32(jax.random.key_data(key), jnp.arange((count + 1) // 2, dtype=jnp.uint32))
    halves = jnp.concatenate([words >> 16, words & 0xFFFF])[:count]
    return jnp.asarray(_quantiles()).at[halves].get(mode="promise_in_bounds")


@functools.cache
def _quantiles() -> np.ndarray:
    return scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
