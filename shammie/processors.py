"""How much of the machine is this process's."""

import os


def processors() -> int:
    """How many processors this process may use, of those that the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # where a process cannot be kept to some
        return os.cpu_count() or 1
