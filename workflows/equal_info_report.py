"""The report of `equal_info`: how dense, how fast, how learnable, and what the tokens look like."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from shammie.files import join, read_bytes, read_json, write_bytes, write_json
from workflows import equal_info_lm_report
from workflows.compare_codes import spec_of
from workflows.dag import Running
from workflows.equal_info_steps import load_codec
from workflows.parquet_corpus import read_documents
from workflows.report import Page, bars, new_figure

# arXiv:2404.03626 Tables 2 and 3, bytes per token on C4.
PAPER_BYTES_PER_TOKEN = {"greedy-65536": 5.31, "delay-65536": 4.40, "SentencePiece Unigram 32000": 4.28}
SAMPLE_BYTES = 640
_COLORS = ("#dcebf2", "#f3e3c8", "#e0ecd8", "#eadff0", "#f5dbd8")


def write(running: Running) -> dict[str, Any]:
    """Writes result.json and report.html."""
    seeds = [read_json(join(running.input(f"measures_{n}"), "measures.json")) for n in range(running.config["seeds"])]
    rows = _over_seeds(seeds)
    codec = load_codec(running.input("codes"), running.config["code"])
    methods = equal_info_lm_report.load(running)
    result = {**equal_info_lm_report.result(methods), **_result(running, rows, codec)}
    write_json(running.path("result.json"), result, sort_keys=False)
    write_bytes(running.path("report.html"), _page(running, rows, codec, methods, result).render().encode())
    return {}


def _over_seeds(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first seed, with mean and half range of density where there are several."""
    rows = [dict(row) for row in seeds[0]["rows"]]  # only the first seed has the peers: they do not depend on it
    for row in rows:
        same = [other["bytes_per_token"] for one in seeds for other in one["rows"] if other["name"] == row["name"]]
        row["bytes_per_token"] = float(np.mean(same))
        row["half_range"] = (max(same) - min(same)) / 2
    return rows


def _result(running: Running, rows: Sequence[Mapping[str, Any]], codec: Codec) -> dict[str, Any]:
    """The flat result, what matters most first; numbers have their units in their names."""
    density = {row["name"]: row["bytes_per_token"] for row in rows}
    result: dict[str, Any] = {"codec": running.config["code"], "codec_fingerprint": codec.fingerprint}
    for better, worse in (("full-65536", "greedy-65536"), ("pruned-65536", "greedy-65536")):
        if better in density and worse in density:
            result[f"{better.split('-')[0]}_over_greedy_density"] = density[better] / density[worse]
    for scheme in ("pruned", "words"):
        for row in rows:
            ours = f"{scheme}-{row['name'].rsplit(' ', 1)[-1]}"
            if not row["ours"] and ours in density:
                result[f"{scheme}_over_{_word(row['name'])}_density"] = density[ours] / row["bytes_per_token"]
    m1 = read_json(join(running.input("m1"), "m1.json"))
    result |= {
        **read_json(join(running.input("corpus"), "corpus.json")),
        "m1_parameters": m1["m1_parameters"],
        "m1_held_out_bits_per_byte": m1["m1_held_out_bits_per_byte"],
        "m1_training_flops": m1["m1_training_flops"],
        "seeds": running.config["seeds"],
        **read_json(join(running.input("readback"), "readback.json")),
    }
    best_mb_per_s = next(row["encode_mb_per_s"] for row in rows if row["name"] == running.config["code"])
    for row in rows:
        if not row["ours"]:
            result[f"encode_speed_over_{_word(row['name'])}"] = best_mb_per_s / row["encode_mb_per_s"]
    seconds = read_json(join(running.input("codes"), "compile_seconds.json"))
    result |= {f"{_word(name)}_compile_s": value for name, value in seconds.items()}
    for key in ("bytes_per_token", "bigram_bits_per_byte", "encode_mb_per_s", "decode_mb_per_s", "lossless"):
        result |= {f"{_word(row['name'])}_{key}": row[key] for row in rows}
    return result


def _word(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _page(
    running: Running,
    rows: Sequence[Mapping[str, Any]],
    codec: Codec,
    methods: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
) -> Page:
    best = next(row for row in rows if row["name"] == running.config["code"])
    page = Page(
        "Equal-Info: a neural compressor compiled into a tokenizer, and language models over it",
        f"Text: {result['corpus']}, {result['corpus_bytes'] / 1e6:.1f} MB in {result['corpus_documents']:,} documents. "
        "Every number below is on held-out text, measured in one process.",
    )
    page.numbers(
        [
            (f"{best['bytes_per_token']:.2f}", f"bytes per token ({best['name']})"),
            (f"{best['encode_mb_per_s']:.0f} MB/s", "encoding, one thread"),
            (f"{best['decode_mb_per_s']:,.0f} MB/s", "decoding, one thread"),
            (f"{result['readback_train_documents']:,}", "training documents read back by SeqIO, byte for byte"),
        ]
    )
    equal_info_lm_report.add_sections(page, methods, result)
    _density(page, rows, result)
    _speed(page, rows)
    _learnability(page, rows)
    _tokens(page, running, codec)
    _windows(page, running, [row["name"] for row in rows if row["ours"]])
    _stability(page, rows)
    _training(page, running)
    page.section("Make it again")
    page.command(
        "shammie run equal_info        # this page; --input FILES for your own text\n"
        "shammie codes                 # any set of codes, side by side\n"
        "shammie bench codec           # speed and density against the peers"
    )
    return page


def _density(page: Page, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> None:
    page.section(
        "Density",
        "How many bytes of held-out text one token stands for. All codes come from the same M1; peers are trained on "
        "the same text with settings that lose nothing. The paper's own figures are for web text (C4), so compare "
        "their order, not their height.",
    )
    # grouped by size: a larger vocabulary is always denser, which would hide what the code does
    ordered = sorted(rows, key=lambda row: (-row["vocab_size"] // 1000, -row["bytes_per_token"]))
    page.picture(
        bars(
            [row["name"] for row in ordered],
            [row["bytes_per_token"] for row in ordered],
            label="bytes per token",
            ours=[row["ours"] for row in ordered],
            marks=PAPER_BYTES_PER_TOKEN,
            marks_label="the paper, on C4",
        )
    )
    page.table(
        ["code or peer", "tokens", "bytes/token", "± over seeds", "paper, on C4", "lossless"],
        [
            [
                row["name"],
                row["vocab_size"],
                f"{row['bytes_per_token']:.3f}",
                f"{row['half_range']:.3f}" if result["seeds"] > 1 and row["ours"] else "",
                PAPER_BYTES_PER_TOKEN.get(row["name"], ""),
                "yes" if row["lossless"] else f"no, {row['documents_lost']} documents lost",
            ]
            for row in ordered
        ],
        ours=[row["ours"] for row in ordered],
        caption="The paper's rule (greedy) is not decodable: strings share codes. Its SentencePiece, Unigram with 32k "
        f"tokens, had {PAPER_BYTES_PER_TOKEN['SentencePiece Unigram 32000']} bytes/token on C4.",
    )


def _speed(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    page.section("Speed", "One thread, all held-out documents in one call, the median of repeated runs. Logarithmic.")
    ordered = sorted(rows, key=lambda row: -row["encode_mb_per_s"])
    names, ours = [row["name"] for row in ordered], [row["ours"] for row in ordered]
    for key, label in (("encode_mb_per_s", "encoding, MB/s"), ("decode_mb_per_s", "decoding, MB/s")):
        page.picture(bars(names, [row[key] for row in ordered], label=label, ours=ours, logarithmic=True))


def _learnability(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    page.section(
        "Density against learnability",
        "Dense is not yet easy to learn. The proxy is an interpolated bigram count model over the tokens, in bits per "
        "byte of held-out text: lower is better, and the corner to be in is the lower right.",
    )
    figure, axes = new_figure(height=4.6)
    peers: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        at = row["bytes_per_token"], row["bigram_bits_per_byte"]
        if row["ours"]:
            axes.plot(*at, "o", color="#0b6e8f")
            axes.annotate(row["name"], at, xytext=(5, 4), textcoords="offset points", fontsize=8)
        else:
            peers.setdefault(row["name"].rsplit(" ", 1)[0], []).append(row)
    for (name, sizes), marker in zip(peers.items(), "sv^Dx", strict=False):
        axes.plot(
            [row["bytes_per_token"] for row in sizes],
            [row["bigram_bits_per_byte"] for row in sizes],
            marker=marker,
            color="#8b9299",
            linewidth=0.8,
            label=f"{name}, {' and '.join(str(row['vocab_size']) for row in sizes)} tokens",
        )
    axes.set_xlabel("bytes per token")
    axes.set_ylabel("bigram bits per byte")
    axes.margins(0.12)
    if peers:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    page.picture(figure)


def _tokens(page: Page, running: Running, codec: Codec) -> None:
    page.section(f"The tokens of {running.config['code']}")
    texts = list(read_documents(running.input("corpus"), "test"))
    uses = np.bincount(np.concatenate(codec.encode_batch(texts)), minlength=codec.vocab_size)
    lengths = np.array([len(string or b"") for string in codec.dictionary.code_strings()])
    share = uses[uses > 0] / uses.sum()
    entropy_bits = float(-(share * np.log2(share)).sum())
    page.text(
        f"On the test split {np.count_nonzero(uses):,} of {codec.vocab_size:,} tokens occur, "
        f"{np.count_nonzero(uses > 1):,} more than once. Their frequencies carry {entropy_bits:.2f} bits a token, "
        f"where equally frequent ones would carry {math.log2(codec.vocab_size):.2f}."
    )
    figure, axes = new_figure()
    longest = int(lengths.max())
    axes.bar(np.arange(longest + 1) - 0.2, np.bincount(lengths, minlength=longest + 1) / len(lengths), 0.4,
             color="#b9c0c6", label="in the vocabulary")  # fmt: skip
    axes.bar(np.arange(longest + 1) + 0.2, np.bincount(lengths, uses, longest + 1) / uses.sum(), 0.4,
             color="#0b6e8f", label="as used")  # fmt: skip
    axes.set_xlim(0, 24)
    axes.set_xlabel("bytes in a token")
    axes.set_ylabel("share of tokens")
    axes.legend(frameon=False)
    page.picture(figure)
    figure, axes = new_figure()
    ranked = np.sort(uses[uses > 0])[::-1]
    axes.loglog(np.arange(1, len(ranked) + 1), ranked, color="#0b6e8f")
    axes.set_xlabel("rank of the token")
    axes.set_ylabel("uses on the test split")
    page.picture(figure)
    common = np.argsort(-uses * lengths)[:24]
    page.text(
        "Tokens that carry most text: "
        + "  ".join(repr((codec.decode([code])).decode("utf-8", "replace"))[1:-1].replace(" ", "·") for code in common),
        note=True,
    )


def _windows(page: Page, running: Running, names: Sequence[str]) -> None:
    page.section(
        "Windows over a sample",
        "The same held-out text cut by each code; hover over a window to see its code and what that code decodes to.",
    )
    sample = _sample(running)
    largest = {spec_of(name).scheme: name for name in sorted(names, key=lambda name: spec_of(name).vocab_size)}
    for name in [name for name in names if name in largest.values()]:
        codec = load_codec(running.input("codes"), name)
        codes = codec.encode(sample)
        page.text(f"{spec_of(name).scheme}, {codec.vocab_size:,} tokens: {len(codes)} windows for "
                  f"{len(sample)} bytes", note=True)  # fmt: skip
        page.html(f'<div class="text">{_spans(codec, sample, codes)}</div>')


def _sample(running: Running) -> bytes:
    """A piece of held-out text that is worth looking at: whole lines, of all documents the one with most words."""
    texts = list(read_documents(running.input("corpus"), "test"))
    long_ones = [text for text in texts if len(text) >= 2 * SAMPLE_BYTES] or [b"\n".join(texts)]
    samples = []
    for text in long_ones:
        start = text.find(b"\n", len(text) // 3) + 1
        sample = text[start : start + SAMPLE_BYTES]
        samples.append(sample[: sample.rfind(b"\n") + 1] or sample)
    return max(samples, key=lambda sample: len(re.findall(rb"\b[a-z]{3,}\b", sample)))


def _spans(codec: Codec, text: bytes, codes: np.ndarray) -> str:
    """The text as coloured spans, one a window.

    A lossy code's windows are longer or shorter than what they decode to, so their borders come from its dictionary.
    """
    spans, at = [], 0
    trie = codec.dictionary.trie
    for number, code in enumerate(codes.tolist()):
        node = 0
        size, taken = 0, 0
        while at + size < len(text):
            children = slice(trie.first_child[node], trie.first_child[node + 1])
            place = np.flatnonzero(trie.label[children] == text[at + size])
            if not len(place):
                break
            node, size = int(children.start + place[0]), size + 1
            taken = size if codec.dictionary.code[node] >= 0 else taken
        piece = text[at : at + taken].decode("utf-8", "replace")
        decoded = codec.decode([code]).decode("utf-8", "replace")
        wrong = "" if decoded == piece else " (not what was encoded!)"
        title = escape(f"{code}: {decoded!r}{wrong}", quote=True)
        color = "#e5484d55" if wrong else _COLORS[number % len(_COLORS)]
        shown = escape(piece).replace("\n", '<i class="end">\u21b5</i>\n')
        spans.append(f'<span style="background:{color}" title="{title}">{shown}</span>')
        at += taken
    return "".join(spans)


def _stability(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    ours = [row for row in rows if row["ours"]]
    page.section(
        "Small edits",
        "One letter is inserted at a random place of a held-out document. How much of the tokens changes before both "
        "sequences agree again?",
    )
    page.table(
        ["code", "tokens changed", "bytes in them", "edits that come back in step"],
        [
            [
                row["name"],
                f"{row['stability']['changed_tokens']:.1f}",
                f"{row['stability']['changed_bytes']:.1f}",
                f"{row['stability']['resynchronised']:.1%}",
            ]
            for row in ours
        ],
    )


def _training(page: Page, running: Running) -> None:
    m1 = read_json(join(running.input("m1"), "m1.json"))
    page.section(
        "M1",
        f"{m1['m1_parameters']:,} parameters, trained on windows from a reset context; "
        f"{m1['m1_held_out_bits_per_byte']:.3f} bits per held-out byte.",
    )
    steps, bits = zip(*m1["loss_bits_per_byte"], strict=True)
    figure, axes = new_figure(height=2.6)
    axes.plot(steps, bits, color="#0b6e8f")
    axes.set_xlabel("step")
    axes.set_ylabel("training bits per byte")
    page.picture(figure)
    seconds = read_json(join(running.input("codes"), "compile_seconds.json"))
    sizes = {name: len(read_bytes(join(running.input("codes"), f"{name}.codec"))) for name in seconds}
    page.table(
        ["code", "compile s", "artefact kB"],
        [[name, f"{value:.1f}", f"{sizes[name] / 1e3:.0f}"] for name, value in seconds.items()],
    )
