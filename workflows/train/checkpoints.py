"""Checkpoints by Orbax: written behind the training, whole or absent, taken up only by the run that they belong to."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp

from shammie import files
from shammie.errors import UserError

FOLDER = "checkpoints"
STATE, RUN = "state", "run"


class Checkpoints:
    """The checkpoints of one output folder.

    Args:
        out: the run's folder, which exists.
        identity: what decides the run's numbers, plain JSON; saved with every checkpoint, and compared.
        keep: how many are kept, the newest.
    """

    def __init__(self, out: str, identity: Mapping[str, Any], keep: int) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every file that it writes
        self.out, self.identity = out, dict(identity)
        folder = files.join(out, FOLDER)
        try:
            self._manager = ocp.CheckpointManager(
                os.path.abspath(folder) if files.is_local(folder) else folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True, create=True
                ),
                item_handlers={STATE: ocp.StandardCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()},
            )
        except Exception as error:  # what Orbax meets in damaged files is of many kinds
            raise UserError(
                f"the checkpoints in {folder} cannot be read ({error})", "remove what is damaged"
            ) from error

    def latest(self) -> int | None:
        """The newest whole checkpoint's step; None where there is none."""
        return self._manager.latest_step()

    def restore(self, step: int, like: Any) -> Any:
        """The arrays of a checkpoint.

        Args:
            step: of the checkpoint.
            like: a pytree of `jax.ShapeDtypeStruct` with shardings: where each array is to lie.

        Raises:
            UserError: the checkpoint cannot be read.
        """
        try:
            wanted = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(like)})
            return self._manager.restore(step, args=wanted)[STATE]
        except Exception as error:
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
        """Begins to save; the arrays are copied before it returns, and may then be given away."""
        items: dict[str, Any] = {STATE: ocp.args.StandardSave(state), RUN: ocp.args.JsonSave(self.identity)}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def close(self) -> None:
        """Waits until all is saved."""
        self._manager.wait_until_finished()
        self._manager.close()


def first_difference(saved: Any, wanted: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ: its dotted name, and both values; None where they are the same."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted(saved.keys() | wanted.keys()):
            found = first_difference(saved.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if saved == wanted else (name, saved, wanted)
