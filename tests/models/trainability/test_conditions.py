"""The paper's conditions and what they reject."""

import pytest

from models.trainability.conditions import CONDITIONS, condition_of
from models.trainability.problem import problem_of
from shammie.errors import UserError


def test_all_of_the_paper_and_both_readings():
    assert list(CONDITIONS) == [
        "tanh",
        "relu",
        "identity",
        "tanh_minibatch",
        "tanh_single",
        "tanh_offset",
        "tanh_offset_each_step",
    ]
    assert {CONDITIONS[name].offset for name in ("tanh_offset", "tanh_offset_each_step")} == {"start", "each_step"}
    assert all(one.title for one in CONDITIONS.values())


@pytest.mark.parametrize(("name", "count"), [("tanh", 272), ("relu", 272), ("identity", 16), ("tanh_single", 1)])
def test_as_many_data_as_the_notebook(name, count):
    assert condition_of(name).data_count(16) == count
    assert problem_of(name, width=16, steps=1).draws.features.shape == (count, 16)


def test_an_unknown_condition_lists_the_nearest():
    with pytest.raises(UserError, match=r"unknown condition 'tanh_singel'; did you mean tanh_single") as caught:
        problem_of("tanh_singel")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [{"width": 0}, {"steps": 0}, {"width": 2.5}, {"seed": -1}, {"steps": True}])
def test_sizes_that_cannot_be(sizes):
    (name, value), *_ = sizes.items()
    with pytest.raises(UserError, match=f"{name}={value}"):
        problem_of("tanh", **sizes)


def test_a_problem_is_shared_and_cannot_be_changed():
    problem = problem_of("tanh", width=5, steps=120)
    assert problem is problem_of("tanh", width=5, steps=120)
    with pytest.raises(ValueError, match="read-only"):
        problem.draws.weights[0, 0] = 1
