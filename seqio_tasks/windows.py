"""The order of training: a stream of tokens cut into windows, and each epoch's order of them.

Rows of packed examples (`seqio_tasks.pair_rows`) are such windows too, where the length is a row's.
Every batch is a pure function of (seed, step): nothing is kept between batches, so that a run resumes anywhere, on any
number of hosts, and SeqIO's task over the same file yields the same rows. This module imports no TensorFlow.
"""

import functools

import numpy as np

from shammie.errors import UserError

KEPT_ORDERS = 2  # a batch may lie across two epochs


@functools.lru_cache(KEPT_ORDERS)
def epoch_order(seed: int, epoch: int, windows: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(windows) that depends on these three numbers alone.

    Args:
        seed: 0 or more.
        epoch: 0 or more.
        windows: how many there are.

    Returns:
        uint32 or int64 [windows], not writable.
    """
    dtype = np.uint32 if windows < 1 << 32 else np.int64
    order = np.arange(windows, dtype=dtype)
    # PCG64 by name: numpy may change what default_rng chooses
    np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).shuffle(order)
    order.flags.writeable = False
    return order


class Windows:
    """A stream cut into windows of one length; the remainder at its end is left out.

    Args:
        tokens: ids [tokens], in memory or mapped.
        length: of a window.
        name: what the stream is called in errors.
        repeat: whether a batch may hold a window twice, where there are fewer than it takes.

    Attributes:
        count: windows in the stream.
    """

    def __init__(self, tokens: np.ndarray, length: int, *, name: str = "the token file", repeat: bool = False) -> None:
        if length < 1:
            raise UserError(f"length={length} is below 1", "give the tokens of a window")
        if len(tokens) < length:
            raise UserError(
                f"{name} has {len(tokens)} tokens, fewer than one window of length={length}",
                "give more text or a shorter length",
            )
        self.count, self.length, self.name, self.repeat = len(tokens) // length, length, name, repeat
        self._rows = tokens[: self.count * length].reshape(self.count, length)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Windows by their place in the stream; int [n] to int32 [n, length]."""
        return self._rows[numbers].astype(np.int32)

    def order(self, seed: int, start: int, stop: int) -> np.ndarray:
        """Places `start` to `stop` - 1 of the endless sequence of epochs, each in an order of its own.

        Returns:
            int64 [stop - start], numbers of windows.
        """
        parts = []
        for epoch in range(start // self.count, -(-stop // self.count)):
            first = epoch * self.count
            part = epoch_order(seed, epoch, self.count)[max(0, start - first) : stop - first]
            parts.append(part.astype(np.int64))
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def check_batch(self, batch_size: int) -> None:
        """Raises UserError where the stream has not enough windows for one batch, unless they may repeat."""
        if batch_size > self.count and not self.repeat:
            raise UserError(
                f"{self.name} has {self.count} windows of {self.length} tokens, fewer than batch_size={batch_size}",
                "give more text, a shorter length or a smaller batch",
            )

    def batch(self, seed: int, step: int, batch_size: int, *, host: int = 0, hosts: int = 1) -> np.ndarray:
        """The rows of a step's batch that a host reads.

        Args:
            seed: of the order; 0 or more.
            step: the batch is places step * batch_size to (step + 1) * batch_size - 1 of the endless sequence.
            batch_size: rows of all hosts together, a multiple of `hosts`.
            host: 0 to hosts - 1; it gets every hosts-th row, from row `host` on.
            hosts: how many there are.

        Returns:
            int32 [batch_size / hosts, length].

        Raises:
            UserError: the stream has fewer windows than a batch has rows, and they may not repeat.
        """
        self.check_batch(batch_size)
        numbers = self.order(seed, step * batch_size, (step + 1) * batch_size)
        return self.take(numbers[host::hosts])
