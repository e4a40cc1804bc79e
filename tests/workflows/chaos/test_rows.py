"""What makes a row fail: each kind of wrong on its own."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from workflows.chaos.processes import Ended
from workflows.chaos.row import FAILED, PASSED, SKIPPED, Fault, Row, judged, table_of, to_json
from workflows.chaos.stage import Stage, not_killed, telling
from workflows.chaos.subject import Clean, Subject, files_of, hashes_of

GOOD, KILLED = Ended(0, 2.0, 1.0, "done\n"), Ended(-9, 1.0, 1.0, "")


def lines_of(out: Path) -> Counter[str]:
    return Counter((out / "lines.txt").read_text().split())


def write(out: Path, text: str = "a b b c") -> Path:
    out.mkdir()
    (out / "lines.txt").write_text(text)
    return out


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Row]:
    subject = Subject("job", lambda out: [], lambda out: 4, 1, hashes_of, lines_of)
    whole = write(tmp_path / "clean")
    clean = Clean(3.0, 4, hashes_of(whole), lines_of(whole), files_of(whole))

    def make(out: Path, wrong: str = "", end: Ended = GOOD, leaves: tuple[str, ...] = ()) -> Row:
        return judged(subject, clean, out, Fault("kill", "half", [KILLED], wrong, 0.25, leaves), [end])

    return make


def test_an_equal_output_passes(judge, tmp_path: Path) -> None:
    row = judge(write(tmp_path / "out"))
    assert (row.verdict, row.equal, row.orphans, row.lost, row.doubled, row.why) == (PASSED, True, 0, 0, 0, "")
    assert (row.exits, row.resume_s, row.clean_s, row.redone) == ("SIGKILL, 0", 2.0, 3.0, 0.25)


def test_whatever_is_wrong_fails(judge, tmp_path: Path) -> None:
    lost = judge(write(tmp_path / "lost", "a b b"))
    assert (lost.verdict, lost.equal, lost.lost, lost.doubled) == (FAILED, False, 1, 0)
    assert lost.why == "differs: lines.txt; 1 records lost, 0 doubled"
    doubled = judge(write(tmp_path / "doubled", "a b b b c c"))
    assert (doubled.verdict, doubled.lost, doubled.doubled) == (FAILED, 0, 2)
    out = write(tmp_path / "orphan")
    (out / ".lines.txt.tmp-0123abcd").touch()
    orphan = judge(out)
    assert (orphan.verdict, orphan.equal, orphan.orphans) == (FAILED, True, 1)
    assert (judge(out, leaves=(".lines",)).orphans, judge(out, leaves=("lines",)).orphans) == (0, 1)
    unclear = judge(write(tmp_path / "unclear"), "its error says nothing")
    assert (unclear.verdict, unclear.why) == (FAILED, "its error says nothing")
    stuck = judge(write(tmp_path / "stuck"), "", Ended(2, 1.0, 1.0, "job: no"))
    assert (stuck.verdict, stuck.why) == (FAILED, "the job does not resume: job: no")
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert judge(nothing).why.startswith("its output cannot be read: ")


def test_the_table_counts_what_failed(judge, tmp_path: Path) -> None:
    skipped = Row("flink", "job", "half", verdict=SKIPPED, why="no Java")
    rows = [judge(write(tmp_path / "out")), judge(write(tmp_path / "other", "x")), skipped]
    assert to_json(rows)["failed"] == 1
    shown = table_of(rows, ["3 faults"]).render()
    assert "FAIL: job, kill, half: differs: lines.txt" in shown
    assert "skip: job, flink, half: no Java" in shown


def test_what_a_scenario_prepares_must_have_ended_as_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a damaged checkpoint of a run that was not killed would be tried, and pass."""
    (tmp_path / "fails.py").write_text("import sys, os; os.mkdir(sys.argv[1]); sys.exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    subject = Subject("job", lambda out: ["fails", str(out)], lambda out: 4, 1, hashes_of, lines_of)
    stage = Stage(tmp_path)
    with pytest.raises(RuntimeError, match="job ends with 3 where 0 is due"):
        stage.prepared("whole", subject)
    assert not (tmp_path / "whole").exists()
    assert stage.prepared("whole", subject, code=3) == tmp_path / "whole"
    assert (tmp_path / "whole").is_dir()
    assert not_killed(Ended(0, 1.0, 1.0, "job: done")) == "was not killed: 0: job: done"
    assert not_killed(KILLED) == ""


def test_an_error_must_have_its_code_and_its_words() -> None:
    ended = Ended(2, 1.0, 1.0, "noise\nbeam_jobs.equal_info: /out: the disk is full: free some room\nmore of a library")
    assert ended.told == "beam_jobs.equal_info: /out: the disk is full: free some room"
    assert telling(ended, "/out", "free some room") == ""
    assert telling(ended, "same command").startswith("its error does not say 'same command'")
    assert telling(ended, code=143).startswith("ended with 2 instead of 143")
