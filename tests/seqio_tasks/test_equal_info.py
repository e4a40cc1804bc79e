import shutil
from typing import Any
from unittest import mock

import numpy as np
import pytest
import seqio
import tensorflow as tf
from seqio import test_utils

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.equal_info.ids import END_OF_DOCUMENT_ID, PAD_ID
from seqio_tasks.equal_info import add_task, task_name
from seqio_tasks.vocabularies import CodecVocabulary
from shammie.errors import UserError


@pytest.mark.parametrize("output_format", ["tfrecord", "array_record"])
def test_beam_to_shards_to_seqio_and_back(datasets, codec, texts, output_format):
    task = add_task(datasets[output_format])
    assert task.name == task_name(codec) == f"equal_info_pruned_{codec.vocab_size}_v001"
    assert set(task.splits) == {"train", "validation"}
    for split in task.splits:
        examples = list(task.get_dataset(split=split, shuffle=False).as_numpy_iterator())
        assert all(example["targets"].dtype == "int32" for example in examples)
        assert all(example["targets"][-1] == END_OF_DOCUMENT_ID for example in examples)
        vocabulary = task.output_features["targets"].vocabulary
        assert isinstance(vocabulary, CodecVocabulary)
        assert sorted(vocabulary.decode_bytes(example["targets"]) for example in examples) == sorted(texts)
        assert task.num_input_examples(split) == len(texts)


def test_both_formats_and_shuffles_hold_the_same(datasets):
    rows = {}
    for name, folder in datasets.items():
        task = add_task(folder, name=f"same_{name}_v001")
        for shuffle in (False, True):
            dataset = task.get_dataset(split="train", shuffle=shuffle, seed=3)
            rows[name, shuffle] = sorted(tuple(row["targets"].tolist()) for row in dataset.as_numpy_iterator())
    assert len(set(map(tuple, rows.values()))) == 1


def test_seqio_takes_the_folder_for_a_cached_task(datasets, codec, texts, tmp_path):
    name = "as_cached_v001"
    shutil.copytree(datasets["tfrecord"], tmp_path / name)
    source: Any = seqio.FunctionDataSource(lambda split, shuffle_files, seed=None: None, splits=["train"])
    seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[seqio.CacheDatasetPlaceholder(required=True)],
        output_features={"targets": seqio.Feature(CodecVocabulary(codec), add_eos=False)},
    )
    with mock.patch.object(seqio.utils, "_GLOBAL_CACHE_DIRECTORIES", [str(tmp_path)]):
        task = seqio.TaskRegistry.get(name)
        assert task.get_cached_stats("train")["examples"] == len(texts)
        rows = list(task.get_dataset(split="train", use_cached=True, shuffle=False).as_numpy_iterator())
    vocabulary = CodecVocabulary(codec)
    assert sorted(vocabulary.decode_bytes(row["targets"]) for row in rows) == sorted(texts)


@pytest.mark.parametrize("pack", [False, True])
def test_code_0_has_its_share_in_the_loss(datasets, codec, texts, pack):
    task = add_task(datasets["tfrecord"])
    dataset = seqio.get_dataset(
        task.name,
        task_feature_lengths={"targets": 64},
        dataset_split="train",
        shuffle=False,
        feature_converter=seqio.LMFeatureConverter(pack=pack),
    )
    code_0 = ends = tokens = weights = 0
    for row in dataset.as_numpy_iterator():
        weighed = row["decoder_target_tokens"][row["decoder_loss_weights"] > 0]
        code_0 += int((weighed == 2).sum())
        ends += int((weighed == END_OF_DOCUMENT_ID).sum())
        tokens += int((row["decoder_target_tokens"] != PAD_ID).sum())
        weights += int(row["decoder_loss_weights"].sum())
    expected = [codec.encode(text).tolist() for text in texts]
    assert code_0 == sum(row.count(0) for row in expected) > 10
    assert ends == len(texts)
    assert weights == tokens == sum(map(len, expected)) + len(texts)


def test_the_task_by_seqios_own_test(datasets, codec):
    task = add_task(datasets["tfrecord"])
    text = b"the end"
    ids = [*(codec.encode(text) + 2).tolist(), END_OF_DOCUMENT_ID]
    rows = test_utils.test_preprocessing(task.name, raw_data={"train": {"targets": ids}})
    (row,) = rows
    assert row["targets"].tolist() == ids
    assert row["targets"].dtype == np.int32


def test_metrics_see_text(datasets, codec):
    task = add_task(datasets["tfrecord"])
    vocabulary = task.output_features["targets"].vocabulary
    ids = [*vocabulary.encode(b"the end"), END_OF_DOCUMENT_ID, PAD_ID]
    target = task.postprocess_fn({"targets": ids}, is_target=True)
    prediction = task.postprocess_fn(ids, is_target=False)
    assert target == prediction == b"the end"
    assert task.metric_fns[0]([target], [prediction]) == {"exact_match": 1.0}
    assert task.postprocess_fn("decoded by SeqIO", is_target=False, example={}) == "decoded by SeqIO"


def test_another_codec_is_refused(datasets, tmp_path):
    other = Codec(dictionary_of_strings(sorted({bytes([b]) for b in range(256)} | {b"other"})), scheme="pruned")
    with pytest.raises(UserError, match=r"the given codec has fingerprint .* was encoded with"):
        add_task(datasets["tfrecord"], codec=other)
    copy = tmp_path / "copy"
    shutil.copytree(datasets["tfrecord"], copy)
    other.save(str(copy / "equal_info.codec"))
    with pytest.raises(UserError, match=r"equal_info.codec has fingerprint .* was encoded with"):
        add_task(str(copy))


def test_an_unfinished_dataset_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no finished dataset; run python -m beam_jobs.equal_info to its end"):
        add_task(str(tmp_path))


def test_name_with_suffix(codec):
    assert task_name(codec, "books") == f"equal_info_pruned_{codec.vocab_size}_books_v001"


def test_tensorflow_reads_every_shard_as_examples(datasets, texts):
    shards = tf.io.gfile.glob(f"{datasets['tfrecord']}/train.tfrecord-*")
    rows = [tf.train.Example.FromString(row.numpy()) for row in tf.data.TFRecordDataset(shards)]
    assert len(shards) == 2
    assert len(rows) == len(texts)
    assert all(set(row.features.feature) == {"targets"} for row in rows)
