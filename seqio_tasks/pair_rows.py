"""Prompts and targets as token files of rows with several examples each: what the bundled trainer fine-tunes on.

An example is a prompt, whose ids are stored negated since they are only given, a target, and the id 1, which ends it.
A row has a fixed length; what its examples leave of it is 0. One array so carries ids and loss weights
(`models.training.packed_batch` reads it). This module imports no TensorFlow.
"""

import uuid
from collections.abc import Iterable, Iterator

import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, PAD_ID, SPECIAL_IDS
from seqio_tasks import pairs, token_files
from seqio_tasks.token_files import TokenFile, TokenInfo
from seqio_tasks.windows import epoch_order
from shammie import files
from shammie.errors import UserError

OPEN_ROWS = 64  # rows that wait for an example that still fits
FORMAT_VERSION = 1  # raised when pairs give another file, so that the cache is made anew
DTYPE = np.dtype("<i4")


def write_pairs(
    directory: str,
    split: str,
    examples: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    length: int,
    vocab_size: int,
    made_with: str,
    text_bytes: int,
) -> TokenInfo:
    """Writes a split of rows; it appears whole or not at all. The same examples give the same bytes.

    Args:
        directory: made where missing.
        split: such as train.
        examples: model ids of a prompt and of its target, int [tokens] each; the end is added.
        length: of a row.
        vocab_size: every id must be below it.
        made_with: a codec's fingerprint or a tokenizer's name.
        text_bytes: size of the text behind the examples.

    Returns:
        What was written: `documents` is the number of examples, `fill` the share of the rows that they fill.

    Raises:
        UserError: an example is longer than a row, or an id is no token of that vocabulary, pads, or ends.
    """
    count, padding = 0, 0

    def stored() -> Iterator[np.ndarray]:
        nonlocal count
        for prompt, target in examples:
            wide = np.concatenate([np.asarray(prompt, np.int64), np.asarray(target, np.int64)])
            if wide.size and not (SPECIAL_IDS <= wide.min() and wide.max() < vocab_size):
                wrong = wide[(wide < SPECIAL_IDS) | (wide >= vocab_size)][0]
                raise UserError(
                    f"token id {wrong} of pair {count} of split {split} is not from {SPECIAL_IDS} to {vocab_size - 1}",
                    "give model ids (codes + 2) without an end, and the vocabulary size with its 2 special ids",
                )
            if len(wide) + 1 > length:
                raise UserError(
                    f"pair {count} of split {split} has {len(wide) + 1} tokens with its end,"
                    f" more than a row of {length}",
                    "give a longer row, or leave such pairs out",
                )
            wide[: len(prompt)] *= -1
            count += 1
            yield np.append(wide, END_OF_DOCUMENT_ID).astype(DTYPE)

    def rows() -> Iterator[np.ndarray]:
        nonlocal padding
        for row in packed(stored(), length):
            padding += int(np.count_nonzero(row == PAD_ID))
            yield row

    tokens, sha256 = token_files.write_ids(directory, split, rows())
    info = TokenInfo("int32", tokens, count, text_bytes, vocab_size, made_with, sha256, length, padding)
    token_files.write_about(directory, split, info)
    return info


def packed(examples: Iterable[np.ndarray], length: int, *, open_rows: int = OPEN_ROWS) -> Iterator[np.ndarray]:
    """Rows of whole examples, each in the first row that has room for it (first-fit) among the newest ones.

    Args:
        examples: int [tokens] each, at most a row long, in order.
        length: of a row.
        open_rows: rows that may still be added to; when there are more, the oldest is given out as it is.

    Yields:
        int32 [length], in the order in which the rows were begun, 0 behind the examples.
    """
    rows: list[tuple[list[np.ndarray], list[int]]] = []  # examples, and room that is left
    for example in examples:
        for parts, room in rows:
            if room[0] >= len(example):
                parts.append(example)
                room[0] -= len(example)
                break
        else:
            rows.append(([example], [length - len(example)]))
            if len(rows) > open_rows:
                yield _row(rows.pop(0)[0], length)
    for parts, _ in rows:
        yield _row(parts, length)


def _row(parts: list[np.ndarray], length: int) -> np.ndarray:
    row = np.full(length, PAD_ID, DTYPE)
    row[: sum(map(len, parts))] = np.concatenate(parts)
    return row


def rows_of_pairs(directory: str, split: str, length: int) -> TokenFile:
    """The rows of a split of pairs, made once into this machine's cache.

    The pairs are mixed before they are packed, in an order that depends on their number alone: those of one problem,
    which come one after another, would otherwise share rows.

    Args:
        directory: of pairs (`seqio_tasks.pairs`).
        split: such as train.
        length: of a row.

    Raises:
        UserError: no such split, none in it, or a pair that is longer than a row.
    """
    info = pairs.about(directory, split)
    if not info.pairs:
        raise UserError(
            f"split {split} of {directory} holds no pairs", "select some: without them there is no training"
        )
    if info.longest > length:
        raise UserError(
            f"split {split} of {directory} has a pair of {info.longest} tokens, more than a row of length={length}",
            f"set length to {info.longest} or more, or write the pairs with max_tokens={length}",
        )
    key = files.digest([FORMAT_VERSION, info.sha256, info.made_with, length])
    folder = files.cache_directory() / "tokens" / key[:32]
    if not token_files.has_tokens(str(folder), split):
        beside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")  # another process may be making the same
        examples = list(pairs.read_ids(directory, split))
        write_pairs(
            str(beside),
            split,
            (examples[number] for number in epoch_order(0, 0, len(examples))),
            length=length,
            vocab_size=info.vocab_size,
            made_with=info.made_with,
            text_bytes=info.text_bytes,
        )
        token_files.move_split(beside, folder, split)
    return token_files.open_tokens(str(folder), split, packed=True)
