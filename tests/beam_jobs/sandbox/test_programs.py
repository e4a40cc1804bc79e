"""Programs that mean no harm: right ones pass, wrong ones fail, each for its reason."""

import pytest

from beam_jobs.sandbox import Sandbox, Verdict
from beam_jobs.sandbox.verdict import REASONS

PASSED = Verdict(True, "")
LONG_S = 30.0  # for what is quick, on a machine that is not

RIGHT = {
    "closure": ("def make(n):\n    return lambda x: x + n\nadd = make(3)", ["assert add(4) == 7"]),
    "list of a generator": ("def f(n):\n    return list(i * i for i in range(n))", ["assert f(3) == [0, 1, 4]"]),
    "tuples stay tuples": (
        "def f(x):\n    return (x, [x])",
        ["assert type(f(1)) is tuple", "assert f(1) == (1, [1])", "assert f((1,)) == ((1,), [(1,)])"],
    ),
    "bool stays bool": ("def f(x): return x > 1", ["assert f(2) is True", "assert f(1) is False"]),
    "dicts and sets": (
        "from collections import Counter\ndef f(x): return dict(Counter(x)), set(x)",
        ["assert f('aab') == ({'a': 2, 'b': 1}, {'a', 'b'})", "assert list(f('ba')[0]) == ['b', 'a']"],
    ),
    "floats": ("def f(x): return x / 3", ["import math", "assert math.isclose(f(1), 1 / 3)", "assert f(1) == 1 / 3"]),
    "nan and inf": (
        "def f(x): return [x, float('nan')]",
        ["import math", "assert f(math.inf)[0] == math.inf", "assert math.isnan(f(0)[1])"],
    ),
    "big ints": (
        "def f(n): return 1 if n < 2 else n * f(n - 1)",
        ["import math", "assert f(500) == math.factorial(500)"],
    ),
    "bytes": ("def f(b): return b + bytes([255])", [r"assert f(b'\x00') == b'\x00\xff'"]),
    "keywords": ("def f(a, *, b=2): return a - b", ["assert f(1) == -1", "assert f(a=5, b=1) == 4"]),
    "an exception that is asked for": (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
        ["try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'negative'\nelse:\n    assert False"],
    ),
    "an exception of its own": (
        "class Bad(KeyError): pass\ndef f(): raise Bad('k')",
        ["try:\n    f()\nexcept LookupError as error:\n    assert error.args == ('k',)\nelse:\n    assert False"],
    ),
    "an exception with many arguments": (
        "def f(): return b'\\xff'.decode()",
        ["try:\n    f()\nexcept UnicodeDecodeError:\n    pass\nelse:\n    assert False"],
    ),
    "HumanEval": (
        "from typing import List\ndef below(numbers: List[int], t: int) -> bool:\n"
        "    return all(n < t for n in numbers)",
        ["METADATA = {}\ndef check(candidate):\n    assert candidate([1, 2], 3)\n    assert not candidate([1], 1)\n"]
        + ["check(below)"],
    ),
    "arguments changed in place": (
        "def f(x, d, *, s):\n    x.sort()\n    d['n'] = len(x)\n    s.discard(1)",
        ["a, d, s = [3, 1, 2], {}, {1, 2}", "assert f(a, d, s=s) is None"]
        + ["assert (a, d, s) == ([1, 2, 3], {'n': 3}, {2})"],
    ),
    "state between calls": (
        "seen = []\ndef push(x): seen.append(x)\ndef all_of(): return seen",
        ["push(1)", "push(2)", "assert all_of() == [1, 2]"],
    ),
    "constants and modules": (
        "import math\nLIMIT = {'a': (1, 2)}\ndef f(): return 3.0",
        ["assert LIMIT == {'a': (1, 2)}", "assert math.isclose(f(), 3)"],
    ),
    "a function called like a builtin": ("def sum(a, b): return a + b", ["assert sum(10, 15) == 25"]),
    "dataclass and typing inside": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\ndef f(): return P(3).x",
        ["assert f() == 3"],
    ),
    "the rest of the library": (
        "import sqlite3, hashlib, uuid, logging, unittest\n"
        "def f(): return sqlite3.connect(':memory:').execute('select 1').fetchone(), hashlib.md5(b'').hexdigest()[:4]",
        ["assert f() == ((1,), 'd41d')"],
    ),
    "files of its own": (
        "import tempfile, os\ndef f(text):\n    with open('a', 'w') as file: file.write(text)\n"
        "    with tempfile.TemporaryFile() as file: file.write(b'x')\n"
        "    os.mkdir('d'); os.rename('a', 'd/a')\n    return open('d/a').read()",
        ["assert f('hello') == 'hello'"],
    ),
    "threads and asyncio": (
        "import threading, asyncio\nasync def g():\n    await asyncio.sleep(0)\n    return 1\ndef f():\n    out = []\n"
        "    t = threading.Thread(target=lambda: out.append(asyncio.run(g())))\n    t.start(); t.join()\n"
        "    return out",
        ["assert f() == [1]"],
    ),
    "recursion": (
        "import sys\nsys.setrecursionlimit(20000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)",
        ["assert f(9000) == 9000"],
    ),
    "printing": ("def f():\n    print('x' * 10000)\n    return 1", ["assert f() == 1"]),
    "a script's main is not run": (
        "def f(): return 1\nif __name__ == '__main__': raise SystemExit(3)",
        ["assert f() == 1"],
    ),
    "not ASCII": ("def größe(s): return len(s)", ["assert größe('日本語🙂') == 4"]),
    "random numbers": ("import random\ndef f(): return random.random()", ["assert f() == 0.8444218515250481"]),
}

WRONG = {
    "wrong": ("def f(x): return x", ["assert f(1) == 2"], "failed test"),
    "the second test": ("def f(x): return 1", ["assert f(1) == 1", "assert f(2) == 2"], "failed test"),
    "list for tuple": ("def f(): return [1]", ["assert f() == (1,)"], "failed test"),
    "nothing defined": ("", ["assert f(1) == 1"], "error: NameError"),
    "no tests": ("def f(): return 1", [], "no tests"),
    "not Python": ("def f(:", ["f()"], "syntax error"),
    "null byte": ("x = 1\0", ["x"], "syntax error"),
    "surrogate": ("x = '\ud800'", ["x"], "syntax error"),
    "raises when loaded": ("import no_such_module", ["f()"], "error: ModuleNotFoundError"),
    "raises when called": ("def f(): return 1 / 0", ["f()"], "error: ZeroDivisionError"),
    "asserts itself": ("def f(): assert False", ["f()"], "error: AssertionError"),
    "own exception": ("class E(Exception): pass\ndef f(): raise E", ["f()"], "error: Exception"),
    "instance": ("class A:\n    def __init__(self): self.x = 1", ["assert A().x == 1"], "forbidden value"),
    "generator": ("def f():\n    yield 1", ["assert list(f()) == [1]"], "forbidden value"),
    "Counter": (
        "from collections import Counter\ndef f(): return Counter('a')",
        ["assert f() == {'a': 1}"],
        "forbidden value",
    ),
    "frozenset": ("def f(): return frozenset()", ["assert f() == set()"], "forbidden value"),
    "deque in a list": (
        "from collections import deque\ndef f(): return [deque()]",
        ["assert len(f()) == 1"],
        "forbidden value",
    ),
    "range": ("def f(): return range(3)", ["assert list(f()) == [0, 1, 2]"], "forbidden value"),
    "function as argument": ("def f(g): return g(1)", ["assert f(lambda x: x) == 1"], "forbidden value"),
    "tests that are not Python": ("def f(): return 1", ["assert f( == 1"], "error: SyntaxError"),
    "too slow": ("def f():\n    while True: pass", ["f()"], "timeout"),
    "sleeps": ("import time\ntime.sleep(60)", ["f()"], "timeout"),
    "test that never ends": ("def f(): return 1", ["while f(): pass"], "timeout"),
    "large": ("def f(): return bytearray(2 << 30)", ["f()"], "memory"),
    "exits": ("raise SystemExit(0)", ["f()"], "exited"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_pass(sandbox: Sandbox, name: str) -> None:
    assert sandbox.run_python(*RIGHT[name], timeout_s=LONG_S) == PASSED


@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs_fail_for_their_reason(sandbox: Sandbox, name: str) -> None:
    program, tests, reason = WRONG[name]
    assert reason in REASONS or reason.startswith("error: ")
    timeout_s = 1.0 if reason == "timeout" else LONG_S
    assert sandbox.run_python(program, tests, timeout_s=timeout_s) == Verdict(False, reason)


def test_a_programs_name_hides_no_builtin_that_its_tests_use(sandbox: Sandbox) -> None:
    program = "def f(x): return 7\ndef abs(x): return 0\ndef isinstance(*a): return True\nAssertionError = 1"
    verdict = sandbox.run_python(program, ["assert abs(f(1) - 3.5) < 1e-6"], timeout_s=LONG_S)
    assert verdict == Verdict(False, "failed test")


SCRIPTS = {
    "sum": ("print(sum(map(int, input().split())))", [("1 2\n", "3\n"), ("4 5", "9")], PASSED),
    "blanks at ends": ("print('a  \\nb\\n\\n')", [("", "a\nb")], PASSED),
    "no newline": ("import sys\nsys.stdout.write(sys.stdin.read())", [("x\ny", "x\ny\n")], PASSED),
    "script's main": ("if __name__ == '__main__':\n    print(1)", [("", "1")], PASSED),
    "exit 0": ("import sys\nprint(1)\nsys.exit(0)", [("", "1")], PASSED),
    "a thread's output": (
        "import threading\ndef main(): print(input())\nthreading.Thread(target=main).start()",
        [("1", "1")],
        PASSED,
    ),
    "at exit": ("import atexit\natexit.register(print, 'bye')", [("", "bye")], PASSED),
    "raw descriptors": ("import os\nos.write(1, os.read(0, 100))", [("é", "é")], PASSED),
    "wrong": ("print(1)", [("", "2")], Verdict(False, "wrong output")),
    "the second case": ("print(1)", [("", "1"), ("", "2")], Verdict(False, "wrong output")),
    "leading blanks count": ("print(' 1')", [("", "1")], Verdict(False, "wrong output")),
    "leading empty lines count": ("print('\\n1')", [("", "1")], Verdict(False, "wrong output")),
    "order counts": ("print('b\\na')", [("", "a\nb")], Verdict(False, "wrong output")),
    "no cases": ("print(1)", [], Verdict(False, "no tests")),
    "raises": ("print(1)\n1 / 0", [("", "1")], Verdict(False, "error: ZeroDivisionError")),
    "no input": ("input()", [("", "")], Verdict(False, "error: EOFError")),
    "not Python": ("print(", [("", "")], Verdict(False, "syntax error")),
    "exit 3": ("print(1)\nraise SystemExit(3)", [("", "1")], Verdict(False, "exited")),
    "crash": ("import ctypes\nctypes.string_at(0)", [("", "")], Verdict(False, "crashed")),
    "memory": ("x = bytearray(2 << 30)", [("", "")], Verdict(False, "memory")),
    "slow": ("while True: pass", [("", "")], Verdict(False, "timeout")),
    "output": ("while True: print('x' * 100000)", [("", "")], Verdict(False, "output")),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_compared_by_output(sandbox: Sandbox, name: str) -> None:
    program, cases, verdict = SCRIPTS[name]
    assert sandbox.run_stdin(program, cases, timeout_s=1.0 if name == "slow" else LONG_S) == verdict


def test_the_same_run_gives_the_same_verdict_in_another_fork_server() -> None:
    # the order of a set of words hangs on the seed of their hashes
    program = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})[0]"
    found = set()
    for _ in range(3):
        with Sandbox(1) as sandbox:
            verdicts = [sandbox.run_python(program, [f"assert f() == {c!r}"], LONG_S).passed for c in "abcdefg"]
        found.add(tuple(verdicts))
    assert len(found) == 1
    assert sum(found.pop()) == 1
