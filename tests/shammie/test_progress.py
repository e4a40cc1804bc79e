import itertools

import pytest

from shammie.progress import Progress, duration


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    clock = itertools.chain([0.0], itertools.repeat(10.0))
    progress = Progress("encode", 4e6, "B", clock=lambda: next(clock))
    progress.done = 1e6
    assert progress.line() == "encode: 1.0 MB of 4.0 MB (25%), 0.1 MB/s, 30 s left"
    progress.done = 4e6
    assert progress.line() == "encode: 4.0 MB of 4.0 MB (100%), 0.4 MB/s, took 10 s"


def test_an_unknown_total() -> None:
    clock = itertools.chain([0.0], itertools.repeat(2.0))
    progress = Progress("read", unit="documents", clock=lambda: next(clock))
    progress.done = 10
    assert progress.line() == "read: 10 documents, 5 documents/s"


def test_work_done_before_counts_but_not_for_the_speed() -> None:
    clock = itertools.chain([0.0], itertools.repeat(10.0))
    progress = Progress("train", 100, "steps", start=60, clock=lambda: next(clock))
    progress.done = 80
    assert progress.line() == "train: 80 steps of 100 steps (80%), 2 steps/s, 10 s left"


def test_a_finished_run_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 100, start=100):
        pass
    assert capsys.readouterr().err == ""


def test_plain_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Progress("work", 100, clock=lambda: now) as progress:
        for _ in range(21):
            now += 1.0
            progress.advance(1)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "work: 10 of 100 (10%)",
        "work: 20 of 100 (20%)",
        "work: 21 of 100 (21%)",
    ]


def test_durations() -> None:
    assert [duration(s) for s in (8.2, 200, 7500, float("inf"))] == ["8 s", "3 min 20 s", "2 h 5 min", "unknown time"]


def test_time_left_goes_by_effort_where_units_differ() -> None:
    clock = itertools.chain([0.0], itertools.repeat(10.0))
    progress = Progress("sweep", 100, "cells", start=60, share=0.2, clock=lambda: next(clock))
    progress.to(80, share=0.4)
    assert progress.line() == "sweep: 80 cells of 100 cells (80%), 2 cells/s, 30 s left"
