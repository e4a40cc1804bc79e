"""Programs in completions: which part of a model's text is the program, and what stands before it."""

import re

from models.rest_em.answers import last_match
from models.rest_em.records import Problem

_FENCE = re.compile(r"^[ ]{0,3}```[ \t]*([A-Za-z0-9+#_-]*)[^\n]*\n(.*?)(?:^[ ]{0,3}```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = frozenset({"python", "python3", "py"})
_DEFINITION = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)


def code_of(text: str) -> str:
    """The code of a completion: the last fenced block that is marked as Python, else the last unmarked one, else all.

    The last one, as of answers: what a model settles on stands at the end. A block that is not closed ends with the
    text. Line ends are newlines, blank lines around the code go, and indentation stays.
    """
    text = text.replace("\r\n", "\n")
    blocks = [(mark.lower(), code) for mark, code in _FENCE.findall(text)] if "```" in text else []
    python = [code for mark, code in blocks if mark in _PYTHON] or [code for mark, code in blocks if not mark]
    lines = [line.rstrip() for line in (python[-1] if python else text).split("\n")]
    return "\n".join(lines).strip("\n")


def program_of(problem: Problem, text: str) -> str:
    """The whole program: `problem.prefix`, then the completion's code.

    Where the prefix ends in the head of a function and the code defines that function itself, only what stands before
    the head is kept (imports and helpers), for the head would be left without a body. Code that begins indented is
    always the body.
    """
    code = code_of(text)
    head = last_match(_DEFINITION, problem.prefix)
    if head is not None and not code[:1].isspace():
        if any(one[1] == head[1] for one in _DEFINITION.finditer(code)):
            return problem.prefix[: head.start()] + code + "\n"
    return problem.prefix + code + "\n"
