"""The bundled trainer: language models on token files, on one device or many, resumable at any step."""

from workflows.train.config import TrainConfig
from workflows.train.loop import NotFinite, TrainResult, train

__all__ = ["NotFinite", "TrainConfig", "TrainResult", "train"]
