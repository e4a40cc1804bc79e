"""Task distributions: tasks by their numbers, and which numbers a training meets."""

import collections
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.in_context.tasks import (
    MOST_TASKS,
    UNSEEN,
    Mixture,
    TaskDistribution,
    met_ids,
    met_rows,
    normals,
    permutation_of,
    rows_of,
    seen_rows,
    task_of,
    unseen_rows,
)
from shammie.errors import UserError

F, C = 32, 10
IDS = (0, 1, 2**24 - 1, UNSEEN, UNSEEN + 255)

IN_ANOTHER_PROCESS = """
import hashlib
from models.in_context.tasks import *
for id in {ids}:
    task = task_of(TaskDistribution(seed=5), id, {features}, {classes})
    print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in task)).hexdigest())
rows = rows_of(Mixture([TaskDistribution(), TaskDistribution(tasks=9)]), 3, 10**6, 50)
print(hashlib.sha256(rows.tobytes()).hexdigest())
"""


def tasks(distribution: TaskDistribution, ids: Any, features: int = F, classes: int = C) -> tuple[Any, Any]:
    """Projections [T, F, F] and permutations [T, C], float64 and int."""
    made = jax.jit(jax.vmap(lambda id: task_of(distribution, id, features, classes)))(jnp.asarray(ids))
    return np.asarray(made.projection_FF, np.float64), np.asarray(made.permutation_C)


def test_a_number_is_a_task_in_any_batch_and_in_another_process(capfd: pytest.CaptureFixture[str]) -> None:
    exec(IN_ANOTHER_PROCESS.format(ids=IDS, features=F, classes=C), {})
    here = capfd.readouterr().out.split()
    code = IN_ANOTHER_PROCESS.format(ids=IDS[::-1], features=F, classes=C)
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert here[:-1] == there[:-1][::-1]
    assert here[-1] == there[-1]
    assert len({*here}) == len(IDS) + 1
    together = jax.jit(jax.vmap(lambda id: task_of(TaskDistribution(seed=5), id, F, C)))(jnp.asarray(IDS))
    for place, id in enumerate(IDS):
        alone = task_of(TaskDistribution(seed=5), id, F, C)
        for batched, single in zip(together, alone, strict=True):
            assert np.array_equal(batched[place], single)
    other = task_of(TaskDistribution(seed=6), 0, F, C)
    assert not np.array_equal(other.projection_FF, together.projection_FF[0])


def test_tasks_are_the_same_whatever_generator_jax_is_set_to() -> None:
    usual = task_of(TaskDistribution(seed=5), 7, F, C)
    with jax.default_prng_impl("unsafe_rbg"):  # as is common on TPUs
        other = task_of(TaskDistribution(seed=5), 7, F, C)
    for a, b in zip(usual, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_all_permutations_are_bijections_and_equally_likely() -> None:
    _, permutations_TC = tasks(TaskDistribution(), range(3000), features=2)
    assert (np.sort(permutations_TC, axis=1) == np.arange(C)).all()
    counts_CC = np.stack([np.bincount(permutations_TC[:, place], minlength=C) for place in range(C)])
    assert scipy.stats.chisquare(counts_CC.ravel(), ddof=19).pvalue > 1e-3
    _, of_three_TC = tasks(TaskDistribution(), range(3000), features=2, classes=3)
    orders = collections.Counter(map(tuple, of_three_TC.tolist()))
    assert len(orders) == 6
    assert scipy.stats.chisquare([*orders.values()]).pvalue > 1e-3
    _, same_TC = tasks(TaskDistribution(permute=False), range(3), features=2)
    assert (same_TC == np.arange(C)).all()


def test_equal_words_still_make_a_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    words = jnp.asarray([7, 3, 7, 3, 9], jnp.uint32)
    monkeypatch.setattr(jax.random, "bits", lambda key, shape: words)
    assert permutation_of(jax.random.key(0), 5).tolist() == [2, 0, 3, 1, 4]


def test_projections_keep_lengths_on_average_and_scales_differ_by_the_root_of_f() -> None:
    projections_TFF, _ = tasks(TaskDistribution(), range(400))
    gram_FF = np.einsum("tij,tkj->ik", projections_TFF, projections_TFF) / len(projections_TFF)
    np.testing.assert_allclose(gram_FF, np.eye(F), atol=5 / np.sqrt(400 * F) * 1.5)
    assert projections_TFF.var() == pytest.approx(1 / F, rel=0.01)
    assert scipy.stats.kstest(projections_TFF.ravel()[:50_000] * np.sqrt(F), "norm").pvalue > 1e-3
    small_TFF, _ = tasks(TaskDistribution(scale="std"), range(3))
    np.testing.assert_allclose(small_TFF * np.sqrt(F), projections_TFF[:3], rtol=1e-6)
    assert small_TFF.std() == pytest.approx(1 / F, rel=0.05)
    across = np.corrcoef(projections_TFF.reshape(400, -1))  # of two tasks
    assert np.abs(across - np.eye(400)).max() < 6 / F


def test_other_projections() -> None:
    rotations_TFF, _ = tasks(TaskDistribution(projection="orthogonal"), range(20))
    np.testing.assert_allclose(rotations_TFF @ rotations_TFF.swapaxes(1, 2), np.tile(np.eye(F), (20, 1, 1)), atol=1e-5)
    assert np.abs(rotations_TFF[0] - rotations_TFF[1]).max() > 0.1
    assert np.sign(np.linalg.det(rotations_TFF)).min() < np.sign(np.linalg.det(rotations_TFF)).max()
    none_TFF, _ = tasks(TaskDistribution(projection="none", scale="std"), range(2))
    assert (none_TFF == np.eye(F)).all()


def test_normals_are_normal() -> None:
    numbers = np.asarray(normals(jax.random.key(1), 200_001), np.float64)
    assert (numbers.shape, normals(jax.random.key(1), 3).dtype) == ((200_001,), jnp.float32)
    assert scipy.stats.kstest(numbers, "norm").pvalue > 1e-3
    error = len(numbers) ** -0.5
    for moment, (value, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert np.mean(numbers**moment) == pytest.approx(value, abs=4 * error * variance**0.5), moment
    assert np.abs(np.corrcoef(numbers[:100_000], numbers[100_001:])[0, 1]) < 4 * 100_000**-0.5  # halves of a word
    assert np.abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 * error
    assert 4 < np.abs(numbers).max() < 4.4


def test_all_parts_of_a_normal_are_drawn() -> None:
    numbers = np.unique(np.asarray(normals(jax.random.key(2), 2**20)))
    expected = scipy.stats.norm.ppf((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    assert len(numbers) == len(expected)  # each of 65,536 with 16 chances: none is missed but by luck of e^-16 * 65,536
    np.testing.assert_allclose(numbers, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_exactly_so_many_tasks_are_met(count: int) -> None:
    rows_B3 = rows_of(Mixture([TaskDistribution(tasks=count)]), 0, 0, 40 * count)
    assert {*rows_B3[:, 1].tolist()} == {*range(count)}
    projections_TFF, permutations_TC = tasks(TaskDistribution(tasks=count), np.unique(rows_B3[:, 1]), features=4)
    distinct = {x.tobytes() + p.tobytes() for x, p in zip(projections_TFF, permutations_TC, strict=True)}
    assert len(distinct) == count
    assert {*seen_rows(TaskDistribution(tasks=count), 3 * count)[:, 1].tolist()} == {*range(count)}


def test_tasks_are_met_equally_often() -> None:
    rows_B3 = rows_of(Mixture([TaskDistribution(tasks=50)]), 1, 0, 20_000)
    assert scipy.stats.chisquare(np.bincount(rows_B3[:, 1])).pvalue > 1e-3
    no_end_B3 = rows_of(Mixture(), 1, 0, 20_000)
    assert scipy.stats.kstest(no_end_B3[:, 1] / UNSEEN, "uniform").pvalue > 1e-3
    most = rows_of(Mixture([TaskDistribution(tasks=MOST_TASKS)]), 1, 0, 20_000)[:, 1]
    assert 0.999 * MOST_TASKS < most.max() < MOST_TASKS


def test_a_curriculum_doubles_the_tasks() -> None:
    distribution = TaskDistribution(tasks=20, curriculum_from=3, curriculum_draws=1000)
    assert distribution.tasks_at(np.array([0, 999, 1000, 2999, 3000, 10**12])).tolist() == [3, 3, 6, 12, 20, 20]
    rows_B3 = rows_of(Mixture([distribution]), 0, 0, 6000)
    for first, count in ((0, 3), (1000, 6), (2000, 12), (3000, 20), (5000, 20)):
        assert {*rows_B3[first : first + 1000, 1].tolist()} == {*range(count)}
    no_end = TaskDistribution(curriculum_from=4, curriculum_draws=10)
    assert no_end.tasks_at(np.array([0, 10, 10**9])).tolist() == [4, 8, UNSEEN]


def test_hosts_and_resumed_runs_see_the_same_rows() -> None:
    mixture = Mixture([TaskDistribution(tasks=5), TaskDistribution()], [1, 3])
    whole_B3 = rows_of(mixture, 7, 0, 100)
    assert (whole_B3.dtype, whole_B3.shape) == (np.int32, (100, 3))
    for host in range(4):
        assert np.array_equal(rows_of(mixture, 7, 25 * host, 25), whole_B3[25 * host : 25 * host + 25])
    assert np.array_equal(whole_B3[:, 2], np.arange(100))
    assert not np.array_equal(rows_of(mixture, 8, 0, 100)[:, 1], whole_B3[:, 1])
    far = rows_of(mixture, 7, 2**31 + 5, 2)
    assert far[:, 2].tolist() == [5, 6]
    assert not np.array_equal(far[:, 1], whole_B3[5:7, 1])  # draws begin again, tasks do not


def test_shares_of_a_mixture() -> None:
    mixture = Mixture([TaskDistribution(tasks=2), TaskDistribution(tasks=3), TaskDistribution()], [1, 2, 5])
    rows_B3 = rows_of(mixture, 0, 0, 8000)
    counts = np.bincount(rows_B3[:, 0], minlength=3)
    assert scipy.stats.chisquare(counts, [1000, 2000, 5000]).pvalue > 1e-3
    assert [{*rows_B3[rows_B3[:, 0] == which, 1].tolist()} for which in (0, 1)] == [{0, 1}, {0, 1, 2}]
    equal = rows_of(Mixture(mixture.distributions), 0, 0, 8000)
    assert scipy.stats.chisquare(np.bincount(equal[:, 0])).pvalue > 1e-3


def test_what_judges_is_none_of_what_trains() -> None:
    unseen_B3 = unseen_rows(100, first=7)
    assert np.array_equal(unseen_B3[:, 1], UNSEEN + 7 + np.arange(100))
    assert unseen_B3.dtype == np.int32
    assert (unseen_B3[:, 0] == 0).all()
    assert rows_of(Mixture(), 0, 0, 10_000)[:, 1].max() < UNSEEN
    seen_B3 = seen_rows(TaskDistribution(), 100)
    assert len({*seen_B3[:, 1].tolist()}) == 100
    assert seen_B3[:, 1].max() < UNSEEN
    assert not {*unseen_rows(100)[:, 2].tolist()} & {*seen_B3[:, 2].tolist()}
    few_B3 = seen_rows(TaskDistribution(tasks=2**10), 2**6)
    assert few_B3[:, 1].tolist() == [*range(0, 2**10, 2**4)]


def test_seen_tasks_are_those_that_the_run_met_with_the_examples_of_the_unseen() -> None:
    mixture = Mixture([TaskDistribution(tasks=MOST_TASKS), TaskDistribution(tasks=MOST_TASKS, classes=2)], [2, 1])
    run_B3 = rows_of(mixture, 5, 0, 900)
    whole = [row for row in run_B3.tolist() if row[0] == 0]
    ids_M = met_ids(run_B3)
    assert ids_M.dtype == np.int32
    assert ids_M.tolist() == list(dict.fromkeys(id for _, id, _ in whole))
    assert 550 < len(ids_M) < 650  # two thirds: those met with two classes alone are not met
    in_two: Any = met_ids(run_B3[300:], met_ids(run_B3[:300]))
    assert np.array_equal(in_two, ids_M)
    met_B3, unseen_B3 = met_rows(ids_M, 64), unseen_rows(64)
    assert (met_B3.shape, met_B3.dtype) == ((64, 3), np.int32)
    assert np.array_equal(met_B3[:, [0, 2]], unseen_B3[:, [0, 2]])
    assert len({*met_B3[:, 1].tolist()}) == 64
    places = [ids_M.tolist().index(id) for id in met_B3[:, 1]]  # from the first to the last, evenly
    assert places[0] == 0
    assert {*np.diff(places).tolist()} == {len(ids_M) // 64, len(ids_M) // 64 + 1}
    # ids spread over all that there are, which is what was judged before, are none of them
    assert not {*seen_rows(mixture.distributions[0], 64)[1:, 1].tolist()} & {*ids_M.tolist()}


def test_few_tasks_are_judged_equally_often() -> None:
    ids_M = met_ids(rows_of(Mixture([TaskDistribution(tasks=5)]), 0, 0, 200))
    assert sorted(ids_M.tolist()) == [*range(5)]
    assert np.bincount(met_rows(ids_M, 20)[:, 1]).tolist() == [4] * 5
    with pytest.raises(UserError, match="no task is a seen one"):
        met_rows(met_ids(np.array([[1, 3, 0]], np.int32)), 4)


def test_projections_of_a_scale_make_inputs_as_long_as_each_other() -> None:
    """What a learner was trained on with Gaussian projections it is judged by with rotations, at the same scale."""
    x_F = np.linspace(-1, 1, 16)
    lengths = {}
    for scale in ("variance", "std"):
        for projection in ("gaussian", "orthogonal"):
            told: Any = {"scale": scale, "projection": projection}
            projections_TFF, _ = tasks(TaskDistribution(**told), np.arange(200), features=16)
            lengths[scale, projection] = np.mean(np.sum((x_F @ projections_TFF) ** 2, axis=-1)) / np.sum(x_F**2)
    assert lengths["variance", "orthogonal"] == pytest.approx(1, rel=1e-4)
    assert lengths["std", "orthogonal"] == pytest.approx(1 / 16, rel=1e-4)
    assert lengths["variance", "gaussian"] == pytest.approx(1, rel=0.1)
    assert lengths["std", "gaussian"] == pytest.approx(1 / 16, rel=0.1)
    none_TFF, _ = tasks(TaskDistribution(projection="none", scale="std"), np.arange(1), features=16)
    assert np.array_equal(none_TFF[0], np.eye(16))


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"tasks": -1}, "tasks is -1"),
        ({"tasks": 2**24 + 1}, "tasks is 16777217"),
        ({"projection": "random"}, "random"),
        ({"scale": "variances"}, "variances"),
        ({"biased_share": 1.5}, "biased_share is 1.5"),
        ({"label_noise": -0.1}, "label_noise is -0.1"),
        ({"label_noise": float("nan")}, "label_noise is nan"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"noise": float("inf")}, "noise is inf"),
        ({"classes": 3, "fewest_classes": 4}, "fewest_classes=4"),
        ({"classes": -1}, "classes=-1"),
        ({"curriculum_from": -1}, "curriculum_from=-1"),
        ({"curriculum_draws": 0}, "curriculum_draws=0"),
    ],
)
def test_a_bad_distribution_is_named(told: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        TaskDistribution(**told)


def test_a_bad_mixture_is_named() -> None:
    with pytest.raises(UserError, match="empty"):
        Mixture([])
    for shares in ([1.0], [1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(UserError, match="for 2 distributions"):
            Mixture([TaskDistribution()] * 2, shares)
    assert hash(Mixture([TaskDistribution()], [1.0])) == hash(Mixture((TaskDistribution(),), (1.0,)))
