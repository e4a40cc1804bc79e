"""System calls that Python 3.11 lacks, by ctypes: namespaces, mounts, capabilities. They are Linux's."""

import ctypes
import os
import resource
import struct

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 24, 38, 39, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_CAPABILITY_VERSION = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    """The processor's name, as the kernel says it."""
    return os.uname().machine


def checked(result: int, call: str) -> int:
    """A system call's result.

    Raises:
        OSError: it is negative.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: object) -> int:
    """Any system call; integers, bytes and ctypes values as arguments.

    Raises:
        OSError: it failed.
    """
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return checked(_LIBC.syscall(ctypes.c_long(number), *wide), name)


def unshare(flags: int) -> None:
    """Leaves the caller's namespaces of these kinds for new ones."""
    checked(_LIBC.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Joins a namespace by its descriptor."""
    checked(_LIBC.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mounts a file system, or binds a path to another place."""
    checked(_LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


def detach(target: str) -> None:
    """Takes a mount off at once; it ends when nobody uses it any more."""
    checked(_LIBC.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def make_read_only(target: str) -> None:
    """Makes a mount and all below it read-only and without set-uid files; keeps their other flags (Linux 5.12)."""
    attributes = struct.pack("<4Q", MS_RDONLY | MS_NOSUID, 0, 0, 0)
    syscall("mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes))


def pivot_root(root: str) -> None:
    """Makes a mount the root directory, and lets go of the old one."""
    if machine() not in _PIVOT_ROOT:
        raise OSError(f"no number of pivot_root for {machine()}")
    os.chdir(root)
    syscall("pivot_root", _PIVOT_ROOT[machine()], b".", b".")
    detach(".")
    os.chdir("/")


def prctl(option: int, *arguments: int) -> int:
    """An operation on the own process."""
    wide = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(_LIBC.prctl(option, *wide), f"prctl {option}")


def forgo_capabilities() -> None:
    """Gives up getting any capability that it has not; while it still has that of doing so."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # past the last one, or not allowed to: then no_new_privileges must do
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def drop_capabilities() -> None:
    """Gives up every capability that it has."""
    header, data = struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24)
    checked(_LIBC.capset(header, data), "capset")


def capabilities() -> int:
    """Bits of the effective, permitted and inheritable capabilities, together."""
    header, data = struct.pack("<Ii", _CAPABILITY_VERSION, 0), ctypes.create_string_buffer(24)
    checked(_LIBC.capget(header, data), "capget")
    found = 0
    for word in struct.unpack("<6I", data.raw):
        found |= word
    return found


def become(user: int) -> None:
    """Becomes a user and the group of the same number, with no other groups; nothing if that is who it is."""
    if os.getresuid() == (user,) * 3 and os.getresgid() == (user,) * 3:
        return
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def set_limits(*, memory: int, cpu_seconds: int, file_bytes: int, open_files: int) -> None:
    """Sets rlimits, hard ones too: bytes of address space and files, seconds of processor time, descriptors."""
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def set_process_limit(count: int) -> None:
    """Bounds processes and threads of the own user (in the own user namespace, since Linux 5.14)."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    count = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
