"""Small tasks that optimizers are trained and measured on."""

from models.learned_optimizers.tasks.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    AugmentationConfig,
    augmented,
    choose,
    in_bfloat16,
    reparametrized,
    with_reduced_batch,
)
from models.learned_optimizers.tasks.catalogue import TASKS, task_named
from models.learned_optimizers.tasks.image_tasks import ImageTaskConfig, autoencoder, image_conv, image_mlp
from models.learned_optimizers.tasks.images import ImageConfig
from models.learned_optimizers.tasks.quadratics import NoisyQuadraticConfig, noisy_quadratic
from models.learned_optimizers.tasks.sequence_tasks import RNNConfig, TransformerConfig, rnn_lm, transformer_lm
from models.learned_optimizers.tasks.sequences import SequenceConfig
from models.learned_optimizers.tasks.task import Task, Training, begin, evaluate, loss_and_gradient, normalized

__all__ = [
    "NO_AUGMENTATION",
    "TASKS",
    "Augmentation",
    "AugmentationConfig",
    "ImageConfig",
    "ImageTaskConfig",
    "NoisyQuadraticConfig",
    "RNNConfig",
    "SequenceConfig",
    "Task",
    "Training",
    "TransformerConfig",
    "augmented",
    "autoencoder",
    "begin",
    "choose",
    "evaluate",
    "image_conv",
    "image_mlp",
    "in_bfloat16",
    "loss_and_gradient",
    "noisy_quadratic",
    "normalized",
    "reparametrized",
    "rnn_lm",
    "task_named",
    "transformer_lm",
    "with_reduced_batch",
]
