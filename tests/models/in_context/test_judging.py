"""Evaluations: which contexts judge a learner."""

import numpy as np
import pytest

from models.in_context.judging import Evaluation, evaluation_from_json, judged_rows
from models.in_context.tasks import UNSEEN, TaskDistribution, met_rows, seen_rows, unseen_rows
from shammie.configs import plain
from shammie.errors import UserError


def test_rows_of_seen_and_unseen_tasks() -> None:
    few = TaskDistribution(tasks=16)
    evaluations = [Evaluation("unseen", few), Evaluation("seen", few, seen=True), Evaluation("other")]
    rows_ER3 = judged_rows(evaluations, 32)
    assert (rows_ER3.shape, rows_ER3.dtype) == ((3, 32, 3), np.int32)
    assert (rows_ER3[:, :, 0] == np.arange(3)[:, None]).all()
    assert np.array_equal(rows_ER3[0, :, 1:], unseen_rows(32)[:, 1:])
    assert np.array_equal(rows_ER3[1, :, 1:], seen_rows(few, 32)[:, 1:])
    assert np.array_equal(rows_ER3[2, :, 1:], rows_ER3[0, :, 1:])  # the same tasks, so that learners compare
    assert rows_ER3[0, :, 1].min() == UNSEEN
    assert {*rows_ER3[1, :, 1].tolist()} == {*range(16)}


def test_rows_of_met_tasks_are_the_unseen_ones_with_other_tasks() -> None:
    ids_M = np.array([70, 3, 41], np.int32)
    evaluations = [Evaluation("unseen"), Evaluation("met", TaskDistribution(tasks=99), met=True)]
    rows_ER3 = judged_rows(evaluations, 6, ids_M)
    assert rows_ER3[1, :, 1].tolist() == [70, 3, 41, 70, 3, 41]
    assert np.array_equal(rows_ER3[1, :, 1:], met_rows(ids_M, 6)[:, 1:])
    assert np.array_equal(rows_ER3[0, :, 2], rows_ER3[1, :, 2])
    with pytest.raises(UserError, match="no task is a seen one"):
        judged_rows(evaluations, 6)
    with pytest.raises(UserError, match="evaluation both"):
        Evaluation("both", seen=True, met=True)


def test_an_evaluation_of_tasks_that_need_not_be_met_is_known_as_before() -> None:
    """Cells that were made before `met` keep their identity."""
    assert "met" not in plain(Evaluation("unseen"))
    assert "met" not in plain(Evaluation("seen", seen=True))
    assert plain(Evaluation("seen", met=True))["met"] is True


def test_plain_json_is_the_evaluation() -> None:
    for one in (
        Evaluation("unseen"),
        Evaluation("met", met=True),
        Evaluation("a", TaskDistribution(tasks=4, noise=0.5), seen=True, split="train"),
    ):
        assert evaluation_from_json(plain(one)) == one
