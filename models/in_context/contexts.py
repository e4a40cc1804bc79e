"""From rows, which say what is wanted, to contexts: sequences of labelled examples, made on the device.

B = rows, N = examples of a context, F = features, C = classes of the learner, D = distributions of a mixture, K = the
most classes of their data sets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.in_context.base_data import Bank
from models.in_context.tasks import FIXED, HASH, Mixture, deviation_of, permutation_of, task_keys, unscaled_projection
from shammie.errors import UserError


class Contexts(NamedTuple):
    """Sequences of labelled examples: float32 [B, N, F] and int32 [B, N]."""

    x_BNF: jax.Array
    labels_BN: jax.Array


def contexts_of(
    mixture: Mixture, bank: Bank, rows_B3: jax.Array, *, examples: int, classes: int, projection: str = ""
) -> Contexts:
    """The contexts of some rows; within a compiled function, once `check_bank` has passed.

    Args:
        mixture: what rows are of.
        bank: the data sets of its distributions, in their order (`base_data.bank_of`).
        rows_B3: int32 [B, 3], of `tasks.rows_of`.
        examples: N.
        classes: C, of the learner; labels are drawn from all of them.
        projection: of all distributions that these rows are of; "" where they differ: each context then pays for all
            kinds of the mixture, and a rotation is a QR decomposition.
    """
    told = mixture.distributions
    features, base_classes = bank.x_MF.shape[1], bank.count_DK.shape[1]
    of = lambda values: jnp.asarray(np.asarray(values))  # noqa: E731
    seed_D, biased_D = of([one.seed for one in told]), of([np.float32(one.biased_share) for one in told])
    deviation_D = of([np.float32(deviation_of(one, features)) for one in told])
    noise_D, label_noise_D = (
        of([np.float32(one.noise) for one in told]),
        of([np.float32(one.label_noise) for one in told]),
    )
    permute_D, repeat_D = of([one.permute for one in told]), of([one.repeat for one in told])
    kinds = [projection] if projection else sorted({one.projection for one in told})
    kind_D = of([kinds.index(one.projection) if one.projection in kinds else -1 for one in told])
    has_D = jnp.sum(bank.count_DK > 0, axis=1)
    most_D = jnp.where(of([one.classes for one in told]) > 0, of([one.classes for one in told]), has_D)
    fewest_D = jnp.where(of([one.fewest_classes for one in told]) > 0, of([one.fewest_classes for one in told]), most_D)

    # what no distribution asks for is not computed: each random call is a loop of small operations
    some_biased = any(one.biased_share for one in told)
    some_fewer = any(one.classes or one.fewest_classes for one in told)
    fixed_DC = jnp.stack([permutation_of(task_keys(one.seed, FIXED)[1], classes) for one in told])

    def context(row_3: jax.Array) -> Contexts:
        which, id, draw = row_3
        projecting, permuting, choosing = task_keys(seed_D[which], id)
        drawn = jax.random.fold_in(jax.random.key(1, impl=HASH), draw)
        biasing, drawing, shaking, mislabelling = jax.random.split(drawn, 4)
        permutation_C = permutation_of(permuting, classes)
        if some_biased:
            biased = jax.random.uniform(biasing) < biased_D[which]
            permutation_C = jnp.where(biased, fixed_DC[which], permutation_C)
        permutation_C = jnp.where(permute_D[which], permutation_C, jnp.arange(classes))
        count_K, number_K = bank.count_DK[which], jnp.arange(base_classes)
        if some_fewer:  # those that come first in an order of the task's own
            counting, ordering = jax.random.split(choosing)
            several = jax.random.randint(counting, (), fewest_D[which], most_D[which] + 1)
            order_K = jnp.argsort(jnp.where(count_K > 0, jax.random.uniform(ordering, (base_classes,)), 2.0))
            place_K = jnp.argsort(order_K)
            # of a data set with more classes than labels each task's own are numbered
            number_K = jnp.where(has_D[which] > classes, place_K, number_K)
            count_K = jnp.where(place_K < several, count_K, 0)
        ends_K = jnp.cumsum(count_K)
        rank_N = _draw(drawing, ends_K[-1], examples, repeat_D[which])
        class_N = _place(ends_K, rank_N)
        x_NF = bank.x_MF[bank.first_DK[which, class_N] + rank_N - (ends_K - count_K)[class_N]]
        if any(one.noise for one in told):
            x_NF += noise_D[which] * jax.random.normal(shaking, x_NF.shape)
        if any(one.label_noise for one in told):
            flip, other = jax.random.split(mislabelling)
            wrong_N = jax.random.uniform(flip, (examples,)) < label_noise_D[which]
            there_K = jnp.cumsum(count_K > 0)
            other_N = _place(there_K, jax.random.randint(other, (examples,), 0, there_K[-1]))
            class_N = jnp.where(wrong_N, other_N, class_N)
        projection_FF = deviation_D[which] * sum(
            unscaled_projection(kind, projecting, features) * (kind_D[which] == place)
            for place, kind in enumerate(kinds)
        )
        return Contexts(x_NF @ projection_FF, permutation_C[number_K[class_N]].astype(jnp.int32))

    return jax.vmap(context)(rows_B3)


def check_bank(mixture: Mixture, bank: Bank, *, examples: int, classes: int) -> None:
    """Makes sure that contexts can be drawn.

    Raises:
        UserError: tasks have more classes than C or the data set, or too few examples for a context without repetition.
    """
    if len(bank.count_DK) != len(mixture.distributions):
        raise UserError(
            f"{len(bank.count_DK)} data sets for {len(mixture.distributions)} distributions", "give one for each"
        )
    for one, count_K in zip(mixture.distributions, np.asarray(bank.count_DK), strict=True):
        has = int((count_K > 0).sum())
        if (one.classes or has) > classes:
            raise UserError(
                f"tasks of {one.classes or has} classes of {one.data}, but the learner has {classes}",
                f"raise LearnerConfig.classes, or set TaskDistribution.classes to {classes} or fewer",
            )
        if one.classes > has:
            raise UserError(
                f"tasks of {one.classes} classes, but {one.data} has {has}", "lower TaskDistribution.classes"
            )
        fewest = one.fewest_classes or one.classes or has
        least = int(np.sort(count_K[:has])[:fewest].sum())
        if not one.repeat and least < examples:
            raise UserError(
                f"a context of {examples} examples, but {fewest} classes of {one.data} may have only {least}",
                "shorten contexts, raise fewest_classes, or set repeat=True",
            )


def _place(ends_K: jax.Array, number_N: jax.Array) -> jax.Array:
    """In which of some intervals, told by their ends, each number is; int32 [N]."""
    return jnp.sum(ends_K[None, :] <= number_N[:, None], axis=1, dtype=jnp.int32)


def _draw(key: jax.Array, count: jax.Array, examples: int, repeat: jax.Array) -> jax.Array:
    """Numbers below `count` in random order, all different unless `repeat`; int32 [N].

    They are the first N of a shuffle (Fisher and Yates: step i exchanges place i with one from i on), without its loop:
    what step i draws is where the last step before it that drew the same place left its own content, and that came
    from the last step that drew that one, and so on; such chains are followed by doubling. `count * examples` must be
    below 2**32.
    """
    step_N = jnp.arange(examples)
    low_N = jnp.where(repeat, 0, step_N)
    drawn_N = low_N + (jax.random.uniform(key, (examples,)) * (count - low_N)).astype(jnp.int32)
    drawn_N = jnp.minimum(drawn_N, count - 1)

    # the last step before each that drew the same place: its neighbour in the order of places, then of steps
    both_N = jnp.sort(drawn_N.astype(jnp.uint32) * examples + step_N.astype(jnp.uint32))  # one number sorts faster
    sorted_N, at_N = both_N // examples, (both_N % examples).astype(jnp.int32)
    neighbour_N = jnp.where(sorted_N[1:] == sorted_N[:-1], at_N[:-1], -1)
    same_N = jnp.full(examples, -1).at[at_N[1:]].set(neighbour_N)
    # and that drew its own place; others draw places from their own on
    before_N = jnp.full(examples, -1).at[jnp.where(drawn_N > step_N, drawn_N, examples)].max(step_N, mode="drop")
    origin_N = jnp.where(before_N < 0, step_N, before_N)  # whose content a step found in its own place
    for _ in range((examples - 1).bit_length()):
        origin_N = origin_N[origin_N]
    return jnp.where((same_N < 0) | repeat, drawn_N, origin_N[same_N])
