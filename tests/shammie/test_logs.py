import subprocess
import sys

import pytest

CODE = """
import logging, sys
from shammie import logs
from shammie.errors import run_for_people
def work():
    logging.warning("of the root")
    logging.getLogger("apache_beam.runners").error("of a worker")
    logging.getLogger("other").error("of another library")
    print(logs.are_quiet())
    raise KeyError("x")
assert not logs.are_quiet()
sys.exit(run_for_people(work, debug="--debug" in sys.argv))
"""


@pytest.mark.parametrize("debug", [False, True])
def test_libraries_are_silent_unless_debug(debug: bool) -> None:
    words = [sys.executable, "-c", CODE, *(["--debug"] if debug else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == f"{not debug}\n"
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("shammie: KeyError: 'x'")
    if debug:
        assert lines[:3] == [
            "WARNING:root:of the root",
            "ERROR:apache_beam.runners:of a worker",
            "ERROR:other:of another library",
        ]
        assert "Traceback (most recent call last):" in lines
    else:
        assert lines[:-1] == ["ERROR:other:of another library"]


@pytest.mark.parametrize("debug", [False, True])
def test_native_code_is_silenced_for_commands_only(debug: bool) -> None:
    script = (
        "import os, sys; from shammie import logs\n"
        f"logs.set_for_command(debug={debug})\n"
        "with logs.native_code_silenced(): os.write(2, b'native\\n'), print('python', file=sys.stderr)\n"
        "os.write(2, b'after\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ("native\n" if debug else "") + "python\nafter\n"
