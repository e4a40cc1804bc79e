"""A trained language model as bytes."""

from dataclasses import asdict, dataclass
from typing import Any

import flax.serialization

from models.lm.config import LMConfig
from models.lm.network import first_shapes
from models.training.model_file import arrays_of, check_arrays
from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of


@dataclass(frozen=True, eq=False)
class TrainedLM:
    """A trained decoder.

    Attributes:
        config: its sizes.
        params: its parameters, a pytree of arrays.
        made_with: what made its ids of text: a codec's fingerprint or a tokenizer's name.
    """

    config: LMConfig
    params: Any
    made_with: str

    def to_bytes(self) -> bytes:
        """A line of JSON with sizes and tokenizer, then the parameters in MessagePack."""
        header = {"config": asdict(self.config), "made_with": self.made_with}
        return canonical_json(header).encode() + b"\n" + flax.serialization.msgpack_serialize(self.params)

    @classmethod
    def from_bytes(cls, data: bytes, made_with: str | None = None) -> "TrainedLM":
        """The model that `to_bytes` wrote.

        Args:
            data: the bytes.
            made_with: the tokenizer it is about to be used with; None asks nothing.

        Raises:
            UserError: the bytes are no model, its arrays are not of its sizes, or its ids are another tokenizer's.
        """
        header, _, params = data.partition(b"\n")
        try:
            told = json_object_of(header)
            model = cls(LMConfig(**told["config"]), arrays_of(params), told["made_with"])
            if not isinstance(model.made_with, str):
                raise TypeError(model.made_with)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"not a trained language model: {type(error).__name__}", "give the lm.bin of a run"
            ) from error
        check_arrays(
            model.params,
            told["config"],
            lambda: first_shapes(model.config),
            "the language model",
            "a decoder",
            "train it again",
        )
        if made_with is not None and made_with != model.made_with:
            raise UserError(
                f"the language model reads ids of {model.made_with[:16]}, not of {made_with[:16]}",
                "use the codec or tokenizer that it was trained with",
            )
        return model
