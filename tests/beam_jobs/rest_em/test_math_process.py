import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from beam_jobs.rest_em import math_process
from beam_jobs.rest_em.math_process import MathProcesses, math_verify_name
from shammie.errors import UserError


@pytest.fixture(scope="module")
def math():
    with MathProcesses(workers=1, cpu_seconds=2) as processes:
        yield processes


def processes_of(math: MathProcesses) -> list[psutil.Process]:
    return [psutil.Process(worker.process.pid) for worker in math._idle]


@pytest.mark.parametrize(
    ("gold", "answer", "opinion"),
    [
        ("\\sqrt{8}", "2\\sqrt{2}", "equal"),
        ("(x+1)^2", "x^2+2x+1", "equal"),
        ("5", "x=5", "equal"),
        ("5", "$5$", "equal"),
        ("5", "5 \\text{ or } 6", "unequal"),
        ("5", "5, 6, 7", "unequal"),
        ("5", "\\{5, 6\\}", "unequal"),
        ("[1,2)", "(1,2)", "unequal"),
        # the order of the two: an interval may answer an inequality, but who echoes one has not solved it
        ("1 < x < 2", "(1,2)", "equal"),
        ("(1,2)", "1 < x < 2", "unequal"),
        ("5", "", "unreadable"),
        ("5", "7 final answer is: 5. I hope", "unreadable"),
        ("", "5", "bad reference"),
    ],
)
def test_opinions(math: MathProcesses, gold: str, answer: str, opinion: str) -> None:
    assert math.compare(gold, answer) == opinion


def test_what_hangs_or_grows_is_killed_and_the_next_one_works(math: MathProcesses) -> None:
    math.compare("5", "5")
    (before,) = processes_of(math)
    assert math.compare("1", "9**9**9**9") == "unreadable"  # no LaTeX, and not evaluated
    assert math.compare("1", "10^{10^{10}}") == "timeout"
    assert math.compare("\\frac{x}{2}", "0.5x") == "equal"
    assert processes_of(math) == [before]  # only the child was killed
    assert before.children() == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("bytearray(1 << 30)", "MemoryError"),
        ("open('made', 'w').write('x' * 9999)", "File too large"),
        ("while True: pass", ""),
        ("bytearray(1 << 20); print('within', file=sys.stderr)", "within"),
    ],
)
def test_the_limits_of_a_child(statement: str, said: str, tmp_path: Path) -> None:
    code = f"import sys; from beam_jobs.rest_em.math_worker import limited; limited(1, 300 << 20)\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert said in done.stderr
    assert done.returncode == {"": -signal.SIGXCPU, "within": 0}.get(said, 1)


def test_text_is_not_run(math: MathProcesses, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for answer in (
        f'__import__("os").system("touch {touched}")',
        f'\\text{{__import__("os").system("touch {touched}")}}',
        f"\\operatorname{{__import__('os').system('touch {touched}')}}",
        f'").system("touch {touched}")\n{{"gold": "5", "answer": "5"}}\n',
    ):
        assert math.compare("5", answer) in ("unreadable", "unequal")
    assert math.compare("5", "6") == "unequal"  # no line was taken for another question
    assert not touched.exists()


def test_a_process_that_answers_nothing_is_replaced() -> None:
    with MathProcesses(workers=1, cpu_seconds=20, wall_seconds=0.5) as math:
        assert math.compare("1", "10^{10^{10}}") == "timeout"
        assert processes_of(math) == []
        math.wall_seconds = 60
        assert math.compare("2x", "x+x") == "equal"
        (process,) = processes_of(math)
        os.kill(process.pid, signal.SIGKILL)
        assert math.compare("2x", "x+x") == "equal"
        assert processes_of(math) != [process]
        (process,) = processes_of(math)
    assert not process.is_running()
    with pytest.raises(RuntimeError, match="closed"):
        math.compare("2x", "x+x")


def test_processes_that_always_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with MathProcesses(workers=1) as math:
        asked = []
        monkeypatch.setattr(math, "_ask", lambda *one: asked.append(one) or "gone")
        assert math.compare("$1$", "2") == "crashed"
        assert asked == [("1", "2")] * 2


def test_threads_share_them(math: MathProcesses) -> None:
    started = threading.Barrier(4)

    def compare(number: int) -> list[str]:
        started.wait(60)
        return [math.compare(f"{number}\\sqrt{{x}}", f"{other}\\sqrt{{x}}") for other in range(4)]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(compare, range(4)))
    assert found == [["equal" if one == other else "unequal" for other in range(4)] for one in range(4)]
    assert len(processes_of(math)) == 1


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with MathProcesses() as math, pytest.raises(UserError, match=r"Math-Verify.*pip install 'shammie\[verify\]'"):
        math.compare("1", "x")

    def nowhere(name: str) -> str:
        raise math_process.PackageNotFoundError(name)

    assert math_verify_name().startswith("math_verify@0.")
    monkeypatch.setattr(math_process, "version", nowhere)
    math_verify_name.cache_clear()
    with pytest.raises(UserError, match="Math-Verify"):
        math_verify_name()
    monkeypatch.undo()
    assert math_verify_name().startswith("math_verify@0.")


def test_the_caller_does_not_load_the_library() -> None:
    assert "math_verify" not in sys.modules
