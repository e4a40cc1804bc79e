r"""The process that compares mathematical answers by Math-Verify; `math_process` starts, watches and ends it.

It is run as a file, alone, and speaks lines of JSON: {"gold": ..., "answer": ...} in, a word out. Each comparison is a
child of its own, forked from here where the library is loaded and warm, under limits of CPU time and memory that the
kernel enforces: what hangs is killed rather than asked to stop (SIGALRM, the library's own way, doesn't end a long
multiplication), and no verdict depends on what was compared before. The child's exit code is the verdict.
"""

import gc
import json
import os
import resource
import signal
import sys

EQUAL, UNEQUAL, UNREADABLE, BAD_REFERENCE, CRASHED = range(10, 15)
WORDS = {
    EQUAL: "equal",
    UNEQUAL: "unequal",
    UNREADABLE: "unreadable",
    BAD_REFERENCE: "bad reference",
}

_WARM = (
    ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{3}}{2}"),
    ("x^2+2x", "x(x+3)"),
    ("(1,2]", "1 < x < 2"),
    ("x=\\pi", "a, b"),
    ("\\{1,2\\}", "\\{1,3\\}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\3\\end{pmatrix}"),
    ("\\sin^2 x", "\\log_2 x"),
    ("2+3i", "5^\\circ"),
)


def compare(gold: str, answer: str) -> int:
    """Whether an answer is mathematically the reference; the order matters to Math-Verify, on purpose.

    Both are what stands in a box, and are read as LaTeX only: the library's reader of plain expressions evaluates.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    read = [
        parse(
            f"\\boxed{{{text}}}",
            config,
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,  # pyright: ignore[reportArgumentType]
        )
        for text in (gold, answer)
    ]
    if not all(read):
        return UNREADABLE if read[0] else BAD_REFERENCE
    return EQUAL if verify(read[0], read[1], timeout_seconds=None) else UNEQUAL


def limited(cpu_seconds: int, memory_bytes: int) -> None:
    """Sets the limits of a child."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))


def in_a_child(gold: str, answer: str, cpu_seconds: int, memory_bytes: int) -> str:
    """The word for a comparison: one of `WORDS`, "timeout" or "crashed"."""
    child = os.fork()
    if child == 0:
        code = CRASHED
        try:
            limited(cpu_seconds, memory_bytes)
            code = compare(gold, answer)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "timeout"
    return WORDS.get(os.WEXITSTATUS(status), "crashed") if os.WIFEXITED(status) else "crashed"


def main() -> None:
    """Says "ready" or "absent", then answers each line until there are no more."""
    cpu_seconds, memory_bytes = map(int, sys.argv[1:3])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)  # what libraries print is not the verdict
    os.dup2(nothing, 2)
    try:
        for pair in _WARM:  # fills the tables and loads the modules that no child should have to
            compare(*pair)
    except ImportError:
        print("absent", file=out)
        return
    gc.freeze()  # else each child's collections would copy the pages of all this
    print("ready", file=out)
    for line in sys.stdin:
        asked = json.loads(line)
        print(in_a_child(asked["gold"], asked["answer"], cpu_seconds, memory_bytes), file=out)


if __name__ == "__main__":
    main()
