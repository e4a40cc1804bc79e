"""The SeqIO task of in-context learning: rows that decide contexts, in the bundled trainer's own order.

task = add_in_context_task(Mixture((TaskDistribution("digits"),)), seed=0, rows=128 * 50_000)

A row is three numbers (distribution, task's id, draw); projections, permutations and examples are made of it on the
device (`models.in_context.tasks.contexts_of`), so that nothing but 12 bytes a context passes through SeqIO.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.in_context.tasks import UNSEEN, Mixture, rows_of, unseen_rows
from shammie.errors import UserError

ROW = 3  # numbers of a row
ROWS_AT_ONCE = 256  # that one call into numpy makes
EVALUATED = 1024  # rows of the split "unseen"
VERSION = "v001"  # raised whenever the same mixture and seed give other rows


def add_in_context_task(
    mixture: Mixture,
    *,
    seed: int,
    first_row: int = 0,
    rows: int,
    name: str | None = None,
    unseen: int = EVALUATED,
) -> seqio.Task:
    """Registers the task of a mixture's rows; a second call for the same name replaces the first.

    Row i of "train" is row first_row + i of `rows_of(mixture, seed, …)`, which the bundled trainer reads too; each of
    several hosts gets every so manieth. There is no shuffle buffer, and SeqIO's own seed changes nothing: the mixture
    and `seed` are the whole order. Use seqio.PassThroughFeatureConverter, which leaves rows as they are.

    Args:
        mixture: what contexts are drawn from.
        seed: of the training, 0 or more.
        first_row: rows that were trained on already: the training's step times its batch size, of all hosts.
        rows: where the pass ends: the steps of the whole run times the batch size.
        name: None for "in_context_DATA_v001" of the first distribution's data.
        unseen: rows of the split "unseen", of tasks that are never trained on (`unseen_rows`).

    Returns:
        The task of splits "train" and "unseen"; its examples have one feature, int32 "targets" [3]. It has no metrics:
        a model's losses and accuracies are of contexts, which it makes itself.

    Raises:
        UserError: numbers below 0, or a pass without rows.
    """
    for what, value, least in (("seed", seed, 0), ("first_row", first_row, 0), ("unseen", unseen, 1)):
        if value < least:
            raise UserError(f"{what} is {value}", f"give {least} or more")
    if rows <= first_row:
        raise UserError(f"rows is {rows}, not above first_row={first_row}", "give the rows of the whole run")

    def dataset_fn(split: str, shuffle_files: bool = False, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # the order is the mixture's own
        return _rows(*splits[split])

    splits: dict[str, tuple[int, int, Callable[[int, int], np.ndarray]]] = {
        "train": (first_row, rows, partial(rows_of, mixture, seed)),
        "unseen": (0, unseen, lambda first, count: unseen_rows(count, first)),
    }
    name = name or f"in_context_{re.sub('[^A-Za-z0-9]+', '_', mixture.distributions[0].data).strip('_')}_{VERSION}"
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    source: Any = _OrderedSource(dataset_fn, splits=tuple(splits))
    vocabulary = seqio.PassThroughVocabulary(2 * UNSEEN, eos_id=None)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[],
        output_features={"targets": seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)},
        metric_fns=[],
        shuffle_buffer_size=None,
    )


class _OrderedSource(seqio.FunctionDataSource):
    """A source whose rows are in an order of their own, so that SeqIO lets a task do without a shuffle buffer."""

    @property
    def performs_internal_shuffling(self) -> bool:
        return True


def _rows(first: int, stop: int, make: Callable[[int, int], np.ndarray]) -> tf.data.Dataset:
    """Rows `first` to `stop` - 1 of what `make` gives for a place and a count: int32 "targets" [3]."""

    def take(start: Any) -> np.ndarray:
        return make(int(start), min(ROWS_AT_ONCE, stop - int(start)))

    def several(start: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(take, [start], tf.int32, stateful=False)  # so that an iterator can be saved

    def example(row: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"targets": tf.ensure_shape(row, [ROW])}

    return tf.data.Dataset.range(first, stop, ROWS_AT_ONCE).map(several).unbatch().map(example)
