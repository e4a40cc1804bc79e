"""Small models with parameters drawn by NumPy, which compiles nothing, and a quicker compiler."""

import functools
from typing import Any

import jax
import numpy as np

from models.composition.diffusion import first_variables
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule(levels=10)
MLP = DiffusionConfig(shape=(3,), width=8, blocks=1, level_width=4, schedule=SCHEDULE)
UNET = DiffusionConfig(
    shape=(4, 4, 2), network="unet", widths=(4, 4), blocks=1, groups=2, heads=2, level_width=4, attention=(1,),
    schedule=SCHEDULE,
)  # fmt: skip
CONDITIONS: dict[str, tuple[ConditionConfig, Any]] = {  # the last two examples of words have none in the same place
    "classes": (ConditionConfig("classes", 5, width=4), np.array([0, 4, 2, 0])),
    "vector": (
        ConditionConfig("vector", 2, width=4),
        np.array([[0.1, 0.2], [0.9, 0.5], [-0.3, 0.0], [0.1, 0.2]], np.float32),
    ),
    "place": (
        ConditionConfig("place", width=4),
        np.array([[0.1, 0.2], [0.9, 0.5], [0.3, 0.0], [0.1, 0.2]], np.float32),
    ),
    "words": (
        ConditionConfig("words", 9, 4, width=4),
        np.array([[1, 2, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0], [1, 2, 0, 0]]),
    ),
}


quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def params_of(config: DiffusionConfig, seed: int = 0) -> Any:
    """Parameters of a model, none of them zero."""
    shapes: Any = jax.eval_shape(lambda: first_variables(config, jax.random.key(0)))["params"]
    generator = np.random.default_rng(seed)

    def one(leaf: Any) -> np.ndarray:
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10.0
        return (generator.standard_normal(leaf.shape) / np.sqrt(inputs)).astype(np.float32)

    return jax.tree.map(one, shapes)


def points(config: DiffusionConfig, count: int = 4) -> tuple[Any, Any]:
    """Points and their levels."""
    x_BX = np.random.default_rng(7).standard_normal((count, *config.shape)).astype(np.float32)
    return x_BX, np.arange(count, dtype=np.int32) * 3 % config.schedule.levels
