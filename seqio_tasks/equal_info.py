"""SeqIO tasks over the datasets of `beam_jobs.equal_info`.

    task = add_task("DATASET")                 # registered as equal_info_pruned_65536_v001
    task.get_dataset(split="train")            # examples of int32 "targets"

The examples already hold the id that ends a document, and no end is appended.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.equal_info.load import AnyCodec, load_codec
from models.equal_info.streams.codec import StreamCodec
from seqio_tasks import array_records, layout
from seqio_tasks.metrics import byte_accuracy, exact_match
from seqio_tasks.vocabularies import CodecVocabulary
from shammie import files
from shammie.errors import UserError

VERSION = "v001"  # raised whenever a task's preprocessing changes
TARGETS = {"targets": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
BLOCK_RECORDS = 256  # of an ArrayRecord shard, read at once


def task_name(codec: AnyCodec, suffix: str = "") -> str:
    """The versioned name of a codec's task, such as equal_info_pruned_65536_v001 or equal_info_windows_24_8_v001.

    A suffix tells datasets of one codec apart.
    """
    code = f"{codec.scheme}_{codec.vocab_size}"
    if isinstance(codec, StreamCodec):
        code = str(codec.spec).replace(":", "_").replace("/", "_")
    return "_".join(filter(None, ["equal_info", code, suffix, VERSION]))


def manifests(directory: str) -> dict[str, dict[str, Any]]:
    """The manifests of a dataset's splits.

    Raises:
        UserError: there is no finished dataset.
    """
    if not files.exists(files.join(directory, layout.COMPLETED)):
        raise UserError(f"{directory} holds no finished dataset", "run python -m beam_jobs.equal_info to its end")
    return layout.manifests(directory)


def codec_of(directory: str, codec: AnyCodec | None = None) -> AnyCodec:
    """The dataset's codec, or the given one if it is the same.

    Raises:
        UserError: the codec is not the one that the dataset was encoded with.
    """
    splits = manifests(directory)
    path = files.join(directory, layout.CODEC_FILE)
    name = "the given codec" if codec else path
    codec = codec or load_codec(path)
    for split, manifest in splits.items():
        wanted = manifest["config"]["codec_fingerprint"]
        if codec.fingerprint != wanted:
            raise UserError(
                f"{name} has fingerprint {codec.fingerprint[:12]}, but split {split} of {directory} was encoded"
                f" with {wanted[:12]}",
                f"use the codec in {path} as the job wrote it",
            )
    return codec


def add_task(
    directory: str,
    *,
    name: str | None = None,
    codec: AnyCodec | None = None,
    extra_ids: int = 0,
    shown_tokens: int = 0,
    metric_fns: Sequence[Callable[..., Any]] = (exact_match, byte_accuracy),
    postprocess_fn: Callable[..., Any] | None = None,
) -> seqio.Task:
    """Registers a task for a dataset; a second call for the same name replaces the first.

    Args:
        directory: where the job wrote.
        name: None for `task_name`.
        codec: None for the dataset's own; another one is an error.
        extra_ids: ids above the codec's that a model may use for itself.
        shown_tokens: of each example, whose text becomes the feature "prompt_pretokenized", which T5X's infer writes.
        metric_fns: SeqIO's; by default those that compare texts.
        postprocess_fn: what the metrics see of a target or prediction; None for its text.

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
    patterns = {split: files.join(directory, f"{split}.{min(formats)}-*") for split in splits}
    if formats == {"tfrecord"}:
        source = seqio.TFExampleDataSource(patterns, TARGETS, num_input_examples=records)
    else:
        source = seqio.FileDataSource(_array_record_rows, patterns, num_input_examples=records)
    vocabulary = CodecVocabulary(codec, extra_ids)
    feature = seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[_to_int32, *shown(vocabulary, shown_tokens)],
        output_features={"targets": feature},
        metric_fns=list(metric_fns),
        postprocess_fn=postprocess_fn or partial(_decoded, vocabulary=vocabulary),
    )


def read_shard(path: str) -> Iterator[np.ndarray]:
    """The "targets" of each example of a shard, in order, as TensorFlow reads them; int64 [tokens] each."""
    is_array_record = ".array_record-" in path.rpartition("/")[2]
    rows = array_records.read_records(path) if is_array_record else tf.data.TFRecordDataset(path).as_numpy_iterator()
    for row in rows:
        yield tf.io.parse_single_example(row, TARGETS)["targets"].numpy()


def manifest_records(manifest: dict[str, Any]) -> int:
    """The examples of a split."""
    return sum(shard["records"] for shard in manifest["shards"])


def _to_int32(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(lambda example: {"targets": tf.cast(example["targets"], tf.int32)})


def shown(vocabulary: seqio.Vocabulary, tokens: int) -> list[Callable[..., Any]]:
    """The preprocessor that adds the text of each example's first tokens; none for 0."""
    if not tokens:
        return []

    def add(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**example, "prompt_pretokenized": vocabulary.decode_tf(example["targets"][:tokens])}

    return [lambda dataset: dataset.map(add)]


def _decoded(output: Any, *, vocabulary: CodecVocabulary, is_target: bool = False, **_: Any) -> str | bytes:
    if isinstance(output, str):  # SeqIO's evaluator decodes targets and predictions itself
        return output
    return vocabulary.decode_bytes(output["targets"] if is_target and isinstance(output, dict) else output)


def _array_record_rows(path: Any) -> tf.data.Dataset:
    """The parsed examples of an ArrayRecord shard; its iterators can be saved."""

    def count(path: bytes) -> np.ndarray:
        return np.array(array_records.count(path.decode()), np.int64)

    def block(path: bytes, start: np.int64) -> np.ndarray:
        return np.array(array_records.block(path.decode(), int(start), BLOCK_RECORDS), object)

    def read(start: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(block, [path, start], tf.string, stateful=False), [None])

    records = tf.ensure_shape(tf.numpy_function(count, [path], tf.int64, stateful=False), [])
    rows = tf.data.Dataset.range(0, records, BLOCK_RECORDS).map(read).unbatch()
    return rows.map(lambda row: tf.io.parse_single_example(row, TARGETS))
