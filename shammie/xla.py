"""What XLA must be told before its first program of a process."""

import os

IN_ORDER = ("--xla_cpu_enable_concurrency_optimized_scheduler=false", "--xla_cpu_multi_thread_eigen=false")


def keep_in_order() -> None:
    """Sets XLA's flags so that programs with loops within loops end; before JAX's first program, or it has no effect.

    Where threads are few, jaxlib 0.10.2 at times never ends such a program, a recurrent network's training above all,
    unless its operations are put in order for memory, not to run at once, and products stay on their thread. As options
    of the compiler these are not heeded. Flags that the user has set stay.
    """
    told = os.environ.get("XLA_FLAGS", "")
    added = [flag for flag in IN_ORDER if flag.partition("=")[0] not in told]
    os.environ["XLA_FLAGS"] = " ".join([told, *added]).strip()
