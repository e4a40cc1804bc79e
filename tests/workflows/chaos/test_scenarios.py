"""Scenarios as `make chaos` plays them: one of each quick kind here, the others where slow tests run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.chaos.__main__ import main
from workflows.chaos.row import PASSED
from workflows.chaos.scenarios import all_scenarios, played
from workflows.chaos.stage import Stage

SCENARIOS = all_scenarios()
QUICK = ("driver/encode/1",)
ELSEWHERE = ("task_manager", "preempted")  # takes Flink (`make flink-test`), minutes
INSIDE = [name for name in SCENARIOS if name.startswith("full_disk")]  # need a namespace, which the command makes
OTHERS = [name for name in SCENARIOS if name not in (*QUICK, *ELSEWHERE, *INSIDE)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("chaos"), interval=12.0)


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """The commands find gin files and our packages as from the root."""
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_fault_changes_nothing(stage: Stage, name: str) -> None:
    row = played(name, SCENARIOS[name], stage)
    assert (row.verdict, row.why) == (PASSED, ""), row


@pytest.mark.slow
def test_full_disks(repository: Path) -> None:
    words = [sys.executable, "-m", "workflows.chaos", "--only", "full_disk"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stdout
    assert f"{len(INSIDE)} faults: 0 failed" in done.stdout


@pytest.mark.slow
def test_preemptions(stage: Stage) -> None:
    row = played("preempted", SCENARIOS["preempted"], stage)
    assert (row.verdict, row.why) == (PASSED, ""), row


@pytest.mark.slow
@pytest.mark.flink
@pytest.mark.timeout(1800)
def test_a_flink_task_manager_is_killed(stage: Stage) -> None:
    row = played("task_manager", SCENARIOS["task_manager"], stage)
    assert row.verdict != "FAIL", row
    if row.verdict == "skip":
        pytest.skip(row.why)


def test_names_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == list(SCENARIOS)
    for words, said in (
        (["--only", "drivr"], "unknown scenario 'drivr'"),
        (["--overhead", "swep"], "unknown job 'swep'"),
        (["--interval", "0"], "give seconds above 0"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_scenario_that_breaks_down_has_failed(stage: Stage) -> None:
    row = played("mine", lambda stage: 1 / 0, stage)  # pyright: ignore[reportArgumentType]
    assert (row.verdict, row.why) == ("FAIL", "ZeroDivisionError: division by zero")
