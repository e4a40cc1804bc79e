"""The bundled trainer: any objective, on one device or many, resumable at any step; language models on token files."""

from workflows.train.config import TrainConfig
from workflows.train.job import Job, Objective, rows_by_formula
from workflows.train.language_model import train
from workflows.train.loop import NotFinite, TrainResult, train_job
from workflows.train.run_config import RunConfig

__all__ = [
    "Job",
    "NotFinite",
    "Objective",
    "RunConfig",
    "TrainConfig",
    "TrainResult",
    "rows_by_formula",
    "train",
    "train_job",
]
