"""A trained diffusion model or classifier as bytes: a line of JSON that says what it is, then its parameters."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.serialization
import jax
import numpy as np

from models.composition.density import Density
from models.composition.diffusion import density_of, first_variables
from models.composition.diffusion_config import DiffusionConfig
from shammie.configs import plain
from shammie.errors import UserError
from shammie.files import canonical_json

FORMAT = "shammie diffusion model 1"


@dataclass(frozen=True, eq=False)
class TrainedDiffusion:
    """A trained model.

    Attributes:
        config: what it is.
        params: its parameters, a pytree of float32 arrays; averaged ones where training kept an average.
        made_with: JSON values that say where it comes from: data, seed, steps, loss.
    """

    config: DiffusionConfig
    params: Any
    made_with: Mapping[str, Any]

    def density(self, condition: Any = None, name: str = "model") -> Density:
        """See `diffusion.density_of`."""
        return density_of(self.config, self.params, condition, name)

    def to_bytes(self) -> bytes:
        """The model as bytes; the same one always gives the same."""
        body = flax.serialization.msgpack_serialize(jax.tree.map(lambda x: np.asarray(x, np.float32), self.params))
        header = {
            "format": FORMAT,
            "config": plain(self.config),
            "made_with": dict(self.made_with),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        return canonical_json(header).encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "TrainedDiffusion":
        """The model that `to_bytes` wrote.

        Args:
            data: the bytes.
            name: of their file, for errors.

        Raises:
            UserError: the bytes are no such model, are damaged, or their arrays are not those of the config.
        """
        header, _, body = data.partition(b"\n")
        try:
            told = json.loads(header)
            if told["format"] != FORMAT:
                raise ValueError(told["format"])
            damaged = hashlib.sha256(body).hexdigest() != told["sha256"]
            config, made_with = DiffusionConfig.from_json(told["config"]), told["made_with"]
            params = None if damaged else flax.serialization.msgpack_restore(body)
        except UserError:
            raise
        except Exception as error:  # JSON and MessagePack raise many kinds
            raise UserError(
                f"{name} is not a diffusion model: {type(error).__name__}", "give the model.bin of a training"
            ) from error
        if damaged:
            raise UserError(f"{name} is damaged: its parameters are not those it was written with", "copy it again")
        _check_shapes(config, params, name)
        return cls(config, params, made_with)


def _check_shapes(config: DiffusionConfig, params: Any, name: str) -> None:
    wanted: Any = jax.eval_shape(lambda: first_variables(config, jax.random.key(0)))["params"]
    paths = lambda tree: {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(tree)}  # noqa: E731
    there, due = paths(params), paths(wanted)
    wrong = sorted(path for path in {*there, *due} if there.get(path) != due.get(path))
    if wrong:
        raise UserError(
            f"{name}: {wrong[0]} is {there.get(wrong[0])}, but a model of its config has {due.get(wrong[0])}",
            "it is of another version: train it again",
        )
