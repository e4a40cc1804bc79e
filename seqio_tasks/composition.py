"""The SeqIO task of diffusion models: rows that decide noised points, in the bundled trainer's own order.

task = add_diffusion_task("ring", seed=0, rows=1000 * 15_001)

A row is two numbers (seed, draw), of which points are made on the device (`models.composition.denoising`), with an
image and its condition where these come from a store (`composition_images.image_store`): "clevr:…" and "tfds:…".
"""

import re
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.composition.denoising import ROW, held_out_rows, rows_of
from seqio_tasks.composition_images import ImageStore
from shammie.errors import UserError

EVALUATED = 65_536  # rows of the split "held_out", of which an evaluation takes the first
VERSION = "v001"  # raised whenever the same data and seed give other rows


def add_diffusion_task(
    data: str,
    *,
    seed: int,
    first_row: int = 0,
    rows: int,
    store: ImageStore | None = None,
    conditioned: bool = True,
    name: str | None = None,
    held_out: int = EVALUATED,
) -> seqio.Task:
    """Registers the task of a training's rows; a second call for the same name replaces the first.

    Row i of "train" is draw first_row + i of the seed, which the bundled trainer reads too; each of several hosts gets
    every so manieth, and fetches the images of these alone. There is no shuffle buffer, and SeqIO's own seed changes
    nothing. Use seqio.PassThroughFeatureConverter, which leaves rows as they are.

    Args:
        data: the source's name.
        seed: of the training, 0 or more.
        first_row: rows that were trained on already: the training's step times its batch size, of all hosts.
        rows: where the pass ends: the steps of the whole run times the batch size.
        store: where images come from; None where points are made on the device.
        conditioned: whether rows bring the images' conditions.
        name: None for "composition_DATA_v001".
        held_out: rows of the split "held_out".

    Returns:
        The task of splits "train" and "held_out"; its examples have int32 "targets" [2], and of a store uint8 "image"
        [H, W, C] and "condition". It has no metrics: a model's losses are of points, which it makes itself.

    Raises:
        UserError: numbers below 0, or a pass without rows.
    """
    for what, value, least in (("seed", seed, 0), ("first_row", first_row, 0), ("held_out", held_out, 1)):
        if value < least:
            raise UserError(f"{what} is {value}", f"give {least} or more")
    if rows <= first_row:
        raise UserError(f"rows is {rows}, not above first_row={first_row}", "give the rows of the whole run")

    def dataset_fn(split: str, shuffle_files: bool = False, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # the order is the training's own
        first, stop = (first_row, rows) if split == "train" else (0, held_out)
        return tf.data.Dataset.range(first, stop).map(lambda draw: {"draw": draw, "held_out": split != "train"})

    def example(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def made(draw: Any, is_held_out: Any) -> list[np.ndarray]:
            rows_12 = held_out_rows(1, int(draw)) if is_held_out else rows_of(seed, int(draw), 1)
            found = {"targets": rows_12} if store is None else store.rows(rows_12)
            return [found[name][0] for name in specs]

        inputs = [row["draw"], row["held_out"]]
        arrays = tf.numpy_function(made, inputs, [kind for kind, _ in specs.values()], stateful=False)
        return {
            name: tf.ensure_shape(array, shape) for (name, (_, shape)), array in zip(specs.items(), arrays, strict=True)
        }

    specs = _specs(store, conditioned=conditioned)
    name = name or f"composition_{re.sub('[^A-Za-z0-9]+', '_', data).strip('_')}_{VERSION}"
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    source: Any = _OrderedSource(dataset_fn, splits=("train", "held_out"))
    vocabulary = seqio.PassThroughVocabulary(2**31 - 1, eos_id=None)
    features = {
        feature: seqio.Feature(vocabulary, add_eos=False, dtype=kind, rank=len(shape))
        for feature, (kind, shape) in specs.items()
    }
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[seqio.map_over_dataset(example)],  # after hosts have shared out the rows
        output_features=features,
        metric_fns=[],
        shuffle_buffer_size=None,
    )


def _specs(store: ImageStore | None, *, conditioned: bool) -> dict[str, tuple[tf.DType, tuple[int, ...]]]:
    """Type and shape of each feature."""
    specs: dict[str, tuple[tf.DType, tuple[int, ...]]] = {"targets": (tf.int32, (ROW,))}
    if store is None:
        return specs
    specs["image"] = (tf.uint8, store.shape)
    if conditioned:
        _, condition_B = store.fetch(np.zeros(1, np.int64))
        specs["condition"] = (tf.as_dtype(condition_B.dtype), condition_B.shape[1:])
    return specs


class _OrderedSource(seqio.FunctionDataSource):
    """A source whose rows are in an order of their own, so that SeqIO lets a task do without a shuffle buffer."""

    @property
    def performs_internal_shuffling(self) -> bool:
        return True
