"""What libraries log while a command runs: nothing that its user did not ask for."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = ("apache_beam",)  # logs the traceback of every failing element as an error; the command tells it itself
_state = {"quiet": False}


def set_for_command(*, debug: bool) -> None:
    """Sets the loggers for a command, from now on and before its libraries are imported.

    Args:
        debug: show warnings, and errors with their stack traces; otherwise only errors that no command tells itself.
    """
    logging.basicConfig()
    logging.getLogger().setLevel(logging.WARNING if debug else logging.ERROR)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if debug else logging.CRITICAL + 1)
    _state["quiet"] = not debug


def are_quiet() -> bool:
    """Whether a command runs without --debug; False where our code is used as a library."""
    return _state["quiet"]


@contextmanager
def native_code_silenced() -> Iterator[None]:
    """While a command runs without --debug, only this process's Python code writes to stderr.

    What native code writes there is dropped (TensorFlow reports on processors and GPUs while it loads, before any
    setting of its own is heard), and so is what processes write that are started meanwhile.
    """
    if not _state["quiet"]:
        yield
        return
    python, descriptor = sys.stderr, os.dup(2)
    try:
        same = python.fileno() == 2
    except (AttributeError, OSError, ValueError):
        same = False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        python.flush()
        if same:
            sys.stderr = os.fdopen(os.dup(descriptor), "w", buffering=1, encoding=python.encoding, errors="replace")
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(descriptor, 2)
        os.close(descriptor)
        os.close(nowhere)
        if same:
            sys.stderr.close()
            sys.stderr = python
