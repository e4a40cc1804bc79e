"""From a folder to the rows of a language model's batches: found and checked."""

from typing import Any

import jax
import numpy as np

from models.equal_info.ids import PAD_ID
from seqio_tasks import layout, pairs, token_files
from seqio_tasks.pair_rows import rows_of_pairs
from seqio_tasks.token_files import TokenFile
from seqio_tasks.windows import Windows
from shammie import files
from shammie.errors import UserError
from workflows.train.config import TrainConfig


def tokens_of(directory: str, split: str, length: int = 0) -> TokenFile:
    """A split of a folder of token files, of a dataset of `beam_jobs.equal_info`, or of pairs (`seqio_tasks.pairs`).

    The last two are made into token files once, in the cache.

    Args:
        directory: the folder.
        split: such as train.
        length: of the rows into which pairs are packed; others do without.

    Raises:
        UserError: the folder is none of these, or has no such split.
    """
    if token_files.has_tokens(directory, split):
        return token_files.open_tokens(directory, split, packed=True)
    if pairs.splits_of(directory):
        return rows_of_pairs(directory, split, length)
    if layout.manifests(directory):
        from beam_jobs.read_examples import read_targets  # brings Beam's packages, which token files do without

        return token_files.tokens_of_dataset(directory, split, read_targets)
    splits = [name.removesuffix(".tokens.json") for name in files.list_directory(directory)]
    there = [name for name in splits if token_files.has_tokens(directory, name)]
    if there:
        raise UserError(
            f"{directory} has no split {split!r}, only {', '.join(there)}",
            f"write {token_files.tokens_name(split)} beside them",
        )
    raise UserError(
        f"{directory} holds neither token files nor a dataset",
        "make one with python -m beam_jobs.equal_info, or check the data folder",
    )


def made_with(directory: str) -> str:
    """What made a folder's ids of text: a codec's fingerprint or a tokenizer's name. Its tokens are not read."""
    found = {manifest["config"]["codec_fingerprint"] for manifest in layout.manifests(directory).values()}
    found |= {pairs.about(directory, split).made_with for split in pairs.splits_of(directory)}
    return min(found) if found else tokens_of(directory, "train").info.made_with


def windows_of(config: TrainConfig, split: str) -> tuple[Windows, TokenFile]:
    """A split's windows, once its ids are known to be the model's.

    Rows of packed examples may be few, such as those of a first selection: a batch then holds some of them twice.

    Raises:
        UserError: no such split, other ids, too few of them for a batch, or rows of another length.
    """
    tokens = tokens_of(config.data, split, config.length)
    info, name = tokens.info, f"split {split} of {config.data}"
    if config.tokenizer and info.made_with != config.tokenizer:
        raise UserError(
            f"{name} was made with {info.made_with[:40]}, not with tokenizer={config.tokenizer[:40]}",
            "make it again with that one, or train another model on it",
        )
    if info.vocab_size > config.model.vocab_size:
        raise UserError(
            f"{name} has ids up to {info.vocab_size - 1}, beyond model.vocab_size={config.model.vocab_size}",
            f"set the model's vocab_size to {info.vocab_size} or more, or use data of the model's own codec",
        )
    if info.row_length not in (0, config.length):
        raise UserError(
            f"{name} is packed into rows of {info.row_length} tokens, not of length={config.length}",
            f"set length={info.row_length}, or pack it again",
        )
    windows = Windows(tokens.ids, config.length, name=name, repeat=info.row_length > 0)
    windows.check_batch(config.batch_size)
    return windows, tokens


def validation_of(config: TrainConfig, *, packed: bool = False) -> list[np.ndarray]:
    """This process's rows of the fixed validation batches, each int32 [batch_size / hosts, length].

    What a stream has beyond whole batches is left out. Packed examples all count: rows of padding, which have no
    weight, fill their last batch.

    Args:
        config: the run.
        packed: whether it trains on packed examples.

    Raises:
        UserError: evaluation is on and there is no usable validation split.
    """
    if not config.eval_every:
        return []
    try:
        windows, tokens = windows_of(config, "validation")
        if bool(tokens.info.row_length) != packed:
            kinds = "a stream of tokens", "rows of packed pairs"
            raise UserError(
                f"split validation of {config.data} holds {kinds[not packed]}, but train holds {kinds[packed]}",
                "make both of one kind",
            )
    except UserError as error:
        raise UserError(error.problem, f"{error.cure}, or set eval_every=0 to train without validation") from error
    size = config.batch_size
    count = min(config.eval_batches, -(-windows.count // size) if packed else windows.count // size)
    rows = windows.take(np.arange(min(count * size, windows.count)))
    rows = np.pad(rows, ((0, count * size - len(rows)), (0, 0)), constant_values=PAD_ID)
    return [batch[jax.process_index() :: jax.process_count()] for batch in rows.reshape(count, size, -1)]


def load(config: TrainConfig, windows: Windows, first: int, steps: int) -> np.ndarray:
    """This process's rows of steps `first` on; int32 [rows, length], or [steps, rows, length] for several steps."""
    share: Any = {"host": jax.process_index(), "hosts": jax.process_count()}
    batches = [windows.batch(config.seed, first + n, config.batch_size, **share) for n in range(steps)]
    return batches[0] if steps == 1 else np.stack(batches)
