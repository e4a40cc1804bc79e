"""Errors for people: one line that names the thing and the cure, and an exit code that is not 0."""

import difflib
import errno
import signal
import sys
import traceback
from collections.abc import Callable, Iterable

from shammie import logs
from shammie.secrets import without_secrets

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
MOST_CHARACTERS = 1500  # of a problem or a cure; files from outside may hold names of any length


class UserError(ValueError):
    """Something the person at the terminal can mend.

    Its text is one line: what is wrong, with the offending value, then what to do. Both are `shown`, so that a value
    from outside cannot write to the terminal, and without keys (`shammie.secrets`).
    """

    def __init__(self, problem: str, cure: str = "") -> None:
        self.problem, self.cure = (shown(without_secrets(one)) for one in (problem, cure))
        super().__init__(f"{self.problem}; {self.cure}" if self.cure else self.problem)


def shown(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text as one line of at most so many characters: what moves a terminal or cannot be seen is written out."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else _written(char) for char in cut)[: 2 * most]


def _written(char: str) -> str:
    return " " if char.isspace() else char.encode("unicode_escape").decode()


class Stopped(KeyboardInterrupt):
    """Work that a signal has stopped at a point that it goes on from when it is started again.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.number = number
        super().__init__(number)


def unknown(kind: str, name: str, known: Iterable[str], cure: str = "") -> UserError:
    """The error for a name that is not one of the known ones: it lists the nearest, or all of them.

    Args:
        kind: what the name should name, such as "system".
        name: what was given.
        known: the names that exist.
        cure: what else to do, after the names.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = f"there are: {', '.join(known[:20])}" if known else "there are none"
    return UserError(f"unknown {kind} {name!r}", f"{hint} {cure}".strip())


_CURES = {
    errno.ENOSPC: "the disk is full: free some room and run the same command again, finished work is kept",
    errno.EDQUOT: "the disk quota is used up: free some room and run the same command again, finished work is kept",
    errno.EFBIG: "the file grew over the limit of this disk or user (ulimit -f): raise it, or choose another place",
    errno.EIO: "the disk failed to read or write it: run the same command again, finished work is kept",
    errno.EACCES: "no permission: check the file's owner and mode",
    errno.EPERM: "no permission: check the file's owner and mode",
    errno.ENOENT: "it does not exist: check the path",
    errno.EEXIST: "something else has that name: choose another",
    errno.EISDIR: "it is a directory: name a file",
    errno.ENOTDIR: "part of the path is a file: check the path",
    errno.EROFS: "the file system is read-only: choose another place",
}


def one_line(error: BaseException) -> str:
    """The error as one line for a terminal: the thing, then the cure where one is known."""
    if isinstance(error, OSError) and error.errno in _CURES:
        return shown(without_secrets(f"{error.filename or error.strerror}: {_CURES[error.errno]}"))
    if isinstance(error, MemoryError):
        return "out of memory; use smaller units, shards or batches"
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else shown(without_secrets(f"{type(error).__name__}: {text}"))


def run_for_people(main: Callable[[], int | None], *, debug: bool = False, program: str = "shammie") -> int:
    """Runs a command's main; failures become one line on stderr and an exit code, and libraries do not log.

    Args:
        main: the command; its return value is the exit code (None means 0).
        debug: show stack traces and what libraries log.
        program: the name that starts the line.

    Returns:
        0, main's own code, 2 for any error, and as shells have it 128 + the signal's number when one stopped it:
        130 for Ctrl-C, 143 for SIGTERM. Either of these two says that the same command resumes.
    """
    logs.set_for_command(debug=debug)
    try:
        return main() or 0
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        how = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
        print(f"{program}: {how}; the same command resumes", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_USER_ERROR
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if isinstance(error, UserError | OSError) or debug else " (--debug shows where)"
        print(f"{program}: {one_line(error)}{hint}", file=sys.stderr)
        return EXIT_USER_ERROR
