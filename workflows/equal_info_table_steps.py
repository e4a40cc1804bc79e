"""What the steps of the paper's table run: examples of a method, a language model of a cell, stability, noise."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from models.equal_info import noise, stability
from models.equal_info.codes import CODES
from models.equal_info.ids import SPECIAL_IDS
from models.equal_info.m1 import M1
from models.equal_info.streams.fixed_point import FixedM1
from models.equal_info.streams.spec import StreamSpec
from models.equal_info.uniformity import uniformity
from seqio_tasks.token_files import about_name, open_tokens, write_tokens
from shammie.errors import UserError
from shammie.files import join, list_directory, read_bytes, read_json, remove, write_json
from workflows.corpus import SPLITS
from workflows.dag import Running
from workflows.equal_info_examples import END_OF_TEXT, Tally, examples_of, first_bytes, rows_of, spread
from workflows.equal_info_held_out import Examples
from workflows.equal_info_methods import loaded, made
from workflows.equal_info_steps import is_utf8
from workflows.language_models import Method, settings_of, train_method
from workflows.parquet_corpus import read_documents, sample_documents
from workflows.tokenizers import Tokenizer, build_stream
from workflows.train import NotFinite

EXAMPLES, CELL = "examples.json", "cell.json"


@dataclass(frozen=True)
class Split:
    """The UTF-8 documents of a split, read anew each time; at most so many megabytes of them, or all."""

    corpus: str
    name: str
    megabytes: float | None = None

    def __iter__(self) -> Iterator[bytes]:
        if self.megabytes is None:
            texts = read_documents(self.corpus, self.name)
        else:
            texts = iter(sample_documents(self.corpus, self.name, self.megabytes))
        return (text for text in texts if text and is_utf8(text))


def tokenizer_of(running: Running, method: str, folder: str) -> Tokenizer:
    """A method's tokenizer from the folder of its examples."""
    return loaded(method, folder, codes=_folder(running, "codes"))


def _folder(running: Running, name: str) -> str:
    return running.input(name) if name in running.step.inputs else ""


def write_examples(running: Running) -> dict[str, Any]:
    """Makes a method's tokenizer and writes its rows: the first tokens of each example, by split.

    Raises:
        UserError: a split has no example with enough tokens.
    """
    config, corpus = running.config, running.input("corpus")
    method = config["method"]
    texts = [text + END_OF_TEXT for text in Split(corpus, "train", config["train_mb"])]
    tokenizer = made(method, running.path(), texts, codes=_folder(running, "codes"), m1=_folder(running, "m1"))
    about: dict[str, Any] = {
        "method": method,
        "vocab_size": tokenizer.vocab_size,
        "made_with": tokenizer.made_with,
        "window_tokens": tokenizer.window_tokens,
        "splits": {},
    }
    tallies = {}
    for split in SPLITS:
        tallies[split] = tally = Tally(tokenizer.vocab_size)
        first_of_test = _write_split(running, split, tokenizer, tally)
        about["splits"][split] = {
            "examples": tally.examples,
            "rows": tally.rows,
            "text_bytes": tally.text_bytes,
            "tokens": tally.tokens,
        }
        if split == "test":
            about["row_bytes"] = first_bytes(tokenizer, first_of_test)
    test = tallies["test"]
    about["bytes_per_token"] = test.bytes_per_token
    seen = [tallies[split].counts[SPECIAL_IDS:] for split in ("train", "test")]
    about["uniformity"] = asdict(uniformity(seen[0], seen[1], test.text_bytes))
    write_json(running.path(EXAMPLES), about)
    return {f"{split}_rows": tally.rows for split, tally in tallies.items()}


def _write_split(running: Running, split: str, tokenizer: Tokenizer, tally: Tally) -> list[tuple[np.ndarray, bytes]]:
    """Writes a split's rows while the tally grows; returns those of the test split, with their examples."""
    config, kept = running.config, []
    part = Split(running.input("corpus"), split, config["text_mb" if split == "train" else f"{split}_mb"])
    cuts = config["cuts"] if split == "train" else 1
    with running.progress(f"{tokenizer.name}, {split}", sum(map(len, part)) * cuts, "B") as progress:

        def rows() -> Iterator[np.ndarray]:
            examples = examples_of(part, config["example_bytes"], cuts=cuts)
            for row, example in rows_of(tokenizer, examples, config["length"], tally):
                progress.to(tally.text_bytes)
                if split == "test":
                    kept.append((row, example))
                yield row

        info = write_tokens(
            running.path(),
            split,
            rows(),
            vocab_size=tokenizer.vocab_size,
            text_bytes=0,
            made_with=tokenizer.made_with,
            ended=True,
        )
    if not tally.rows:
        raise UserError(
            f"{tokenizer.name}: no {split} example of {config['example_bytes']} bytes has {config['length']} tokens",
            "give more text, shorter rows or larger examples",
        )
    # only now it is known how much text the rows stand for, about
    size = round(info.tokens * tally.bytes_per_token)
    write_json(running.path(about_name(split)), asdict(replace(info, text_bytes=size)))
    return kept


def train_cell(running: Running) -> dict[str, Any]:
    """Trains the language model of one cell; one that diverges is told, not raised: the rest of the table goes on."""
    folder, settings = running.input("examples"), settings_of(running.config["lm"])
    about = read_json(join(folder, EXAMPLES))
    held_out = Examples(
        *(open_tokens(folder, split).ids.reshape(-1, settings.length) for split in ("validation", "test")),
        bytes_per_token=about["bytes_per_token"],
        window_tokens=about["window_tokens"],
        row_bytes=about["row_bytes"],
    )
    reads = (about["method"], about["vocab_size"], about["made_with"])
    method = Method(settings, *reads, folder, held_out, running.path())
    try:
        cell = train_method(method)
    except NotFinite as error:
        cell = {"method": about["method"], "runs": [], "diverged": error.problem}
    for name in list_directory(running.path()):
        if name.startswith("run-"):
            remove(running.path(name))  # lm.bin is kept beside
    write_json(running.path(CELL), cell, sort_keys=False)
    return {"bits_per_byte": cell["runs"][0]["bits_per_byte"] if cell["runs"] else "diverged"}


def measure_stability(running: Running) -> dict[str, Any]:
    """How much of the tokens depends on what stands before (section 6.1, Table 7, appendix D.8), for each method."""
    config, corpus = running.config, running.input("corpus")
    texts = list(Split(corpus, "test", config["test_mb"]))
    words = sorted({word for text in texts for word in text.split() if word.isalpha()})
    generator = np.random.default_rng(0)
    drawn = generator.choice(len(words), min(config["prefixes"], len(words)), replace=False)
    prefixes = [words[number] + b" " for number in drawn]
    around = config["context_bytes"]
    places = [(text, text.find(config["word"].encode())) for text in texts]
    contexts = [text[max(0, at - around) : at + around] for text, at in places if at >= 0][: config["contexts"]]
    documents = spread(list(examples_of(texts, config["document_bytes"])), config["documents"])
    told = {}
    with running.progress("stability", len(config["methods"]), "methods") as progress:
        for number, method in enumerate(config["methods"]):
            tokenizer = tokenizer_of(running, method, running.input(f"examples_{number}"))

            def encode(text: bytes, tokenizer: Tokenizer = tokenizer) -> np.ndarray:
                return tokenizer.encode([text])[0]

            found = stability.sequences_of_word(encode, _ends(tokenizer), config["word"].encode(), contexts)
            told[method] = {
                **asdict(stability.prefix_stability(encode, config["sentence"].encode(), prefixes)),
                "word_sequences": len(found),
                "word_contexts": found.total(),
                "repeated_share": stability.repeated_share(tokenizer.encode(documents)),
            }
            progress.advance(note=method)
    write_json(running.path("stability.json"), told)
    return {"methods": len(told)}


def _ends(tokenizer: Tokenizer) -> Callable[[np.ndarray], np.ndarray]:
    """Tokens to the bytes at which their windows end, found by decoding ever more of them."""
    period = tokenizer.window_tokens

    def ends(tokens: np.ndarray) -> np.ndarray:
        sizes = [len(tokenizer.decode(tokens[: start + period])) for start in range(0, len(tokens), period)]
        return np.maximum.accumulate(np.repeat(sizes, period)[: len(tokens)])

    return ends


def measure_noise(running: Running) -> dict[str, Any]:
    """Disturbs M1 between encoder and decoder, for arithmetic coding of whole texts and for 16-bit windows."""
    config = running.config
    m1 = M1.from_bytes(read_bytes(join(running.input("m1"), "m1.bin")))
    size, count = config["text_bytes"], config["texts"]
    found = examples_of(Split(running.input("corpus"), "test", config["test_mb"]), size)
    chosen = spread([text for text in found if len(text) == size], count)
    count = len(chosen)
    texts = np.frombuffer(b"".join(chosen), np.uint8).reshape(count, size)
    tables = noise.tables_of(m1, texts)
    delay = CODES["delay"]

    def strings(model: M1) -> tuple[Any, Any]:
        dictionary = delay.prune(delay.propose(model, 1 << 16, 16), texts[0], 1 << 16)
        return dictionary, dictionary.code_strings()

    dictionary, ours = strings(m1)
    codes = np.concatenate([delay.segment(dictionary, text) for text in texts])
    rows = []
    sources = [
        ("nothing", noise.none),
        *((f"relative noise {size:g}", noise.relative(size)) for size in config["sizes"]),
    ]
    sources.append(("bfloat16 logits", noise.rounded("bfloat16")))
    with running.progress("noise", len(sources) + 3, "sources") as progress:
        for name, disturb in sources:
            harm = noise.damage(tables, noise.tables_of(m1, texts, disturb), texts)
            windows = noise.wrong_windows(ours, strings(noise.DisturbedM1(m1, disturb))[1], codes)
            rows.append({"source": name, **asdict(harm), "wrong_windows": windows})
            progress.advance(note=name)
        for name, other in (
            ("texts one by one", noise.tables_of(m1, texts, rows=1)),
            ("byte by byte", noise.tables_read(m1, texts)),
        ):
            rows.append({"source": name, **asdict(noise.damage(tables, other, texts)), "wrong_windows": None})
            progress.advance(note=name)
        whole_numbers = build_stream(StreamSpec("ac", 8), m1, texts[0]).predictor
        if isinstance(whole_numbers, FixedM1):  # the paper's decoder has none
            told = noise.tables_read(whole_numbers, texts)
            harm = noise.damage(told, noise.tables_read(whole_numbers, texts, rows=1), texts)
            # encoded together, decoded one by one: the share of texts that do not come back
            codec = build_stream(StreamSpec("windows", 8, 16), m1, texts[0])
            back = [codec.decode(codes) for codes in codec.encode_batch(chosen)]
            lost = sum(one != text for one, text in zip(back, chosen, strict=True)) / count
            rows.append({"source": "whole numbers, one by one", **asdict(harm), "wrong_windows": lost})
            progress.advance(note="whole numbers")
    write_json(running.path("noise.json"), {"text_bytes": size, "texts": count, "rows": rows})
    return {"sources": len(rows)}
