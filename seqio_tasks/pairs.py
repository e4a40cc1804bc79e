"""Prompts and their targets as text, beside the codec that turns them into ids: what fine-tuning reads.

    train.pairs.jsonl    {"prompt": …, "target": …}, a line each
    train.pairs.json     what it holds, and its sha256; written last: without it there is no split
    equal_info.codec     the codec of all splits

The bundled trainer packs them into rows (`seqio_tasks.pair_rows`), T5X reads them by a SeqIO task
(`seqio_tasks.rest_em`). This module imports no TensorFlow.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from models.equal_info.ids import SPECIAL_IDS, ids_of_codes
from models.equal_info.load import AnyCodec, load_codec
from seqio_tasks import layout
from shammie import files
from shammie.errors import UserError

PAIRS_AT_ONCE = 1024  # that one call encodes
Pair = tuple[str, str]
PairIds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PairsInfo:
    """What a split of pairs holds. Targets are counted with the id that ends each.

    Attributes:
        pairs: how many.
        text_bytes: size of prompts and targets.
        inputs_tokens: ids of all prompts.
        targets_tokens: ids of all targets.
        longest_inputs: ids of the longest prompt.
        longest_targets: ids of the longest target.
        longest: ids of the longest pair.
        vocab_size: every id is below it.
        made_with: the codec's fingerprint.
        sha256: of the lines, in hex.
        left_out: how many pairs were not written, by reason.
    """

    pairs: int
    text_bytes: int
    inputs_tokens: int
    targets_tokens: int
    longest_inputs: int
    longest_targets: int
    longest: int
    vocab_size: int
    made_with: str
    sha256: str
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Ids of all pairs."""
        return self.inputs_tokens + self.targets_tokens


def pairs_name(split: str) -> str:
    """The lines of a split."""
    return f"{split}.pairs.jsonl"


def about_name(split: str) -> str:
    """What the lines are."""
    return f"{split}.pairs.json"


def splits_of(directory: str) -> list[str]:
    """The splits of pairs in a folder; none where it holds something else."""
    ending = about_name("")
    return [name.removesuffix(ending) for name in files.list_directory(directory) if name.endswith(ending)]


def write_pairs_text(
    directory: str,
    split: str,
    pairs: Iterable[Pair],
    codec: AnyCodec,
    *,
    max_inputs: int = 0,
    max_targets: int = 0,
    max_tokens: int = 0,
) -> PairsInfo:
    """Writes a split; it appears whole or not at all. The same pairs give the same bytes.

    Args:
        directory: made where missing.
        split: such as train.
        pairs: prompt and target each, in order.
        codec: what will make ids of them; it is written beside them.
        max_inputs: pairs with more ids in the prompt are left out, and counted; 0 for no limit.
        max_targets: as it, for the target and its end.
        max_tokens: as it, for both together.

    Raises:
        UserError: the folder's other splits are of another codec.
    """
    files.make_directory(directory)
    codec_path = files.join(directory, layout.CODEC_FILE)
    for other in set(splits_of(directory)) - {split}:
        if about(directory, other).made_with != codec.fingerprint:
            raise UserError(
                f"split {other} of {directory} is of codec {about(directory, other).made_with[:12]},"
                f" not {codec.fingerprint[:12]}",
                "write both with one codec, or into two folders",
            )
    files.remove(files.join(directory, about_name(split)))
    if not files.exists(codec_path) or load_codec(codec_path).fingerprint != codec.fingerprint:
        codec.save(codec_path)
    limits = max_inputs, max_targets, max_tokens
    names = "prompt too long", "target too long", "pair too long"
    left_out: Counter[str] = Counter()
    sizes, text_bytes, digest = [(0, 0)], 0, hashlib.sha256()
    with files.writing(files.join(directory, pairs_name(split))) as file:
        for (prompt, target), (inputs, targets) in _with_ids(pairs, codec):
            size = len(inputs), len(targets) + 1
            over = [name for name, limit, n in zip(names, limits, (*size, sum(size)), strict=True) if 0 < limit < n]
            if over:
                left_out[over[0]] += 1
                continue
            line = files.canonical_json({"prompt": prompt, "target": target}).encode() + b"\n"
            file.write(line)
            digest.update(line)
            sizes.append(size)
            text_bytes += len(prompt.encode()) + len(target.encode())
    info = PairsInfo(
        pairs=len(sizes) - 1,
        text_bytes=text_bytes,
        inputs_tokens=sum(inputs for inputs, _ in sizes),
        targets_tokens=sum(targets for _, targets in sizes),
        longest_inputs=max(inputs for inputs, _ in sizes),
        longest_targets=max(targets for _, targets in sizes),
        longest=max(map(sum, sizes)),
        vocab_size=codec.vocab_size + SPECIAL_IDS,
        made_with=codec.fingerprint,
        sha256=digest.hexdigest(),
        left_out=dict(sorted(left_out.items())),
    )
    files.write_json(files.join(directory, about_name(split)), asdict(info))
    return info


def about(directory: str, split: str) -> PairsInfo:
    """What a split holds.

    Raises:
        UserError: it is not there, or its description is damaged.
    """
    path = files.join(directory, about_name(split))
    if not files.exists(path):
        there = ", ".join(splits_of(directory)) or "none"
        raise UserError(
            f"{directory} has no pairs of split {split!r} (there: {there})", "write them, or check the name"
        )
    try:
        return PairsInfo(**files.read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged", "write the pairs again") from error


def codec_of(directory: str) -> AnyCodec:
    """The codec of a folder of pairs.

    Raises:
        UserError: there are no pairs, or the codec is not the one that they were written with.
    """
    found = splits_of(directory)
    if not found:
        raise UserError(f"{directory} holds no pairs", "write some, or check the folder")
    path = files.join(directory, layout.CODEC_FILE)
    codec = load_codec(path)
    for split in found:
        if (made_with := about(directory, split).made_with) != codec.fingerprint:
            raise UserError(
                f"{path} has fingerprint {codec.fingerprint[:12]}, but split {split} was written with {made_with[:12]}",
                "put back the codec that was written with the pairs",
            )
    return codec


def read_pairs(directory: str, split: str) -> list[Pair]:
    """Prompts and targets of a split, in order.

    Raises:
        UserError: there is none, or not what its description tells of.
    """
    info, path = about(directory, split), files.join(directory, pairs_name(split))
    data = files.read_bytes(path) if files.exists(path) else b""
    if hashlib.sha256(data).hexdigest() != info.sha256:
        raise UserError(f"{path} is not the file that {about_name(split)} tells of", "write the pairs again")
    return [(pair["prompt"], pair["target"]) for pair in map(json.loads, data.splitlines())]


def read_ids(directory: str, split: str) -> Iterator[PairIds]:
    """Ids of prompts and of targets, without the end, in order; int32 [tokens] each.

    Raises:
        UserError: as `read_pairs` and `codec_of`.
    """
    return (ids for _, ids in _with_ids(read_pairs(directory, split), codec_of(directory)))


def _with_ids(pairs: Iterable[Pair], codec: AnyCodec) -> Iterator[tuple[Pair, PairIds]]:
    whole = iter(pairs)
    while part := list(itertools.islice(whole, PAIRS_AT_ONCE)):
        codes = codec.encode_batch([text.encode() for pair in part for text in pair])
        ids = [ids_of_codes(one) for one in codes]
        yield from zip(part, zip(ids[::2], ids[1::2], strict=True), strict=True)
