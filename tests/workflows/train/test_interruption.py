"""A run that is killed or stopped at any time ends, once resumed, where an unbroken one does: bit for bit."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shammie.errors import UserError
from workflows import gin_config
from workflows.train import TrainConfig, exchange, loop, train
from workflows.train.__main__ import MODULES, main
from workflows.train.compute import Compute
from workflows.train.language_model import objective_of
from workflows.train.mesh import make_mesh
from workflows.train.metric_log import MetricLog, read_rows
from workflows.train.stopping import any_asked, stop_signals

SMALL = (
    "m2_tiny/lm.LMConfig.width=16",
    "m2_tiny/lm.LMConfig.layers=1",
    "m2_tiny/lm.LMConfig.head_width=8",
    "LENGTH=16",
    "BATCH_SIZE=4",
)
EVERY = ("CHECKPOINT_EVERY=5", "LOG_EVERY=5", "EVAL_EVERY=5")
GIN_FILE = "gin/train/equal_info_tiny.gin"
STEPS = 80


def bindings_of(toy: str, *more: str) -> list[str]:
    return [f"DATA='{toy}'", "VOCAB_SIZE=64", f"STEPS={STEPS}", *SMALL, *EVERY, *more]


def words_of(bindings: list[str], out: Path) -> list[str]:
    return ["workflows.train", "--gin_file", GIN_FILE, "--out", str(out), *(f"--gin.{one}" for one in bindings)]


def config_of(bindings: list[str]) -> TrainConfig:
    gin_config.parse([GIN_FILE], bindings, modules=MODULES)
    return gin_config.call(TrainConfig)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def whole_checkpoints(out: Path) -> list[int]:
    return sorted(int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit())


@pytest.mark.parametrize("per_call", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_killed_then_stopped_then_resumed_is_unbroken(kit, toy, tmp_path: Path, per_call: int) -> None:
    bindings = bindings_of(toy, f"train.TrainConfig.steps_per_call={per_call}")
    broken = tmp_path / "broken"

    killed = kit.start(words_of(bindings, broken))
    wait_for(lambda: killed.poll() is not None or bool(whole_checkpoints(broken)))
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert whole_checkpoints(broken)[-1] < STEPS

    before = whole_checkpoints(broken)[-1]
    stopped = kit.start(words_of(bindings, broken))
    wait_for(lambda: stopped.poll() is not None or whole_checkpoints(broken)[-1] > before)
    stopped.send_signal(signal.SIGTERM)
    _, told = stopped.communicate()
    assert stopped.returncode == 143, told
    last = whole_checkpoints(broken)[-1]
    assert before < last < STEPS
    assert f"train: stopped after step {last}, saved in {broken}" in told
    assert told.splitlines()[-1] == "workflows.train: stopped by SIGTERM; the same command resumes"
    (broken / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()  # what a kill during a save leaves

    config = config_of(bindings)
    resumed = train(config, str(broken))
    unbroken = train(config, str(tmp_path / "unbroken"))
    kit.assert_same_bytes(resumed.state, unbroken.state)
    assert kit.without_speeds(resumed.rows) == kit.without_speeds(unbroken.rows)
    assert [row["step"] for row in resumed.rows] == list(range(5, STEPS + 1, 5))
    assert read_rows(str(broken / "metrics.jsonl")) == resumed.rows
    assert whole_checkpoints(broken) == whole_checkpoints(tmp_path / "unbroken") == [STEPS - 5, STEPS]


def test_stopped_between_two_log_lines_is_unbroken(kit, config, tmp_path: Path, monkeypatch) -> None:
    run = config(steps=12, log_every=4)
    asked = iter(range(1, 100))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "any_asked", lambda *_, **__: next(asked) == 6)
        with pytest.raises(KeyboardInterrupt):
            train(run, str(tmp_path / "broken"))
    assert whole_checkpoints(tmp_path / "broken") == [6]
    resumed, unbroken = train(run, str(tmp_path / "broken")), train(run, str(tmp_path / "unbroken"))
    kit.assert_same_bytes(resumed.state, unbroken.state)
    assert kit.without_speeds(resumed.rows) == kit.without_speeds(unbroken.rows)


def test_a_second_signal_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert not any_asked(stop, hosts=1, at_log_point=False)
        signal.raise_signal(signal.SIGINT)
        assert any_asked(stop, hosts=1, at_log_point=False)
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_runs_a_gin_file(toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of([*bindings_of(toy)[:2], "STEPS=5", *SMALL, *EVERY], tmp_path / "out")[1:]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/out: 5 steps, loss ")
    for more, message in (
        (["--gin.train.TrainConfig.batch=3"], "batch_size?"),
        (["--process_count=2"], "do not name one of several processes; give all three, the index below the count"),
        (["--gin.SEED=1"], "holds a run with seed=0, not 1"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len([line for line in error.splitlines() if line.startswith("workflows.train: ")]) == 1
    assert main(["--help"]) == 0


def test_rows_after_the_resumed_step_and_torn_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    log = MetricLog(str(tmp_path), 10)
    log.add({"step": 15, "loss": 2.0, "grad": float("nan")})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 5, "loss": 1.0},
        {"step": 10, "loss": 1.0},
        {"step": 15, "loss": 2.0},
    ]


def test_a_process_waits_for_its_compiling_thread(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ended under a daemon thread was aborted, about every third time."""
    daemons: list[bool] = []
    monkeypatch.setattr(Compute, "_compile_call", lambda *_: daemons.append(threading.current_thread().daemon))
    config = config_of(bindings_of(toy))
    Compute(objective_of(config), config, make_mesh(1, 1)).call(1)
    assert daemons == [False]


def test_an_error_while_the_step_compiles_ends_in_its_line(kit, toy, tmp_path: Path) -> None:
    bindings = bindings_of(toy, f"START_FROM='{tmp_path}'", "m2_tiny/lm.LMConfig.layers=4")
    for number in range(3):
        process = kit.start(words_of(bindings, tmp_path / f"out{number}"))
        _, told = process.communicate()
        assert process.returncode == 2, told
        assert told.splitlines()[-1].startswith(f"workflows.train: {tmp_path} is no checkpoint of T5X")


def test_a_start_beyond_the_runs_steps_names_where_it_came_from(toy, tmp_path: Path) -> None:
    whole = train(config_of(bindings_of(toy, "STEPS=5")), str(tmp_path / "whole"))
    path = exchange.write(whole.state, str(tmp_path / "t5x"))
    late = config_of(bindings_of(toy, "STEPS=3", f"START_FROM='{path}'", "CHECKPOINT_EVERY=0"))
    with pytest.raises(UserError, match=r"checkpoint_5 holds a run of 5 steps, beyond steps=3; raise steps"):
        train(late, str(tmp_path / "late"))
