"""Which groups run, and how long they will take."""

from typing import Any

import pytest
import sweep_kinds

from beam_jobs.sweep.cells import cells_of
from beam_jobs.sweep.planning import costs_of, seconds_left, todo_of
from beam_jobs.sweep.results import Outlook
from beam_jobs.sweep.store import DeadLetter, Group, State, group_of
from shammie.errors import UserError

KIND: Any = sweep_kinds.SQUARES
ONE, TWO = '{"width":1}', '{"width":2}'


def cells(*xs: int, width: int = 1) -> list[Any]:
    return cells_of(KIND, [{"x": x, "width": width} for x in xs])


def state(groups: list[Group], done: list[Group]) -> State:
    return State(
        {group.name: group for group in groups},
        done={cell.identity: group.name for group in done for cell in group.cells},
    )


def xs(groups: list[Group]) -> list[list[int]]:
    return [[cell.config["x"] for cell in group.cells] for group in groups]


def test_groups_have_one_key_and_even_sizes() -> None:
    todo = todo_of(KIND, [*cells(*range(9)), *cells(10, 11, width=2)], State())
    assert xs(todo.new) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [10, 11]]
    assert [group.key for group in todo.new] == [ONE] * 3 + [TWO]
    assert todo.planned == []


def test_a_planned_group_stands_whatever_is_added() -> None:
    planned = [group_of(ONE, cells(0, 1)), group_of(ONE, cells(2, 3))]
    todo = todo_of(KIND, cells(9, 3, 2, 1, 0), state(planned, planned[:1]))
    assert (todo.planned, xs(todo.new)) == (planned[1:], [[9]])


def test_what_is_no_longer_wanted_is_not_run() -> None:
    planned = [group_of(ONE, cells(0, 1)), group_of(ONE, cells(2, 3))]
    todo = todo_of(KIND, cells(0, 2, 3), state(planned, []))
    assert (todo.planned, xs(todo.new)) == (planned[1:], [[0]])


def test_the_latest_plan_of_a_cell_counts() -> None:
    planned = [group_of(ONE, cells(0, 1)), group_of(ONE, cells(0)), group_of(ONE, cells(1))]
    todo = todo_of(KIND, cells(0, 1), state(planned, []))
    assert (todo.planned, todo.new) == (planned[1:], [])
    assert todo_of(KIND, cells(0, 1), state(planned, planned[1:2])).planned == planned[2:]


def test_failed_cells_are_kept_apart() -> None:
    found = state([], [])
    for cell in cells(1, 2):
        found.dead[cell.identity] = DeadLetter(cell.identity, {}, "why")
    assert xs(todo_of(KIND, cells(0, 1, 2, 3), found).new) == [[0, 3], [1, 2]]


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cost_is_above_0(cost: float) -> None:
    with pytest.raises(UserError, match=r"kind squares says that a cell costs .*: {\"width\":1,\"x\":0}"):
        costs_of(type("Odd", (sweep_kinds.Squares,), {"cost": lambda *_: cost})(), cells(0))


def record(key: str, seconds: float, cost: float, host: str = "here", at_once: int = 2) -> dict[str, Any]:
    return {"key": key, "seconds": seconds, "cost": cost, "host": host, "at_once": at_once}


def test_time_left_goes_by_key_then_host_and_by_what_runs_at_once() -> None:
    one, two, three = (group_of(key, cells(*range(4), width=w)) for key, w in ((ONE, 1), (TWO, 2), ("3", 3)))
    costs = costs_of(KIND, [cell for group in (one, two, three) for cell in group.cells])
    done = [record(ONE, 2.0, 4.0), record(ONE, 4.0, 4.0), record(TWO, 24.0, 8.0), record(ONE, 900.0, 1.0, "there")]
    assert seconds_left([one], costs, done, "here") == 0.75 * 4, "one group alone takes its own time"
    assert seconds_left([one, two], costs, done, "here") == max((3 + 24) / 2, 24)
    assert seconds_left([two, two, two], costs, done, "here") == 36
    assert seconds_left([three], costs, done, "here") == pytest.approx(12 * 30 / 16), "of an unknown key: of all"
    assert seconds_left([one], costs, done[3:], "here") == 3600, "another host is better than nothing"
    assert seconds_left([one], costs, [], "here") is None
    assert seconds_left([], costs, [], "here") == 0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Outlook(1200, 528, 0, 720.4), "1,200 of 1,728 cells done, about 12 min 0 s left"),
        (Outlook(2, 0, 0, 0.0), "2 of 2 cells done"),
        (Outlook(0, 2, 1, None), "0 of 3 cells done, 1 failed and to be tried again, time left unknown: none is timed"),
    ],
)
def test_an_outlook_in_words(found: Outlook, words: str) -> None:
    assert str(found) == words
