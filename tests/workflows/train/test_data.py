"""Batches are loaded ahead, in order, and a loader's error arrives where its batch would."""

import threading

import numpy as np
import pytest

from workflows.train.ahead import Ahead
from workflows.train.data import load, tokens_of, validation_of, windows_of


def test_items_come_in_order_while_later_ones_are_made() -> None:
    made, third = [], threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if len(made) == 3:
            third.set()
        return number * number

    ahead = Ahead(make, range(20), depth=2)
    assert third.wait(5)  # nothing was taken yet
    assert next(ahead) == 0
    assert [*ahead] == [number * number for number in range(1, 20)]
    assert made == list(range(20))
    with pytest.raises(StopIteration):
        next(ahead)
    ahead.close()


def test_no_more_is_made_than_may_wait() -> None:
    made = []
    ahead = Ahead(made.append, range(100), depth=2)
    next(ahead)
    ahead.close()
    assert len(made) <= 5
    with pytest.raises(StopIteration):
        next(ahead)


def test_an_error_comes_in_its_place() -> None:
    ahead = Ahead(lambda number: 1 / (2 - number), range(5))
    assert next(ahead) == 0.5
    assert next(ahead) == 1.0
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)
    ahead.close()


def test_a_call_of_many_steps_loads_their_batches(config) -> None:
    run = config(seed=7)
    windows, tokens = windows_of(run, "train")
    assert tokens.info.made_with == "toy"
    three = load(run, windows, 5, 3)
    assert three.shape == (3, 4, 16)
    for n in range(3):
        np.testing.assert_array_equal(three[n], load(run, windows, 5 + n, 1))
        np.testing.assert_array_equal(three[n], windows.batch(7, 5 + n, 4))


def test_validation_is_the_first_windows_and_fewer_where_there_are_no_more(config, toy) -> None:
    ids = tokens_of(toy, "validation").ids
    found = validation_of(config(eval_every=4, eval_batches=3))
    np.testing.assert_array_equal(np.concatenate(found), ids[: 12 * 16].reshape(12, 16))
    assert len(validation_of(config(eval_every=4, eval_batches=10_000))) == len(ids) // 16 // 4
    assert validation_of(config(eval_every=0)) == []
