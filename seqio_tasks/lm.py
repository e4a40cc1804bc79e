"""SeqIO tasks for language models: a stream of tokens as windows of one length, in the bundled trainer's own order.

task = add_lm_task("DATASET", length=512)    # a dataset of beam_jobs.equal_info, or a folder of token files
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.equal_info.ids import END_OF_DOCUMENT_ID
from models.equal_info.load import AnyCodec
from models.equal_info.streams.codec import StreamCodec
from seqio_tasks import layout, pairs, rest_em, token_files
from seqio_tasks.equal_info import add_task, codec_of, read_shard, shown, task_name
from seqio_tasks.metrics import bits_per_byte
from seqio_tasks.pair_rows import rows_of_pairs
from seqio_tasks.token_files import TokenFile
from seqio_tasks.vocabularies import CodecVocabulary
from seqio_tasks.windows import Windows
from shammie import files
from shammie.errors import UserError

ROWS_AT_ONCE = 64  # windows that one call into numpy takes


def add_lm_task(
    directory: str,
    *,
    length: int,
    name: str | None = None,
    seed: int = 0,
    first_row: int = 0,
    rows: int = 0,
    shown_tokens: int = 0,
    extra_ids: int = 0,
) -> seqio.Task:
    """Registers a task of fixed windows over tokens; a second call for the same name replaces the first.

    Through T5X's converter for language models, without packing, it gives the batches that the bundled trainer sees.
    There is no shuffle buffer: an epoch's order is a pure function of the seed (`seqio_tasks.windows`). SeqIO repeats
    what a task gives as it is; a pass of as many `rows` as a run takes has each epoch in its own order, as in the
    bundled trainer.

    Args:
        directory: a dataset of `beam_jobs.equal_info`, a folder of token files (`seqio_tasks.token_files`), or one of
            pairs (`seqio_tasks.pairs`), whose windows are rows of packed ones as they are stored.
        length: tokens of a window, and of the sequences that T5X is told of.
        name: None for one made of the codec or tokenizer, and the length.
        seed: of the order where SeqIO passes none.
        first_row: of a shuffled split's order, where the pass begins: those before it were trained on already.
        rows: where the pass ends, over as many epochs as that takes; at least one epoch.
        shown_tokens: of each window, whose text becomes "prompt_pretokenized", which T5X's infer writes.
        extra_ids: ids above the codec's that a model may use for itself.

    Returns:
        The task; its examples have one feature, int32 "targets" [length]. Its metric, of a model's scores, is
        `bits_per_byte`.

    Raises:
        UserError: neither a finished dataset nor token files nor pairs; or, once a split is asked for, that it is
            shorter than one window.
    """
    data = lm_data(directory, extra_ids, length)
    default_seed = seed

    def dataset_fn(split: str, shuffle_files: bool = False, seed: int | None = None) -> tf.data.Dataset:
        one = Windows(data.open_split(split).ids, length, name=f"split {split} of {directory}")
        if not shuffle_files:
            return _window_dataset(one, 0, one.count, np.arange)
        order = partial(one.order, default_seed if seed is None else seed)
        return _window_dataset(one, first_row, max(first_row + one.count, rows), order)

    vocabulary = data.vocabulary
    if isinstance(vocabulary, CodecVocabulary):
        of_pairs = bool(pairs.splits_of(directory))
        own = rest_em.task_name(vocabulary.codec, f"rows_{length}") if of_pairs else None
        name = name or own or task_name(vocabulary.codec, f"lm_{length}")
    name = name or f"lm_{data.made_with.split()[0]}_{length}_v001"
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    source: Any = _OrderedSource(dataset_fn, splits=data.splits)
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=shown(vocabulary, shown_tokens),
        output_features={"targets": seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32)},
        metric_fns=[_scored(size_of_ids(vocabulary, data.density))],
        postprocess_fn=_ids_of_example,
        shuffle_buffer_size=None,
    )


def add_examples_task(directory: str, *, shown_tokens: int = 0, extra_ids: int = 0) -> seqio.Task:
    """Registers a dataset's own examples for a language model, which sees the first tokens of each.

    That is the paper's way, and what many hosts read: each its own shards, in SeqIO's order. Metric and `shown_tokens`
    as in `add_lm_task`. The examples of pairs are those of `seqio_tasks.rest_em`.

    Raises:
        UserError: no finished dataset, and no pairs.
    """
    if pairs.splits_of(directory):
        return rest_em.add_rest_em_task(directory, extra_ids=extra_ids)
    data = lm_data(directory, extra_ids)
    if not isinstance(data.vocabulary, CodecVocabulary):
        raise UserError(f"{directory} holds token files, which have no examples", "give rows='windows'")
    return add_task(
        directory,
        name=task_name(data.vocabulary.codec, "lm_examples"),
        extra_ids=extra_ids,
        shown_tokens=shown_tokens,
        metric_fns=[_scored(size_of_ids(data.vocabulary, data.density))],
        postprocess_fn=_ids_of_example,
    )


@dataclass(frozen=True)
class LMData:
    """What is known of a folder before its tokens are read.

    Attributes:
        splits: their names.
        vocabulary: a dataset's codec; ids alone, without text, where there are only token files.
        made_with: a codec's fingerprint or a tokenizer's name.
        density: bytes of text for each token, over all splits.
        open_split: the tokens of a split; a dataset's are made flat once, in the cache.
    """

    splits: list[str]
    vocabulary: seqio.Vocabulary
    made_with: str
    density: float
    open_split: Callable[[str], TokenFile]


def lm_data(directory: str, extra_ids: int = 0, length: int = 0) -> LMData:
    """Looks into a folder of token files, of a dataset, or of pairs.

    Args:
        directory: the folder.
        extra_ids: ids above the codec's that a model may use for itself.
        length: of the rows into which pairs are packed; others do without.

    Raises:
        UserError: the folder is none of these.
    """
    if splits := pairs.splits_of(directory):
        codec, infos = pairs.codec_of(directory), [pairs.about(directory, split) for split in splits]
        density = sum(info.text_bytes for info in infos) / max(1, sum(info.tokens for info in infos))
        rows = partial(rows_of_pairs, directory, length=length)
        return LMData(splits, CodecVocabulary(codec, extra_ids), codec.fingerprint, density, rows)
    if splits := list(layout.manifests(directory)):
        codec = codec_of(directory)
        totals = [files.read_json(files.join(directory, layout.stats_name(split))) for split in splits]
        density = sum(one["text_bytes"] for one in totals) / max(1, sum(one["targets_tokens"] for one in totals))
        read = partial(token_files.tokens_of_dataset, directory, read_shard=read_shard)
        return LMData(splits, CodecVocabulary(codec, extra_ids), codec.fingerprint, density, read)
    names = [name.removesuffix(".tokens.json") for name in files.list_directory(directory)]
    found = {
        name: token_files.open_tokens(directory, name) for name in names if token_files.has_tokens(directory, name)
    }
    if not found:
        raise UserError(
            f"{directory} holds neither token files nor a dataset",
            "make one with python -m beam_jobs.equal_info, or check the data folder",
        )
    infos = [tokens.info for tokens in found.values()]
    vocabulary = seqio.PassThroughVocabulary(max(info.vocab_size for info in infos) + extra_ids, END_OF_DOCUMENT_ID)
    density = sum(info.text_bytes for info in infos) / max(1, sum(info.tokens for info in infos))
    return LMData(list(found), vocabulary, infos[0].made_with, density, found.__getitem__)


def size_of_ids(vocabulary: seqio.Vocabulary, density: float) -> Callable[[np.ndarray], float]:
    """Ids to the bytes of their text: exact where every token stands for text of its own, else at a mean density."""
    codec: AnyCodec | None = getattr(vocabulary, "codec", None)
    if codec is not None and not isinstance(codec, StreamCodec):
        return lambda ids: float(codec.decoded_size(ids[ids > END_OF_DOCUMENT_ID] - END_OF_DOCUMENT_ID - 1))
    return lambda ids: density * int(np.count_nonzero(ids > 0))


def _scored(size: Callable[[np.ndarray], float]) -> Callable[..., dict[str, float]]:
    def metric(targets: list[np.ndarray], scores: Any) -> dict[str, float]:
        # with intermediates SeqIO passes a pair
        values = scores[0] if isinstance(scores, tuple) else scores
        text_bytes = sum(size(np.asarray(ids)) for ids in targets)
        return {"bits_per_byte": bits_per_byte(-float(np.sum(values, dtype=np.float64)), round(text_bytes))}

    return metric


def _ids_of_example(output: Any, *, is_target: bool = False, example: Any = None, **_: Any) -> Any:
    return np.asarray(example["targets"]) if is_target and example is not None else output


class _OrderedSource(seqio.FunctionDataSource):
    """A source that puts its rows in order itself, so that SeqIO lets a task do without a shuffle buffer."""

    @property
    def performs_internal_shuffling(self) -> bool:
        return True


def _window_dataset(
    windows: Windows, first: int, stop: int, order: Callable[[int, int], np.ndarray]
) -> tf.data.Dataset:
    """The windows at places `first` to `stop` - 1 of an order: (start, stop) to numbers of windows."""

    def take(start: Any) -> np.ndarray:
        return windows.take(order(int(start), min(int(start) + ROWS_AT_ONCE, stop)))

    def rows(start: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(take, [start], tf.int32, stateful=False)  # so that an iterator can be saved

    def example(row: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"targets": tf.ensure_shape(row, [windows.length])}

    return tf.data.Dataset.range(first, stop, ROWS_AT_ONCE).map(rows).unbatch().map(example)
