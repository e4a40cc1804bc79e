"""The step that trains a diffusion model or classifier with the bundled trainer, and how later steps read it."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from models.composition.sources import is_resident
from models.composition.trained import TrainedDiffusion
from seqio_tasks.composition_images import digest_of, resident_images
from shammie import files
from shammie.configs import plain
from workflows.composition_training import DiffusionTrainConfig, diffusion_job, trained_of
from workflows.dag import Running, Step
from workflows.train import train_job

MODEL, CURVE = "model.bin", "curve.json"
CHECKPOINTS = "checkpoints"
CODE = (
    "models.composition",
    "models.training",
    "seqio_tasks.composition_images",
    "workflows.composition_training",
    "workflows.train",
)


def train_step(name: str, config: DiffusionTrainConfig, lasts: str = "") -> Step:
    """The step that trains a model; killed, it goes on from its checkpoint.

    It writes model.bin (`TrainedDiffusion`, with the averaged parameters) and curve.json, the trainer's log rows.

    Args:
        name: the step's, a lowercase word.
        config: the run.
        lasts: as in `Step`.
    """
    told: dict[str, Any] = {"run": plain(config)}
    if is_resident(config.data):
        told["data sha256"] = digest_of(resident_images(config.data, config.model.shape))

    def run(running: Running) -> dict[str, Any]:
        result = train_job(diffusion_job(config), running.path(CHECKPOINTS), what=name.replace("_", " "))
        last = result.rows[-1]
        kept = [key for key in ("loss", "validation_loss", "examples_per_s") if key in last]
        model = trained_of(config, result.state, **{key: last[key] for key in kept if key.endswith("loss")})
        files.write_bytes(running.path(MODEL), model.to_bytes())
        files.write_json(running.path(CURVE), list(result.rows))
        return {key: last[key] for key in kept}

    return Step(name, run, config=told, code=CODE, lasts=lasts)


def trained_by(running: Running, name: str) -> TrainedDiffusion:
    """The model that an input step of this name has trained."""
    path = files.join(running.input(name), MODEL)
    return TrainedDiffusion.from_bytes(files.read_bytes(path), path)


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as one .npz, whole or not at all; the same ones always give the same bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    files.write_bytes(path, stream.getvalue())


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays that `write_arrays` wrote."""
    with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as arrays:
        return dict(arrays)
