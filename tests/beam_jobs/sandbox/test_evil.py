"""Evil programs do not pass, are contained, and leave the next run as it was."""

import os
import runpy
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from beam_jobs.sandbox import Limits, Sandbox, Verdict
from beam_jobs.sandbox.verdict import REASONS

evil = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("evil.py"))))
SQUARE, LONG_S, EVIL_S = "def f(x): return x * x", 30.0, 0.6


class Outside:
    """What an evil program could reach if it could get out."""

    def __init__(self, repository: Path, left_of_runs: Callable[[Sandbox], list[int]]) -> None:
        self.left_of_runs = left_of_runs
        self.folder = tempfile.mkdtemp(prefix="shammie-evil-")
        os.chmod(self.folder, 0o777)
        self.name = f"shammie-{os.getpid()}"
        self.server = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.name}")
        self.abstract.listen()
        self.server.setblocking(False)
        self.abstract.setblocking(False)
        self.words = {
            "{folder}": self.folder,
            "{port}": str(self.server.getsockname()[1]),
            "{socket}": self.name,
            "{repository}": str(repository),
        }

    def fill(self, program: str) -> str:
        for word, value in self.words.items():
            program = program.replace(word, value)
        return program

    def assert_untouched(self) -> None:
        for listening in (self.server, self.abstract):
            with pytest.raises(BlockingIOError):
                listening.accept()
        assert os.listdir(self.folder) == []

    def close(self) -> None:
        self.server.close()
        self.abstract.close()
        for name in os.listdir(self.folder):
            os.unlink(os.path.join(self.folder, name))
        os.rmdir(self.folder)


@pytest.fixture(scope="module")
def outside(left_of_runs: Callable[[Sandbox], list[int]]) -> Iterator[Outside]:
    made = Outside(Path(__file__).parents[3], left_of_runs)
    yield made
    made.close()


def assert_well(sandbox: Sandbox, outside: Outside) -> None:
    """Nothing is left of the former run, and the next is graded as ever."""
    assert outside.left_of_runs(sandbox) == []
    outside.assert_untouched()
    assert sandbox.run_python(SQUARE, evil.TESTS, LONG_S) == Verdict(True, "")
    assert sandbox.run_stdin("print(int(input()) ** 2)", [("5", "25")], LONG_S) == Verdict(True, "")


@pytest.mark.parametrize("name", evil.PROGRAMS)
def test_evil_programs(sandbox: Sandbox, outside: Outside, name: str) -> None:
    program, reasons = evil.PROGRAMS[name]
    verdict = sandbox.run_python(outside.fill(program), evil.TESTS, EVIL_S if reasons and "timeout" in reasons else 10)
    assert not verdict.passed
    assert verdict.reason in REASONS or verdict.reason.startswith("error: ")
    assert reasons is None or verdict.reason in reasons
    assert_well(sandbox, outside)


@pytest.mark.parametrize("name", evil.HELPERS)
def test_what_the_tests_define_is_theirs(sandbox: Sandbox, outside: Outside, name: str) -> None:
    assert sandbox.run_python(evil.HELPERS[name], evil.HELPED, LONG_S) == Verdict(False, "failed test")
    assert sandbox.run_python(SQUARE, evil.HELPED, LONG_S) == Verdict(True, "")
    assert_well(sandbox, outside)


def test_a_helper_that_is_left_to_the_program_can_be_forged(sandbox: Sandbox) -> None:
    # else the test above would show nothing
    assert sandbox.run_python(
        evil.HELPERS["another helper"], ["import math\nLIMIT = 1", *evil.HELPED[1:]], LONG_S
    ).passed


@pytest.mark.parametrize("name", evil.SCRIPTS)
def test_evil_scripts(sandbox: Sandbox, outside: Outside, name: str) -> None:
    program, reasons = evil.SCRIPTS[name]
    timeout_s = EVIL_S if reasons and "timeout" in reasons else 10
    verdict = sandbox.run_stdin(outside.fill(program), [("5", "25")], timeout_s)
    assert not verdict.passed
    assert reasons is None or verdict.reason in reasons
    assert_well(sandbox, outside)


def test_what_is_outside_can_be_touched_without_a_sandbox(outside: Outside) -> None:
    # else the tests above would show nothing
    with socket.create_connection(("127.0.0.1", int(outside.words["{port}"]))), socket.socket(socket.AF_UNIX) as other:
        other.connect(f"\0{outside.name}")
        for listening in (outside.server, outside.abstract):
            listening.accept()[0].close()
    written = Path(outside.folder, "x")
    written.touch()
    with pytest.raises(AssertionError):
        outside.assert_untouched()
    written.unlink()
    outside.assert_untouched()


LEAVE = """
import os, builtins, json, math, ctypes, sys
open('left', 'w').write('x')
os.mkdir('d')
os.chmod('.', 0o777)
builtins.left = json.left = math.left = 1
sys.path.insert(0, '/tmp/run')
os.environ['LEFT'] = '1'
os.umask(0)
shared = ctypes.CDLL(None).shmget(77, 4096, 0o1666)
def f(x): return x * x
"""
LOOK = """
import os, builtins, json, math, ctypes, sys
def g():
    return [os.listdir('.'), hasattr(builtins, 'left'), hasattr(json, 'left'), hasattr(math, 'left'),
            '/tmp/run' in sys.path, os.environ.get('LEFT'), os.umask(0), ctypes.CDLL(None).shmget(77, 4096, 0)]
"""
NOTHING = [[], False, False, False, False, None, 0o077, -1]


def test_a_run_sees_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    assert sandbox.run_python(LEAVE, evil.TESTS, LONG_S).passed
    assert sandbox.run_python(LOOK, [f"assert g() == {NOTHING!r}, g()"], LONG_S) == Verdict(True, "")


def test_shared_memory_does_not_last_even_where_it_can_be_had() -> None:
    with Sandbox(1, Limits(waive=("seccomp",)), absent=["seccomp"]) as sandbox:
        assert sandbox.run_python(LEAVE, [*evil.TESTS, "assert shared != -1"], LONG_S) == Verdict(True, "")
        assert sandbox.run_python(LOOK, [f"assert g() == {NOTHING!r}, g()"], LONG_S) == Verdict(True, "")


def test_a_process_has_nothing_but_what_it_needs(sandbox: Sandbox) -> None:
    program = """
import os, resource, socket, ctypes
def fds():
    found = []
    for fd in range(4096):
        try: found.append((fd, os.fstat(fd) and None))
        except OSError: pass
    return [fd for fd, _ in found]
def ids(): return os.getpid(), os.getppid(), os.getresuid(), os.getresgid(), os.getgroups()
def env(): return sorted(os.environ)
def root(): return os.path.exists("/proc"), os.path.exists("/etc/passwd"), os.path.exists("/sys"), os.getcwd()
def limits(): return [resource.getrlimit(getattr(resource, "RLIMIT_" + n)) for n in ("AS", "FSIZE", "NOFILE", "CORE")]
def host(): return os.uname().nodename
def interfaces(): return [name for _, name in socket.if_nameindex()]
"""
    limits = Limits()
    tests = [
        "assert fds() == [0, 1, 2, 3], fds()",
        "ids_ = ids()",
        "assert ids_[:2] == (1, 0), ids_",
        "assert set(env()) <= {'LC_ALL', 'LC_CTYPE', 'PYTHONHASHSEED'}, env()",
        "assert root() == (False, False, False, '/tmp/run'), root()",
        f"assert limits() == [({limits.memory_bytes},) * 2, ({limits.output_bytes},) * 2, ({limits.open_files},) * 2,"
        " (0, 0)], limits()",
        "assert host() == 'sandbox'",
    ]
    assert sandbox.run_python(program, tests, LONG_S) == Verdict(True, "")
    if os.geteuid() == 0:
        tests = ["ids_ = ids()", "assert ids_[2:] == ((1, 1, 1), (1, 1, 1), []), ids_"]
        assert sandbox.run_python(program, tests, LONG_S) == Verdict(True, "")


# without one layer the others still hold; what only that one keeps is not asked here
ALONE = {
    "seccomp": ["fork bomb", "process bomb", "outlives its run", "kills everyone", "connects to a server"]
    + ["connects to an abstract socket", "traces", "thread bomb"],
    "landlock": ["reads /etc/passwd", "writes outside", "writes to the library", "connects to a server"],
    "mount": ["reads the repository", "writes outside", "climbs out", "links to the outside", "many files"],
    "net": ["connects to a server", "connects to an abstract socket", "asks a name server"],
    "pid": ["kills everyone", "kills its parent", "fork bomb", "leaves threads", "stops itself"],
    "user": ["reads /etc/passwd", "kills everyone", "fork bomb", "writes outside", "traces"],
    "processes": ["fork bomb", "outlives its run"],
}


@pytest.mark.slow
@pytest.mark.parametrize("layer", ALONE)
def test_no_layer_stands_alone(outside: Outside, layer: str) -> None:
    if layer == "user" and os.geteuid():
        pytest.skip("only root can make the other namespaces without it")
    with Sandbox(1, Limits(waive=(layer,)), absent=[layer]) as sandbox:
        assert [one.name for one in sandbox.layers() if one.state != "works"] == [layer]
        for name in ALONE[layer]:
            verdict = sandbox.run_python(outside.fill(evil.PROGRAMS[name][0]), evil.TESTS, EVIL_S)
            assert not verdict.passed, name
            with suppress(AssertionError):  # what dies of a signal takes a moment where there is no namespace
                assert outside.left_of_runs(sandbox) == []
            assert_well(sandbox, outside)
