"""The process that executes the tests: the program's names are proxies here, and its answers are only looked at."""

import ast
import builtins
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from beam_jobs.sandbox.protocol import Closed, ForbiddenValue, dump, load, receive, send
from beam_jobs.sandbox.verdict import error_reason

CHANNEL, TESTS, VERDICT = 3, 4, 5  # descriptors
PASSED, LOST = "passed", "lost"  # besides reasons; lost: the program's process is gone, its parent knows why


class _Abort(BaseException):
    """Ends the tests, whatever they catch."""


class Program:
    """The program in the other process.

    Attributes:
        failure: why nothing can pass any more; "" while something can.
        raised: the exception that its last failed call raised here.
    """

    def __init__(self) -> None:
        self.failure = ""
        self.raised: BaseException | None = None

    def ask(self, *messages: bytes) -> Any:
        """Sends messages and gives the answer; ends the tests if there is none."""
        try:
            for message in messages:
                send(CHANNEL, message)
            answer = load(receive(CHANNEL))
        except Closed:
            self.abort(LOST)
        except ForbiddenValue:
            self.abort("protocol")
        else:
            if type(answer) is tuple and answer and type(answer[0]) is str:
                return answer
            self.abort("protocol")

    def abort(self, reason: str) -> NoReturn:
        """Nothing passes any more."""
        self.failure = self.failure or reason
        raise _Abort(reason)

    def function(self, name: str) -> Callable[..., Any]:
        """The proxy of a function: plain data there and back, exceptions by the builtin they are derived from.

        Lists, dicts and sets that the call has changed are changed here too where they are arguments themselves.
        """

        def call(*arguments: Any, **keywords: Any) -> Any:
            try:
                request = dump((arguments, keywords))
            except ForbiddenValue:
                self.abort("forbidden value")
            match self.ask(dump(name), request):
                case ("returned", value, changed):
                    self._reflect(arguments, keywords, changed)
                    return value
                case ("raised", str(kind), tuple(details), changed):
                    self._reflect(arguments, keywords, changed)
                    self.raised = exception(kind, details)
                    raise self.raised
                case ("forbidden",):
                    self.abort("forbidden value")
                case _:
                    self.abort("protocol")

        call.__name__ = call.__qualname__ = name
        return call

    def _reflect(self, arguments: tuple[Any, ...], keywords: dict[str, Any], changed: Any) -> None:
        if changed is None:
            return
        try:
            after, after_keywords = changed
            pairs = [*zip(arguments, after, strict=True), *((keywords[k], v) for k, v in after_keywords.items())]
            for old, new in pairs:
                if type(old) is not type(new):
                    raise TypeError("another type")
                if type(old) is list:
                    old[:] = new
                elif type(old) in (dict, set):
                    old.clear()
                    old.update(new)
        except (TypeError, ValueError, KeyError, AttributeError):
            self.abort("protocol")

    def names(self, tests: Iterable[ast.Module]) -> dict[str, Any]:
        """What the tests find defined; ends them if the program could not be loaded.

        A program's name does not hide a builtin, for it could answer for the tests' own `abs` or `sorted`; unless that
        name is all that the tests use of the program, which then is what they ask for.
        """
        match self.ask():
            case ("defined", dict(defined)):
                pass
            case ("raised", str(kind)):
                name = type(exception(kind, ())).__name__
                self.abort("syntax error" if name == "SyntaxError" else error_reason(name))
            case _:
                self.abort("protocol")
        used = {node.id for test in tests for node in ast.walk(test) if isinstance(node, ast.Name)}
        wanted = {name for name in used & set(defined) if not hasattr(builtins, name)} or used & set(defined)
        found: dict[str, Any] = {}
        for name in wanted if len(wanted) == 1 else (one for one in wanted if not hasattr(builtins, one)):
            match defined[name]:
                case ("function",):
                    found[name] = self.function(name)
                case ("value", value):
                    found[name] = value
                case ("module", str(module)) if module in sys.stdlib_module_names and module in sys.modules:
                    found[name] = sys.modules[module]
        return found


def exception(name: str, details: tuple[Any, ...]) -> Exception:
    """A builtin exception by its name, without running what it would do with its arguments."""
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = Exception
    with suppress(Exception):
        return kind.__new__(kind, *details)
    return Exception(*details)


def judge(tests: list[str]) -> str:
    """Runs the tests; gives `PASSED`, `LOST` or a reason."""
    program = Program()
    try:
        trees = [ast.parse(test) for test in tests]
        names = {"__name__": "tests", **program.names(trees)}
        for number, tree in enumerate(trees):
            exec(compile(tree, f"<test {number}>", "exec", dont_inherit=True), names)
    except _Abort:
        pass
    except BaseException as error:
        if program.failure:
            return program.failure
        if isinstance(error, AssertionError) and error is not program.raised:
            return "failed test"
        return error_reason(type(error).__name__ if type(error).__module__ == "builtins" else "Exception")
    return program.failure or PASSED


def main() -> int:
    """Reads the tests, judges, and tells the parent; gives the exit code."""
    tests = load(os.pread(TESTS, os.fstat(TESTS).st_size, 0))
    os.close(TESTS)
    os.write(VERDICT, judge(tests).encode()[:200])
    return 0
