"""The smallest job: a linear map is learned, from examples that are made on the device out of (seed, number)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import partitioning

from models.training import OptimizerConfig, average
from workflows.train import Job, Objective, RunConfig, rows_by_formula

OPTIMIZER = OptimizerConfig("adam", learning_rate=0.05, warmup_steps=2, clip_norm=0.0)
TRUTH = np.arange(8, dtype=np.float64).reshape(4, 2) / 8.0


class Linear(nn.Module):
    """float [B, 4] to float [B, width]."""

    width: int

    @nn.compact
    def __call__(self, x_BF: jax.Array) -> jax.Array:
        kernel: Any = partitioning.param_with_axes(
            "kernel", nn.initializers.normal(0.1), (4, self.width), axes=("embed", "mlp")
        )
        return x_BF @ kernel


@dataclass(frozen=True)
class Regression(Objective):
    """The squared error of a linear map; resident is the true one."""

    width: int = 2

    @property
    def row(self) -> Any:
        return jax.ShapeDtypeStruct((2,), jnp.int32)

    def init(self, key: jax.Array) -> Mapping[str, Any]:
        return Linear(self.width).init(key, jnp.zeros((1, 4)))

    def batch_of(self, rows: Any, resident: Any) -> dict[str, jax.Array]:
        def x_of(row: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(jax.random.key(row[0]), row[1]), (4,))

        x = jax.vmap(x_of)(rows)
        return {"x": x, "y": x @ resident["truth"]}

    def loss(self, params: Any, batch: Any) -> tuple[jax.Array, Any]:
        error: Any = Linear(self.width).apply({"params": params}, batch["x"]) - batch["y"]
        squared = jnp.sum(jnp.square(error), axis=1)
        metrics = {
            "loss": average(squared.sum(), squared.size),
            "worst": average(jnp.max(squared), 1.0),
        }
        return squared.mean(), metrics

    def measure(self, params_0: Any, params: Any, batch: Any) -> dict[str, jax.Array]:
        moved = params["kernel"] - params_0["kernel"]
        return {"moved": jnp.linalg.norm(moved), "input": jnp.sum(batch["x"]), "none": jnp.array(jnp.nan)}


@dataclass(frozen=True)
class RegressionConfig(RunConfig):
    """A run of it."""

    MAY_CHANGE: ClassVar[tuple[str, ...]] = (*RunConfig.MAY_CHANGE, "measure_every")
    LEAST: ClassVar[Mapping[str, int]] = {**RunConfig.LEAST, "width": 1, "measure_every": 0}
    EVERY: ClassVar[tuple[str, ...]] = (*RunConfig.EVERY, "measure_every")

    width: int = 2
    measure_every: int = 0
    note: str = field(kw_only=True, default="")

    def shared_sizes(self) -> Mapping[str, int]:
        return {"width": self.width}


def rows_of(seed: int, first: int, count: int) -> np.ndarray:
    """int32 [count, 2]."""
    return np.stack([np.full(count, seed), np.arange(first, first + count)], axis=1).astype(np.int32)


def config_of(**settings: Any) -> RegressionConfig:
    """A small run; settings by name."""
    small: dict[str, Any] = {"optimizer": OPTIMIZER, "batch_size": 4, "steps": 12, "log_every": 4}
    off = {"eval_every": 0, "checkpoint_every": 0}
    return RegressionConfig(**{**small, **off, **settings})


def job_of(config: RegressionConfig, truth: np.ndarray = TRUTH, **more: Any) -> Job:
    """The job of a run; its other attributes by name."""
    make = lambda first, count: rows_of(config.seed, first, count)  # noqa: E731
    validation = rows_by_formula(lambda first, count: rows_of(1000, first, count), config.batch_size)
    given: dict[str, Any] = {
        "config": config,
        "objective": Regression(config.width),
        "load": rows_by_formula(make, config.batch_size),
        "unit": "examples",
        "units_per_step": config.batch_size,
        "resident": {"truth": truth},
        "hashes": {"truth_sha256": "abc"},
        "validation": [validation(n, 1) for n in range(config.eval_batches)] if config.eval_every else (),
        "measure_every": config.measure_every,
    }
    return Job(**{**given, **more})
