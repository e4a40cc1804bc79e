"""SeqIO's windows are the bundled trainer's: the same file, the same rows, the same shift of the inputs."""

import jax.numpy as jnp
import numpy as np
import pytest
import seqio
import tensorflow as tf

from beam_jobs.read_examples import read_targets
from models.training.losses import inputs_of
from seqio_tasks.equal_info import read_shard
from seqio_tasks.lm import add_examples_task, add_lm_task
from seqio_tasks.token_files import tokens_of_dataset, write_tokens
from seqio_tasks.vocabularies import CodecVocabulary
from seqio_tasks.windows import Windows
from shammie.errors import UserError

LENGTH, BATCH = 8, 3


def windows_of(directory: str, split: str = "train") -> Windows:
    return Windows(tokens_of_dataset(directory, split, read_targets).ids, LENGTH)


@pytest.mark.parametrize("output_format", ["tfrecord", "array_record"])
def test_both_readers_make_the_same_file(datasets, codec, texts, output_format, tmp_path, monkeypatch) -> None:
    found = {}
    for name, reader in (("tensorflow", read_shard), ("own", read_targets)):
        monkeypatch.setenv("SHAMMIE_CACHE", str(tmp_path / name))
        found[name] = tokens_of_dataset(datasets[output_format], "train", reader)
        assert str(tmp_path / name) in found[name].path
    assert found["own"].info == found["tensorflow"].info
    assert found["own"].ids.tobytes() == found["tensorflow"].ids.tobytes()
    info, ids = found["own"].info, found["own"].ids
    assert info.documents == len(texts) == np.count_nonzero(ids == 1)
    assert info.text_bytes == sum(map(len, texts))
    assert (info.made_with, info.vocab_size) == (codec.fingerprint, codec.vocab_size + 2)
    documents = np.split(ids[:-1], np.flatnonzero(ids[:-1] == 1) + 1)
    decoded = [codec.decode(one[one != 1].astype(np.int64) - 2) for one in documents]
    assert sorted(decoded) == sorted(texts)


def test_a_changed_dataset_is_read_again(datasets, own_cache) -> None:
    first = tokens_of_dataset(datasets["tfrecord"], "train", read_targets)

    def never(path: str) -> list[np.ndarray]:
        raise AssertionError("the cache was not used")

    assert tokens_of_dataset(datasets["tfrecord"], "train", never).path == first.path
    with pytest.raises(AssertionError):
        tokens_of_dataset(datasets["array_record"], "train", never)


@pytest.mark.parametrize("seed", [0, 5])
def test_seqio_gives_the_trainers_batches(datasets, own_cache, seed: int) -> None:
    windows = windows_of(datasets["tfrecord"])
    task = add_lm_task(datasets["tfrecord"], length=LENGTH, rows=windows.count * 3)
    dataset = seqio.get_dataset(
        task.name,
        task_feature_lengths={"targets": LENGTH},
        dataset_split="train",
        shuffle=True,
        seed=seed,
        feature_converter=seqio.LMFeatureConverter(pack=False),
    ).batch(BATCH, drop_remainder=True)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == windows.count * 3 // BATCH > windows.count // BATCH + 2  # beyond the first epoch
    for step, batch in enumerate(batches):
        ours = windows.batch(seed, step, BATCH)
        np.testing.assert_array_equal(batch["decoder_target_tokens"], ours)
        np.testing.assert_array_equal(batch["decoder_input_tokens"], inputs_of(jnp.asarray(ours)))
        assert batch["decoder_loss_weights"].min() == 1


def test_each_host_reads_the_trainers_rows(datasets, own_cache) -> None:
    task = add_lm_task(datasets["tfrecord"], length=LENGTH, seed=2, name="lm_hosts_v001")
    windows = windows_of(datasets["tfrecord"])
    for host in range(2):
        rows = task.get_dataset(
            sequence_length={"targets": LENGTH},
            split="train",
            shuffle=True,
            seed=2,
            shard_info=seqio.ShardInfo(host, 2),
        )
        found = [row["targets"] for row in rows.take(4).as_numpy_iterator()]
        ours = np.concatenate([windows.batch(2, step, 4, host=host, hosts=2) for step in range(2)])
        np.testing.assert_array_equal(found, ours)


def test_without_shuffling_windows_come_in_order(datasets, own_cache) -> None:
    task = add_lm_task(datasets["tfrecord"], length=LENGTH, rows=10_000)
    rows = list(task.get_dataset(split="validation", shuffle=False).as_numpy_iterator())
    windows = windows_of(datasets["tfrecord"], "validation")
    np.testing.assert_array_equal([row["targets"] for row in rows], windows.take(np.arange(windows.count)))


def test_too_long_a_window_is_refused(datasets, own_cache) -> None:
    with pytest.raises(UserError, match=r"has \d+ tokens, fewer than one window of length=100000; give more text"):
        add_lm_task(datasets["tfrecord"], length=100_000).get_dataset(split="train", shuffle=False)


def test_scores_become_bits_per_byte(datasets, own_cache, codec) -> None:
    for task in (add_lm_task(datasets["tfrecord"], length=LENGTH), add_examples_task(datasets["tfrecord"])):
        rows = [np.array([*(codec.encode(b"of the people") + 2), 1]), np.array([*(codec.encode(b"by") + 2), 0, 0])]
        (metric,) = task.metric_fns
        targets = [task.postprocess_fn("text", example={"targets": row}, is_target=True) for row in rows]
        assert metric(targets, scores=[-3.0, -np.log(2)]) == {"bits_per_byte": pytest.approx((3 / np.log(2) + 1) / 15)}


def test_token_files_make_a_task_without_a_codec(tmp_path) -> None:
    for split in ("train", "validation"):
        write_tokens(str(tmp_path), split, [np.arange(2, 50)], vocab_size=64, text_bytes=98, made_with="counted up")
    task = add_lm_task(str(tmp_path), length=LENGTH)
    assert task.name == "lm_counted_8_v001"
    rows = list(task.get_dataset(split="validation", shuffle=False).as_numpy_iterator())
    np.testing.assert_array_equal(rows[1]["targets"], np.arange(10, 18))
    # 98 bytes of 49 tokens, the end included: two bytes each
    assert task.metric_fns[0]([np.arange(2, 10)], scores=[-16 * np.log(2)]) == {"bits_per_byte": 1.0}


def test_a_pass_may_begin_where_a_run_left_off(datasets, own_cache) -> None:
    windows = windows_of(datasets["tfrecord"])
    first = windows.count + 5  # in the second epoch
    task = add_lm_task(datasets["tfrecord"], length=LENGTH, first_row=first, rows=first + 4)
    rows = [row["targets"] for row in task.get_dataset(split="train", shuffle=True, seed=3).as_numpy_iterator()]
    np.testing.assert_array_equal(rows[:4], windows.take(windows.order(3, first, first + 4)))


def test_only_the_split_that_is_asked_for_is_made_flat(datasets, own_cache) -> None:
    task = add_lm_task(datasets["tfrecord"], length=LENGTH)
    next(iter(task.get_dataset(split="validation", shuffle=False).as_numpy_iterator()))
    names = {path.name for path in own_cache.rglob("*.tokens*")}
    assert names == {"validation.tokens", "validation.tokens.json"}


@pytest.mark.parametrize("output_format", ["tfrecord", "array_record"])
def test_prompts_are_shown_and_hosts_read_their_own_shards(datasets, own_cache, codec, texts, output_format) -> None:
    task = add_examples_task(datasets[output_format], shown_tokens=3)
    rows = list(task.get_dataset(split="train", shuffle=False).as_numpy_iterator())
    for row in rows:
        shown = CodecVocabulary(codec).decode(row["targets"][:3])
        assert row["prompt_pretokenized"].decode() == shown
    parts = [
        [tuple(row["targets"]) for row in task.get_dataset(
            split="train", shuffle=False, shard_info=seqio.ShardInfo(host, 2)).as_numpy_iterator()]
        for host in range(2)
    ]  # fmt: skip
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(tuple(row["targets"]) for row in rows)
    assert len(rows) == len(texts)


def test_an_iterator_over_array_records_can_be_saved(datasets, tmp_path) -> None:
    task = add_examples_task(datasets["array_record"])
    make = lambda: iter(task.get_dataset(split="train", shuffle=True, seed=1))  # noqa: E731
    whole = [tuple(row["targets"].numpy()) for row in make()]
    iterator = make()
    begun = [tuple(next(iterator)["targets"].numpy()) for _ in range(2)]
    path = tf.train.Checkpoint(rows=iterator).write(str(tmp_path / "rows"))
    iterator = make()
    tf.train.Checkpoint(rows=iterator).read(path)
    assert begun + [tuple(row["targets"].numpy()) for row in iterator] == whole
