"""One Python worker: imports its libraries, is told on a line for whom to work, and works until that hangs up."""

import json
import signal
import sys
from importlib import import_module

# what every job of ours takes; not our own modules, which may have been changed by the time work comes
LIBRARIES = ("apache_beam.runners.worker.sdk_worker", "numba", "numpy", "pyarrow.parquet")


def main() -> None:
    """Works for [address of the task manager's control service, the worker's name], JSON on a line of stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool, which ends us
    for name in LIBRARIES:
        import_module(name)
    line = sys.stdin.readline()
    if not line:
        return  # the pool is gone
    address, name = json.loads(line)
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    SdkHarness(address, worker_id=name, state_cache_size=0, data_buffer_time_limit_ms=0).run()


if __name__ == "__main__":
    main()
