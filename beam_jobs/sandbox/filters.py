"""What a process may ask of the kernel from now on: Landlock for files, TCP and signals; seccomp for system calls."""

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress

from beam_jobs.sandbox.isolate import machine, syscall

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR, _WRITE_FILE, _EXECUTE, _MAKE_CHAR, _MAKE_BLOCK = 1 << 2, 1 << 3, 1 << 1, 1 << 0, 1 << 6, 1 << 11
_IOCTL_DEVICE, _TRUNCATE = 1 << 15, 1 << 14
# rights over files that each version of Landlock handles: one bit each
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP_FROM, _TCP_RIGHTS = 4, 0b11
_SCOPE_FROM, _SCOPES = 6, 0b11  # abstract unix sockets, signals

# system calls that are refused: numbers for x86_64 and aarch64, from the kernel's headers; 0 where there is none
_DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fork": (57, 0),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, 0),
    "iopl": (172, 0),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, 0),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, 0),
    "vhangup": (153, 58),
}
_CLONE, _CLONE3, _SOCKET, _SOCKETPAIR, _SECCOMP = (56, 220), (435, 435), (41, 198), (53, 199), (317, 277)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EACCES = 1, 38, 13
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data
_CLONE_THREAD, _AF_UNIX, _X32 = 0x10000, 1, 0x40000000
_FILTER_MODE = 1


def landlock_version() -> int:
    """The version of Landlock's interface.

    Raises:
        OSError: the kernel has none, or it is off.
    """
    return syscall("landlock_create_ruleset", _LANDLOCK_CREATE, None, 0, 1)


def landlock_rules(readable: Iterable[str], writable: Iterable[str], devices: Iterable[str], version: int) -> int:
    """A descriptor of rules: they forbid all files but these, TCP, and signals to processes outside.

    Args:
        readable: files and directories that may be read.
        writable: directories in which anything may be done but executing files and making devices. What is mounted in
            one of them counts; what is mounted on one does not.
        devices: files that may be read and written, if they are there.
        version: of the interface, from `landlock_version`.
    """
    handled = _FILE_RIGHTS[max(one for one in _FILE_RIGHTS if one <= version)]
    tcp, scoped = (_TCP_RIGHTS if version >= _TCP_FROM else 0), (_SCOPES if version >= _SCOPE_FROM else 0)
    words = 3 if version >= _SCOPE_FROM else 2 if version >= _TCP_FROM else 1
    attributes = struct.pack("<3Q", handled, tcp, scoped)[: 8 * words]
    ruleset = syscall("landlock_create_ruleset", _LANDLOCK_CREATE, attributes, len(attributes), 0)
    write = handled & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEVICE)
    file = handled & (_READ_FILE | _WRITE_FILE | _TRUNCATE)
    rules = [(path, _READ_FILE | _READ_DIR) for path in readable]
    rules += [(path, write) for path in writable] + [(path, file) for path in devices]
    for path, rights in rules:
        with suppress(FileNotFoundError, PermissionError):  # it cannot be read anyway
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not os.path.isdir(path):
                rights &= file
            rule = struct.pack("<Qi", rights, place)
            syscall("landlock_add_rule", _LANDLOCK_ADD, ruleset, 1, rule, 0)
            os.close(place)
    return ruleset


def landlock(rules: int) -> None:
    """Puts this thread under rules for good, and closes their descriptor; privileges must not grow any more."""
    syscall("landlock_restrict_self", _LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def _program() -> bytes:
    """The filter as instructions of classic BPF; each is a code, two jumps and a number."""
    if machine() not in _ARCHITECTURES:
        raise OSError(f"no system call numbers for {machine()}")
    which, architecture = _ARCHITECTURES[machine()]
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_EQUAL, 0, 1, _CLONE3[which]),  # its flags lie in memory, out of reach; without it libc takes clone
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_EQUAL, 0, 4, _CLONE[which]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
    ]
    for call in (_SOCKET, _SOCKETPAIR):
        steps += [
            (_EQUAL, 0, 4, call[which]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
            (_EQUAL, 0, 1, _AF_UNIX),  # asyncio wakes itself by a pair
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _ERRNO | _EACCES),
        ]
    for numbers in _DENIED.values():
        if numbers[which]:
            steps += [(_EQUAL, 0, 1, numbers[which]), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def seccomp_filter() -> tuple[object, object]:
    """The filter in memory, to be kept, and the structure that points to it, for `seccomp`.

    Raises:
        OSError: no table of system calls for this processor.
    """
    program = _program()
    memory = ctypes.create_string_buffer(program, len(program))
    return memory, struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))


def seccomp(structure: object) -> None:
    """Refuses the listed system calls to this thread from now on; privileges must not grow."""
    which, _ = _ARCHITECTURES[machine()]
    syscall("seccomp", _SECCOMP[which], _FILTER_MODE, 0, structure)
