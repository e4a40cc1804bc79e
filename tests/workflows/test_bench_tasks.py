import argparse
from typing import Any

import numpy as np
import pytest

from shammie.errors import UserError
from workflows.bench import tasks


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    tasks.add_arguments(parser)
    return parser.parse_args(words)


def test_who_begins_alternates_and_the_first_calls_do_not_count() -> None:
    calls: list[str] = []
    found = tasks.by_turns(
        lambda: calls.append("ours"), lambda: calls.append("peer"), 3, lambda: float(len(calls) ** 2)
    )
    assert calls == ["ours", "peer"] * 2 + ["peer", "ours"] + ["ours", "peer"]
    assert found == [(5, 7), (11, 9), (13, 15)]


def test_ratios_shares_and_targets() -> None:
    speeds = {(64, 50): [(1.0, 12.0), (2.0, 22.0), (4.0, 4.0)], (784, 100): [(8.0, 16.0)]}
    steps = [(1.0, 0.96), (2.0, 1.9), (1.0, 1.1)]
    found = tasks.table(speeds, steps, batch_size=32, step_examples=50, steps_of_turn=10)
    assert found.rows == [
        ["tasks/s, F = 64, N = 50", 16.0, 2.7, 11.0, "1.00 to 12.00"],
        ["tasks/s, F = 784, N = 100", 4.0, 2.0, 2.0, "2.00 to 2.00"],
        ["ms a step, N = 50", 100.0, 110.0, 0.04, "-0.100 to 0.050"],
    ]
    told = [(one.measured, one.target, one.reached) for one in found.targets]
    assert told == [(11.0, 10.0, True), (2.0, 10.0, False), (0.04, 0.05, True)]
    assert len(tasks.table(speeds, [], 32, 0, 10).targets) == 2


@pytest.mark.parametrize("text", ["64", "64x", "x50", "0x5", "64x50x2", "64x-1"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--sizes has '"):
        tasks.size_of(text)
    assert tasks.size_of("784x100") == (784, 100)


def test_the_peer_makes_tasks_as_ours_does() -> None:
    """Same shapes and dtypes; labels a permutation of the classes; projections of variance 1 / F."""
    features, examples = 64, 100
    x_MF, labels_M = tasks.data_of(features)
    assert (x_MF.shape, len(np.unique(labels_M))) == ((1442, 64), 10)
    made: dict[str, Any] = dict(zip(("ours", "peer"), tasks.generators(features, examples, 40), strict=True))
    for name, make in made.items():
        first, second = make(), make()
        x_BNF, labels_BN = (np.asarray(one) for one in first)
        assert (x_BNF.shape, labels_BN.shape) == ((40, examples, features), (40, examples)), name
        assert (x_BNF.dtype, labels_BN.dtype) == (np.float32, np.int32), name
        assert (labels_BN.min(), labels_BN.max()) == (0, 9), name
        assert x_BNF.std() == pytest.approx(1, abs=0.1), name
        assert not np.array_equal(x_BNF, second[0]), name
        # different images have different projections: none was taken twice
        assert all(len(np.unique(x_NF, axis=0)) == examples for x_NF in x_BNF), name


def test_a_peers_task_is_a_projection_and_a_permutation() -> None:
    unit_MF, labels_M = np.eye(64, dtype=np.float32), np.arange(64, dtype=np.int32) % 10
    x_NF, labels_N = tasks.numpy_context(unit_MF, labels_M, 64, id=3)
    numbered_NF, _ = tasks.numpy_context(unit_MF * np.arange(1, 65, dtype=np.float32), labels_M, 64, id=3)
    chosen_N = np.rint((numbered_NF / x_NF).mean(axis=1)).astype(int) - 1  # the same task, the same choice
    assert sorted(chosen_N) == list(range(64))
    assert x_NF.std() == pytest.approx(1 / 8, rel=0.05)
    pairs = set(zip(labels_M[chosen_N].tolist(), labels_N.tolist(), strict=True))
    assert len(pairs) == len({label for _, label in pairs}) == 10  # a class, a label


@pytest.mark.slow
def test_the_whole_benchmark() -> None:
    found = tasks.run(arguments("--sizes", "64x8", "--batch_size", "4", "--step_examples", "8", "--turns", "1"))
    assert len(found.rows) == len(found.targets) == 2
    assert all(value > 0 for row in found.rows for value in row[1:3])
