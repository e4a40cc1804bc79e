"""Training as pure functions of arrays: losses, optimizers, schedules, steps. No data, files or logging."""

from models.training.adam_atan2 import scale_by_adam_atan2
from models.training.averaging import averaged
from models.training.losses import (
    Batch,
    LossFunction,
    Metrics,
    Params,
    average,
    cross_entropy,
    inputs_of,
    lm_loss,
    packed_batch,
)
from models.training.optimizers import OptimizerConfig, depends_on_length, exponents_name, optimizer_of, schedule_of
from models.training.step import TrainState, initial_state, scan_steps, train_step

__all__ = [
    "Batch",
    "LossFunction",
    "Metrics",
    "OptimizerConfig",
    "Params",
    "TrainState",
    "average",
    "averaged",
    "cross_entropy",
    "depends_on_length",
    "exponents_name",
    "initial_state",
    "inputs_of",
    "lm_loss",
    "optimizer_of",
    "packed_batch",
    "scale_by_adam_atan2",
    "scan_steps",
    "schedule_of",
    "train_step",
]
