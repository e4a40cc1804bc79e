"""Banks: several data sets in one array."""

import numpy as np
import pytest

from models.in_context.base_data import Examples, bank_of
from shammie.errors import UserError


def data(labels: list[int], features: int, first: float) -> Examples:
    x_MF = first + np.arange(len(labels) * features, dtype=np.float32).reshape(-1, features)
    return Examples(x_MF, np.array(labels, np.int32))


def test_a_bank_holds_each_set_class_by_class() -> None:
    one, two = data([2, 0, 1, 0], 3, 0.0), data([1, 0, 1], 2, 100.0)
    bank = bank_of([one, two], 3)
    assert (bank.x_MF.shape, str(bank.x_MF.dtype)) == ((7, 3), "float32")
    assert bank.count_DK.tolist() == [[2, 1, 1], [1, 2, 0]]
    assert bank.first_DK.tolist() == [[0, 2, 3], [4, 5, 7]]
    assert np.array_equal(bank.x_MF[:4], one.x_MF[[1, 3, 2, 0]])
    assert np.array_equal(bank.x_MF[4:, :2], two.x_MF[[1, 0, 2]])
    assert (np.asarray(bank.x_MF)[4:, 2] == 0).all()


def test_what_a_bank_cannot_hold_is_named() -> None:
    with pytest.raises(UserError, match="data set 1 has 5 features, the learner 4"):
        bank_of([data([0, 1], 4, 0.0), data([0, 1], 5, 0.0)], 4)
    with pytest.raises(UserError, match="data set 0 has no example of class 1"):
        bank_of([data([0, 2, 2], 4, 0.0)], 4)
    for value in (np.nan, np.inf):
        broken = data([0, 1], 4, 0.0)
        broken.x_MF[1, 2] = value
        with pytest.raises(UserError, match="data set 0 has numbers that are not finite"):
            bank_of([broken], 4)
