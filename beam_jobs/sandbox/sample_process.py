"""The process that executes a sample. Nothing that it says is believed: it answers calls with plain data, no more."""

import builtins
import os
import sys
import types
from contextlib import suppress
from typing import Any

from beam_jobs.sandbox.protocol import Closed, ForbiddenValue, dump, load, receive, send

CHANNEL, PROGRAM = 3, 4  # descriptors; 0 is the input, 1 and 2 are the output
VALUE_BYTES = 1 << 20
MUTABLE = (list, dict, set)


def answer_calls() -> int:
    """Executes the program, says what it defines, then answers calls while there are any; gives an exit code."""
    module = types.ModuleType("solution")  # not __main__: what a program does as a script is not wanted here
    sys.modules["solution"] = module
    try:
        if not _execute(module):
            return 1
        send(CHANNEL, dump(("defined", _defined(vars(module)))))
        while True:
            name = load(receive(CHANNEL))
            send(CHANNEL, _answer(vars(module)[name], receive(CHANNEL)))
    except SystemExit as leaving:
        return _code(leaving)
    except Closed:
        return 0


def run_script() -> int:
    """Executes the program as a script, to its last thread; gives its exit code."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        if not _execute(module):
            return 1
        _finish()
    except SystemExit as leaving:
        with suppress(BaseException):
            _finish()
        return _code(leaving)
    return 0


def _code(leaving: SystemExit) -> int:
    return 0 if leaving.code is None else leaving.code & 255 if isinstance(leaving.code, int) else 1


def _finish() -> None:
    """What an interpreter does at its end: waits for threads, calls what was registered, writes what is buffered."""
    import atexit

    if threading := sys.modules.get("threading"):
        threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()


def _execute(module: types.ModuleType) -> bool:
    """Whether the program ran to its end; if not, says what it raised."""
    source = os.pread(PROGRAM, os.fstat(PROGRAM).st_size, 0)
    os.close(PROGRAM)
    try:
        try:
            code = compile(source, "<program>", "exec", dont_inherit=True)
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes, no UTF-8, nested too deeply
            raise SyntaxError(str(error)) from None
        exec(code, vars(module))
    except SystemExit:
        raise
    except BaseException as error:
        send(CHANNEL, dump(("raised", builtin_name(error))))
        return False
    return True


def _defined(names: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What a program's names stand for: ("function",), ("module", its name) or ("value", plain data)."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, value in list(names.items()):
        if type(name) is not str or name.startswith("__"):
            continue
        if callable(value):
            found[name] = ("function",)
        elif type(value) is types.ModuleType:
            found[name] = ("module", value.__name__)
        else:
            with suppress(ForbiddenValue):
                if len(dump(value)) <= VALUE_BYTES:
                    found[name] = ("value", value)
    return found


def _answer(function: Any, request: bytes) -> bytes:
    """The reply to a call: what came of it, and the arguments if the call has changed them."""
    arguments, keywords = load(request)
    try:
        result = ("returned", function(*arguments, **keywords))
    except SystemExit:
        raise
    except BaseException as error:
        result = ("raised", builtin_name(error), _plain_arguments(error))
    try:
        changed = None
        if any(type(one) in MUTABLE for one in (*arguments, *keywords.values())):
            changed = (arguments, keywords) if dump((arguments, keywords)) != request else None
        return dump((*result, changed))
    except ForbiddenValue:
        return dump(("forbidden",))


def builtin_name(error: BaseException) -> str:
    """The builtin exception that an error is, or is derived from: "Exception" if there is no closer one."""
    for kind in type(error).__mro__:
        if getattr(builtins, kind.__name__, None) is kind and issubclass(kind, Exception):
            return kind.__name__
    return "Exception"


def _plain_arguments(error: BaseException) -> tuple[Any, ...]:
    try:
        if type(error.args) is tuple and len(dump(error.args)) <= VALUE_BYTES:
            return error.args
        return (str(error),)
    except Exception:
        return ()
