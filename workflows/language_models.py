"""Language models at equal training FLOPs, one method of tokenizing beside the other.

What is held equal: network, training FLOPs (embedding look-ups free; attention and softmax counted), windows, batches,
optimizer, and the documents that are measured. Each method has its own best learning rate, chosen on validation text.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax
import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, PAD_ID
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.code_length import pieces_of, token_nats
from models.lm.flops import forward_flops_per_token, steps_for, training_flops_per_token
from models.training import OptimizerConfig
from seqio_tasks.metrics import bits_per_byte
from shammie.errors import UserError
from shammie.files import exists, join, read_bytes, read_json, remove, write_bytes, write_json
from workflows.tokenizers import Tokenizer, code_of
from workflows.train import NotFinite, TrainConfig, train
from workflows.train.data import tokens_of


@dataclass(frozen=True)
class LMSettings:
    """Which language models to train, and how.

    Attributes:
        methods: what text is read with (see `workflows.tokenizers`); none trains no language model.
        model: the network; each method puts its own vocabulary in.
        training_flops: of each model.
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

    def __post_init__(self) -> None:
        for method in self.methods:
            code_of(method)
            if list(self.methods).count(method) > 1:
                raise UserError(f"the method {method} is named twice", "name each once")
        for name in ("learning_rates", "seeds"):
            if not getattr(self, name):
                raise UserError(f"LMSettings.{name} is empty", "give at least one")
        for name in ("training_flops", "length", "batch_size", "context", "test_mb", "validation_mb", "curve_points"):
            if not getattr(self, name) > 0:
                raise UserError(f"LMSettings.{name} is {getattr(self, name)!r}", "give a number above 0")


@dataclass(frozen=True)
class Texts:
    """The documents that every method is measured on."""

    validation: list[bytes]
    test: list[bytes]


def encoded(tokenizer: Tokenizer, texts: Sequence[bytes]) -> list[np.ndarray]:
    """Documents as model ids, each with its end."""
    return [np.append(ids, np.int32(END_OF_DOCUMENT_ID)) for ids in tokenizer.encode(texts)]


@dataclass(frozen=True)
class Method:
    """One method at work.

    Attributes:
        settings: what to train.
        tokenizer: how text is read.
        data: folder of its token files, or its dataset.
        texts: what is measured.
        directory: where results go.
    """

    settings: LMSettings
    tokenizer: Tokenizer
    data: str
    texts: Texts
    directory: str

    @property
    def config(self) -> LMConfig:
        """The network with this vocabulary."""
        return replace(self.settings.model, vocab_size=self.tokenizer.vocab_size)

    @property
    def steps(self) -> int:
        """The optimizer steps that the FLOPs pay for."""
        s = self.settings
        return steps_for(self.config, training_flops=s.training_flops, batch_size=s.batch_size, length=s.length)


def train_method(method: Method) -> dict[str, Any]:
    """Trains a method's models: every learning rate with the first seed, then the best with the other seeds.

    Args:
        method: what to train; its directory receives lm.bin, the best run of the first seed, and one folder a run.
            Runs that were finished before are not run again.

    Returns:
        What was measured, as JSON values.

    Raises:
        UserError: no learning rate came to a finite loss.
    """
    settings = method.settings
    first, *others = settings.seeds
    tried = [_run(method, rate, first) for rate in settings.learning_rates]
    finite = [run for run in tried if run["validation_bits_per_byte"] is not None]
    if not finite:
        raise UserError(
            f"{method.tokenizer.name}: no learning rate of {tuple(settings.learning_rates)} had a finite loss",
            "lower them: --gin.LM_LEARNING_RATES",
        )
    best = min(finite, key=lambda run: run["validation_bits_per_byte"])
    runs = [best, *(_run(method, best["learning_rate"], seed) for seed in others)]
    diverged = [run["seed"] for run in runs if run["validation_bits_per_byte"] is None]
    runs = [run for run in runs if run["seed"] not in diverged]
    write_bytes(join(method.directory, "lm.bin"), read_bytes(join(_folder(method, best), "lm.bin")))
    for number, run in enumerate(runs):
        runs[number] = run | _measured(method, read_bytes(join(_folder(method, run), "lm.bin")))
    return {**_about(method), "runs": runs, "tried": tried, "diverged_seeds": diverged}


def _about(method: Method) -> dict[str, Any]:
    settings, config, tokenizer = method.settings, method.config, method.tokenizer
    info = tokens_of(method.data, "train").info
    tokens = method.steps * settings.batch_size * settings.length
    text_bytes, test_tokens = sum(map(len, method.texts.test)), sum(map(len, encoded(tokenizer, method.texts.test)))
    return {
        "method": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "window_tokens": tokenizer.window_tokens,
        "block_parameters": config.block_parameters(),
        "parameters": config.block_parameters() + 2 * config.vocab_size * config.width,
        "bytes_per_token": text_bytes / (test_tokens - len(method.texts.test)),
        "steps": method.steps,
        "training_flops": tokens * training_flops_per_token(config, settings.length),
        "training_text_bytes": round(tokens * info.text_bytes / info.tokens),
        "epochs": tokens / info.tokens,
        "flops_per_byte": forward_flops_per_token(config, settings.context) * test_tokens / text_bytes,
        "length": settings.length,
        "context": settings.context,
    }


def _folder(method: Method, run: dict[str, Any]) -> str:
    return join(method.directory, f"run-{run['learning_rate']:g}-{run['seed']}")


def _run(method: Method, rate: float, seed: int) -> dict[str, Any]:
    """One training run; its parameters and what is known of it stay in its folder, its checkpoints go."""
    run: dict[str, Any] = {"learning_rate": rate, "seed": seed, "validation_bits_per_byte": None, "curve": []}
    folder, settings, steps = _folder(method, run), method.settings, method.steps
    if exists(join(folder, "run.json")):
        return read_json(join(folder, "run.json"))
    documents = encoded(method.tokenizer, method.texts.validation)
    validation_bytes = sum(map(len, method.texts.validation))
    network = DecoderLM(method.config)

    def measure(params: Any) -> dict[str, float]:
        nats, _ = token_nats(network, params, documents, context=settings.context)
        return {"validation_bits_per_byte": bits_per_byte(float(nats.sum(dtype=np.float64)), validation_bytes)}

    every = -(-steps // settings.curve_points)
    training = TrainConfig(
        model=method.config,
        optimizer=_optimizer(settings, rate, steps),
        data=method.data,
        tokenizer=method.tokenizer.made_with,
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
        what = f"{method.tokenizer.name}, learning rate {rate:g}, seed {seed}"
        result = train(training, join(folder, "train"), evaluate=measure, what=what)
    except NotFinite as error:
        run["failed"] = error.problem
    else:
        points = [row for row in result.rows if "validation_bits_per_byte" in row]
        run["curve"] = [[row["flops"], row["validation_bits_per_byte"]] for row in points]
        run["validation_bits_per_byte"] = points[-1]["validation_bits_per_byte"]
        model = TrainedLM(method.config, jax.device_get(result.state.params), method.tokenizer.made_with)
        write_bytes(join(folder, "lm.bin"), model.to_bytes())
    write_json(join(folder, "run.json"), run)
    remove(join(folder, "train"))
    return run


def _optimizer(settings: LMSettings, rate: float, steps: int) -> OptimizerConfig:
    optimizer = replace(settings.optimizer, learning_rate=rate)
    if settings.warmup_share is None:
        return optimizer
    return replace(optimizer, warmup_steps=max(1, int(steps * settings.warmup_share)))


def _measured(method: Method, model: bytes) -> dict[str, Any]:
    """Exact code lengths of the held-out documents, by both context rules, and by position."""
    trained = TrainedLM.from_bytes(model, made_with=method.tokenizer.made_with)
    network, context = DecoderLM(trained.config), method.settings.context
    documents, size = encoded(method.tokenizer, method.texts.test), sum(map(len, method.texts.test))
    density = size / sum(map(len, documents))
    nats, right = token_nats(network, trained.params, documents, context=context)
    matched_context = max(1, round(context / density))
    matched = nats
    if matched_context != context:
        matched, _ = token_nats(network, trained.params, documents, context=matched_context)
    return {
        "bits_per_byte": bits_per_byte(float(nats.sum(dtype=np.float64)), size),
        "byte_matched_context": matched_context,
        "byte_matched_bits_per_byte": bits_per_byte(float(matched.sum(dtype=np.float64)), size),
        **_by_position(nats, right, documents, density, method.tokenizer.window_tokens),
    }


def _by_position(
    nats: np.ndarray, right: np.ndarray, documents: list[np.ndarray], density: float, window_tokens: int
) -> dict[str, Any]:
    """Bits per byte and accuracy by position in the context, and accuracy by position in the code's window."""
    context = nats.shape[1]
    targets = pieces_of(documents, context)[1]
    real, text = targets != PAD_ID, targets > END_OF_DOCUMENT_ID
    by_context = []
    for power in range(math.ceil(math.log2(context)) + 1):
        low, high = 1 << power >> 1, min(1 << power, context)
        tokens = int(real[:, low:high].sum())
        if tokens:
            bits = float(nats[:, low:high].sum(dtype=np.float64)) / math.log(2) / tokens / density
            by_context.append([low + 1, high, bits, float(right[:, low:high].sum()) / tokens])
    place = np.concatenate([np.arange(-(-len(document) // context) * context) for document in documents])
    place = place.reshape(nats.shape) % window_tokens
    in_window = [float(right[text & (place == at)].mean()) for at in range(window_tokens)]
    return {"by_context_position": by_context, "accuracy_by_window_position": in_window}


def settings_of(config: dict[str, Any]) -> LMSettings:
    """The settings that a step's config holds as JSON."""
    parts = {"model": LMConfig(**config["model"]), "optimizer": OptimizerConfig(**config["optimizer"])}
    return LMSettings(**{**config, **parts})


def settings_json(settings: LMSettings) -> dict[str, Any]:
    """The settings as a step's config holds them; the methods are left out, since each has its own step."""
    return {
        **asdict(settings),
        "methods": [],
        "learning_rates": list(settings.learning_rates),
        "seeds": list(settings.seeds),
    }
