"""Sizes of a decoder."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LMConfig:
    """Sizes of a decoder; the defaults are the paper's 3m model over bytes (arXiv:2404.03626 Table 4).

    Attributes:
        vocab_size: V, ids.
        width: D, of the residual stream.
        layers: blocks.
        heads: H, of attention.
        head_width: K, of each head.
        mlp_width: M, of the gated MLP.
        max_distance: distances of this and more share one relative embedding.
        dtype: of activations; parameters are float32, logits are computed in it and returned as float32.
    """

    vocab_size: int = 257
    width: int = 256
    layers: int = 3
    heads: int = 4
    head_width: int = 64
    mlp_width: int = 1024
    max_distance: int = 128
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "head_width", "mlp_width", "max_distance"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"LMConfig.{name} must be a whole number of at least 1, got {value!r:.60}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f'LMConfig.dtype must be "float32" or "bfloat16", got {self.dtype!r}')

    def block_parameters(self) -> int:
        """Parameters of all blocks' matrices: layers * (4 D H K + 3 D M), the paper's way of counting size."""
        return self.layers * (4 * self.width * self.heads * self.head_width + 3 * self.width * self.mlp_width)
