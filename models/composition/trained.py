"""A trained diffusion model or classifier as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from models.composition.density import Density
from models.composition.diffusion import density_of, first_variables
from models.composition.diffusion_config import DiffusionConfig
from models.training.model_file import ModelFormat, model_bytes, model_of_bytes
from shammie.configs import plain

FORMAT = ModelFormat("shammie diffusion model 1", "a diffusion model", "model.bin", "train it again")


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
        return model_bytes(FORMAT, plain(self.config), self.params, self.made_with)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "TrainedDiffusion":
        """The model that `to_bytes` wrote.

        Args:
            data: the bytes.
            name: of their file, for errors.

        Raises:
            UserError: the bytes are no such model, are damaged, or their arrays are not those of the config.
        """
        return cls(*model_of_bytes(data, name, FORMAT, DiffusionConfig.from_json, _shapes_of))


def _shapes_of(config: DiffusionConfig) -> Any:
    variables: Any = jax.eval_shape(lambda: first_variables(config, jax.random.key(0)))
    return variables["params"]
