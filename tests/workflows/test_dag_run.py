import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shammie import lock
from shammie.errors import UserError
from workflows import dag_store
from workflows.dag import Running, Source, Step, load_records, plan, run

Write = Callable[[Running], dict[str, Any] | None]


def write(text: str, log: list[str]) -> Write:
    def work(running: Running) -> dict[str, Any]:
        log.append(running.step.name)
        before = "".join(Path(running.input(word), "out.txt").read_text() for word in running.step.inputs)
        Path(running.path("out.txt")).write_text(before + text)
        running.counters["files"] = 1
        return {"letters": len(before + text)}

    return work


def pair(log: list[str], *, a: int = 1, text: str = "a") -> list[Step]:
    first = Step("first", write(text, log), config={"a": a})
    return [first, Step("second", write("b", log), inputs={"x": first})]


def states(steps: list[Step], out: Path, *, strict: bool = False) -> list[tuple[str, str, bool]]:
    return [(row.step.name, row.state, row.will_run) for row in plan(steps, str(out), strict=strict)]


def test_runs_once_and_records(tmp_path: Path) -> None:
    log: list[str] = []
    out = tmp_path / "out"
    steps = pair(log)
    assert states(steps, out) == [("first", "missing", True), ("second", "missing", True)]
    done = run(steps, str(out))
    assert [(one.step.name, one.ran) for one in done] == [("first", True), ("second", True)]
    assert Path(done[1].directory, "out.txt").read_text() == "ab"
    assert done[1].directory == f"{out}/second-{steps[1].identity[:12]}"
    assert states(steps, out) == [("first", "cached", False), ("second", "cached", False)]
    assert [one.ran for one in run(pair(log), str(out))] == [False, False]
    assert log == ["first", "second"]
    record = load_records(str(out))[-1]
    assert record["counters"] == {"files": 1, "letters": 2}
    assert record["outputs"] == {
        "out.txt": {"bytes": 2, "sha256": "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"}
    }
    assert record["config"] == {}
    assert record["inputs"]["x"]["identity"] == steps[0].identity
    assert {"argv", "git", "packages", "host", "started", "finished", "seconds", "source"} <= set(record)
    assert not (out / ".lock").exists()


def test_a_changed_config_is_stale_with_its_reason_and_keeps_the_old(tmp_path: Path) -> None:
    log: list[str] = []
    run(pair(log), str(tmp_path))
    rows = plan(pair(log, a=2), str(tmp_path))
    assert [(row.state, row.why) for row in rows] == [("stale", "a 1 → 2"), ("stale", "input x changed")]
    run(pair(log, a=2), str(tmp_path))
    assert len(load_records(str(tmp_path))) == 4
    assert states(pair(log), tmp_path) == [("first", "cached", False), ("second", "cached", False)]


def test_a_changed_source_names_the_file(tmp_path: Path) -> None:
    def step(sha: str) -> Step:
        return Step("s", lambda running: None, inputs={"text": Source("text", {"a.txt": "1", "b.txt": sha})})

    run([step("2")], str(tmp_path))
    assert plan([step("3")], str(tmp_path))[0].why == "input text changed (b.txt)"


@pytest.mark.parametrize("harm", ["remove", "shorten", "record", "garbage", "[" * 100_000, '{"identity": "\xc3', ""])
def test_damaged_output_has_not_happened(tmp_path: Path, harm: str) -> None:
    log: list[str] = []
    steps = pair(log)
    directory = Path(run(steps, str(tmp_path))[1].directory)
    if harm == "remove":
        (directory / "out.txt").unlink()
    elif harm == "shorten":
        (directory / "out.txt").write_text("a")
    elif harm == "record":
        (directory / "step.json").unlink()
    else:
        (directory / "step.json").write_text('{"identity": ' if harm == "garbage" else harm, encoding="latin-1")
    assert states(steps, tmp_path) == [("first", "cached", False), ("second", "missing", True)]
    run(steps, str(tmp_path))
    assert (directory / "out.txt").read_text() == "ab"
    assert log == ["first", "second", "second"]


def test_only_what_a_target_needs_is_run(tmp_path: Path) -> None:
    log: list[str] = []
    steps = pair(log)
    run(steps, str(tmp_path), only="first")
    assert log == ["first"]
    run(steps[1:], str(tmp_path))
    import shutil

    shutil.rmtree(tmp_path / steps[0].directory_name)
    assert states(steps[1:], tmp_path) == [("first", "missing", False), ("second", "cached", False)]
    assert [one.ran for one in run(steps[1:], str(tmp_path))] == [False]
    with pytest.raises(UserError, match="unknown step 'secnd'; did you mean second"):
        run(steps, str(tmp_path), only="secnd")


def test_a_crash_leaves_no_step_and_its_work_to_go_on_with(tmp_path: Path) -> None:
    def work(running: Running) -> None:
        half = Path(running.path("half.txt"))
        if not half.exists():
            half.write_text("half")
            raise RuntimeError("crash")
        Path(running.path("whole.txt")).write_text(half.read_text() + "whole")

    step = Step("s", work)
    with pytest.raises(RuntimeError, match="crash"):
        run([step], str(tmp_path))
    assert states([step], tmp_path) == [("s", "missing", True)]
    assert load_records(str(tmp_path)) == []
    assert not (tmp_path / step.directory_name).exists()
    directory = Path(run([step], str(tmp_path))[0].directory)
    assert (directory / "whole.txt").read_text() == "halfwhole"


def test_a_kill_at_the_very_end_leaves_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    log: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(dag_store.os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run(pair(log), str(tmp_path))
    assert list(tmp_path.rglob("step.json")) != [], "the record was written, beside"
    assert load_records(str(tmp_path)) == []
    assert [one.ran for one in run(pair(log), str(tmp_path))] == [True, True]


def test_what_a_killed_writer_left_is_no_output(tmp_path: Path) -> None:
    def work(running: Running) -> None:
        whole = Path(running.path("whole.txt"))
        if not list(whole.parent.iterdir()):
            Path(running.path("below")).mkdir()
            for name in ("whole.txt.tmp-0123abcd", "below/a.json.tmp-89abcdef"):
                Path(running.path(name)).write_text("half")
            raise RuntimeError("killed")
        whole.write_text("whole")

    step = Step("s", work)
    with pytest.raises(RuntimeError, match="killed"):
        run([step], str(tmp_path))
    (tmp_path / "config.gin.tmp-0123abcd").touch()
    run([step], str(tmp_path))
    assert list(load_records(str(tmp_path))[0]["outputs"]) == ["whole.txt"]
    assert not (tmp_path / "config.gin.tmp-0123abcd").exists()


def test_records_whose_outputs_are_none_have_not_happened(tmp_path: Path) -> None:
    log: list[str] = []
    (done, _) = run(pair(log), str(tmp_path))
    record = Path(done.directory, "step.json")
    value = json.loads(record.read_text())
    for outputs in ([], {"out.txt": 7}, {"out.txt": {"bites": 1}}):
        record.write_text(json.dumps({**value, "outputs": outputs}))
        assert states(pair(log)[:1], tmp_path) == [("first", "missing", True)]
    run(pair(log), str(tmp_path), only="first")
    assert log == ["first", "second", "first"]


def test_a_kill_while_the_folder_is_claimed_leaves_it_free(tmp_path: Path) -> None:
    (tmp_path / ".shammie.tmp-0123abcd").touch()
    assert run(pair([]), str(tmp_path))


def test_counters_of_any_kind_do_not_fail_a_step(tmp_path: Path) -> None:
    import numpy as np

    counters = {"n": np.int64(3), "x": [np.float32(0.5), float("nan")], 4: Path("a")}
    run([Step("s", lambda running: counters)], str(tmp_path))
    assert load_records(str(tmp_path))[0]["counters"] == {"n": 3, "x": [0.5, "nan"], "4": "a"}


def test_an_invalid_output_does_not_count_and_is_put_aside(tmp_path: Path) -> None:
    texts = ["bad", "good"]

    def check(directory: str) -> None:
        if Path(directory, "out.txt").read_text() != "good":
            raise ValueError("out.txt is bad")

    def work(running: Running) -> None:
        Path(running.path("out.txt")).write_text(texts.pop(0))

    step = Step("s", work, validate=check)
    with pytest.raises(UserError, match=r"step s made an invalid output: out.txt is bad; it is kept in .*\.invalid"):
        run([step], str(tmp_path))
    assert load_records(str(tmp_path)) == []
    assert Path(run([step], str(tmp_path))[0].directory, "out.txt").read_text() == "good"


def test_changed_code_warns_and_strict_reruns_with_all_it_changes(tmp_path: Path) -> None:
    log: list[str] = []
    run(pair(log), str(tmp_path))
    record = tmp_path / pair(log)[0].directory_name / "step.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps(value | {"source": "other"}))
    rows = plan(pair(log), str(tmp_path))
    assert [(row.state, row.warning) for row in rows] == [("cached", "its source code changed since"), ("cached", "")]
    run(pair(log), str(tmp_path))
    assert log == ["first", "second"]
    assert states(pair(log), tmp_path, strict=True) == [("first", "cached", True), ("second", "cached", True)]
    run(pair(log, text="A"), str(tmp_path), strict=True)
    assert log == ["first", "second", "first", "second"], "other bytes: the second follows"
    assert (tmp_path / pair(log)[1].directory_name / "out.txt").read_text() == "Ab"
    run(pair(log), str(tmp_path), strict=True)
    assert log[4:] == []


def test_strict_keeps_what_stands_on_the_same_bytes(tmp_path: Path) -> None:
    log: list[str] = []
    run(pair(log), str(tmp_path))
    record = tmp_path / pair(log)[0].directory_name / "step.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"source": "other"}))
    run(pair(log), str(tmp_path), strict=True)
    assert log == ["first", "second", "first"]


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds files that are not shammie's, such as thesis\.tex"):
        run(pair([]), str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["thesis.tex"]
    run(pair([]), str(tmp_path / "new"), owner="equal_info")
    with pytest.raises(UserError, match="holds a run of equal_info, not of velo"):
        run(pair([]), str(tmp_path / "new"), owner="velo")


DRIVER = """
import sys, time
from pathlib import Path
from workflows.dag import Step, run

def work(running):
    half = Path(running.path("half.txt"))
    if half.exists():
        Path(running.path("whole.txt")).write_text(half.read_text() + "whole")
        return
    half.write_text("half")
    print("half", flush=True)
    time.sleep(600)

run([Step("s", work)], sys.argv[1])
print("finished")
"""


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_drivers_and_a_kill_in_the_middle(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"
    try:
        with pytest.raises(UserError, match=rf"is held by process {first.pid} on "):
            run([Step("s", lambda running: None)], str(tmp_path))
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert load_records(str(tmp_path)) == []
    assert (tmp_path / ".lock").exists()
    second = start(tmp_path)
    assert second.communicate()[0] == "finished\n"
    (record,) = load_records(str(tmp_path))
    assert Path(record["directory"], "whole.txt").read_text() == "halfwhole"
    assert not (tmp_path / ".lock").exists()


def hold(out: Path, **about: Any) -> None:
    run(pair([]), str(out))
    (out / ".lock").write_text(json.dumps({"since": "yesterday", **about}))


def test_a_holder_elsewhere_needs_take_over(tmp_path: Path) -> None:
    hold(tmp_path, pid=7, host="elsewhere")
    with pytest.raises(UserError, match=r"held by process 7 on elsewhere since yesterday; .* add --take-over"):
        run(pair([]), str(tmp_path))
    assert run(pair([]), str(tmp_path), take_over=True)
    assert not (tmp_path / ".lock").exists()


def test_a_living_holder_here_is_not_taken_over(tmp_path: Path) -> None:
    hold(tmp_path, pid=os.getpid(), host=lock.host())
    with pytest.raises(UserError, match="wait for it or stop it"):
        run(pair([]), str(tmp_path), take_over=True)


def test_a_later_process_with_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    hold(tmp_path, pid=os.getpid(), host=lock.host(), started="another boot:1")
    assert run(pair([]), str(tmp_path))


def test_a_lock_cut_short_is_nobodys(tmp_path: Path) -> None:
    hold(tmp_path)
    (tmp_path / ".lock").write_text('{"pid": ')
    assert run(pair([]), str(tmp_path))


def test_remote_directories(tmp_path: Path) -> None:
    import fsspec

    def work(running: Running) -> None:
        with fsspec.open(running.path("out.txt"), "wb") as file:
            file.write(b"x")  # pyright: ignore[reportAttributeAccessIssue]

    out = f"memory://{tmp_path.name}{time.time_ns()}/out"
    step = Step("s", work)
    assert [row.state for row in plan([step], out)] == ["missing"]
    assert run([step], out)[0].ran
    assert [row.state for row in plan([step], out)] == ["cached"]
    assert not run([step], out)[0].ran
    assert load_records(out)[0]["outputs"]["out.txt"]["bytes"] == 1
