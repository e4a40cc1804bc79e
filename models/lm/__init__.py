"""One decoder-only language model for every system: network, decoding, exact code lengths, FLOPs."""

from models.lm.config import LMConfig
from models.lm.network import DecoderLM, logical_axes

__all__ = ["DecoderLM", "LMConfig", "logical_axes"]
