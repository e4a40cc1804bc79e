"""The sections of the table's page: the paper's tables beside ours, pictures, and the analyses."""

import itertools
from typing import Any

from workflows import equal_info_paper
from workflows.equal_info_paper import OTHER_RULE_MEANS, as_printed, mark_of, row_of
from workflows.equal_info_table_found import Cell, Found, shown_bits, structural_shares
from workflows.report import Page, new_figure

KINDS = {  # what methods are drawn alike: color, marker
    "bytes": ("#1c2024", "s"),
    "sentencepiece": ("#c8553d", "s"),
    "ours, compiled": ("#0b6e8f", "D"),
    "windows, 16 bits a token": ("#5b8c3a", "o"),
    "windows, 8 bits a token": ("#9cc37f", "o"),
    "M1 reset later or never": ("#b58900", "^"),
    "AC, static AC, GZip": ("#8b9299", "v"),
}
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}


def kind_of(method: str) -> str:
    """What a method is drawn as."""
    scheme = method.partition(":")[0].partition("/")[0]
    if scheme.startswith("sentencepiece"):
        return "sentencepiece"
    if scheme in ("windows", "greedy_windows"):
        if method.count(":") > 1:
            return "M1 reset later or never"
        return f"windows, {method.rpartition('/')[2]} bits a token"
    if scheme in ("ac", "static_ac", "gzip"):
        return "AC, static AC, GZip"
    return "bytes" if scheme == "bytes" else "ours, compiled"


def is_ours(method: str) -> bool:
    """Whether a row stands out: our compiled dictionaries."""
    return kind_of(method) == "ours, compiled"


def add_sections(page: Page, found: Found) -> None:
    """All sections."""
    _bits(page, found)
    _against_flops(page, found)
    _flops(page, found)
    _uniformity(page, found)
    _positions(page, found)
    _byte_matched(page, found)
    _probes(page, found)
    _stability(page, found)
    _noise(page, found)
    _cells(page, found)
    page.section("Make it again")
    page.command(
        "shammie run equal_info --gin_file gin/equal_info/paper_table_small.gin     # small models, 2 cores\n"
        "shammie plan equal_info --gin_file gin/equal_info/paper_table.gin          # the paper's grid"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _bits(page: Page, found: Found) -> None:
    page.section(
        "Bits per byte",
        "The mean loss of the first tokens of held-out examples, times the tokens per byte of whole ones (section "
        "3.8). Beside each size stands the paper's number: its own text and models.",
    )
    rows = []
    for method in found.methods:
        paper = row_of(method)
        row: list[Any] = [method, paper.name if paper else "", f"{found.examples[method]['bytes_per_token']:.2f}"]
        row.append(as_printed(paper, paper and paper.bytes_per_token))
        for name, size in found.sizes:
            row.append(shown_bits(found, method, found.cells.get((method, name))))
            row.append(as_printed(paper, paper and paper.bits(size)))
        rows.append(row)
    pairs = [[f"{name}: bits/byte", f"paper {size}"] for name, size in found.sizes]
    page.table(
        ["method", "in the paper", "bytes/token", "paper", *itertools.chain(*pairs)],
        rows,
        ours=[is_ours(method) for method in found.methods],
        caption="= : no better than how often each token occurs, so nothing was learned. ± is half the range of seeds. "
        "Windows of 24 bits and more stand beside the paper's own rule, ours (its Delay idea) is lossless and less "
        "dense; SentencePiece beside its Unigram of 32,000 pieces. greedy_windows loses text, so its bits per byte are "
        f"no code length. {OTHER_RULE_MEANS}.",
    )


def _against_flops(page: Page, found: Found) -> None:
    page.section(
        "Bits per byte against what a byte costs",
        "Each method once for each size, larger ones to the right; the corner to be in is the lower left. FLOPs are "
        "counted as the paper does: 2 for each parameter in blocks, per token, and M1's where it has to run.",
    )
    for key, label in (
        ("paper_flops_per_byte", "forward FLOPs per byte, as the paper counts"),
        ("flops_per_byte", "forward FLOPs per byte, softmax and attention counted"),
    ):
        figure, axes = new_figure(height=5.6)
        drawn: set[str] = set()
        for method in found.methods:
            cells = [found.cells.get((method, name)) for name, _ in found.sizes]
            at = [(getattr(cell, key), cell.bits_per_byte) for cell in cells if cell and cell.bits_per_byte is not None]
            if not at:
                continue
            kind = kind_of(method)
            color, marker = KINDS[kind]
            label_once = kind if kind not in drawn else None
            drawn.add(kind)
            axes.plot(*zip(*at, strict=True), marker=marker, color=color, linewidth=0.9, markersize=4, label=label_once)
            axes.annotate(method, at[-1], xytext=(5, -2), textcoords="offset points", fontsize=6.5, color=color)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.1f}")
        axes.yaxis.set_minor_formatter("{x:.1f}")
        axes.tick_params(which="minor", labelsize=7)
        axes.set_xlabel(label)
        axes.set_ylabel("bits per byte, test")
        axes.margins(x=0.12)
        axes.legend(**LEGEND)
        page.picture(figure)


def _flops(page: Page, found: Found) -> None:
    page.section("FLOPs per byte", f"In millions. M1 costs {found.m1['flops_per_byte'] / 1e6:.3f} where it runs.")
    rows = []
    for method in found.methods:
        row: list[Any] = [method]
        paper = row_of(method)
        for name, size in found.sizes:
            cell = found.cells.get((method, name))
            theirs = paper.flops_per_byte(size) if paper else None
            row.append(f"{cell.paper_flops_per_byte / 1e6:.3f}" if cell and cell.paper_flops_per_byte else "")
            row.append(f"{cell.flops_per_byte / 1e6:.3f}" if cell and cell.flops_per_byte else "")
            row.append(f"{theirs / 1e6:,.1f}{mark_of(paper)}" if theirs else "")
        rows.append(row)
    columns = [[f"{name}: as the paper counts", "all products", f"paper {size}"] for name, size in found.sizes]
    page.table(
        ["method", *itertools.chain(*columns)],
        rows,
        ours=[is_ours(method) for method in found.methods],
        caption="The paper's way leaves out softmax and attention. The smaller a model and the larger its vocabulary, "
        f"the larger is the softmax's share of all products. {OTHER_RULE_MEANS}.",
    )


def _uniformity(page: Page, found: Found) -> None:
    page.section(
        "How uniform tokens are",
        "Bits per byte if all tokens were equally frequent, and if only how often each occurs were known: what a "
        "compressor leaves to frequencies (Tables 2 and 3).",
    )
    rows = []
    for method in found.methods:
        about, paper = found.examples[method]["uniformity"], row_of(method)
        rows.append(
            [
                method,
                _number(about["uniform_bits_per_byte"]),
                _number(about["unigram_bits_per_byte"]),
                as_printed(paper, paper and paper.uniform_bits),
                as_printed(paper, paper and paper.unigram_bits),
            ]
        )
    page.table(
        ["method", "uniform", "unigram", "paper: uniform", "paper: unigram"],
        rows,
        ours=[is_ours(method) for method in found.methods],
        caption="Unigram: held-out tokens by their frequencies in training text; where tokens are many and text is "
        "little it can be above uniform. "
        f"{OTHER_RULE_MEANS}.",
    )


def _positions(page: Page, found: Found) -> None:
    size = found.sizes[-1][0]
    several = {}
    for method in found.methods:
        for name, _ in reversed(found.sizes):  # the largest size that the method has
            cell = found.cells.get((method, name))
            if cell and cell.one and cell.one["window_tokens"] > 1:
                several[method] = cell.one["runs"][0]
                break
    if not several:
        return
    page.section(
        "By position in the window",
        f"Accuracy and bits of the tokens at each place of their window, at the largest size ({size} where it has the "
        "method). The paper's Figure 10: the first tokens are learned, those behind need more arithmetic than a model "
        "follows.",
    )
    for key, label in (("accuracy_by_window_position", "accuracy"), ("bits_by_window_position", "bits per token")):
        figure, axes = new_figure(height=3.2)
        for number, (method, run) in enumerate(several.items()):
            values = run[key]
            style = "o-" if method.endswith("/16") else "o--"
            axes.plot(range(1, len(values) + 1), values, style, markersize=3, label=method, color=f"C{number % 10}")
        axes.set_xlabel("place of the token in its window")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(**LEGEND)
        page.picture(figure)


def _byte_matched(page: Page, found: Found) -> None:
    if not found.halves:
        return
    shares, size = structural_shares(found), found.sizes[0][0]
    page.section(
        "A large vocabulary at as many bytes",
        "16-bit tokens at half the length see as much text as 8-bit ones. What they gain then is structure, not text "
        "(Table 6).",
    )

    def bits(cell: Cell | None) -> str:
        return _number(cell.bits_per_byte if cell else None)

    page.table(
        [
            "method",
            "8 bits",
            "16 bits, as many bytes",
            "16 bits, as many tokens",
            "share of the gain that is structure",
        ],
        [
            [
                method,
                bits(found.cells.get((f"{method.removesuffix('/16')}/8", size))),
                bits(half),
                bits(found.cells.get((method, size))),
                f"{shares[method]:.0%}" if method in shares else "",
            ]
            for method, half in found.halves.items()
        ],
        caption=f"The paper, 25m: 1.472, 1.287, 1.251: {equal_info_paper.STRUCTURAL_SHARE:.0%}.",
    )


def _probes(page: Page, found: Found) -> None:
    if not found.probes:
        return
    page.section(
        "Can a transformer do, or undo, the compression?",
        "A decoder reads tokens and writes bytes (decompress), or the other way round (compress). Set beside it is one "
        "that writes bytes without having read anything: what decompression must beat (section 6, Table 5).",
    )
    page.table(
        ["task", "accuracy", "cross-entropy, nats", "chance, nats", "paper's accuracy"],
        [
            [
                probe["task"],
                f"{probe['accuracy']:.2%} ± {probe['accuracy_standard_error']:.2%}",
                f"{probe['nats']:.3f}",
                f"{probe['chance_nats']:.3f}",
                f"{theirs:.1%}" if (theirs := equal_info_paper.PROBES.get(probe["task"])) else "",
            ]
            for probe in found.probes
        ],
        caption=f"Texts of {found.probes[0]['text_bytes']} bytes, {found.probes[0]['block_parameters']:,} parameters "
        "in blocks; the paper's have 1,024 bytes and 113 million.",
    )
    figure, axes = new_figure(height=3.4)
    for number, probe in enumerate(found.probes):
        axes.plot(
            [point[0] for point in probe["curve"]],
            [point[1] for point in probe["curve"]],
            "o-" if probe["task"].startswith("decompress") else "s--",
            markersize=3,
            label=probe["task"],
            color="#1c2024" if probe["task"] == "bytes" else f"C{number % 10}",
        )
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy, held-out")
    axes.legend(**LEGEND)
    page.picture(figure)


def _stability(page: Page, found: Found) -> None:
    first = next(iter(found.stability.values()))
    page.section(
        "How stable tokens are",
        f"One sentence behind {first['prefixes']} different words: the edit distance between two token sequences "
        f"(section 6.1). The sequences that cover one word in {first['word_contexts']} contexts (Table 7). Of the "
        "tokens in a few held-out documents the share that occurs more than once (appendix D.8; the paper's 16-bit "
        f"windows: {equal_info_paper.REPEATED_SHARE:.1%}).",
    )
    page.table(
        ["method", "edit distance, tokens", "share of the sequence", "sequences of the word", "tokens seen again"],
        [
            [
                method,
                f"{told['distance']:.1f}",
                f"{told['share']:.1%}",
                f"{told['word_sequences']} of {told['word_contexts']}",
                f"{told['repeated_share']:.1%}",
            ]
            for method in found.methods
            for told in [found.stability[method]]
        ],
        ours=[is_ours(method) for method in found.methods],
        caption="Tokens are told apart by what they decode to, a window at a time; greedy_windows loses text, so the "
        "tokens counted for a word are only about there. The prefix word's own tokens count too.",
    )


def _noise(page: Page, found: Found) -> None:
    page.section(
        "If the decoder's M1 is not bit for bit the encoder's",
        f"M1's logits disturbed between encoding and decoding (section 3.7), {found.noise['texts']} texts of "
        f"{found.noise['text_bytes']} bytes: how many tables of frequencies change, how far arithmetic decoding comes, "
        "and how many 16-bit windows become other text. In whole numbers M1 says the same everywhere, and a compiled "
        "dictionary never asks it.",
    )
    page.table(
        ["what differs", "tables changed", "texts not decoded", "bytes before the first wrong one", "windows wrong"],
        [
            [
                row["source"],
                f"{row['changed_tables']:.2%}",
                f"{row['wrong_texts']:.1%}",
                f"{row['right_bytes']:.1f}",
                f"{row['wrong_windows']:.2%}" if row["wrong_windows"] is not None else "",
            ]
            for row in found.noise["rows"]
        ],
    )


def _cells(page: Page, found: Found) -> None:
    page.section(
        "Every cell",
        "Exact: the code length of the tokens measured over the very bytes that they stand for, where the method can "
        "tell these; the paper's number takes the density of whole examples instead. Where the first tokens say less "
        "than later ones (GZip's hold its header and its tables) the two lie far apart.",
    )
    rows = []
    for method in found.methods:
        for name, _ in found.sizes:
            cell = found.cells.get((method, name))
            if not cell or not cell.one:
                continue
            run = cell.one["runs"][0]
            rows.append(
                [
                    method,
                    name,
                    _number(cell.bits_per_byte),
                    _number(cell.exact_bits_per_byte),
                    f"{run['bits_per_token']:.2f}",
                    f"{run['accuracy']:.1%}",
                    f"{cell.one['training_text_bytes'] / 1e6:.1f}",
                    f"{cell.one['epochs']:.2f}",
                    f"{cell.one['training_flops']:.2g}",
                ]
            )
    page.table(
        ["method", "size", "bits/byte", "exact", "bits/token", "accuracy", "text, MB", "epochs", "training FLOPs"],
        rows,
        ours=[is_ours(row[0]) for row in rows],
        caption="A fixed number of tokens covers more bytes of text that compresses well. So the exact numbers are of "
        "slightly other text for each method, and lower for dense ones.",
    )
