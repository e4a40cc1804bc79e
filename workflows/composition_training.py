"""Diffusion models and classifiers as a job of the trainer: rows are (seed, draw), points are made within the step.

So two numbers an example pass from host to device; images of data sets too large to lie there come along as bytes.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.conditions import condition_spec
from models.composition.denoising import (
    ROW,
    Noised,
    denoising_loss,
    drawn_batch,
    held_out_rows,
    keys_of,
    noised_batch,
    rows_of,
)
from models.composition.diffusion import first_variables
from models.composition.diffusion_config import DiffusionConfig
from models.composition.sources import (
    as_point,
    check_example,
    check_source,
    is_resident,
    is_streamed,
    source_of,
)
from models.composition.trained import TrainedDiffusion
from models.training import Batch, Metrics, Params, TrainState, averaged
from seqio_tasks.composition_images import ImageStore, check_classes, digest_of, image_store, resident_images
from shammie.errors import UserError
from workflows.train import Job, Objective, RunConfig, rows_by_formula

MOST_DRAWS = 2**31 - 1  # a draw is an int32


@dataclass(frozen=True, kw_only=True)
class DiffusionTrainConfig(RunConfig):
    """A run of the trainer on a diffusion model or a classifier.

    Attributes:
        model: what is trained.
        data: its points, by a name of `models.composition.sources`.
        untold: how often the condition is left out, from 0 to 1, so that the model is the unconditional one too.
    """

    model: DiffusionConfig = field(default_factory=DiffusionConfig)
    data: str = "ring"
    untold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.untold <= 1:
            raise UserError(f"DiffusionTrainConfig.untold is {self.untold!r}", "give 0 to 1, such as 0.1")
        if self.steps * self.batch_size > MOST_DRAWS:
            raise UserError(
                f"steps={self.steps} x batch_size={self.batch_size} are more than {MOST_DRAWS} draws", "lower one"
            )

    def shared_sizes(self) -> Mapping[str, int]:
        """Sizes that devices share out."""
        return {"model.mlp_width": self.model.mlp_width}


@dataclass(frozen=True)
class DiffusionObjective(Objective):
    """A diffusion model on draws from a source, or a classifier on the same.

    Attributes:
        model: what is trained.
        data: its points, by name.
        untold: how often the condition is left out.
    """

    model: DiffusionConfig
    data: str
    untold: float = 0.1

    @property
    def row(self) -> Any:
        """int32 [2], seed and draw; of streamed images a dict with these "targets", an "image" and its "condition"."""
        seed_and_draw = jax.ShapeDtypeStruct((ROW,), jnp.int32)
        if not is_streamed(self.data):
            return seed_and_draw
        image = {"targets": seed_and_draw, "image": jax.ShapeDtypeStruct(self.model.shape, jnp.uint8)}
        told = condition_spec(self.model.condition)
        return image if told is None else {**image, "condition": jax.ShapeDtypeStruct(*told)}

    def init(self, key: jax.Array) -> Any:
        """The first variables."""
        return first_variables(self.model, key)

    def batch_of(self, rows: Any, resident: Any) -> Noised:
        """The noised points of some rows."""
        untold = 0.0 if self.model.form == "classifier" else self.untold
        if not is_streamed(self.data):
            batch = drawn_batch(self.model.schedule, source_of(self.data), resident, rows, untold)
        else:
            keys_B = keys_of(rows["targets"])[1]
            x_BX = as_point(rows["image"])
            batch = noised_batch(self.model.schedule, x_BX, rows.get("condition"), keys_B, untold)
        return batch._replace(condition=None) if self.model.condition.kind == "none" else batch

    def loss(self, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        """See `models.composition.denoising.denoising_loss`."""
        return denoising_loss(self.model)(params, batch)


def data_of(model: DiffusionConfig, data: str) -> tuple[ImageStore | None, Any, str]:
    """A model's data, found and held against the model.

    Returns:
        Images that come with the rows, or None; what is resident; and the sha256 that the data is known by, "" where
        its name says all.

    Raises:
        UserError: no such data, or other than the model's.
    """
    kind, size = model.condition.kind, model.condition.size
    if is_streamed(data):
        store = image_store(data)
        _, condition_B = store.fetch(np.zeros(1, np.int64))
        check_example(model, data, store.shape, condition_B[0])
        if kind == "classes" and (store.classes or 0) > size:
            raise UserError(f"{data} has {store.classes} classes, the model {size}", "raise model.condition.size")
        return store, (), store.digest
    resident: Any = resident_images(data, model.shape) if is_resident(data) else ()
    check_source(model, data, source_of(data), resident)
    if not is_resident(data):
        return None, resident, ""
    if kind == "classes":
        check_classes(data, resident.condition_M, size)
    return None, resident, digest_of(resident)


def with_images(store: ImageStore | None, model: DiffusionConfig, rows: np.ndarray) -> Any:
    """A process's own rows, [..., 2], as the objective takes them."""
    if store is None:
        return rows
    found = store.rows(rows.reshape(-1, ROW))
    names = [name for name in found if name != "condition" or model.condition.kind != "none"]
    return {name: found[name].reshape(*rows.shape[:-1], *found[name].shape[1:]) for name in names}


def diffusion_job(config: DiffusionTrainConfig) -> Job:
    """A training, with its data found and checked; it is validated on held-out draws, by the averaged parameters.

    Raises:
        UserError: the data does not fit the model.
    """
    store, resident, digest = data_of(config.model, config.data)
    trained = rows_by_formula(functools.partial(rows_of, config.seed), config.batch_size)
    held_out = rows_by_formula(lambda first, count: held_out_rows(count, first), config.batch_size)
    validation = range(config.eval_batches) if config.eval_every else ()
    return Job(
        config=config,
        objective=DiffusionObjective(config.model, config.data, config.untold),
        load=lambda first, steps: with_images(store, config.model, trained(first, steps)),
        unit="examples",
        units_per_step=config.batch_size,
        hashes={"data sha256": digest},
        resident=resident,
        validation=[with_images(store, config.model, held_out(batch, 1)) for batch in validation],
    )


def trained_of(config: DiffusionTrainConfig, state: TrainState, **made_with: Any) -> TrainedDiffusion:
    """The model of a training's state, with the averaged parameters where the optimizer keeps them.

    Args:
        config: the run.
        state: on the devices.
        made_with: what else is to be said of it: JSON values.
    """
    params = jax.device_get(averaged(state.optimizer_state, state.params))
    told = {"data": config.data, "seed": config.seed, "steps": int(state.step), "batch_size": config.batch_size}
    return TrainedDiffusion(config.model, params, {**told, **made_with})
