"""Programs in completions: which part of a model's text is the program, what stands before it, what tests get."""

import ast
import builtins
import re

from models.rest_em.answers import last_match
from models.rest_em.records import Problem

_FENCE = re.compile(r"^[ ]{0,3}```[ \t]*([A-Za-z0-9+#_-]*)[^\n]*\n(.*?)(?:^[ ]{0,3}```|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = frozenset({"python", "python3", "py"})
_DEFINITION = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


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


def helpers_of(problem: Problem) -> str:
    """The part of `problem.prefix` that tests may rely on: what it imports and defines besides the asked function.

    The tests must have it from here, not from the program, in which a completion may define a helper once more so that
    it agrees with a wrong result. Left out are:
    - the asked function: the one that the prefix ends in, unless that ends in a return or a raise, and so is whole;
    - whatever else has the asked function's name, and functions without a body;
    - what uses a name that neither the prefix nor Python defines, so that it needs the completion, such as the function
      that calls APPS's `Solution`.

    Where a completion is meant to replace a whole function, that one must not stand in the prefix.

    Returns:
        Python, without comments; "" where there is nothing, or where the prefix is no Python even with a body added.
    """
    statements, asked = _parts(problem.prefix)
    known = frozenset(dir(builtins)).union({"__file__"}, asked, *map(_bound, statements))
    kept = [
        one
        for one in statements
        if not _bound(one) & asked and not _is_empty(one) and ("*" in known or _used(one) <= known)
    ]
    return ast.unparse(ast.Module(kept, [])) + "\n" if kept else ""


def _parts(prefix: str) -> tuple[list[ast.stmt], frozenset[str]]:
    """A prefix's whole statements at its top level, and the name of what it ends in, which is not whole, if any."""
    bare = prefix.rstrip()
    last = bare.rpartition("\n")[2]
    deeper = " " * (len(last) - len(last.lstrip()) + 4)
    for source, may_be_whole in ((prefix, prefix.endswith("\n")), (f"{bare}\n{deeper}pass\n", False)):
        statements = _parsed(source)
        if statements and not (may_be_whole and _is_whole(statements[-1])):
            return statements[:-1], _bound(statements[-1])
        if statements is not None:
            return statements, frozenset()
    head = last_match(_DEFINITION, prefix)  # it is not even a whole head
    return (_parsed(prefix[: head.start()]) or [], frozenset({head[1]})) if head else ([], frozenset())


def _parsed(source: str) -> list[ast.stmt] | None:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_whole(statement: ast.stmt) -> bool:
    """Whether a statement at the end of a prefix does not go on in the completion."""
    if isinstance(statement, _FUNCTIONS):
        return isinstance(statement.body[-1], ast.Return | ast.Raise)
    return not isinstance(statement, ast.ClassDef) or _is_whole(statement.body[-1])


def _is_empty(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or a function of no more than that."""
    if isinstance(statement, _FUNCTIONS):
        return all(isinstance(one, ast.Pass) or _is_empty(one) for one in statement.body)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _bound(statement: ast.stmt) -> frozenset[str]:
    """The names that a statement at the top level gives a meaning, or may give one."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return frozenset({statement.name})
    return frozenset(filter(None, map(_binds, ast.walk(statement))))


def _used(statement: ast.stmt) -> frozenset[str]:
    """The names that a statement reads and does not bind anywhere inside."""
    nodes = list(ast.walk(statement))
    return frozenset(one.id for one in nodes if isinstance(one, ast.Name)) - frozenset(map(_binds, nodes))


def _binds(node: ast.AST) -> str | None:
    """The name that a node of a syntax tree gives a meaning; "*" for all of a module's; None for none."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return name
        case ast.alias(name=module, asname=name):
            return name or module.partition(".")[0]
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return node.name
        case _:
            return None
