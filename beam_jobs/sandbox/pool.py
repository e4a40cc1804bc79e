"""Fork servers from the caller's side: started when needed, one run each at a time, replaced when they die."""

import atexit
import dataclasses
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from beam_jobs.sandbox.limits import Layer, Limits, judge, named, refuse
from beam_jobs.sandbox.protocol import ForbiddenValue, dump
from beam_jobs.sandbox.timing import wall_limit
from beam_jobs.sandbox.verdict import Verdict
from shammie.errors import UserError

TIMEOUT_S = 4.0
LONGEST_S = 86_400.0
START_S = 60.0
END_S = 5.0
LATE_S = 10.0  # after all of a run's time its fork server has long said so, or is dead
USERS = 3
_MANY_USERS = 1 << 31
_USERS_FROM = 0x70000000  # far from any user's number
_START = (
    "import sys; sys.path.insert(0, {home!r}); from beam_jobs.sandbox.zygote import main; del sys.path[0]; main({fd})"
)
_FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8", "-X", "int_max_str_digits=0")


class _Died(ConnectionError):
    """The fork server is gone, or does not answer."""


def users_from(table: str) -> int | None:
    """The first of a few users' numbers that nobody has, from the text of /proc/self/uid_map; None if all are taken."""
    ranges = [tuple(map(int, line.split())) for line in table.splitlines()]
    first, _, count = max(ranges, key=lambda one: one[2], default=(0, 0, 0))
    if count >= _MANY_USERS:
        return _USERS_FROM
    return first + count - 16 if count >= 1000 else None


class Zygote:
    """A fork server that runs, as its caller sees it.

    Args:
        limits: of its runs.
        absent: layers not to try.

    Attributes:
        failed: what the kernel said, of each layer that does not work.
    """

    def __init__(self, limits: Limits, absent: Sequence[str] = ()) -> None:
        if sys.platform != "linux":
            raise UserError(f"the sandbox is for Linux, not for {sys.platform}", "grade generated programs there")
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self._folder = tempfile.mkdtemp(prefix="shammie-sandbox-")
        os.chmod(self._folder, 0o711)  # for users inside, where there is no root directory of their own
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with open("/proc/self/uid_map") as file:
            self._users_from = users_from(file.read())
        try:
            self._process = subprocess.Popen(
                [
                    os.path.realpath(sys.executable),
                    *_FLAGS,
                    "-c",
                    _START.format(home=home, fd=theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
        try:
            settings = dataclasses.asdict(limits) | {
                "folder": self._folder,
                "users_from": self._users_from,
                "absent": list(absent),
            }
            answer = self._ask(json.dumps(settings).encode(), [], START_S)
            if "map" in answer:
                answer = self._ask(json.dumps({"mapped": self._map()}).encode(), [], START_S)
            if "failed" not in answer:
                raise UserError(f"the sandbox does not start: {answer.get('failure', answer)}", "see shammie doctor")
            self.failed: dict[str, str] = answer["failed"]
            if "mount" not in self.failed:  # it has served: what was mounted there is a root directory elsewhere
                os.rmdir(self._folder)
        except _Died as error:
            self.close()
            raise UserError(
                f"the sandbox does not start: {error}", "it needs Linux 5.13 or later, and /proc"
            ) from error
        except BaseException:
            self.close()
            raise

    def _map(self) -> bool:
        if self._users_from is None:
            return False
        try:
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{self._process.pid}/{name}", "w") as file:
                    file.write(f"0 {self._users_from} {USERS}")
            os.chown(self._folder, self._users_from, self._users_from)
        except OSError:
            return False
        return True

    def _ask(self, message: bytes, fds: Sequence[int], timeout_s: float) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        try:
            socket.send_fds(self._socket, [message], fds)
            answer = self._socket.recv(1 << 16)
        except OSError as error:
            raise _Died(str(error)) from error
        if not answer:
            raise _Died("its socket is closed")
        return json.loads(answer)

    def run(self, kind: str, fds: Sequence[int], timeout_s: float) -> str:
        """Runs a program; gives the reason, "" where it passed or ended well.

        Args:
            kind: "tests" or "script".
            fds: files of the program and the tests; or of the program, its input and its output.
            timeout_s: seconds of processor time.

        Raises:
            _Died: the fork server did.
        """
        request = json.dumps({"kind": kind, "timeout_s": timeout_s}).encode()
        answer = self._ask(request, fds, wall_limit(timeout_s) + LATE_S)
        if "reason" not in answer:
            raise _Died(str(answer.get("failure")))
        return answer["reason"]

    def close(self) -> None:
        """Ends it with all that it has started, and removes what is left."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # it ends by itself: so each process is waited for by its parent
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Sandbox:
    """Some fork servers, for any number of threads; use it in a `with` statement, or close it.

    Args:
        workers: runs at a time; each may use two processes by turns.
        limits: of each run.
        absent: layers that are not even tried, as if this machine had none of them: to see what happens then.

    Raises:
        UserError: when something is run: a layer is missing here that is not waived.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None, absent: Sequence[str] = ()) -> None:
        if workers < 1:
            raise UserError(f"a sandbox of {workers} workers", "it needs at least 1")
        self._limits = limits or Limits()
        self._waived = self._limits.waived()
        self._absent = tuple(sorted(named(absent)))
        self._places: queue.LifoQueue[Zygote | None] = queue.LifoQueue()
        self._lock, self._living, self._closed = threading.Lock(), set[Zygote](), False
        self._owner = os.getpid()
        for _ in range(workers):
            self._places.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run_python(self, program: str, tests: Sequence[str], timeout_s: float = TIMEOUT_S) -> Verdict:
        """Runs tests on what a program defines; see `run_python` of this module."""
        if not tests:
            return Verdict(False, "no tests")
        try:
            asked = dump(list(tests))
        except ForbiddenValue as error:
            raise UserError(f"tests that cannot be sent: {error}", "they are Python statements as text") from error
        files = [program.encode("utf-8", "surrogatepass"), asked]
        reason, _ = self._run("tests", files, timeout_s, output=False)
        return Verdict(not reason, reason)

    def run_stdin(self, program: str, cases: Sequence[tuple[str, str]], timeout_s: float = TIMEOUT_S) -> Verdict:
        """Runs a program once for each case; see `run_stdin` of this module."""
        if not cases:
            return Verdict(False, "no tests")
        for given, expected in cases:
            files = [program.encode("utf-8", "surrogatepass"), given.encode("utf-8", "surrogatepass")]
            reason, printed = self._run("script", files, timeout_s, output=True)
            if not reason and comparable(printed) != comparable(expected.encode("utf-8", "surrogatepass")):
                reason = "wrong output"
            if reason:
                return Verdict(False, reason)
        return Verdict(True, "")

    def layers(self) -> list[Layer]:
        """The layers on this machine, as a fork server of this sandbox found them."""
        zygote = self._places.get()
        try:
            zygote = zygote or self._start()
            return judge(zygote.failed, self._waived)
        finally:
            self._places.put(zygote)

    def close(self) -> None:
        """Ends all fork servers, and what runs in them; nothing in a fork of the process that has them."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._closed = True
            living, self._living = self._living, set()
        for zygote in living:
            zygote.close()

    def _start(self) -> Zygote:
        zygote = Zygote(self._limits, self._absent)
        with self._lock:
            if not self._closed:
                self._living.add(zygote)
                return zygote
        zygote.close()
        raise UserError("the sandbox is closed", "open another")

    def _run(self, kind: str, contents: Sequence[bytes], timeout_s: float, *, output: bool) -> tuple[str, bytes]:
        if not 0 < timeout_s <= LONGEST_S:
            raise UserError(f"a sandbox's timeout is {timeout_s} s", f"it must be more than 0, up to {LONGEST_S:.0f}")
        zygote = self._places.get()
        try:
            for attempt in range(2):
                fds: list[int] = []
                try:
                    if self._closed:
                        raise UserError("the sandbox is closed", "open another")
                    zygote = zygote or self._start()
                    refuse(judge(zygote.failed, self._waived))
                    fds += [_in_memory(content) for content in contents]
                    if output:
                        fds.append(_in_memory(b""))
                    reason = zygote.run(kind, fds, timeout_s)
                    return reason, os.pread(fds[-1], self._limits.output_bytes, 0) if output else b""
                except _Died:
                    if zygote is not None:
                        with self._lock:
                            self._living.discard(zygote)
                        zygote.close()
                    zygote = None
                    if attempt:
                        return "crashed", b""
                finally:
                    for fd in fds:
                        os.close(fd)
        finally:
            self._places.put(zygote)
        raise AssertionError("two attempts end in an answer")


def _in_memory(content: bytes) -> int:
    """A descriptor of a file in memory, at its start."""
    fd = os.memfd_create("shammie")
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def comparable(printed: bytes) -> list[bytes]:
    """Output as it is compared: lines without the blanks at their ends, without empty lines at the end."""
    lines = [line.rstrip() for line in printed.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


_shared: dict[int, Sandbox] = {}  # by process: a forked one must not speak on its parent's sockets
_shared_lock = threading.Lock()


def shared() -> Sandbox:
    """This process's sandbox, with a worker for each processor it may use; it ends with the process."""
    with _shared_lock:
        sandbox = _shared.get(os.getpid())
        if sandbox is None:
            sandbox = _shared[os.getpid()] = Sandbox(len(os.sched_getaffinity(0)))
            atexit.register(sandbox.close)
        return sandbox


def run_python(program: str, tests: Sequence[str], timeout_s: float = TIMEOUT_S) -> Verdict:
    """Runs tests on what a program defines.

    The program's functions are proxies in the tests, which run in another process: arguments and results cross as plain
    data of exactly these types: None, bool, int, float, str, bytes, list, tuple, dict, set; anything else fails as a
    "forbidden value": instances of classes, generators, and also Counter, defaultdict, OrderedDict, frozenset, deque
    and range. Lists, dicts and sets that are arguments themselves are changed where the
    program changes them. An exception crosses as the builtin one that it is or is derived from. The program's plain
    constants have the values of when it was loaded; modules that it imports, such as math, are there too.

    A name that the tests define is theirs from then on, whatever the program says that it is. So what tests rely on
    besides the asked function, such as a helper that a problem gives, must stand in them, as the first of the tests:
    else the program could define it otherwise.

    Args:
        program: Python that defines what is tested.
        tests: Python statements, none of which may raise; they run in order and see each other's names. No tests fail.
        timeout_s: seconds of processor time for the program and the tests together. Of the clock it may take
            10 * timeout_s, or 30 s if that is more; and go without any processor time, asleep or waiting, for
            3 * timeout_s, or 2 s if that is more. So a busy machine does not make a program fail.

    Returns:
        The verdict; the same for the same program, tests and limits, as far as time does not decide.

    Raises:
        UserError: a layer of isolation is missing here and is not waived.
    """
    return shared().run_python(program, tests, timeout_s)


def run_stdin(program: str, cases: Sequence[tuple[str, str]], timeout_s: float = TIMEOUT_S) -> Verdict:
    """Runs a program that reads its input and prints, and compares what it prints.

    Args:
        program: Python, run as a script.
        cases: what it reads and what it must print, up to blanks at the ends of lines and empty lines at the end; the
            first that does not agree ends it. No cases fail.
        timeout_s: seconds of processor time for each case; of the clock as in `run_python`.

    Raises:
        UserError: a layer of isolation is missing here and is not waived.
    """
    return shared().run_stdin(program, cases, timeout_s)


def layers() -> list[Layer]:
    """The layers of isolation on this machine.

    Raises:
        UserError: no fork server can be started at all.
    """
    with Sandbox(1) as sandbox:
        return sandbox.layers()
