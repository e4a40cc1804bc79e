import errno
import signal

import pytest

from shammie.errors import Stopped, UserError, one_line, run_for_people, unknown


def failing(error: BaseException) -> int:
    def main() -> None:
        raise error

    return run_for_people(main)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x is bad", "use y"), 2, "shammie: x is bad; use y\n"),
        (OSError(errno.ENOSPC, "No space", "/out/a"), 2, "shammie: /out/a: the disk is full: free some room"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), 2, "shammie: a.txt: it does not exist"),
        (RuntimeError("two\nlines"), 2, "shammie: RuntimeError: two lines (--debug shows where)\n"),
        (MemoryError(), 2, "shammie: out of memory; use smaller units"),
        (
            OSError(errno.EIO, "Input/output error", "a"),
            2,
            "shammie: a: the disk failed to read or write it: run",
        ),
        (Stopped(signal.SIGTERM), 143, "shammie: stopped by SIGTERM; the same command resumes\n"),
        (Stopped(), 130, "shammie: interrupted; the same command resumes\n"),
        (KeyboardInterrupt(), 130, "shammie: interrupted; the same command resumes\n"),
    ],
)
def test_one_line_and_a_code(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(error) == code
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


def test_codes_of_success() -> None:
    assert run_for_people(lambda: None) == 0
    assert run_for_people(lambda: 1) == 1


def test_unknown_names_the_nearest() -> None:
    assert one_line(unknown("system", "equal_inf", ["equal_info", "velo"])) == (
        "unknown system 'equal_inf'; did you mean equal_info?"
    )
    assert one_line(unknown("system", "zzz", ["equal_info", "velo"])) == (
        "unknown system 'zzz'; there are: equal_info, velo"
    )
    assert one_line(unknown("system", "zzz", [])) == "unknown system 'zzz'; there are none"
