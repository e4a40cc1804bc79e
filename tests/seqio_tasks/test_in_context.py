"""SeqIO's rows are the bundled trainer's: the same formula, in the same order, on any host, from any row on."""

import subprocess
import sys
from itertools import islice
from typing import Any

import numpy as np
import pytest
import seqio
import tensorflow as tf

from models.in_context.tasks import Mixture, TaskDistribution, rows_of, unseen_rows
from seqio_tasks import in_context
from seqio_tasks.in_context import add_in_context_task
from shammie.errors import UserError

MIXTURE = Mixture(
    (TaskDistribution(tasks=1000), TaskDistribution("gaussian", curriculum_from=4, curriculum_draws=100)), (3.0, 1.0)
)
ROWS = 600  # more than two calls of ROWS_AT_ONCE


def rows_in(dataset: Any) -> np.ndarray:
    return np.array([row["targets"] for row in dataset.as_numpy_iterator()])


def whole(task: seqio.Task, split: str = "train", **how: Any) -> np.ndarray:
    return rows_in(task.get_dataset(split=split, **{"shuffle": True, **how}))


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_are_those_of_the_formula(seed: int, shuffle: bool) -> None:
    task = add_in_context_task(MIXTURE, seed=seed, rows=ROWS)
    found = whole(task, shuffle=shuffle, seed=99)  # SeqIO's own seed is not the mixture's
    assert found.dtype == np.int32
    assert ROWS > 2 * in_context.ROWS_AT_ONCE
    np.testing.assert_array_equal(found, rows_of(MIXTURE, seed, 0, ROWS))
    assert len(np.unique(found[:, 2])) == ROWS
    assert set(found[:, 0]) == {0, 1}


def test_t5x_gets_the_trainers_batches() -> None:
    task = add_in_context_task(MIXTURE, seed=1, rows=ROWS)
    dataset = seqio.get_dataset(
        task.name,
        task_feature_lengths={"targets": 3},
        dataset_split="train",
        shuffle=True,
        seed=7,
        feature_converter=seqio.PassThroughFeatureConverter(),
    ).batch(32, drop_remainder=True)
    batches = [batch["targets"] for batch in dataset.as_numpy_iterator()]
    assert len(batches) == ROWS // 32
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(batch, rows_of(MIXTURE, 1, step * 32, 32))


def test_hosts_share_the_rows() -> None:
    task = add_in_context_task(MIXTURE, seed=2, rows=ROWS)
    ours = rows_of(MIXTURE, 2, 0, ROWS)
    parts = [whole(task, shard_info=seqio.ShardInfo(host, 3)) for host in range(3)]
    for host, part in enumerate(parts):
        np.testing.assert_array_equal(part, ours[host::3])
    assert sum(map(len, parts)) == ROWS


@pytest.mark.parametrize("first", [1, 255, 256, 300])
def test_a_pass_goes_on_where_a_run_left_off(first: int) -> None:
    task = add_in_context_task(MIXTURE, seed=3, first_row=first, rows=ROWS)
    np.testing.assert_array_equal(whole(task), rows_of(MIXTURE, 3, 0, ROWS)[first:])


def test_an_iterator_can_be_saved(tmp_path: Any) -> None:
    task = add_in_context_task(MIXTURE, seed=4, rows=ROWS)
    make = lambda: iter(task.get_dataset(split="train", shuffle=True))  # noqa: E731
    iterator = make()
    begun = [next(iterator)["targets"].numpy() for _ in range(300)]
    path = tf.train.Checkpoint(rows=iterator).write(str(tmp_path / "rows"))
    iterator = make()
    tf.train.Checkpoint(rows=iterator).read(path)
    rest = [row["targets"].numpy() for row in islice(iterator, 400)]
    np.testing.assert_array_equal(np.stack(begun + rest), rows_of(MIXTURE, 4, 0, ROWS))


def test_another_process_gives_the_same_rows() -> None:
    """The formula alone, which the task's rows are: an import of TensorFlow would be most of the time."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from models.in_context.tasks import Mixture, TaskDistribution, rows_of\n"
        f"sys.stdout.buffer.write(rows_of({MIXTURE!r}, 6, 0, {ROWS}).tobytes())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert found == whole(add_in_context_task(MIXTURE, seed=6, rows=ROWS)).tobytes()


def test_rows_of_tasks_that_are_never_trained_on() -> None:
    task = add_in_context_task(MIXTURE, seed=0, rows=ROWS, unseen=300)
    found = whole(task, "unseen", shuffle=False)
    np.testing.assert_array_equal(found, unseen_rows(300))
    assert not set(found[:, 1]) & set(whole(task)[:, 1])


def test_the_same_name_is_registered_anew() -> None:
    first = add_in_context_task(MIXTURE, seed=0, rows=4)
    second = add_in_context_task(MIXTURE, seed=1, rows=4)
    assert first.name == second.name == "in_context_digits_v001"
    np.testing.assert_array_equal(whole(seqio.TaskRegistry.get(first.name)), rows_of(MIXTURE, 1, 0, 4))
    assert add_in_context_task(Mixture((TaskDistribution("tfds:mnist"),)), seed=0, rows=1).name == (
        "in_context_tfds_mnist_v001"
    )
    assert add_in_context_task(Mixture((TaskDistribution("/data/my set"),)), seed=0, rows=1).name == (
        "in_context_data_my_set_v001"
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"seed": -1, "rows": 4}, "seed is -1; give 0 or more"),
        ({"seed": 0, "first_row": -1, "rows": 4}, "first_row is -1"),
        ({"seed": 0, "first_row": 4, "rows": 4}, "rows is 4, not above first_row=4; give the rows of the whole run"),
        ({"seed": 0, "rows": 4, "unseen": 0}, "unseen is 0; give 1 or more"),
    ],
)
def test_passes_that_cannot_be(how: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        add_in_context_task(MIXTURE, **how)  # pyright: ignore[reportArgumentType]
