"""SeqIO's windows are the bundled trainer's: the same file, the same rows, the same shift of the inputs."""

import jax.numpy as jnp
import numpy as np
import pytest
import seqio

from beam_jobs.read_examples import read_targets
from models.training.losses import inputs_of
from seqio_tasks.equal_info import read_shard
from seqio_tasks.lm import add_lm_task
from seqio_tasks.token_files import tokens_of_dataset
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
        add_lm_task(datasets["tfrecord"], length=100_000)
