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
