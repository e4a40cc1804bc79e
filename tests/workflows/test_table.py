import itertools

from workflows.bench.table import Table, Target, cell, median_seconds


def test_targets() -> None:
    assert Target("speed", 25.0, 25.0).reached
    assert not Target("speed", 24.9, 25.0).reached
    assert Target("memory", 0.9, 1.0, better="less").reached
    assert not Target("memory", 1.1, 1.0, better="less").reached


def test_render_and_json() -> None:
    table = Table(
        "codes [all]", ["code", "MB/s"], [["full", 93.25], ["a[b]c", None]], ["a note"], [Target("x", 1.0, 2.0)]
    )
    text = table.render()
    assert all(part in text for part in ("codes [all]", "a[b]c", "93.2", "a note", "≥ 2", "NOT REACHED"))
    assert table.to_json() == {
        "title": "codes [all]",
        "rows": [{"code": "full", "MB/s": 93.25}, {"code": "a[b]c", "MB/s": None}],
        "notes": ["a note"],
        "targets": [{"what": "x", "measured": 1.0, "target": 2.0, "better": "more", "reached": False}],
    }


def test_cells() -> None:
    shown = [cell(value) for value in (5.2149, 1234.56, 0.01234, 65536, True, None, "x")]
    assert shown == ["5.21", "1,235", "0.0123", "65,536", "True", "", "x"]


def test_median_is_of_the_timed_calls() -> None:
    ticks = itertools.accumulate([0, 5, 0, 1, 0, 3])
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), 3, warmups=2, clock=lambda: float(next(ticks))) == 3.0
    assert len(calls) == 5
