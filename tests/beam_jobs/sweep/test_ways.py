"""Each shape is timed once, and its way is kept."""

import itertools
import threading
import time
from pathlib import Path

from beam_jobs.sweep.ways import Ways
from shammie.files import read_json


def test_the_fastest_is_chosen_once_for_each_key(tmp_path: Path) -> None:
    called: list[str] = []

    def candidate(name: str, seconds: float):
        def run() -> float:
            called.append(name)
            return seconds

        return run

    def choose(ways: Ways, key: object, group: float, loop: float) -> str:
        return ways.choose(key, {"group": candidate("group", group), "loop": candidate("loop", loop)})

    ways = Ways(str(tmp_path / "ways"))
    assert choose(ways, {"n": 8}, 1.0, 2.0) == "group"
    assert choose(ways, {"n": 64}, 2.0, 1.0) == "loop"
    assert called == ["group", "loop"] * 2
    assert choose(ways, {"n": 8}, 2.0, 1.0) == "group", "the first choice holds"
    assert choose(Ways(str(tmp_path / "ways")), {"n": 64}, 1.0, 2.0) == "loop", "also in another process"
    assert called == ["group", "loop"] * 2
    assert choose(Ways(str(tmp_path / "other")), {"n": 64}, 1.0, 1.0) == "group", "of equals the first"
    kept = sorted((read_json(path) for path in (tmp_path / "ways").iterdir()), key=lambda one: one["key"]["n"])
    assert kept[1] == {"key": {"n": 64}, "seconds": {"group": 2.0, "loop": 1.0}, "chosen": "loop"}


def test_candidates_that_return_nothing_are_timed() -> None:
    clock = itertools.chain([0.0, 3.0, 3.0, 5.0])
    ways = Ways(clock=lambda: next(clock))
    assert ways.choose("k", {"a": lambda: None, "b": lambda: None}) == "b"


def test_other_candidates_are_another_choice(tmp_path: Path) -> None:
    ways = Ways(str(tmp_path))
    assert ways.choose("k", {"a": lambda: 1.0}) == "a"
    assert ways.choose("k", {"a": lambda: 2.0, "b": lambda: 1.0}) == "b"


def test_a_choice_cut_short_is_made_again(tmp_path: Path) -> None:
    Ways(str(tmp_path)).choose("k", {"a": lambda: 1.0, "b": lambda: 2.0})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    assert Ways(str(tmp_path)).choose("k", {"a": lambda: 2.0, "b": lambda: 1.0}) == "b"


def test_threads_that_come_together_time_a_key_once() -> None:
    called, ways, start = [], Ways(), threading.Barrier(4)

    def slow() -> None:
        called.append("slow")
        time.sleep(0.05)

    def choose() -> None:
        start.wait()
        ways.choose("k", {"slow": slow, "quick": lambda: called.append("quick")})

    threads = [threading.Thread(target=choose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert called == ["slow", "quick"]
