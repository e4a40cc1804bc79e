"""SeqIO tasks over the datasets of `beam_jobs.equal_info`.

    task = add_task("DATASET")                 # registered as equal_info_pruned_65536_v001
    task.get_dataset(split="train")            # examples of int32 "targets"
    task = add_lm_task("DATASET", length=512)  # the same tokens as windows: the batches of the bundled trainer

The examples already hold the id that ends a document, and no end is appended.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.equal_info.codec import Codec
from seqio_tasks import layout
from seqio_tasks.metrics import byte_accuracy, exact_match
from seqio_tasks.token_files import tokens_of_dataset
from seqio_tasks.vocabularies import CodecVocabulary
from seqio_tasks.windows import Windows
from shammie import files
from shammie.errors import UserError

VERSION = "v001"  # raised whenever a task's preprocessing changes
TARGETS = {"targets": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
ROWS_AT_ONCE = 64  # windows that one call into numpy takes


def task_name(codec: Codec, suffix: str = "") -> str:
    """The versioned name of a codec's task; a suffix tells datasets of one codec apart."""
    return "_".join(filter(None, ["equal_info", codec.scheme, str(codec.vocab_size), suffix, VERSION]))


def manifests(directory: str) -> dict[str, dict[str, Any]]:
    """The manifests of a dataset's splits.

    Raises:
        UserError: there is no finished dataset.
    """
    if not files.exists(files.join(directory, layout.COMPLETED)):
        raise UserError(f"{directory} holds no finished dataset", "run python -m beam_jobs.equal_info to its end")
    return layout.manifests(directory)


def codec_of(directory: str, codec: Codec | None = None) -> Codec:
    """The dataset's codec, or the given one if it is the same.

    Raises:
        UserError: the codec is not the one that the dataset was encoded with.
    """
    splits = manifests(directory)
    path = files.join(directory, layout.CODEC_FILE)
    name = "the given codec" if codec else path
    codec = codec or Codec.load(path)
    for split, manifest in splits.items():
        wanted = manifest["config"]["codec_fingerprint"]
        if codec.fingerprint != wanted:
            raise UserError(
                f"{name} has fingerprint {codec.fingerprint[:12]}, but split {split} of {directory} was encoded"
                f" with {wanted[:12]}",
                f"use the codec in {path} as the job wrote it",
            )
    return codec


def add_task(directory: str, *, name: str | None = None, codec: Codec | None = None, extra_ids: int = 0) -> seqio.Task:
    """Registers a task for a dataset; a second call for the same name replaces the first.

    Args:
        directory: where the job wrote.
        name: None for `task_name`.
        codec: None for the dataset's own; another one is an error.
        extra_ids: ids above the codec's that a model may use for itself.

    Returns:
        The task; its examples have one feature, int32 "targets" [tokens].

    Raises:
        UserError: no finished dataset, or another codec.
    """
    codec = codec_of(directory, codec)
    name = name or task_name(codec)
    splits = manifests(directory)
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    formats = {manifest["config"]["output_format"] for manifest in splits.values()}
    if len(formats) > 1:
        raise UserError(f"the splits of {directory} have different formats", "write them with one --output_format")
    records = {split: manifest_records(manifest) for split, manifest in splits.items()}
    source: Any  # SeqIO's sources do not match its own protocol
    if formats == {"tfrecord"}:
        patterns = {split: files.join(directory, f"{split}.tfrecord-*") for split in splits}
        source = seqio.TFExampleDataSource(patterns, TARGETS, num_input_examples=records)
    else:
        shards = {
            split: [files.join(directory, shard["name"]) for shard in manifest["shards"]]
            for split, manifest in splits.items()
        }
        source = seqio.FunctionDataSource(
            _array_record_dataset(shards), splits=list(splits), num_input_examples=records
        )
    vocabulary = CodecVocabulary(codec, extra_ids)
    feature = seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[_to_int32],
        output_features={"targets": feature},
        metric_fns=[exact_match, byte_accuracy],
        postprocess_fn=partial(_decoded, vocabulary=vocabulary),
    )


def add_lm_task(
    directory: str, *, length: int, name: str | None = None, seed: int = 0, epochs: int = 1, extra_ids: int = 0
) -> seqio.Task:
    """Registers a task of fixed windows over a dataset; a second call for the same name replaces the first.

    Through T5X's converter for language models, without packing, it gives the batches that the bundled trainer sees.
    There is no shuffle buffer: an epoch's order is a pure function of the seed (`seqio_tasks.windows`). SeqIO repeats
    what a task gives as it is; with several `epochs` in one pass each has its own order, as in the bundled trainer.

    Args:
        directory: where the job wrote.
        length: tokens of a window, and of the sequences that T5X is told of.
        name: None for the codec's, with the length.
        seed: of the order where SeqIO passes none.
        epochs: that one pass over a shuffled split holds.
        extra_ids: ids above the codec's that a model may use for itself.

    Returns:
        The task; its examples have one feature, int32 "targets" [length].

    Raises:
        UserError: no finished dataset, another codec, or a split that is shorter than one window.
    """
    vocabulary = CodecVocabulary(codec_of(directory), extra_ids)
    name = name or task_name(vocabulary.codec, f"lm_{length}")
    windows = {
        split: Windows(
            tokens_of_dataset(directory, split, read_shard).ids, length, name=f"split {split} of {directory}"
        )
        for split in manifests(directory)
    }
    default_seed = seed

    def dataset_fn(split: str, shuffle_files: bool = False, seed: int | None = None) -> tf.data.Dataset:
        one = windows[split]
        if not shuffle_files:
            return _window_dataset(one, one.count, np.arange)
        order = partial(one.order, default_seed if seed is None else seed)
        return _window_dataset(one, one.count * epochs, order)

    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    source: Any = _OrderedSource(dataset_fn, splits=list(windows))
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[],
        output_features={"targets": seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)},
        shuffle_buffer_size=None,
    )


class _OrderedSource(seqio.FunctionDataSource):
    """A source that puts its rows in order itself, so that SeqIO lets a task do without a shuffle buffer."""

    @property
    def performs_internal_shuffling(self) -> bool:
        return True


def _window_dataset(windows: Windows, total: int, order: Callable[[int, int], np.ndarray]) -> tf.data.Dataset:
    """The windows at places 0 to total - 1 of an order: (start, stop) to numbers of windows."""

    def take(start: Any) -> np.ndarray:
        return windows.take(order(int(start), min(int(start) + ROWS_AT_ONCE, total)))

    def example(row: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"targets": tf.ensure_shape(row, [windows.length])}

    starts = tf.data.Dataset.range(0, total, ROWS_AT_ONCE)
    return starts.map(lambda start: tf.numpy_function(take, [start], tf.int32)).unbatch().map(example)


def read_shard(path: str) -> Iterator[np.ndarray]:
    """The "targets" of each example of a shard, in order, as TensorFlow reads them; int64 [tokens] each."""
    is_array_record = ".array_record-" in path.rpartition("/")[2]
    rows = _array_records(path) if is_array_record else tf.data.TFRecordDataset(path).as_numpy_iterator()
    for row in rows:
        yield tf.io.parse_single_example(row, TARGETS)["targets"].numpy()


def manifest_records(manifest: dict[str, Any]) -> int:
    """The examples of a split."""
    return sum(shard["records"] for shard in manifest["shards"])


def _to_int32(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(lambda example: {"targets": tf.cast(example["targets"], tf.int32)})


def _decoded(output: Any, *, vocabulary: CodecVocabulary, is_target: bool = False, **_: Any) -> bytes:
    # predictions come decoded, targets as an example
    return vocabulary.decode_bytes(output["targets"] if is_target and isinstance(output, dict) else output)


def _array_records(path: str) -> Iterator[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path)
    for _ in range(reader.num_records()):
        yield reader.read()
    reader.close()


def _array_record_dataset(shards: dict[str, list[str]]) -> Callable[..., tf.data.Dataset]:
    def dataset_fn(split: str, shuffle_files: bool = False, seed: int | None = None) -> tf.data.Dataset:
        paths = tf.data.Dataset.from_tensor_slices(shards[split])
        if shuffle_files:
            paths = paths.shuffle(len(shards[split]), seed=seed)
        rows = paths.flat_map(
            lambda path: tf.data.Dataset.from_generator(
                lambda path: _array_records(path.decode()),
                output_signature=tf.TensorSpec([], tf.string),
                args=(path,),
            )
        )
        return rows.map(lambda row: tf.io.parse_single_example(row, TARGETS))

    return dataset_fn
