"""The benchmark suite: named tasks of several families and sizes, and named optimizers that train them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import optax
from optax.contrib import muon

from models.learned_optimizers.tasks import (
    TASKS,
    ImageConfig,
    ImageTaskConfig,
    NoisyQuadraticConfig,
    RNNConfig,
    SequenceConfig,
    Task,
    TransformerConfig,
)
from shammie.errors import UserError, unknown


class SuiteTask(NamedTuple):
    """A task of the suite.

    Attributes:
        family: of `tasks.TASKS`, as meta-training names it.
        step_seconds: what a step of Adam takes one core, about.
        config: sizes; None for the family's own.
    """

    family: str
    step_seconds: float
    config: Any = None

    def make(self) -> Task:
        """The task."""
        return TASKS[self.family]() if self.config is None else TASKS[self.family](self.config)


_LARGE_IMAGES = ImageConfig(side=12)
_MORE_TOKENS = SequenceConfig(vocabulary=16)

SUITE_TASKS: Mapping[str, SuiteTask] = {
    "mlp": SuiteTask("image_mlp", 6e-5),
    "mlp_large": SuiteTask("image_mlp", 2e-4, ImageTaskConfig(_LARGE_IMAGES, widths=(64, 64), activation="tanh")),
    "conv": SuiteTask("image_conv", 9e-5),
    "conv_large": SuiteTask("image_conv", 5e-4, ImageTaskConfig(_LARGE_IMAGES, widths=(16, 32), activation="gelu")),
    "autoencoder": SuiteTask("autoencoder", 1e-4),
    "autoencoder_large": SuiteTask(
        "autoencoder", 2.5e-4, ImageTaskConfig(_LARGE_IMAGES, widths=(64, 16, 64), activation="tanh")
    ),
    "quadratic": SuiteTask("noisy_quadratic", 5e-6),
    "quadratic_large": SuiteTask(
        "noisy_quadratic", 1e-4, NoisyQuadraticConfig(rows=16, columns=8, condition=(1e3, 1e4))
    ),
    "gru": SuiteTask("rnn_lm", 1.2e-4),
    "lstm_large": SuiteTask("rnn_lm", 4e-4, RNNConfig(_MORE_TOKENS, width=32, cell="lstm")),
    "transformer": SuiteTask("transformer_lm", 2e-4),
    "transformer_large": SuiteTask(
        "transformer_lm", 1e-3, TransformerConfig(_MORE_TOKENS, width=32, layers=2, heads=4, mlp_width=64)
    ),
}

# optimizers that take a learning rate. Muon stands in for the Shampoo class, of which Optax has no other: its step is
# Shampoo's without accumulation, momentum orthogonalised (matrices; Adam for the rest)
BASELINES: Mapping[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "nadamw": optax.nadamw,
    "muon": muon,
    "adafactor": optax.adafactor,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
}
ADAM = "adam"

_DATA_SETS = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cifar": "CIFAR-10", "cifar10bw8": "CIFAR-10",
    "fashionmnist": "Fashion-MNIST", "fashionmnist8": "Fashion-MNIST", "fahionmnist": "Fashion-MNIST",
    "fashion": "Fashion-MNIST", "mnist": "MNIST", "imagenet": "ImageNet", "imagenet16": "ImageNet",
    "imagenet32": "ImageNet", "imagenet64": "ImageNet", "food101": "Food-101", "lm1b": "LM1B", "lm1b32k": "LM1B",
    "lm1bbytes": "LM1B", "wikipediaen32k": "Wikipedia", "wikipediaenbytes": "Wikipedia", "multiruntime": "ImageNet",
    "hotdogblendertask": "Blender scenes", "legoblendertask": "Blender scenes", "shipblendertask": "Blender scenes",
}  # fmt: skip
_REFERENCE_KINDS = (
    "Conv", "ESWrapped", "ImageMLP", "ImageMLPAE", "JAXNeRF", "LOpt", "LOptPES", "MLPMixer", "RNNLM", "Resnet",
    "TransformerLM", "VIT",
)  # fmt: skip


def suite_task(name: str) -> Task:
    """A task of the suite.

    Raises:
        UserError: there is none of this name; a task of the reference's suite that cannot be built here says why.
    """
    if name in SUITE_TASKS:
        return SUITE_TASKS[name].make()
    kind, _, rest = name.partition("_")
    if kind in _REFERENCE_KINDS and rest:
        data = next((_DATA_SETS[word] for word in rest.lower().split("_") if word in _DATA_SETS), "data not held here")
        raise UserError(
            f"task {name!r} of the reference's suite cannot be built here: it needs {data}",
            f"its curves can be read as baselines; tasks that run here: {', '.join(SUITE_TASKS)}",
        )
    raise unknown("task", name, SUITE_TASKS)


def baseline(name: str) -> Callable[[Any], optax.GradientTransformation]:
    """The function from a learning rate, which may be traced, to an optimizer.

    Raises:
        UserError: there is none of this name.
    """
    if name not in BASELINES:
        raise unknown("optimizer", name, BASELINES)
    return BASELINES[name]


Kinship = Literal["trained on", "other size", "other family", "unknown"]


def kinship(name: str, trained_on: Iterable[tuple[str, Any]] | None) -> Kinship:
    """How near a suite's task is to what an optimizer was meta-trained on; worlds are always new ones.

    Args:
        name: of SUITE_TASKS.
        trained_on: (family, sizes) of its tasks: sizes as a config or as the JSON of one, None for the family's own;
            None where the weights do not say, as released ones.

    Returns:
        "trained on": in distribution; "other size": the family was there in other sizes; "other family"; "unknown".
    """
    if trained_on is None:
        return "unknown"
    task = SUITE_TASKS[name]
    sizes = [_plain(config) for family, config in trained_on if family == task.family]
    return "trained on" if _plain(task.config) in sizes else "other size" if sizes else "other family"


def _plain(config: Any) -> str:
    """Sizes as text that is the same for equal ones."""
    return json.dumps(config if config is None or isinstance(config, Mapping) else asdict(config), sort_keys=True)
