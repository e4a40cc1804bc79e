"""Checkpoints by Orbax: written behind the training, whole or absent, taken up only by the run that they belong to."""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import jax
import orbax.checkpoint as ocp

from shammie import files, logs
from shammie.errors import UserError, one_line
from workflows.train import checksums

FOLDER, DAMAGED = "checkpoints", "damaged_checkpoints"
STATE, RUN = "state", "run"


class Checkpoints:
    """The checkpoints of one output folder.

    Args:
        out: the run's folder, which exists.
        identity: what decides the run's numbers, plain JSON; saved with every checkpoint, and compared.
        keep: how many are kept, the newest.
        reading: write nothing and clean nothing up: the folder may be a run's that goes on.
    """

    def __init__(self, out: str, identity: Mapping[str, Any], keep: int, *, reading: bool = False) -> None:
        # Orbax tells of every file that it writes, and shows the stack of what is raised here anyway
        for library in ("absl", "asyncio"):
            logging.getLogger(library).setLevel(logging.CRITICAL if logs.are_quiet() else logging.ERROR)
        _steady_clock()
        self.out, self.identity = out, dict(identity)
        self._folder, self._saving = files.join(out, FOLDER), -1
        try:
            self._manager = ocp.CheckpointManager(
                os.path.abspath(self._folder) if files.is_local(self._folder) else self._folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep,
                    enable_async_checkpointing=True,
                    cleanup_tmp_directories=not reading,
                    create=not reading,
                    async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_checksums),
                ),
                item_handlers={STATE: ocp.StandardCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()},
            )
        except OSError:
            raise
        except Exception as error:  # what Orbax meets in damaged files is of many kinds
            raise UserError(
                f"the checkpoints in {self._folder} cannot be read ({error})", "remove what is damaged"
            ) from error

    def latest(self) -> int | None:
        """The newest whole checkpoint's step; None where there is none."""
        return self._manager.latest_step()

    def take_up(self) -> int | None:
        """The newest checkpoint that is as it was written; None where there is none.

        Newer ones that are damaged are put aside, and stderr says so. Of several processes the first one looks.

        Raises:
            OSError: one cannot be read at all now.
        """
        if jax.process_index() == 0:
            for step in sorted(self._manager.all_steps(), reverse=True):
                damage = checksums.damage(self._path(step))
                if not damage:
                    break
                aside = files.join(self.out, DAMAGED, str(step))
                files.make_directory(files.join(self.out, DAMAGED))
                files.remove(aside)
                files.move(self._path(step), aside)
                print(f"checkpoint {step} of {self.out} is damaged: {damage}; it is kept in {aside}", file=sys.stderr)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("damaged checkpoints are put aside")
        self._manager.reload()
        return self.latest()

    def _path(self, step: int) -> str:
        return files.join(self._folder, str(step))

    def _write_checksums(self) -> None:
        """Called by Orbax once all of a checkpoint is written, before it gets its own name."""
        step = str(self._saving)
        for name in files.list_directory(self._folder):
            if name == step or name.startswith(f"{step}.orbax-checkpoint-tmp"):
                checksums.write(files.join(self._folder, name))

    def restore(self, step: int, like: Any) -> Any:
        """The arrays of a checkpoint.

        Args:
            step: of the checkpoint.
            like: a pytree of `jax.ShapeDtypeStruct` with shardings: where each array is to lie.

        Raises:
            UserError: the checkpoint is damaged or cannot be read.
        """
        damage = checksums.damage(self._path(step))  # Orbax gives what a flipped byte makes of it, without a word
        if damage:
            raise UserError(
                f"checkpoint {step} of {self.out} is damaged: {damage}",
                "its run, started again, puts it aside and takes the one before",
            )
        try:
            wanted = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(like)})
            return self._manager.restore(step, args=wanted)[STATE]
        except Exception as error:  # TensorStore raises bare ones
            raise self._unreadable(step, error) from error

    def _unreadable(self, step: int, error: Exception) -> UserError:
        return UserError(
            f"checkpoint {step} of {self.out} cannot be read ({type(error).__name__})",
            f"remove {files.join(self.out, FOLDER, str(step))}; the same command then resumes from the one before",
        )

    def check(self, step: int) -> None:
        """Raises UserError where a checkpoint is another run's; names the first setting that differs."""
        try:
            saved = self._manager.restore(step, args=ocp.args.Composite(**{RUN: ocp.args.JsonRestore()}))[RUN]
        except Exception as error:
            raise self._unreadable(step, error) from error
        found = first_difference(saved, self.identity)
        if found:
            name, there, here = found
            raise UserError(
                f"{self.out} holds a run with {name}={there!r:.200}, not {here!r:.200}",
                "choose another --out, or give back the old value (config.json there has them all)",
            )

    def save(self, step: int, state: Any) -> None:
        """Begins to save; the arrays are copied before it returns, and may then be given away.

        Raises:
            UserError: this one, or the one before, cannot be written.
        """
        items: dict[str, Any] = {STATE: ocp.args.StandardSave(state), RUN: ocp.args.JsonSave(self.identity)}
        with self._telling():
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(step, args=ocp.args.Composite(**items))

    def close(self) -> None:
        """Waits until all is saved.

        Raises:
            UserError: the last one cannot be written.
        """
        with self._telling():
            self._manager.wait_until_finished()
            self._manager.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Within it a failed write names the checkpoint, and what to do."""
        try:
            yield
        except Exception as error:
            known = next((code for code in _TOLD if os.strerror(code) in str(error)), None)
            if known is None:
                raise
            cure = one_line(OSError(known, os.strerror(known))).partition(": ")[2]
            raise UserError(f"checkpoint {self._saving} of {self.out} cannot be written", cure) from error


def _steady_clock() -> None:
    """Orbax takes its time limits from the wall clock: one that is set, or slept, would end a save, or never end it."""
    steady = SimpleNamespace(**{**vars(time), "time": time.monotonic})
    for name in ("futures.future", "futures.signaling_client", "checkpointers.async_checkpointer"):
        module = sys.modules.get(f"orbax.checkpoint._src.{name}")
        if module is not None and "time" in vars(module):
            vars(module)["time"] = steady


_TOLD = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # TensorStore has them in its text alone


def first_difference(saved: Any, wanted: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ: its dotted name, and both values; None where they are the same."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted(saved.keys() | wanted.keys()):
            found = first_difference(saved.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if saved == wanted else (name, saved, wanted)
