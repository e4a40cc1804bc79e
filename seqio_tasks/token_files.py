"""A split of token ids as one flat file (the windows that are cut from it are in `seqio_tasks.windows`).

    train.tokens         little-endian uint16 where the vocabulary fits, else int32; no header, so that it can be mapped
    train.tokens.json    what it holds, and its sha256; written last: without it there is no split

Ids are model ids (`models.equal_info.ids`): 0 pads and never occurs, 1 ends each document, text begins at 2. A file may
also hold rows of packed examples (`seqio_tasks.pair_rows`), whose given ids are negated and whose rows 0 pads.
This module imports no TensorFlow, so that jobs and workflows may import it.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, PAD_ID
from seqio_tasks import layout
from shammie import files
from shammie.errors import UserError

CHUNK_TOKENS = 1 << 20
FORMAT_VERSION = 1  # raised when a dataset gives another file, so that the cache is made anew
ReadShard = Callable[[str], Iterable[np.ndarray]]


@dataclass(frozen=True)
class TokenInfo:
    """What a token file holds.

    Attributes:
        dtype: "uint16" or "int32", little-endian.
        tokens: ids in the file, the ends of documents included.
        documents: ends of documents.
        text_bytes: size of the text that the ids stand for.
        vocab_size: every id is below it.
        made_with: what made ids of text: a codec's fingerprint or a tokenizer's name.
        sha256: of the file, in hex.
        row_length: tokens of a row of packed examples; 0 where the file is one stream.
        padding: ids that pad rows.
    """

    dtype: str
    tokens: int
    documents: int
    text_bytes: int
    vocab_size: int
    made_with: str
    sha256: str
    row_length: int = 0
    padding: int = 0

    def check(self) -> None:
        """Raises ValueError where a value, which a file may have told, cannot be."""
        for name in ("tokens", "documents", "text_bytes", "vocab_size", "row_length", "padding"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r:.60}")
        if self.dtype not in ("uint16", "int32"):
            raise ValueError(f"dtype is {self.dtype!r:.60}")
        if not isinstance(self.made_with, str) or not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise ValueError("made_with or sha256 is none")

    @property
    def fill(self) -> float:
        """The share of the file's ids that do not pad."""
        return 1 - self.padding / max(1, self.tokens)

    def to_json(self) -> dict[str, Any]:
        """What is written of it: a stream's is as it was before there were rows."""
        told = asdict(self)
        return {one.name: told[one.name] for one in fields(self) if told[one.name] != one.default}


@dataclass(frozen=True)
class TokenFile:
    """An open split: its ids, mapped from disk (uint16 or int32 [tokens]), and what is known about them."""

    path: str
    ids: np.ndarray
    info: TokenInfo


def tokens_name(split: str) -> str:
    """The ids of a split."""
    return f"{split}.tokens"


def about_name(split: str) -> str:
    """What the ids are."""
    return f"{split}.tokens.json"


def has_tokens(directory: str, split: str) -> bool:
    """Whether a folder holds a finished token file of a split."""
    return files.exists(files.join(directory, about_name(split)))


def write_tokens(
    directory: str,
    split: str,
    rows: Iterable[np.ndarray],
    *,
    vocab_size: int,
    text_bytes: int,
    made_with: str,
    ended: bool = False,
) -> TokenInfo:
    """Writes a split, a piece at a time; it appears whole or not at all.

    Args:
        directory: made where missing.
        split: such as train.
        rows: a document's model ids each, int [tokens]; the id that ends a document is added to each.
        vocab_size: every id must be below it.
        text_bytes: size of the text behind the rows.
        made_with: a codec's fingerprint or a tokenizer's name.
        ended: the rows hold the ends of documents already, and a row need not be a whole document.

    Raises:
        UserError: an id is no token of that vocabulary, or pads.
    """
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<i4")
    documents, end = 0, np.array([END_OF_DOCUMENT_ID], dtype)

    def parts() -> Iterator[np.ndarray]:
        nonlocal documents
        for row in rows:
            wide = np.asarray(row)
            if wide.size and not (PAD_ID < wide.min() and wide.max() < vocab_size):
                wrong = wide[(wide <= PAD_ID) | (wide >= vocab_size)][0]
                raise UserError(
                    f"token id {wrong} of split {split} is not from 1 to {vocab_size - 1}",
                    "give model ids (codes + 2), and the vocabulary size with its 2 special ids",
                )
            ids = wide.astype(dtype)
            documents += int(np.count_nonzero(ids == END_OF_DOCUMENT_ID)) if ended else 1
            yield from (ids,) if ended else (ids, end)

    tokens, sha256 = write_ids(directory, split, parts())
    name = "uint16" if dtype.itemsize == 2 else "int32"
    info = TokenInfo(name, tokens, documents, text_bytes, vocab_size, made_with, sha256)
    write_about(directory, split, info)
    return info


def write_ids(directory: str, split: str, parts: Iterable[np.ndarray]) -> tuple[int, str]:
    """Writes the file of a split; there is no split before `write_about` has followed.

    Args:
        directory: made where missing.
        split: such as train.
        parts: ids [tokens] each, in the file's dtype and byte order.

    Returns:
        Ids in the file, and its sha256 in hex.
    """
    digest, tokens = hashlib.sha256(), 0
    files.make_directory(directory)
    files.remove(files.join(directory, about_name(split)))
    with files.writing(files.join(directory, tokens_name(split))) as file:
        for part in parts:
            file.write(part.tobytes())
            digest.update(part.tobytes())
            tokens += len(part)
    return tokens, digest.hexdigest()


def write_about(directory: str, split: str, info: TokenInfo) -> None:
    """Writes the description that makes a file a split."""
    files.write_json(files.join(directory, about_name(split)), info.to_json())


def open_tokens(directory: str, split: str, *, packed: bool = False) -> TokenFile:
    """Opens a split without reading it; a remote one is first copied to this machine's cache.

    Args:
        directory: of the split.
        split: such as train.
        packed: whether rows of packed examples will do, beside streams.

    Raises:
        UserError: it is not there, or not the file that its description tells of, or is packed though it must not be.
    """
    if not has_tokens(directory, split):
        raise UserError(
            f"{directory} holds no {tokens_name(split)}", "check the folder and the split's name, or make the split"
        )
    path = files.join(directory, tokens_name(split))
    try:
        info = TokenInfo(**files.read_json(files.join(directory, about_name(split))))
        info.check()
    except (TypeError, ValueError) as error:
        raise UserError(f"{files.join(directory, about_name(split))} is damaged", "make the split again") from error
    if info.row_length and not packed:
        raise UserError(
            f"{path} holds rows of packed prompts and targets, not a stream of tokens",
            "train on it by python -m workflows.train, or give other data here",
        )
    if not files.is_local(path):
        copy = files.cache_directory() / "tokens" / f"{info.sha256[:32]}.tokens"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            files.copy(path, copy)
        path = str(copy)
    dtype = np.dtype(info.dtype).newbyteorder("<")
    size = os.path.getsize(path) if os.path.exists(path) else 0
    if size != info.tokens * dtype.itemsize:
        raise UserError(
            f"{path} has {size} bytes, not the {info.tokens * dtype.itemsize} of its description",
            "make the split again",
        )
    # an empty file cannot be mapped
    ids: Any = np.memmap(path, dtype, mode="r") if info.tokens else np.empty(0, dtype)
    return TokenFile(path, ids, info)


def tokens_of_dataset(directory: str, split: str, read_shard: ReadShard) -> TokenFile:
    """A split of a finished dataset of `beam_jobs.equal_info`, made flat once into this machine's cache.

    Args:
        directory: the dataset.
        split: one of its splits.
        read_shard: the path of a shard to its examples' "targets", in order, as one or more int arrays.

    Raises:
        UserError: there is no such finished split.
    """
    found = layout.manifests(directory)
    if not files.exists(files.join(directory, layout.COMPLETED)):
        raise UserError(f"{directory} holds no finished dataset", "run python -m beam_jobs.equal_info to its end")
    if split not in found:
        raise UserError(
            f"{directory} has no split {split!r}, only {', '.join(sorted(found))}",
            f"add it: python -m beam_jobs.equal_info --split {split} --output {directory}",
        )
    shards, config = found[split]["shards"], found[split]["config"]
    key = files.digest([FORMAT_VERSION, config["codec_vocab_size"], [shard["sha256"] for shard in shards]])
    folder = files.cache_directory() / "tokens" / key[:32]
    if not has_tokens(str(folder), split):
        beside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")  # another process may be making the same
        rows = (row for shard in shards for row in read_shard(files.join(directory, shard["name"])))
        write_tokens(
            str(beside),
            split,
            rows,
            vocab_size=config["codec_vocab_size"] + 2,
            text_bytes=files.read_json(files.join(directory, layout.stats_name(split)))["text_bytes"],
            made_with=config["codec_fingerprint"],
            ended=True,
        )
        move_split(beside, folder, split)
    return open_tokens(str(folder), split)


def move_split(source: Path, target: Path, split: str) -> None:
    """Moves a finished split out of a folder of its own into the cache, where another process may put the same."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (tokens_name(split), about_name(split)):  # both have the same bytes whoever makes them
        os.replace(source / name, target / name)
    source.rmdir()
