"""Seq2seq probes: can a transformer do, or undo, the compression (arXiv:2404.03626 section 6, Table 5)?

One decoder reads a source and predicts a target: `decompress METHOD` reads tokens and writes bytes, `compress METHOD`
reads bytes and writes tokens, `bytes` writes bytes without a source, which is what the other two are set beside. Ids
of source and target do not overlap: special ids, the source's, the target's. The loss counts targets only. A row is

    source tokens   end   target tokens   end …

with ends up to a fixed length; ends are read, never predicted. What differs from the paper: sizes and steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, SPECIAL_IDS
from models.lm import DecoderLM, LMConfig
from models.lm.flops import training_flops_per_token
from models.training import OptimizerConfig
from seqio_tasks.token_files import write_tokens
from shammie.configs import plain
from shammie.errors import UserError
from shammie.files import remove, write_json
from workflows.dag import Running
from workflows.equal_info_examples import examples_of, spread
from workflows.equal_info_held_out import row_nats
from workflows.equal_info_methods import vocab_size_of
from workflows.tokenizers import BYTES, Tokenizer, of_bytes
from workflows.train import TrainConfig, train

KINDS = ("decompress", "compress")


@dataclass(frozen=True)
class ProbeSettings:
    """The probes.

    Attributes:
        tasks: "decompress METHOD", "compress METHOD" or "bytes".
        model: the network.
        optimizer: how it is trained.
        text_bytes: size of the texts; the paper's have 1,024 bytes.
        steps: of each task.
        batch_size: rows of a step.
        train_texts: how many texts to train on at most.
        test_texts: how many held-out ones.
        curve_points: how often the held-out texts are measured in training.
    """

    tasks: Sequence[str] = ()
    model: LMConfig = field(default_factory=LMConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    text_bytes: int = 1024
    steps: int = 1000
    batch_size: int = 8
    train_texts: int = 1_000_000
    test_texts: int = 64
    curve_points: int = 8

    def __post_init__(self) -> None:
        for task in self.tasks:
            method_of(task)

    def methods(self) -> list[str]:
        """The methods that tasks need."""
        return [method for task in self.tasks if (method := method_of(task))]

    def to_json(self) -> dict[str, Any]:
        """As a step's config holds it; the tasks are left out, since each has its own step."""
        return {**plain(self), "tasks": []}

    def flops(self, task: str) -> float:
        """Of a task's training, about: as if tokens had a byte and a half each."""
        method = method_of(task)
        config = replace(self.model, vocab_size=256 + (vocab_size_of(method) if method else SPECIAL_IDS))
        length = round(self.text_bytes * (1.7 if method else 1.0))
        return self.steps * self.batch_size * length * training_flops_per_token(config, length)


def method_of(task: str) -> str | None:
    """The method of a task; None for bytes.

    Raises:
        UserError: there is no such task.
    """
    kind, _, method = task.partition(" ")
    if task == BYTES:
        return None
    if kind not in KINDS or not method:
        raise UserError(f"{task!r} is no probe", "write decompress METHOD, compress METHOD or bytes")
    vocab_size_of(method)
    return method


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a task.

    Attributes:
        ids: int32 [n, length].
        vocab_size: ids of both sides together.
        predicted_from: the first id of the target's side.
    """

    ids: np.ndarray
    vocab_size: int
    predicted_from: int

    def widened(self, length: int) -> "Rows":
        """The same rows, as long as asked."""
        more = length - self.ids.shape[1]
        ids = np.pad(self.ids, ((0, 0), (0, more)), constant_values=END_OF_DOCUMENT_ID)
        return replace(self, ids=ids)


def rows_of(task: str, tokenizer: Tokenizer | None, texts: Sequence[bytes]) -> Rows:
    """Sources and targets of a task in one row of ids each, all as long as the longest.

    Args:
        task: its name.
        tokenizer: of its method; None for bytes.
        texts: of one size.
    """
    raw = of_bytes()
    target_rows = raw.encode(texts)
    if tokenizer is None:
        sources: list[np.ndarray] = [np.zeros(0, np.int32)] * len(texts)
        sizes = SPECIAL_IDS, raw.vocab_size
    else:
        sources, sizes = tokenizer.bodies(texts), (tokenizer.vocab_size, raw.vocab_size)
        if task.startswith("compress"):
            sources, target_rows, sizes = target_rows, sources, sizes[::-1]
    joined = [
        np.concatenate([source, [END_OF_DOCUMENT_ID], target + sizes[0] - SPECIAL_IDS])
        for source, target in zip(sources, target_rows, strict=True)
    ]
    ids = np.full((len(joined), max(map(len, joined), default=0)), END_OF_DOCUMENT_ID, np.int32)
    for place, row in zip(ids, joined, strict=True):
        place[: len(row)] = row
    return Rows(ids, sizes[0] + sizes[1] - SPECIAL_IDS, sizes[0])


def run(running: Running) -> dict[str, Any]:
    """Trains a probe and measures it on held-out texts: accuracy and cross-entropy of the target's tokens.

    Raises:
        UserError: there is too little text.
    """
    from workflows.equal_info_table_steps import Split, tokenizer_of

    told, task = dict(running.config["probes"]), running.config["task"]
    settings = ProbeSettings(
        **{**told, "model": LMConfig(**told["model"]), "optimizer": OptimizerConfig(**told["optimizer"])}
    )
    method = method_of(task)
    tokenizer = tokenizer_of(running, method, running.input("examples")) if method else None
    corpus = running.input("corpus")

    def texts(split: str, most: int) -> list[bytes]:
        found = examples_of(Split(corpus, split), settings.text_bytes)
        return spread([text for text in found if len(text) == settings.text_bytes], most)

    # every task is trained and measured on the same texts, however long their tokens
    rows = rows_of(task, tokenizer, texts("train", settings.train_texts))
    test = rows_of(task, tokenizer, texts("test", settings.test_texts))
    length = max(rows.ids.shape[1], test.ids.shape[1])
    rows, test = rows.widened(length), test.widened(length)
    if not len(test.ids) or len(rows.ids) < settings.batch_size:
        raise UserError(f"{task}: {len(rows.ids)} rows are too few to train on", "give more text or shorter texts")
    made_with = f"{task} {tokenizer.made_with}" if tokenizer else task
    write_tokens(
        running.path("data"),
        "train",
        rows.ids,
        vocab_size=rows.vocab_size,
        text_bytes=len(rows.ids) * settings.text_bytes,
        made_with=made_with,
        ended=True,
    )
    config = replace(settings.model, vocab_size=rows.vocab_size)
    network = DecoderLM(config)

    def measure(params: Any) -> dict[str, float]:
        nats, right = row_nats(network, params, test.ids, predicted_from=rows.predicted_from)
        targets = int((test.ids >= rows.predicted_from).sum())
        return {"test_nats": float(nats.sum(dtype=np.float64)) / targets, "test_accuracy": float(right.sum()) / targets}

    every = -(-settings.steps // settings.curve_points)
    result = train(
        TrainConfig(
            model=config,
            optimizer=settings.optimizer,
            data=running.path("data"),
            tokenizer=made_with,
            length=rows.ids.shape[1],
            batch_size=settings.batch_size,
            steps=settings.steps,
            predicted_from=rows.predicted_from,
            mesh_data=1,
            checkpoint_every=max(1, settings.steps // 2),
            keep=1,
            log_every=every,
            eval_every=every,
        ),
        running.path("train"),
        evaluate=measure,
        what=task,
    )
    points = [row for row in result.rows if "test_accuracy" in row]
    accuracy, targets = points[-1]["test_accuracy"], int((test.ids >= test.predicted_from).sum())
    about = {
        "task": task,
        "accuracy": accuracy,
        "accuracy_standard_error": math.sqrt(accuracy * (1 - accuracy) / targets),
        "nats": points[-1]["test_nats"],
        "chance_nats": math.log(rows.vocab_size - rows.predicted_from),
        "curve": [[row["step"], row["test_accuracy"], row["test_nats"]] for row in points],
        "text_bytes": settings.text_bytes,
        "row_tokens": int(rows.ids.shape[1]),
        "train_rows": len(rows.ids),
        "test_rows": len(test.ids),
        "block_parameters": config.block_parameters(),
    }
    write_json(running.path("probe.json"), about)
    remove(running.path("train"))
    remove(running.path("data"))
    return {"accuracy": about["accuracy"], "nats": about["nats"]}
