"""Ten research systems on one backbone: Beam jobs, SeqIO tasks, Flax models, gin experiments.

The public names below are imported on first use (PEP 562), so `import shammie` costs nothing:

    composition     diffusion models as densities: `shammie.composition.sample(key, ring * bar, config, chains=1000)`
    Codec           the neural tokenizer: `shammie.Codec.default().encode(b"text")`
    exponents       how layers scale with width: `shammie.exponents("mup", "adam")["hidden"].c`
    Parameterized   a Flax network whose learning rate, tuned small, holds at any width
    star            the stable learned optimizer: `shammie.star(num_steps)` is an Optax transformation
    velo            the versatile one, with its released weights: `shammie.velo(num_steps, weights=PATH)`
"""

from importlib import import_module, metadata
from typing import Any

# Type checkers read __init__.pyi instead: an import here, even one for them alone, would point up the house.
_HOME = {
    "Codec": "models.equal_info.codec",
    "Parameterized": "models.parameterization.parameterized",
    "composition": "models.composition",  # the package itself
    "exponents": "models.parameterization.exponents",
    "star": "models.learned_optimizers.face",
    "velo": "models.learned_optimizers.face",
}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = import_module(_HOME[name])
        return home if home.__name__ == f"models.{name}" else getattr(home, name)
    if name == "__version__":
        return metadata.version("shammie")
    raise AttributeError(f"module 'shammie' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
