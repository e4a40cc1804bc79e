"""The SeqIO task of prompts and targets, by which T5X fine-tunes on what was selected.

task = add_rest_em_task("PAIRS")    # a folder that `seqio_tasks.pairs.write_pairs_text` wrote

Through seqio.PrefixLMFeatureConverter it gives a model the examples that the bundled trainer packs into rows
(`seqio_tasks.pair_rows`): the prompt, the target, the id that ends it; only the last two have weight.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.equal_info.ids import ids_of_codes
from models.equal_info.load import AnyCodec
from seqio_tasks import pairs
from seqio_tasks.vocabularies import CodecVocabulary
from shammie import files
from shammie.errors import UserError

VERSION = "v001"  # raised whenever the task's preprocessing changes
PARSED = {"inputs_pretokenized": tf.string, "targets_pretokenized": tf.string, "inputs": tf.int32, "targets": tf.int32}


def task_name(codec: AnyCodec, suffix: str = "") -> str:
    """The versioned name of a task of a codec's pairs, such as rest_em_bytes_256_v001."""
    return "_".join(filter(None, ["rest_em", codec.scheme, str(codec.vocab_size), suffix, VERSION]))


def add_rest_em_task(directory: str, *, name: str | None = None, extra_ids: int = 0) -> seqio.Task:
    """Registers the task of a folder of pairs; a second call for the same name replaces the first.

    Args:
        directory: of `seqio_tasks.pairs`.
        name: None for `task_name`.
        extra_ids: ids above the codec's that a model may use for itself.

    Returns:
        The task. Its examples have int32 "inputs" [tokens], without an end, and "targets" [tokens], with one; and the
        text of both as "inputs_pretokenized" and "targets_pretokenized", which T5X's infer writes beside a prediction.
        It has no metrics: what a model solves is for verifiers to say.

    Raises:
        UserError: no pairs, or another codec than theirs; or, once a dataset of given lengths is asked for, a pair
            that is longer (SeqIO would cut it without a word).
    """
    codec = pairs.codec_of(directory)
    infos = {split: pairs.about(directory, split) for split in pairs.splits_of(directory)}
    longest = {
        "inputs": max(info.longest_inputs for info in infos.values()),
        "targets": max(info.longest_targets for info in infos.values()),
    }

    def refuse_cuts(dataset: tf.data.Dataset, sequence_length: Mapping[str, int] | None = None) -> tf.data.Dataset:
        check_lengths(directory, longest, sequence_length or {})
        return dataset

    name = name or task_name(codec)
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    vocabulary = CodecVocabulary(codec, extra_ids)
    source: Any = seqio.TextLineDataSource(  # SeqIO's sources do not match its own protocol
        {split: files.join(directory, pairs.pairs_name(split)) for split in infos},
        num_input_examples={split: info.pairs for split, info in infos.items()},
    )
    return seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[refuse_cuts, lambda dataset: dataset.map(_parser(codec))],
        output_features={
            "inputs": seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32),
            "targets": seqio.Feature(vocabulary, add_eos=True, dtype=tf.int32),
        },
        metric_fns=[],
        postprocess_fn=_text,
    )


def check_lengths(directory: str, longest: Mapping[str, int], lengths: Mapping[str, int]) -> None:
    """Raises UserError where a feature of the longest pair has more tokens than there is room for."""
    for feature, most in longest.items():
        if 0 < lengths.get(feature, most) < most:
            raise UserError(
                f"{directory} has {feature} of {most} tokens, more than the {lengths[feature]} that there is room for",
                f"give {feature} {most} tokens or more, or write the pairs with max_{feature}={lengths[feature]}",
            )


def _parser(codec: AnyCodec) -> Any:
    """A line of JSON to an example."""

    def parse(line: bytes) -> tuple[bytes, bytes, np.ndarray, np.ndarray]:
        pair = json.loads(line)
        prompt, target = pair["prompt"].encode(), pair["target"].encode()
        return prompt, target, ids_of_codes(codec.encode(prompt)), ids_of_codes(codec.encode(target), end=True)

    def example(line: tf.Tensor) -> dict[str, tf.Tensor]:
        # not stateful, so that an iterator can be saved
        found = tf.numpy_function(parse, [line], list(PARSED.values()), stateful=False)
        shapes = {"inputs": [None], "targets": [None]}
        return {one: tf.ensure_shape(value, shapes.get(one, [])) for one, value in zip(PARSED, found, strict=True)}

    return example


def _text(output: Any, *, is_target: bool = False, example: Any = None, **_: Any) -> Any:
    """The text of a target; of a prediction, which SeqIO has decoded, the prediction."""
    return bytes(example["targets_pretokenized"]).decode() if is_target and example is not None else output
