"""What libraries log while a command runs: nothing that its user did not ask for."""

import logging

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
