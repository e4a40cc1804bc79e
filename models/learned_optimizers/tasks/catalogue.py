"""The small tasks by name."""

from collections.abc import Callable, Mapping

from models.learned_optimizers.tasks.image_tasks import autoencoder, image_conv, image_mlp
from models.learned_optimizers.tasks.quadratics import noisy_quadratic
from models.learned_optimizers.tasks.sequence_tasks import rnn_lm, transformer_lm
from models.learned_optimizers.tasks.task import Task
from shammie.errors import unknown

TASKS: Mapping[str, Callable[..., Task]] = {
    "image_mlp": image_mlp,
    "image_conv": image_conv,
    "autoencoder": autoencoder,
    "rnn_lm": rnn_lm,
    "transformer_lm": transformer_lm,
    "noisy_quadratic": noisy_quadratic,
}


def task_named(name: str) -> Task:
    """The task of this name with its default sizes; `TASKS[name]` takes a config.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]()
