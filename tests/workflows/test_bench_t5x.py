from datetime import datetime

import pytest

from shammie.errors import UserError
from workflows import t5x_contract
from workflows.bench import t5x as bench


def test_times_and_steps_are_read_from_t5xs_log() -> None:
    begun = datetime(2026, 11, 25, 18, 38, 0).timestamp()
    log = """noise
I1125 18:38:16.500000 140233950312128 logging_writer.py:48] [10] collection=train accuracy=0.01, loss=11.2, z_loss=0.1
I1125 18:38:20.000000 140233790850752 logging_writer.py:48] [10] collection=training_eval/x accuracy=0.1, loss=9.0
I1125 18:38:21.000000 140233950312128 logging_writer.py:48] [20] collection=train accuracy=0.10, loss=9.7, z_loss=0.1
I1125 18:38:26.500000 140233950312128 logging_writer.py:48] [30] collection=train accuracy=0.11, loss=8.4, z_loss=0.1
"""
    assert bench.of_t5x_log(log, begun, year=2026) == bench.Run(first_s=16.5, steps_per_s=2.0)
    with pytest.raises(UserError, match="a run told of 1 log points; give more --steps"):
        bench.of_t5x_log("\n".join(log.splitlines()[:2]), begun, year=2026)


def test_the_table_has_medians_of_ratios() -> None:
    pairs = [
        bench.Pair(first_s=(10.0, 5.0), steps_per_s=(2.0, 2.2)),
        bench.Pair(first_s=(20.0, 8.0), steps_per_s=(4.0, 4.0)),
        bench.Pair(first_s=(10.0, 6.0), steps_per_s=(1.0, 2.0)),
    ]
    table = bench.table({"width": 8}, pairs, "cc342d419ec3")
    assert table.rows == [["T5X cc342d4", 2.0, 10.0, 1.0, 1.0], ["bundled", 2.2, 6.0, 1.1, 0.5]]
    assert [target.reached for target in table.targets] == [True, True]
    assert "from 1.000 to 2.000" in table.notes[1]


def test_without_t5x_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5x_contract, "missing", lambda: ["t5x"])
    with pytest.raises(UserError, match=r"T5X needs t5x, which cannot be imported; pip install"):
        bench.run(None)  # type: ignore[arg-type]
