"""A meta-trained learner as bytes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.training.model_file import ModelFormat, model_bytes, model_of_bytes
from shammie.configs import from_plain

FORMAT = ModelFormat("shammie in-context learner 1", "a meta-trained learner", "learner.bin", "meta-train it again")


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
        return model_bytes(FORMAT, asdict(self.config), self.params, self.made_with)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "TrainedLearner":
        """The learner that `to_bytes` wrote.

        Args:
            data: the bytes.
            name: of their file, for errors.

        Raises:
            UserError: the bytes are no learner, are damaged, or their arrays are not those of its sizes.
        """
        return cls(*model_of_bytes(data, name, FORMAT, _config_of, _shapes_of))


def _config_of(values: Mapping[str, Any]) -> LearnerConfig:
    return from_plain(LearnerConfig, values, "size of a learner")


def _shapes_of(config: LearnerConfig) -> Any:
    return jax.eval_shape(lambda: first_params(network_of(config), jax.random.key(0)))
