"""What the steps of `equal_info` run. Each writes into its own directory and returns counters."""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.m1 import M1, M1Config, bits_per_byte, train_m1, training_flops
from models.equal_info.stability import edit_stability
from models.lm import LMConfig
from shammie.errors import UserError
from shammie.files import digest, join, read_bytes, read_json, write_bytes, write_json
from shammie.logs import native_code_silenced
from workflows.bench.table import median_seconds
from workflows.compare_codes import Measured, build, measure_codec, measured, spec_of
from workflows.corpus import SPLITS, Document, by_split, manifest, split_of
from workflows.dag import Running
from workflows.equal_info_examples import joined
from workflows.parquet_corpus import CorpusWriter, read_documents, sample_documents

STABILITY_EDITS = 300
LEAST_SPLIT_BYTES = 1000


def write_embedded(running: Running, documents: Sequence[Document]) -> dict[str, Any]:
    """Writes the embedded corpus, by split."""
    with CorpusWriter(running.directory) as writer:
        for split, members in by_split(documents).items():
            for document in members:
                writer.write(split, document.name, document.text)
    return _corpus_counters(running, writer, digest(manifest(documents)), "the running Python's standard library")


def write_input(running: Running, patterns: Sequence[str]) -> dict[str, Any]:
    """Writes the user's text, split by a hash of each document's place.

    Raises:
        UserError: too little text to fill every split.
    """
    from beam_jobs.readers import read_unit
    from beam_jobs.records import DeadLetter
    from beam_jobs.units import ReadConfig, find_sources, plan_units

    reading = ReadConfig(documents=running.config["documents"])
    plan = plan_units(find_sources(patterns, reading), reading)
    bad = 0
    with CorpusWriter(running.directory) as writer, running.progress("reading", plan.size, "B") as progress:
        for unit in plan.units:
            for item in read_unit(plan, unit, reading):
                if isinstance(item, DeadLetter):
                    bad += 1
                    continue
                text = item.text.tobytes()
                for number in range(len(item.offsets)):
                    name = f"{plan.sources[item.sources[number]].name}:{item.offsets[number]}:{item.pieces[number]}"
                    split = split_of(name)
                    writer.write(split, name, text[item.bounds[number] : item.bounds[number + 1]])
            progress.advance(unit.size)
    short = [split for split in SPLITS if writer.bytes[split] < LEAST_SPLIT_BYTES]
    if short:
        raise UserError(
            f"{sum(writer.documents.values())} documents leave only {writer.bytes[short[0]]} bytes to {short[0]}",
            "give more text, or split it finer with --gin.equal_info.Settings.documents='\"line\"'",
        )
    identity = running.source("text").identity
    what = f"{len(plan.sources)} files given by --input"  # no paths of this machine: it goes into the codecs
    return {**_corpus_counters(running, writer, identity, what), "bad_records": bad}


def _corpus_counters(running: Running, writer: CorpusWriter, identity: str, what: str) -> dict[str, Any]:
    about = {
        "corpus": what,
        "corpus_sha256": identity,
        "corpus_documents": sum(writer.documents.values()),
        "corpus_bytes": sum(writer.bytes.values()),
        **{f"{split}_bytes": writer.bytes[split] for split in SPLITS},
    }
    write_json(running.path("corpus.json"), about)
    return about


def _texts(running: Running, split: str, megabytes: float) -> list[bytes]:
    return sample_documents(running.input("corpus"), split, megabytes)


def text_array(running: Running, split: str, megabytes: float) -> np.ndarray:
    """A sample of a split's documents, joined, uint8 [bytes]; the config's `ended` puts the end byte behind each."""
    texts = _texts(running, split, megabytes)
    return np.frombuffer(joined(texts) if running.config.get("ended") else b"".join(texts), np.uint8)


def train(running: Running) -> dict[str, Any]:
    """Trains M1 and measures it on held-out windows."""
    import jax

    settings = dict(running.config["m1"])
    config = M1Config(**{**settings, "decoder": LMConfig(**settings["decoder"])})
    curve: list[tuple[int, float]] = []
    # the text is sampled from all of the split: its first megabytes would be of the first files only
    with running.progress("training M1", config.steps, "steps") as progress:

        def on_step(step: int, loss_nats: float) -> None:
            curve.append((step, loss_nats / np.log(2)))
            progress.to(step, f"{curve[-1][1]:.3f} bits/byte")

        text = text_array(running, "train", running.config["train_mb"])
        m1 = train_m1(config, text, jax.random.key(running.config["seed"]), on_step)
    write_bytes(running.path("m1.bin"), m1.to_bytes())
    held_out = bits_per_byte(m1, text_array(running, "validation", 2.0))
    parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(m1.params))
    about = {
        "m1_held_out_bits_per_byte": held_out,
        "m1_parameters": int(parameters),
        "m1_training_flops": training_flops(config),
    }
    write_json(running.path("m1.json"), {**about, "loss_bits_per_byte": curve})
    return about


def validate_m1(directory: str) -> None:
    """Raises ValueError if the model learned nothing: uniform bytes cost 8 bits."""
    bits = read_json(join(directory, "m1.json"))["m1_held_out_bits_per_byte"]
    if not bits < 7:
        raise ValueError(
            f"M1 needs {bits:.2f} bits for a held-out byte: it has not learned; give it more text or steps"
        )


def compile_codes(running: Running) -> dict[str, Any]:
    """Compiles every code with the same M1 and text."""
    m1 = M1.from_bytes(read_bytes(join(running.input("m1"), "m1.bin")))
    text = text_array(running, "train", running.config["train_mb"])
    about = read_json(join(running.input("corpus"), "corpus.json"))
    notes = {"trained_on": about["corpus"], "corpus_sha256": about["corpus_sha256"]}
    seconds = {}
    with running.progress("compiling codes", len(running.config["codes"]), "codes") as progress:
        for name in running.config["codes"]:
            spec = spec_of(name)
            start = time.perf_counter()
            codec = build(spec, m1, text, notes)
            seconds[str(spec)] = time.perf_counter() - start
            codec.save(running.path(f"{spec}.codec"))
            progress.advance(note=str(spec))
    write_json(running.path("compile_seconds.json"), seconds)
    return {f"compile_s_{name}": value for name, value in seconds.items()}


def load_codec(codes_directory: str, name: str) -> Codec:
    """One of the compiled codecs."""
    return Codec.load(join(codes_directory, f"{name}.codec"))


def write_dataset(running: Running, beam_flags: Sequence[str]) -> dict[str, Any]:
    """Encodes every split by the Beam job into SeqIO-readable shards."""
    from beam_jobs.equal_info.config import JobConfig
    from beam_jobs.equal_info.job import run
    from beam_jobs.units import ReadConfig

    counters: dict[str, Any] = {}
    for split in SPLITS:
        config = JobConfig(
            input=(join(running.input("corpus"), f"{split}.parquet"),),
            output=running.path(),
            codec=join(running.input("codes"), f"{running.config['code']}.codec"),
            split=split,
            num_shards=running.config["shards"],
            read=ReadConfig(text_field="text"),
        )
        try:
            result = run(config, beam_flags)
        except UserError as error:
            if "--overwrite" not in error.cure:
                raise
            # the folder is this step's own: what was begun with inputs since made anew is of no use
            result = run(dataclasses.replace(config, overwrite=True), beam_flags)
        counters[f"dataset_{split}_documents"] = result.stats["documents"]
        counters[f"dataset_{split}_tokens"] = result.stats["targets_tokens"]
    return counters


def read_back(running: Running) -> dict[str, Any]:
    """Reads the shards through the SeqIO task, decodes them, and compares with the corpus.

    Raises:
        ValueError: the documents are not the corpus's, byte for byte.
    """
    from models.equal_info.ids import codes_of_ids

    codec = load_codec(running.input("codes"), running.config["code"])
    with native_code_silenced():
        from seqio_tasks.equal_info import add_task

        task = add_task(running.input("dataset"), codec=codec)
        datasets = {split: task.get_dataset(split=split, shuffle=False).as_numpy_iterator() for split in SPLITS}
    counted: dict[str, Any] = {}
    for split in SPLITS:
        # shards are shuffled, so the texts are compared as a set with repeats, by hash
        expected = sorted(_hash(text) for text in read_documents(running.input("corpus"), split) if text)
        found, tokens = [], 0
        for example in datasets[split]:
            tokens += len(example["targets"])
            found.append(_hash(codec.decode(codes_of_ids(example["targets"]))))
        if sorted(found) != expected:
            raise ValueError(f"split {split}: what SeqIO reads back is not the corpus ({len(found)} documents)")
        counted[f"readback_{split}_documents"] = len(found)
        counted[f"readback_{split}_tokens"] = tokens
    write_json(running.path("readback.json"), counted)
    return counted


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def measure(running: Running) -> dict[str, Any]:
    """Measures every code, and every peer at each of its sizes, on the same held-out documents in one process."""
    train, test = (
        _texts(running, "train", running.config["train_mb"]),
        _texts(running, "test", running.config["test_mb"]),
    )
    codes = [str(spec_of(name)) for name in running.config["codes"]]
    sizes = running.config["peer_vocab_sizes"]
    left_out = 0
    if sizes:  # the peers read text, ours read bytes: all are measured on what all can read
        readable = [text for text in test if is_utf8(text)]
        left_out = len(test) - len(readable)
        train, test = [text for text in train if is_utf8(text)], readable
    if not test:
        raise UserError(
            "no held-out document is UTF-8, which the peers need", "--gin.PEER_VOCAB_SIZES='()' leaves them out"
        )
    rows: list[dict[str, Any]] = []
    with running.progress("measuring", len(codes) + 5 * len(sizes), "tokenizers") as progress:
        for name in codes:
            codec = load_codec(running.input("codes"), name)
            stability = edit_stability(codec.encode, codec.decoded_size, test, edits=STABILITY_EDITS)
            row = measure_codec(name, codec, train, test)
            rows.append({**asdict(row), "ours": True, "stability": asdict(stability)})
            progress.advance(note=name)
        for size in sizes:
            for row in _peers(train, test, size):
                rows.append({**asdict(row), "ours": False})
                progress.advance(note=row.name)
    about = {"test_bytes": sum(map(len, test)), "documents_not_utf8": left_out, "rows": rows}
    write_json(running.path("measures.json"), about)
    return {"measured": len(rows)}


def _peers(train: list[bytes], test: list[bytes], vocab_size: int) -> Iterator[Measured]:
    from workflows.peers import all_peers

    for peer in all_peers(train, vocab_size):
        rows = peer.encode(test)
        yield measured(
            f"{peer.name} {vocab_size}",
            peer.vocab_size,
            peer.encode(train),
            rows,
            test,
            peer.decode(rows),
            median_seconds(lambda peer=peer: peer.encode(test), 3),
            median_seconds(lambda peer=peer, rows=rows: peer.decode(rows), 3),
        )


def is_utf8(text: bytes) -> bool:
    """Whether a document is text that every peer can read."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
