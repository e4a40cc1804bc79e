"""One driver per output directory: the lock of `shammie.lock`, in the words of `shammie run`."""

from contextlib import AbstractContextManager

from shammie.lock import holding, host

__all__ = ["host", "only_driver"]


def only_driver(out: str, *, take_over: bool = False) -> AbstractContextManager[None]:
    """Holds an output directory for this process, or refuses; see `shammie.lock.holding`."""
    return holding(out, option="--out", if_dead="add --take-over", take_over=take_over)
