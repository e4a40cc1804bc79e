"""The fork server: it forks a process for a sample and one for its tests, watches both, and says how they ended.

It starts as `python -c` from `pool`, from the standard library alone, and never reads a program, a test or anything
that a sample prints: these go through it as descriptors of files in memory, so that no process forked from it
holds them. Its caller speaks to it over a socket of packets, in JSON: a request is {"kind", "timeout_s"} with the
descriptors, an answer is {"reason"} or {"failure"}. When the socket closes, it ends, and with it all it has started.
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
from importlib import import_module

from beam_jobs.sandbox import sample_process, tests_process
from beam_jobs.sandbox.box import Box, Role, enter, open_box, probe

PRELOADED = (
    "math cmath collections collections.abc itertools functools re heapq bisect string random json copy datetime"
    " operator typing dataclasses enum decimal fractions statistics ast atexit threading io time abc array"
).split()
REPORT_BYTES, NAME_BYTES = 200, 4096
GRACE_S = 0.2  # for a process that has closed its connection, to end by itself
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
            return
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
    deadline = time.monotonic() + timeout_s
    ours, theirs = socket.socketpair()
    report, reporting = os.pipe()
    output, nothing = os.memfd_create("output"), os.open(os.devnull, os.O_RDWR)
    held = [report, output, nothing]
    children: list[int] = []
    try:
        with box.run() as work:
            try:
                to_sample = [nothing, output, output, theirs.fileno(), program]
                children.append(_launch(box, box.sample, work, timeout_s, to_sample, sample_process.answer_calls))
                theirs.close()
                to_tests = [nothing, nothing, nothing, ours.fileno(), tests, reporting]
                children.append(_launch(box, box.tests, "", timeout_s, to_tests, tests_process.main))
                ours.close()
                os.close(reporting)
                reporting = -1
                said = b""
                if _readable(report, control, deadline):
                    said = os.read(report, REPORT_BYTES)
                    reason = said.decode(errors="replace") if said else "crashed"
                    if reason == tests_process.LOST:
                        reason = _how_it_ended(children[0], "protocol", box)
                        children.pop(0)
                else:
                    reason = "timeout"
            finally:
                for child in children:
                    _kill(child, box)
        if os.fstat(output).st_size >= box.limits["output_bytes"]:
            reason = "output"
        return {"reason": "" if reason == tests_process.PASSED else reason}
    finally:
        ours.close()
        theirs.close()
        for fd in held if reporting < 0 else [*held, reporting]:
            os.close(fd)


def _run_script(box: Box, control: socket.socket, fds: Sequence[int], timeout_s: float) -> dict[str, str]:
    """Runs a program as a script; `fds` are the program's, its input's and its output's."""
    program, given, output = fds
    deadline = time.monotonic() + timeout_s
    ours, theirs = socket.socketpair()
    nothing = os.open(os.devnull, os.O_RDWR)
    child = watch = 0
    try:
        with box.run() as work:
            try:
                kept = [given, output, nothing, theirs.fileno(), program]
                child = _launch(box, box.sample, work, timeout_s, kept, sample_process.run_script)
                theirs.close()
                watch = os.pidfd_open(child)
                if _readable(watch, control, deadline):
                    reason = _how_it_ended(child, "", box)
                    child = 0
                else:
                    reason = "timeout"
            finally:
                if child:
                    _kill(child, box)
        if reason == "exited":
            reason = _raised(ours) or reason
        if os.fstat(output).st_size >= box.limits["output_bytes"]:
            reason = "output"
        return {"reason": reason}
    finally:
        for one in (nothing, watch):
            if one:
                os.close(one)
        ours.close()
        theirs.close()


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


def _launch(box: Box, role: Role, work: str, timeout_s: float, fds: Sequence[int], body: Callable[[], int]) -> int:
    """Forks a process into a namespace of its own, where it becomes the role and runs the body; gives its number.

    Args:
        box: the box.
        role: whom it becomes.
        work: its directory; "" for none.
        timeout_s: bounds its processor time too.
        fds: its descriptors, from 0; it has no others.
        body: gives its exit code.
    """
    child = box.fork()
    if child:
        return child
    code = 1
    try:
        _take(fds, role)
        if not enter(box, role, work, timeout_s):
            _fresh_streams()
            code = body()
    except BaseException:  # nothing of the child may run what follows in the fork server
        code = 1
    finally:
        os._exit(code)


def _take(fds: Sequence[int], role: Role) -> None:
    """Makes these the process's descriptors from 0 on, and closes all others but the role's rules."""
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD, _ABOVE) for fd in fds]
    for place, fd in enumerate(above):
        os.dup2(fd, place)
    os.closerange(len(fds), role.rules)
    os.closerange(max(len(fds), role.rules + 1), 1 << 20)


def _fresh_streams() -> None:
    """Python's own streams on the new descriptors, and the same random numbers for every run."""
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.modules["random"].seed(0)


def _readable(fd: int, control: socket.socket, deadline: float) -> bool:
    """Waits for a descriptor; False at the deadline. Ends the fork server if its caller is gone or speaks meanwhile."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(control, select.POLLIN)
    ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1e3))
    if control.fileno() in ready:
        os._exit(1)
    return fd in ready


def _how_it_ended(child: int, otherwise: str, box: Box) -> str:
    """Why a process that should still be there is not; `otherwise` where it is, or has ended well as a script."""
    watch = os.pidfd_open(child)
    gone, _, _ = select.select([watch], [], [], GRACE_S)
    os.close(watch)
    status = _kill(child, box)
    if not gone:
        return otherwise
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU) else "crashed"
    return "exited" if os.WEXITSTATUS(status) or otherwise else ""


def _kill(child: int, box: Box) -> int:
    """Kills a process and all that it has started, and waits until they are gone; gives its status."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if "pid" in box.failed:  # without its namespace the rest of its session is left
        while True:
            try:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(-1, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                break
    return status


def _probe(box: Box) -> dict[str, str]:
    """Forks a process as for a sample and has it look whether each layer holds; gives those that do not, and why."""
    report, reporting = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)

    with box.run() as work:
        child = box.fork()
        if not child:
            try:
                _take([nothing, nothing, nothing, reporting], box.sample)
                os.write(3, json.dumps(probe(box, box.sample, work)).encode())
            finally:
                os._exit(0)
        os.close(reporting)
        os.close(nothing)
        said = b""
        while part := os.read(report, 1 << 16):
            said += part
        os.close(report)
        status = _kill(child, box)
    if not said:
        raise RuntimeError(f"the probe ended with status {status}")
    return json.loads(said)
