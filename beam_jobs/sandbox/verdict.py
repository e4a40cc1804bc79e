"""What a run comes to, and the words for why it did not pass."""

from dataclasses import dataclass

# Every reason there is, so that they can be counted; "error: NAME" stands for one for each builtin exception.
REASONS = {
    "": "it passed",
    "no tests": "nothing was asked of it, which counts as failing",
    "syntax error": "the program is not Python",
    "error: NAME": "this builtin exception, or one derived from it, was raised, by the program or within a test",
    "failed test": "a test's assertion did not hold",
    "wrong output": "what it printed is not what was expected",
    "forbidden value": "an argument or a result was not plain data (no Counter is, nor a deque), too large or too deep",
    "protocol": "its process sent something else than an answer, or closed the connection",
    "exited": "it ended its process, or ended with a code that is not 0",
    "crashed": "its process or that of the tests died of a signal, or the fork server did, twice",
    "timeout": "it used more processor time than it may, or slept or waited too long (see `timing`)",
    "memory": "it asked for more memory than its limit",
    "output": "it printed more than the limit, or wrote a file larger than that",
}


@dataclass(frozen=True)
class Verdict:
    """Whether a program passed.

    Attributes:
        passed: every test, or every case.
        reason: why not, one of `REASONS`; "" where it passed.
    """

    passed: bool
    reason: str


def error_reason(name: str) -> str:
    """The reason for a builtin exception that nothing caught."""
    return "memory" if name == "MemoryError" else f"error: {name}"
