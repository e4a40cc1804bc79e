"""The first steps of `rest_em`: problems by split, from the embedded families or released files, and the codec.

A problems step's folder has one file of `Problem` records a split: base (with solutions, for the base's training),
train (what the loop samples), validation (the held-out reward), test, and any number of other held-out sets, such as
arithmetic_transfer. Its `splits.json` lists them with their sizes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.equal_info.load import AnyCodec, load_codec
from models.rest_em.contamination import overlapping
from models.rest_em.records import Problem, read_records, write_records
from shammie.errors import UserError
from shammie.files import join, read_bytes, read_json, write_json
from workflows.dag import Running

NOT_MEASURED = ("base", "train", "validation")  # splits that are no test sets
CODEC = "codec.bin"
CODEC_WORDS = ("default", "bytes")  # that `Settings.codec` may be instead of a file
MEASURED = "train_measured"  # some of train, on which models are measured too
MOST_MEASURED = 600
VALIDATION_SHARE = 10  # one in so many of train's problems, where there are no others


def problems_in(folder: str, split: str) -> list[Problem]:
    """The problems of a split of a problems step."""
    return read_records(join(folder, f"{split}.jsonl"), Problem)


def splits_in(folder: str) -> dict[str, int]:
    """The splits of a problems step, and how many problems each has."""
    return read_json(join(folder, "splits.json"))


def test_sets(folder: str) -> list[str]:
    """The splits that models are measured on, "test" first."""
    return sorted(set(splits_in(folder)) - set(NOT_MEASURED), key=lambda split: (split != "test", split))


def write_embedded(running: Running) -> Mapping[str, Any]:
    """Generates the problems of the embedded families.

    Test sets: of the families that the loop trains on; their `transfer` stories; and the other family's test problems.
    The base is trained on both families, as a pretrained model would know of more than the loop's task.
    """
    from models.rest_em.families import problems
    from workflows.rest_em_settings import FAMILIES

    c = running.config
    levels, chosen = tuple(c["levels"]), c["families"]

    def made(family: str, split: str, count: int) -> list[Problem]:
        return problems(family, split, count, levels=levels)

    splits: dict[str, list[Problem]] = {"base": [], "train": [], "validation": [], "test": []}
    for family in FAMILIES:
        if family not in chosen:
            splits["base"] += made(family, "train", c["other_problems"])
            splits[f"{family}_test"] = made(family, "test", c["test_problems"])
            continue
        both = made(family, "train", c["base_problems"] + c["train_problems"])
        splits["base"] += both[: c["base_problems"]]
        splits["train"] += both[c["base_problems"] :]
        splits["validation"] += made(family, "validation", c["validation_problems"])
        splits["test"] += made(family, "test", c["test_problems"])
        splits[f"{family}_transfer"] = made(family, "transfer", c["test_problems"])
    return _write(running, splits)


def files_of(data: Mapping[str, str]) -> dict[str, tuple[str, list[str]]]:
    """Split to its format and files, from `Settings.data`.

    Raises:
        UserError: an entry is no FORMAT:PATH, or names no file.
    """
    from beam_jobs.rest_em.datasets import FORMATS
    from beam_jobs.storage import expand
    from shammie.errors import unknown

    found = {}
    for split, word in data.items():
        form, colon, path = word.partition(":")
        if not colon or not path:
            raise UserError(f"data of {split} is {word!r}", "write FORMAT:PATH, such as gsm8k:train.jsonl")
        if form not in FORMATS:
            raise unknown("format", form, list(FORMATS))
        found[split] = form, [file.path for file in expand(path)]
    return found


def write_released(running: Running, data: Mapping[str, str]) -> Mapping[str, Any]:
    """Reads the problems of released files; test sets are cut to their first `most` by hash.

    Args:
        running: the step.
        data: as in `Settings.data`; the files' content is among the step's sources.
    """
    from beam_jobs.rest_em.datasets import load_problems

    c = running.config
    splits = {split: load_problems(data[split].partition(":")[2], form) for split, form in c["formats"].items()}
    if "validation" not in splits:
        splits["validation"] = [one for one in splits["train"] if not _hash(one) % VALIDATION_SHARE]
        splits["train"] = [one for one in splits["train"] if _hash(one) % VALIDATION_SHARE]
    if "base" not in splits and not c["base_given"]:
        # a base solves what it was trained on by heart: the loop has to sample other problems
        first = {one.id for one in splits["train"] if one.solution and _hash(one) // VALIDATION_SHARE % 2}
        splits["base"] = [one for one in splits["train"] if one.id in first]
        splits["train"] = [one for one in splits["train"] if one.id not in first]
    for split in set(splits) - set(NOT_MEASURED):
        splits[split] = sorted(splits[split], key=_hash)[: c["most"]]
    return _write(running, *_without_overlaps(splits))


def _hash(problem: Problem) -> int:
    return int.from_bytes(hashlib.sha256(problem.id.encode()).digest()[:8], "big")


def _without_overlaps(splits: Mapping[str, list[Problem]]) -> tuple[dict[str, list[Problem]], list[dict[str, str]]]:
    """The splits without held-out problems that training or validation has seen; what was left out, with reasons."""
    trained = [*splits.get("base", ()), *splits["train"]]
    seen = {"base": [], "train": [], "validation": trained}
    tested = [*trained, *splits["validation"]]
    clean, left_out = {}, []
    for split, problems in splits.items():
        found = overlapping(seen.get(split, tested), problems)
        left_out += [{"split": split, "id": one, "seen": other, "why": why} for other, one, why in found]
        bad = {one for _, one, _ in found}
        clean[split] = [problem for problem in problems if problem.id not in bad]
    return clean, left_out


def _write(running: Running, splits: Mapping[str, Sequence[Problem]], left_out: Sequence[Any] = ()) -> dict[str, Any]:
    prefix = read_bytes(path_of(running, "prompt")).decode() if "prompt" in running.step.inputs else ""
    for split, problems in splits.items():
        if not problems:
            raise UserError(f"split {split} holds no problem", "give more, or others")
        prompted = [replace(one, prompt=prefix + one.prompt) for one in problems]
        write_records(running.path(f"{split}.jsonl"), prompted)
        if split == "train":
            write_records(running.path(f"{MEASURED}.jsonl"), sorted(prompted, key=_hash)[:MOST_MEASURED])
    sizes = {split: len(problems) for split, problems in splits.items()}
    write_json(running.path("left_out.json"), list(left_out))
    write_json(running.path("splits.json"), sizes, sort_keys=False)
    return {**sizes, "left_out": len(left_out)}


def make_codec(running: Running) -> Mapping[str, Any]:
    """The codec of all models: the given one, or a SentencePiece model of the base's text whose digits stand alone."""
    if running.config["word"] or "codec_file" in running.step.inputs:
        given = running.config["word"] or path_of(running, "codec_file")
        codec: AnyCodec = load_codec(given)
    else:
        from models.equal_info.sentencepieces import SentencePieceCodec, train_sentencepiece

        base = problems_in(running.input("problems"), "base")
        text = [part.encode() for one in base for part in (one.prompt, one.solution)]  # they are read apart
        model = train_sentencepiece("bpe", text, running.config["vocab_size"], split_digits=True)
        codec = SentencePieceCodec(model, scheme="sentencepiece", notes={"text": "problems of the base"})
    codec.save(running.path(CODEC))
    return {"vocab_size": codec.vocab_size}


def path_of(running: Running, source: str) -> str:
    """Where the one file of a source lies."""
    return next(iter(running.source(source).paths.values()))


def codec_in(folder: str) -> str:
    """The path of a codec step's codec."""
    return join(folder, CODEC)
