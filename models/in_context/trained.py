"""A meta-trained learner as bytes: a line of JSON that says what it is, then its parameters in MessagePack."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import flax.serialization
import jax
import numpy as np

from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from shammie.configs import from_plain
from shammie.errors import UserError
from shammie.files import canonical_json

FORMAT = "shammie in-context learner 1"


@dataclass(frozen=True, eq=False)
class TrainedLearner:
    """A meta-trained learner.

    Attributes:
        config: its sizes.
        params: its parameters, a pytree of float32 arrays.
        made_with: JSON values that say where it comes from: gin, seed, steps, scores.
    """

    config: LearnerConfig
    params: Any
    made_with: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The learner as bytes; the same one always gives the same."""
        body = flax.serialization.msgpack_serialize(jax.tree.map(lambda x: np.asarray(x, np.float32), self.params))
        header = {
            "format": FORMAT,
            "config": asdict(self.config),
            "made_with": dict(self.made_with),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        return canonical_json(header).encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "TrainedLearner":
        """The learner that `to_bytes` wrote.

        Args:
            data: the bytes.
            name: of their file, for errors.

        Raises:
            UserError: the bytes are no learner, are damaged, or their arrays are not those of its sizes.
        """
        header, _, body = data.partition(b"\n")
        try:
            told = json.loads(header)
            if told["format"] != FORMAT:
                raise ValueError(told["format"])
            damaged = hashlib.sha256(body).hexdigest() != told["sha256"]
            config, made_with = from_plain(LearnerConfig, told["config"], "size of a learner"), told["made_with"]
            params = None if damaged else flax.serialization.msgpack_restore(body)
        except UserError:
            raise
        except Exception as error:  # JSON and MessagePack raise many kinds
            raise UserError(
                f"{name} is not a meta-trained learner: {type(error).__name__}", "give the learner.bin of a run"
            ) from error
        if damaged:
            raise UserError(f"{name} is damaged: its parameters are not those it was written with", "copy it again")
        _check_shapes(config, params, name)
        return cls(config, params, made_with)


def _check_shapes(config: LearnerConfig, params: Any, name: str) -> None:
    wanted = jax.eval_shape(lambda: first_params(network_of(config), jax.random.key(0)))
    paths = lambda tree: {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(tree)}  # noqa: E731
    there, due = paths(params), paths(wanted)
    wrong = sorted(path for path in {*there, *due} if there.get(path) != due.get(path))
    if wrong:
        raise UserError(
            f"{name}: {wrong[0]} is {there.get(wrong[0])}, but a learner of its sizes has {due.get(wrong[0])}",
            "it is of another version: meta-train it again",
        )
