"""Ten research systems on one backbone: Beam jobs, SeqIO tasks, Flax models, gin experiments.

The public names below are imported on first use (PEP 562), so `import shammie` costs nothing:

    Codec   the neural tokenizer: `shammie.Codec.default().encode(b"text")`
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.equal_info.codec import Codec

__all__ = ["Codec"]

_HOME = {"Codec": "models.equal_info.codec"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "__version__":
        return metadata.version("shammie")
    raise AttributeError(f"module 'shammie' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
