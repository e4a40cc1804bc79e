"""Evaluations: which contexts judge a learner."""

import numpy as np

from models.in_context.judging import Evaluation, evaluation_from_json, judged_rows
from models.in_context.tasks import UNSEEN, TaskDistribution, seen_rows, unseen_rows
from shammie.configs import plain


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


def test_plain_json_is_the_evaluation() -> None:
    for one in (Evaluation("unseen"), Evaluation("a", TaskDistribution(tasks=4, noise=0.5), seen=True, split="train")):
        assert evaluation_from_json(plain(one)) == one
