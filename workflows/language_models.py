"""Language models at equal training FLOPs or equal steps, one method of tokenizing beside the other.

What is held equal: network, training FLOPs (embedding look-ups free; attention and softmax counted) or steps, windows,
batches, optimizer, and the text that is measured. Each method has its own best learning rate, chosen on validation
text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.flops import steps_for, training_flops_per_token
from models.training import OptimizerConfig
from shammie.configs import LATER, plain
from shammie.errors import UserError
from shammie.files import exists, join, read_bytes, read_json, remove, write_bytes, write_json
from workflows.equal_info_held_out import HeldOut
from workflows.tokenizers import code_of
from workflows.train import NotFinite, TrainConfig, train
from workflows.train.data import tokens_of


@dataclass(frozen=True)
class LMSettings:
    """Which language models to train, and how.

    Attributes:
        methods: what text is read with (see `workflows.tokenizers`); none trains no language model.
        model: the network; each method puts its own vocabulary in.
        training_flops: of each model; of no matter where `steps` is given.
        optimizer: what all are trained with; its learning rate is replaced by each of these.
        learning_rates: peaks to try, each with the first seed; the best on validation text trains the other seeds.
        warmup_share: the part of a run's steps that its warm-up takes; None: the optimizer's own number of steps.
        seeds: of parameters and batches.
        length: tokens of a training window.
        batch_size: windows of a step.
        context: tokens that a measured piece of a document has at most.
        test_mb: megabytes of held-out text to measure on.
        validation_mb: megabytes of validation text, for curves and the choice of the learning rate.
        curve_points: how often the validation text is measured in training.
        steps: optimizer steps of each model, as many for all methods, as the paper has it; None: what the FLOPs pay.
        example_bytes: the paper's layout: text cut into examples of so many bytes, each cut to its first `length`
            tokens (`workflows.equal_info_examples`); None: whole documents, one after the other.
    """

    methods: Sequence[str] = ()
    model: LMConfig = field(default_factory=LMConfig)
    training_flops: float = 3e12
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    learning_rates: Sequence[float] = (3e-3,)
    warmup_share: float | None = 0.05
    seeds: Sequence[int] = (0,)
    length: int = 256
    batch_size: int = 4
    context: int = 512
    test_mb: float = 0.5
    validation_mb: float = 0.1
    curve_points: int = 8
    steps: int | None = field(default=None, metadata=LATER)
    example_bytes: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for method in self.methods:
            code_of(method)
            if list(self.methods).count(method) > 1:
                raise UserError(f"the method {method} is named twice", "name each once")
        for name in ("learning_rates", "seeds"):
            if not getattr(self, name):
                raise UserError(f"LMSettings.{name} is empty", "give at least one")
        above_0 = ("training_flops", "length", "batch_size", "context", "test_mb", "validation_mb", "curve_points")
        for name in (*above_0, *(name for name in ("steps", "example_bytes") if getattr(self, name) is not None)):
            if not getattr(self, name) > 0:
                raise UserError(f"LMSettings.{name} is {getattr(self, name)!r}", "give a number above 0")


@dataclass(frozen=True)
class Method:
    """One method at work.

    Attributes:
        settings: what to train.
        name: of the method.
        vocab_size: of its ids, the special ones included.
        made_with: identifies what made its ids (`workflows.tokenizers`).
        data: folder of its token files, or its dataset.
        held_out: what its models are measured on.
        directory: where results go.
    """

    settings: LMSettings
    name: str
    vocab_size: int
    made_with: str
    data: str
    held_out: HeldOut
    directory: str

    @property
    def config(self) -> LMConfig:
        """The network with this vocabulary."""
        return replace(self.settings.model, vocab_size=self.vocab_size)

    @property
    def steps(self) -> int:
        """The optimizer steps: those that are set, or that the FLOPs pay for."""
        s = self.settings
        if s.steps is not None:
            return s.steps
        return steps_for(self.config, training_flops=s.training_flops, batch_size=s.batch_size, length=s.length)


def train_method(method: Method) -> dict[str, Any]:
    """Trains a method's models: every learning rate with the first seed, then the best with the other seeds.

    Args:
        method: what to train; its directory receives lm.bin, the best run of the first seed, and one folder a run.
            Runs that were finished before are not run again.

    Returns:
        What was measured, as JSON values.

    Raises:
        NotFinite: no learning rate came to a finite loss.
    """
    settings = method.settings
    first, *others = settings.seeds
    tried = [_run(method, rate, first) for rate in settings.learning_rates]
    finite = [run for run in tried if run["validation_bits_per_byte"] is not None]
    if not finite:
        raise NotFinite(
            f"{method.name}: no learning rate of {tuple(settings.learning_rates)} had a finite loss",
            "lower them: --gin.LM_LEARNING_RATES",
        )
    best = min(finite, key=lambda run: run["validation_bits_per_byte"])
    runs = [best, *(_run(method, best["learning_rate"], seed) for seed in others)]
    diverged = [run["seed"] for run in runs if run["validation_bits_per_byte"] is None]
    runs = [run for run in runs if run["seed"] not in diverged]
    write_bytes(join(method.directory, "lm.bin"), read_bytes(join(_folder(method, best), "lm.bin")))
    for number, run in enumerate(runs):
        trained = TrainedLM.from_bytes(read_bytes(join(_folder(method, run), "lm.bin")), made_with=method.made_with)
        runs[number] = run | method.held_out.measured(trained)
    return {**_about(method), "runs": runs, "tried": tried, "diverged_seeds": diverged}


def _about(method: Method) -> dict[str, Any]:
    settings, config = method.settings, method.config
    info = tokens_of(method.data, "train").info
    tokens = method.steps * settings.batch_size * settings.length
    return {
        "method": method.name,
        "vocab_size": method.vocab_size,
        "block_parameters": config.block_parameters(),
        "parameters": config.block_parameters() + 2 * config.vocab_size * config.width,
        "steps": method.steps,
        "training_flops": tokens * training_flops_per_token(config, settings.length),
        "training_text_bytes": round(tokens * info.text_bytes / info.tokens),
        "epochs": tokens / info.tokens,
        "length": settings.length,
        **method.held_out.about(config),
    }


def _folder(method: Method, run: dict[str, Any]) -> str:
    return join(method.directory, f"run-{run['learning_rate']:g}-{run['seed']}")


def _run(method: Method, rate: float, seed: int) -> dict[str, Any]:
    """One training run; its parameters and what is known of it stay in its folder, its checkpoints go."""
    run: dict[str, Any] = {"learning_rate": rate, "seed": seed, "validation_bits_per_byte": None, "curve": []}
    folder, settings, steps = _folder(method, run), method.settings, method.steps
    if exists(join(folder, "run.json")):
        return read_json(join(folder, "run.json"))
    network = DecoderLM(method.config)

    def measure(params: Any) -> dict[str, float]:
        return {"validation_bits_per_byte": method.held_out.validation_bits(network, params)}

    every = -(-steps // settings.curve_points)
    training = TrainConfig(
        model=method.config,
        optimizer=_optimizer(settings, rate, steps),
        data=method.data,
        tokenizer=method.made_with,
        length=settings.length,
        batch_size=settings.batch_size,
        steps=steps,
        seed=seed,
        mesh_data=math.gcd(settings.batch_size, jax.device_count()),
        checkpoint_every=max(1, steps // 2),
        keep=1,
        log_every=every,
        eval_every=every,
    )
    try:
        what = f"{method.name}, learning rate {rate:g}, seed {seed}"
        result = train(training, join(folder, "train"), evaluate=measure, what=what)
    except NotFinite as error:
        run["failed"] = error.problem
    else:
        points = [row for row in result.rows if "validation_bits_per_byte" in row]
        run["curve"] = [[row["flops"], row["validation_bits_per_byte"]] for row in points]
        run["validation_bits_per_byte"] = points[-1]["validation_bits_per_byte"]
        model = TrainedLM(method.config, jax.device_get(result.state.params), method.made_with)
        write_bytes(join(folder, "lm.bin"), model.to_bytes())
    write_json(join(folder, "run.json"), run)
    remove(join(folder, "train"))
    return run


def _optimizer(settings: LMSettings, rate: float, steps: int) -> OptimizerConfig:
    optimizer = replace(settings.optimizer, learning_rate=rate)
    if settings.warmup_share is None:
        return optimizer
    return replace(optimizer, warmup_steps=max(1, int(steps * settings.warmup_share)))


def settings_of(config: dict[str, Any]) -> LMSettings:
    """The settings that a step's config holds as JSON."""
    parts = {"model": LMConfig(**config["model"]), "optimizer": OptimizerConfig(**config["optimizer"])}
    return LMSettings(**{**config, **parts})


def settings_json(settings: LMSettings) -> dict[str, Any]:
    """The settings as a step's config holds them; the methods are left out, since each has its own step."""
    return {**plain(settings), "methods": []}
