"""The fork server's namespaces, and what each process that it forks gives up before it runs anything."""

import errno
import fcntl
import math
import os
import shutil
import socket
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from beam_jobs.sandbox import filters, isolate

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
ROOT_OPTIONS = "size=1m,nr_inodes=4k,mode=755"
WORKS, WORK = "/tmp", "/tmp/run"  # in the sandbox's own root
_SHARED = 4096  # processes that a user may have besides
_RULES_FROM = 100  # descriptors from here on are rules of Landlock


@dataclass(frozen=True)
class Role:
    """Whom a process becomes.

    Attributes:
        user: its number in the fork server's user namespace.
        rules: descriptor of Landlock's; -1 without.
    """

    user: int
    rules: int = -1


@dataclass
class Box:
    """The fork server's state.

    Attributes:
        limits: fields of `limits.Limits`, and what `pool.Zygote` adds: "folder", a directory outside for runs where
            there is no own root; "users_from", the first of free users' numbers outside; "absent", layers not to try.
        failed: what the kernel said, of each layer that does not work.
        own_pids: descriptor of the fork server's process namespace; -1 without.
        sample: whom samples become.
        tests: whom tests become.
        readable: what Python needs to read.
        seccomp: the filter, and what points to it.
        shared_user: processes of the fork server itself that count against its users' limit.
    """

    limits: dict[str, Any]
    failed: dict[str, str] = field(default_factory=dict)
    own_pids: int = -1
    sample: Role = Role(0)
    tests: Role = Role(0)
    readable: tuple[str, ...] = ()
    seccomp: tuple[object, object] = (None, None)
    shared_user: int = 0

    def attempt(self, layer: str, step: Callable[[], object]) -> bool:
        """Takes one step of a layer that has not failed; a failure is noted."""
        if layer in self.failed:
            return False
        try:
            step()
        except (OSError, AttributeError) as error:
            self.failed.setdefault(layer, str(error))
            return False
        return True

    def fork(self) -> int:
        """Forks the first process of a new process namespace, with which all others in it end; as `os.fork`."""
        if self.own_pids < 0:
            return os.fork()
        isolate.unshare(isolate.NEWPID)
        try:
            child = os.fork()
        except OSError:
            isolate.setns(self.own_pids, isolate.NEWPID)
            raise
        if child:  # this process is asked for another namespace only where it is back in its own
            isolate.setns(self.own_pids, isolate.NEWPID)
        return child

    @contextmanager
    def run(self) -> Iterator[str]:
        """An empty directory of the sample's own, which is gone afterwards; and fresh queues and shared memory."""
        if "ipc" not in self.failed:
            isolate.unshare(isolate.NEWIPC)
        user, size = self.sample.user, self.limits["directory_bytes"]
        if "mount" not in self.failed:
            options = f"size={size},nr_inodes=1k,mode=700,uid={user},gid={user}"
            isolate.mount("tmpfs", WORK, "tmpfs", isolate.MS_NOSUID | isolate.MS_NODEV | isolate.MS_NOEXEC, options)
            try:
                yield WORK
            finally:
                isolate.detach(WORK)
            return
        work = os.path.join(self.limits["folder"], "run")
        os.mkdir(work, 0o700)
        try:
            with suppress(PermissionError):
                os.chown(work, user, user)
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if os.path.lexists(work):
                raise RuntimeError(f"what a run left in {work} cannot be removed")


def open_box(limits: dict[str, Any], map_users: Callable[[], bool]) -> Box:
    """Takes this process, which must have one thread, into its namespaces; it goes on as a child of the caller's child.

    Args:
        limits: as in `Box`.
        map_users: has a process outside map three users into this one's new user namespace; whether it could.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, this ends first
    box = Box(limits, dict.fromkeys(limits["absent"], "not tried"), readable=_python_paths())
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    root = os.geteuid() == 0 and limits["users_from"] is not None
    # root makes its root directory as itself, while it may still read a Python in its home; others need their namespace
    mounted = root and box.attempt("mount", lambda: _own_root(box))
    if root and not mounted and "mount" not in limits["absent"]:
        del box.failed["mount"]
    own_users = _own_users(box, proc, root, map_users)
    box.attempt("mount", lambda: isolate.unshare(isolate.NEWNS) if mounted else _own_root(box))
    for name, kind in (("net", isolate.NEWNET), ("ipc", isolate.NEWIPC), ("uts", isolate.NEWUTS)):
        box.attempt(name, lambda kind=kind: isolate.unshare(kind))
    if "uts" not in box.failed:
        box.attempt("uts", lambda: socket.sethostname("sandbox"))
    forked = box.attempt("pid", lambda: isolate.unshare(isolate.NEWPID))
    if forked:
        _go_on_as_child()
        box.own_pids = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    if own_users:  # of which no more can be made then, where the kernel's settings may be written
        with suppress(OSError):
            setting = os.open("sys/user/max_user_namespaces", os.O_WRONLY, dir_fd=proc)
            with os.fdopen(setting, "wb", buffering=0) as file:
                file.write(b"0")
    os.close(proc)
    box.attempt("no_new_privileges", lambda: isolate.prctl(isolate.PR_SET_NO_NEW_PRIVS, 1))
    box.attempt("capabilities", isolate.forgo_capabilities)
    box.attempt("landlock", lambda: _make_rules(box))
    box.attempt("seccomp", lambda: setattr(box, "seccomp", filters.seccomp_filter()))
    return box


def _python_paths() -> tuple[str, ...]:
    """What Python reads: its library, and the directories of the shared objects that are loaded."""
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    with open("/proc/self/maps") as file:
        loaded = {line.split(maxsplit=5)[5].strip() for line in file if ".so" in line}
    paths |= {os.path.dirname(path) for path in loaded if path.startswith("/")}
    paths |= {os.path.realpath(path) for path in paths}
    paths.add("/etc/ld.so.cache")
    # an outer directory holds the inner ones
    return tuple(p for p in sorted(paths) if not any(p.startswith(f"{q}/") for q in paths) and os.path.exists(p))


def _own_root(box: Box) -> None:
    """A root directory in memory, with Python's paths in it, read-only."""
    isolate.unshare(isolate.NEWNS)
    isolate.mount("none", "/", "", isolate.MS_REC | isolate.MS_PRIVATE)
    root = box.limits["folder"]
    isolate.mount("tmpfs", root, "tmpfs", isolate.MS_NOSUID, ROOT_OPTIONS)
    for link in ("/lib", "/lib32", "/lib64", "/bin", "/sbin", "/usr/lib64"):
        if os.path.islink(link):
            os.makedirs(root + os.path.dirname(link), exist_ok=True)
            os.symlink(os.readlink(link), root + link)
    for path in (*box.readable, *DEVICES):
        inside = root + path
        if not os.path.exists(path) or os.path.ismount(inside):
            continue
        if os.path.isdir(path):
            os.makedirs(inside, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            open(inside, "wb").close()
        isolate.mount(path, inside, "", isolate.MS_BIND | isolate.MS_REC)
    os.makedirs(root + WORK)
    isolate.make_read_only(root)
    isolate.pivot_root(root)


def _own_users(box: Box, proc: int, root: bool, map_users: Callable[[], bool]) -> bool:
    """A user namespace: with three users of nobody's as root, else with the own one alone, as 0 inside.

    Returns:
        Whether this process is in one now, whoever samples are in it.
    """
    outside, group = os.geteuid(), os.getegid()

    def map_self() -> None:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {outside} 1"), ("gid_map", f"0 {group} 1")):
            file = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
            os.write(file, text.encode())
            os.close(file)

    def alone() -> None:
        isolate.unshare(isolate.NEWUSER)
        map_self()

    # first in another process: one that has got into a namespace and no user there can do nothing more
    if not box.attempt("user", lambda: _in_child(alone)):
        of_root = box.limits["users_from"]
        box.sample, box.tests = (Role(of_root + 1), Role(of_root + 2)) if root else (Role(outside), Role(outside))
        box.shared_user = 0 if root else _SHARED  # a user's other processes count too
        return False
    isolate.unshare(isolate.NEWUSER)
    if root and map_users():
        box.sample, box.tests = Role(1), Role(2)
        isolate.become(0)
        return True
    if root:
        box.failed["user"] = "no other users to be had: samples are root outside, without its capabilities"
    map_self()
    box.shared_user = 3  # the fork server, its parent, and the other process of a run
    return True


def _in_child(step: Callable[[], object]) -> None:
    """Takes a step in another process, to see whether it can be taken."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            step()
        except OSError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    said = os.read(read, 1 << 12)
    os.close(read)
    os.waitpid(child, 0)
    if said:
        raise OSError(said.decode())


def _make_rules(box: Box) -> None:
    version = filters.landlock_version()
    works = WORKS if "mount" not in box.failed else box.limits["folder"]

    def rules(writable: Sequence[str]) -> int:
        made = filters.landlock_rules(box.readable, writable, DEVICES, version)
        kept = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, _RULES_FROM)
        os.close(made)
        return kept

    box.sample, box.tests = replace(box.sample, rules=rules([works])), replace(box.tests, rules=rules([]))


def _go_on_as_child() -> None:
    """Forks; the parent stays only to end when the child does."""
    child = os.fork()
    if child:
        os.closerange(0, 1 << 20)
        os.waitpid(child, 0)
        os._exit(0)
    isolate.prctl(isolate.PR_SET_PDEATHSIG, 9)


def enter(box: Box, role: Role, work: str, timeout_s: float) -> dict[str, str]:
    """Gives up everything that a run's process does not need; gives what could not be given up though it should.

    Args:
        box: the fork server's state.
        role: whom to become.
        work: the directory to be in, and to write to; "" for none.
        timeout_s: of the run; processor time is bounded a little above.
    """
    limits, lost = box.limits, dict[str, str]()
    os.setsid()
    os.chdir(work or "/")
    os.umask(0o077)

    def limit() -> None:
        isolate.set_limits(
            memory=limits["memory_bytes"],
            cpu_seconds=math.ceil(timeout_s) + 1,
            file_bytes=limits["output_bytes"],
            open_files=limits["open_files"],
        )

    steps: list[tuple[str, Callable[[], object]]] = [
        ("rlimits", limit),
        ("processes", lambda: isolate.set_process_limit(limits["processes"] + box.shared_user)),
        ("user", lambda: isolate.become(role.user)),
        ("capabilities", isolate.drop_capabilities),
        ("landlock", lambda: filters.landlock(role.rules)),
        ("seccomp", lambda: filters.seccomp(box.seccomp[1])),
    ]
    for name, step in steps:
        if name in box.failed and name != "user":  # without a namespace for it, it still becomes another user
            continue
        try:
            step()
        except OSError as error:
            lost[name] = str(error)
    return lost


def probe(box: Box, role: Role, work: str) -> dict[str, str]:
    """Enters as a sample would, and looks whether each layer holds; gives what does not. Ends this process's use."""
    bound = box.limits["processes"] + box.shared_user
    seccomp_failed = box.failed.get("seccomp")
    box.failed["seccomp"] = "not yet"  # it would hide what the others do
    before = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lost = enter(box, role, work, 60.0)
    del box.failed["seccomp"]
    box.failed = lost | box.failed

    def holds(layer: str, condition: bool, otherwise: str) -> None:
        if not condition:
            box.failed.setdefault(layer, otherwise)

    holds("user", os.getresuid() == (role.user,) * 3, f"it is still user {os.geteuid()}")
    holds("mount", not os.path.lexists("/proc/self") and not os.path.lexists("/root/.bashrc"), "the old root is there")
    holds("pid", os.getpid() == 1 and os.getppid() == 0, f"it is process {os.getpid()} of {os.getppid()}")
    holds("uts", os.uname().nodename == "sandbox", f"the host is {os.uname().nodename}")
    holds("net", _refused(lambda: before.connect(("127.0.0.1", 9))), "the loopback interface is up")
    holds("capabilities", isolate.capabilities() == 0, f"it has {isolate.capabilities():#x}")
    holds("no_new_privileges", isolate.prctl(isolate.PR_GET_NO_NEW_PRIVS) == 1, "they are to be had")
    holds("rlimits", _refused(lambda: bytearray(box.limits["memory_bytes"])), "its memory is not bounded")
    holds("landlock", _refused(lambda: os.listdir("/")), "it can list the root directory")
    if bound < _SHARED:
        holds("processes", _processes(bound + 1) <= bound, f"it can start more than {bound}")
    if seccomp_failed is None:
        box.attempt("seccomp", lambda: filters.seccomp(box.seccomp[1]))
        holds("seccomp", _refused(lambda: socket.socket(socket.AF_INET)), "it can make sockets")
    else:
        box.failed["seccomp"] = seccomp_failed
    return box.failed


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except (OSError, MemoryError):
        return True
    return False


def _processes(wanted: int) -> int:
    """Starts so many processes, or as many as it can, and ends them; how many there were besides this one."""
    read, write = os.pipe()
    children = []
    try:
        for _ in range(wanted):
            child = os.fork()
            if not child:
                os.close(write)
                os.read(read, 1)
                os._exit(0)
            children.append(child)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
    os.close(write)
    for child in children:
        os.waitpid(child, 0)
    return len(children)
