"""The fork server: it forks a process for a sample and one for its tests, watches both, and says how they ended.

It starts as `python -c` from `pool`, from the standard library alone, and never reads a program, a test or anything
that a sample prints: these go through it as descriptors of files in memory, so that no process forked from it
holds them. Of a script it reads the name of the exception that ended it, a few bytes that are checked.

Its caller speaks to it over a socket of packets, in JSON: a request is {"kind", "timeout_s"} with the descriptors, an
answer is {"reason"} or {"failure"}. When the socket closes, it ends, and with it all it has started.
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module

from beam_jobs.sandbox import sample_process, tests_process
from beam_jobs.sandbox.box import Box, Role, enter, open_box, probe
from beam_jobs.sandbox.timing import LOOK_S, Stopwatch, processor_seconds

PRELOADED = (
    "math cmath collections collections.abc itertools functools re heapq bisect string random json copy datetime"
    " operator typing dataclasses enum decimal fractions statistics ast atexit threading io time abc array"
).split()
REPORT_BYTES, NAME_BYTES = 200, 4096
GRACE_S = 2.0  # for a process that has closed its connection, to end by itself, on a busy machine too
KILLS = 20  # of a session that may fork meanwhile
CPU_S = 2.0  # the least limit of processor time is above
_ABOVE = 200  # descriptors from here are out of the way of those that a child gets


def main(fd: int) -> None:
    """Serves the caller at the other end of a socket, until it closes.

    Args:
        fd: the socket's descriptor.
    """
    control = socket.socket(fileno=fd)
    settings = json.loads(control.recv(1 << 16))
    try:
        for name in PRELOADED:
            import_module(name)
        box = open_box(settings, lambda: _map_users(control))
        gc.collect()
        gc.freeze()
        failed = _probe(box)
    except Exception as error:
        control.send(json.dumps({"failure": f"{type(error).__name__}: {error}"}).encode())
        return
    control.send(json.dumps({"failed": failed}).encode())
    box.failed.update(failed)
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1 << 16, 3)
        if not message:
            os._exit(0)
        try:
            request = json.loads(message)
            run = _run_script if request["kind"] == "script" else _run_tests
            answer = run(box, control, fds, request["timeout_s"])
        except Exception as error:
            answer = {"failure": f"{type(error).__name__}: {error}"}
        finally:
            for one in fds:
                os.close(one)
        control.send(json.dumps(answer).encode())


def _map_users(control: socket.socket) -> bool:
    """Asks the caller, who is outside the new user namespace, to give users to it; whether it did."""
    control.send(json.dumps({"map": True}).encode())
    return json.loads(control.recv(1 << 16))["mapped"]


def _run_tests(box: Box, control: socket.socket, fds: Sequence[int], timeout_s: float) -> dict[str, str]:
    """Runs a program and its tests; `fds` are the program's and the tests'."""
    program, tests = fds
    with ExitStack() as stack:
        work = stack.enter_context(box.run())
        answers, calls = map(stack.enter_context, socket.socketpair())
        report, reporting = map(stack.enter_context, socket.socketpair())
        output, nothing = os.memfd_create("output"), os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, output)
        stack.callback(os.close, nothing)
        # the sample's process first: it has no descriptor of what the other one is told
        to_sample = [nothing, output, output, answers.fileno(), program]
        sample = _Child(box, box.sample, work, timeout_s, to_sample, sample_process.answer_calls)
        stack.callback(sample.kill)
        to_tests = [nothing, nothing, nothing, calls.fileno(), tests, reporting.fileno()]
        judge = _Child(box, box.tests, "", timeout_s, to_tests, tests_process.main)
        stack.callback(judge.kill)
        for end in (answers, calls, reporting):
            end.close()  # so that each of the two sees when the other is gone
        if _readable(report.fileno(), control, [sample, judge], timeout_s):
            reason = report.recv(REPORT_BYTES).decode(errors="replace") or "crashed"
        else:
            reason = "timeout"
        if reason == tests_process.LOST:
            reason = sample.how_it_ended("protocol")
        sample.kill()
        judge.kill()
        if sample.used_s + judge.used_s >= timeout_s:  # also between two looks: no luck in when these were
            reason = "timeout"
        if os.fstat(output).st_size >= box.limits["output_bytes"]:
            reason = "output"
    return {"reason": "" if reason == tests_process.PASSED else reason}


def _run_script(box: Box, control: socket.socket, fds: Sequence[int], timeout_s: float) -> dict[str, str]:
    """Runs a program as a script; `fds` are the program's, its input's and its output's."""
    program, given, output = fds
    with ExitStack() as stack:
        work = stack.enter_context(box.run())
        said, saying = map(stack.enter_context, socket.socketpair())
        nothing = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, nothing)
        to_script = [given, output, nothing, saying.fileno(), program]
        child = _Child(box, box.sample, work, timeout_s, to_script, sample_process.run_script)
        stack.callback(child.kill)
        watch = os.pidfd_open(child.pid)
        stack.callback(os.close, watch)
        reason = child.how_it_ended("") if _readable(watch, control, [child], timeout_s) else "timeout"
        child.kill()
        if reason == "exited":
            reason = _raised(said) or reason
        if child.used_s >= timeout_s:
            reason = "timeout"
        if os.fstat(output).st_size >= box.limits["output_bytes"]:
            reason = "output"
    return {"reason": reason}


def _raised(channel: socket.socket) -> str:
    """The reason that a script's process gave before it ended, if it is one."""
    channel.setblocking(False)
    try:
        said = channel.recv(NAME_BYTES)[4:]
        what, name = tests_process.load(said)
    except (OSError, ValueError, TypeError):
        return ""
    if what != "raised" or type(name) is not str:
        return ""
    known = type(tests_process.exception(name, ())).__name__
    return "syntax error" if known == "SyntaxError" else tests_process.error_reason(known)


class _Child:
    """A process, forked into a namespace of its own, where it becomes a role and runs a body.

    Args:
        box: the fork server's state.
        role: whom it becomes.
        work: its directory; "" for none.
        timeout_s: bounds its processor time too.
        fds: its descriptors, from 0; it has no others.
        body: gives its exit code.

    Attributes:
        pid: its number here.
        used_s: its seconds of processor time, once it has been killed.
    """

    def __init__(
        self, box: Box, role: Role, work: str, timeout_s: float, fds: Sequence[int], body: Callable[[], int]
    ) -> None:
        self._in_namespace, self._killed, self.used_s = box.own_pids >= 0, False, 0.0
        self.pid = box.fork()
        if self.pid:
            return
        code = 1
        try:
            _take(fds, role)
            if not enter(box, role, work, timeout_s):
                sys.modules["random"].seed(0)  # every run draws the same numbers
                code = body()
        finally:  # whatever happened: nothing of the child may run what follows in the fork server
            os._exit(code)

    def kill(self) -> int:
        """Kills it and all that it has started, and waits until they are gone, once.

        Returns:
            Its status; 0 if it had been killed before.
        """
        if self._killed:
            return 0
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        if not self._in_namespace:  # then the rest of its session may be left
            with suppress(ProcessLookupError, PermissionError):
                for _ in range(KILLS):
                    os.killpg(self.pid, signal.SIGKILL)
        self.used_s = usage.ru_utime + usage.ru_stime
        return status

    def how_it_ended(self, otherwise: str) -> str:
        """Why it is gone; `otherwise` if it is still there, or if it ended well and that is the reason for nothing."""
        watch = os.pidfd_open(self.pid)
        gone, _, _ = select.select([watch], [], [], GRACE_S)
        os.close(watch)
        status = self.kill()
        if not gone:
            return otherwise
        if not os.WIFSIGNALED(status):
            return "exited" if os.WEXITSTATUS(status) or otherwise else ""
        if os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU):  # by the kernel, for one of two limits
            return "timeout" if self.used_s >= CPU_S else "memory"
        return "crashed"


def _take(fds: Sequence[int], role: Role) -> None:
    """Makes these the process's descriptors from 0 on, and closes all others but the role's rules.

    Python's own streams are on the first three already, unused: the fork server neither reads nor prints.
    """
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD, _ABOVE) for fd in fds]
    for place, fd in enumerate(above):
        os.dup2(fd, place)
    os.closerange(len(fds), role.rules)
    os.closerange(max(len(fds), role.rules + 1), 1 << 20)


def _readable(fd: int, control: socket.socket, children: Sequence[_Child], timeout_s: float) -> bool:
    """Waits for a descriptor; False if the time of the children is up first (see `timing`).

    Ends the fork server if its caller is gone or speaks meanwhile.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(control, select.POLLIN)
    stopwatch, wait_s = Stopwatch(timeout_s, time.monotonic()), LOOK_S
    while wait_s:
        ready = dict(poll.poll(wait_s * 1e3))
        if control.fileno() in ready:
            os._exit(1)
        if fd in ready:
            return True
        used = sum(processor_seconds(child.pid) for child in children)
        wait_s = stopwatch.look_again_in(used, time.monotonic())
    return False


def _probe(box: Box) -> dict[str, str]:
    """Forks a process as for a sample and has it look whether each layer holds; gives those that do not, and why."""
    with ExitStack() as stack:
        work = stack.enter_context(box.run())
        report, reporting = map(stack.enter_context, socket.socketpair())
        child = box.fork()
        if not child:
            try:
                _take([0, 1, 2, reporting.fileno()], box.sample)
                os.write(3, json.dumps(probe(box, box.sample, work)).encode())
            finally:
                os._exit(0)
        reporting.close()
        said = b""
        while part := report.recv(1 << 16):
            said += part
        _, status = os.waitpid(child, 0)
    if not said:
        raise RuntimeError(f"the probe ended with status {status}")
    return json.loads(said)
