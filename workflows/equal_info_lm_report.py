"""The language model part of `equal_info`'s report: bits per byte at equal training FLOPs, and what serving costs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shammie.files import join, read_json
from workflows.dag import Running
from workflows.report import Page, new_figure

Measures = Mapping[str, Any]

# The targets: name, what of the result it looks at, the bound from above (<) or below (>).
TARGETS = (
    ("bits/byte over that of bytes", "ours_over_bytes_bits_per_byte", "<", 0.85),
    ("bits/byte over that of Delay", "ours_over_delay_bits_per_byte", "<", 1.0),
    ("density over SentencePiece's", "ours_over_sentencepiece_density", ">", 1.2),
    ("bits/byte over SentencePiece's", "ours_over_sentencepiece_bits_per_byte", "<", 1.02),
    ("bits/byte over SentencePiece's, below it", "ours_over_sentencepiece_bits_per_byte", "<", 1.0),
)
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
COLORS = ("#0b6e8f", "#c8553d", "#7a6c9d", "#5b8c3a", "#b58900", "#8b9299")


def load(running: Running) -> list[dict[str, Any]]:
    """What the language model steps measured, in the order of the methods."""
    folders = [running.input(f"lm_{number}") for number in range(running.config["language_models"])]
    return [read_json(join(folder, "lm.json")) for folder in folders]


def mean_bits(method: Measures, key: str = "bits_per_byte") -> float:
    """The mean over seeds."""
    return float(np.mean([run[key] for run in method["runs"]]))


def half_interval(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean (Student's t); None for a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def interval(method: Measures) -> float | None:
    """Half the 95 % interval of the mean bits per byte over seeds."""
    return half_interval([run["bits_per_byte"] for run in method["runs"]])


def result(methods: Sequence[Measures]) -> dict[str, Any]:
    """The flat numbers for result.json; the first method is ours, which all others are compared with."""
    if not methods:
        return {}
    ours = methods[0]
    told: dict[str, Any] = {"lm_our_method": ours["method"], "lm_training_flops": ours["training_flops"]}
    for name in ("bytes", "delay", "sentencepiece"):
        rivals = [method for method in methods[1:] if method["method"].startswith(name)]
        if rivals:
            told |= _over(ours, min(rivals, key=mean_bits), f"ours_over_{name}")  # of several settings the better one
    for method in methods:
        word = "lm_" + "".join(letter if letter.isalnum() else "_" for letter in method["method"])
        told |= {
            f"{word}_bits_per_byte": mean_bits(method),
            f"{word}_byte_matched_bits_per_byte": mean_bits(method, "byte_matched_bits_per_byte"),
            f"{word}_learning_rate": method["runs"][0]["learning_rate"],
        }
        if (half := interval(method)) is not None:
            told[f"{word}_bits_per_byte_95_interval"] = half
        for key in ("bytes_per_token", "flops_per_byte", "served_bytes_per_s", "served_bytes_per_step"):
            told[f"{word}_{key}"] = method[key]
    return told


def _over(ours: Measures, rival: Measures, word: str) -> dict[str, Any]:
    """Ratios to a rival; the interval is that of the ratios of runs with the same seed."""
    told: dict[str, Any] = {f"{word}_density": ours["bytes_per_token"] / rival["bytes_per_token"]}
    for key in ("bits_per_byte", "byte_matched_bits_per_byte"):
        told[f"{word}_{key}"] = mean_bits(ours, key) / mean_bits(rival, key)
    theirs = {run["seed"]: run["bits_per_byte"] for run in rival["runs"]}
    pairs = [run["bits_per_byte"] / theirs[run["seed"]] for run in ours["runs"] if run["seed"] in theirs]
    if (half := half_interval(pairs)) is not None:
        told[f"{word}_bits_per_byte_95_interval"] = half
    return told


def add_sections(page: Page, methods: Sequence[Measures], told: Mapping[str, Any]) -> None:
    """Adds the sections on language models; nothing where none was trained."""
    if not methods:
        return
    _answer(page, methods, told)
    _curves(page, methods)
    _costs(page, methods)
    _positions(page, methods)
    _samples(page, methods)


def _answer(page: Page, methods: Sequence[Measures], told: Mapping[str, Any]) -> None:
    seeds, tried = len(methods[0]["runs"]), len(methods[0]["tried"])
    context = methods[0]["context"]
    page.section(
        "Language models at equal training FLOPs",
        f"One decoder ({methods[0]['block_parameters']:,} parameters in blocks), {told['lm_training_flops']:.2g} "
        f"training FLOPs for each method, attention and softmax counted; {tried} learning "
        f"rate{'s' if tried > 1 else ''}, {seeds} seed{'s' if seeds > 1 else ''}. Bits per byte are exact: the code "
        "length of all tokens of whole held-out documents, ends included, over their bytes.",
    )
    rows = []
    for method in sorted(methods, key=mean_bits):
        half = interval(method)
        rows.append(
            [
                method["method"],
                method["vocab_size"],
                f"{method['bytes_per_token']:.3f}",
                f"{mean_bits(method):.4f}" + (f" ± {half:.4f}" if half is not None else ""),
                f"{mean_bits(method, 'byte_matched_bits_per_byte'):.4f}",
                _rate(method),
                f"{method['training_text_bytes'] / 1e6:.1f}",
                f"{method['flops_per_byte'] / 1e6:.2f}",
            ]
        )
    page.table(
        ["method", "ids", "bytes/token", "bits/byte", "byte-matched", "best rate", "text read, MB", "MFLOPs/byte"],
        rows,
        ours=[row[0] == methods[0]["method"] for row in rows],
        caption=f"Context: pieces of at most {context} tokens that see nothing before themselves (training windows "
        f"have {methods[0]['length']}); byte-matched: pieces of about {context} bytes for all. Except for bytes "
        "these are upper bounds: one text has many token sequences and only one is counted. ± is the 95 % interval of "
        "the mean over seeds, of ratios paired by seed; documents and codes are the same for all. MFLOPs/byte: one "
        "forward pass over pieces of that length. No method runs M1 here, the code is compiled; M1's own training took "
        f"{told['m1_training_flops']:.2g} FLOPs, {told['m1_training_flops'] / told['lm_training_flops']:.1f} times a "
        "model's budget, once for all codes and not in it. * the best rate is the lowest or highest that was tried.",
    )
    page.table(
        ["target", "asked", "reached", "distance"],
        [
            [what, f"{sign} {bound}", *_distance(told[key], told.get(f"{key}_95_interval", 0.0), sign, bound)]
            for what, key, sign, bound in TARGETS
            if key in told
        ],
        caption="" if seeds > 1 else "One seed: these have no interval, and small distances mean nothing.",
    )


def _rate(method: Measures) -> str:
    tried, best = [run["learning_rate"] for run in method["tried"]], method["runs"][0]["learning_rate"]
    at_edge = len(tried) > 1 and best in (min(tried), max(tried))
    lost = f", {len(method['diverged_seeds'])} seeds diverged" if method["diverged_seeds"] else ""
    return f"{best:g}{'*' if at_edge else ''}{lost}"


def _distance(value: float, half: float, sign: str, bound: float) -> tuple[str, str]:
    """What was reached, and how far that is from what was asked; reached only if the whole interval is."""
    short = value - bound if sign == "<" else bound - value
    shown = f"{value:.3f}" + (f" ± {half:.3f}" if half else "")
    if short > 0:
        return shown, f"short by {short:.3f}"
    return shown, "reached" if short + half <= 0 else "reached by the mean, not by the whole interval"


def _curves(page: Page, methods: Sequence[Measures]) -> None:
    page.section("Learning", "Validation bits per byte against training FLOPs; thin lines are other learning rates.")
    figure, axes = new_figure(height=4.2)
    for method, color in zip(methods, itertools.cycle(COLORS), strict=False):
        for run in method["tried"]:
            if run["curve"]:
                axes.plot(*zip(*run["curve"], strict=True), color=color, linewidth=0.6, alpha=0.5)
        for number, run in enumerate(method["runs"]):
            label = method["method"] if number == 0 else None
            axes.plot(*zip(*run["curve"], strict=True), color=color, linewidth=1.8, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:.1f}")
    axes.yaxis.set_minor_formatter("{x:.1f}")
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel("bits per byte, validation")
    axes.legend(**LEGEND)
    page.picture(figure)


def _costs(page: Page, methods: Sequence[Measures]) -> None:
    page.section(
        "What a byte costs",
        "Denser tokens make each byte cheaper, to read and to write. The corner to be in is the lower left on the "
        "first picture, the lower right on the second.",
    )
    for key, label in (("flops_per_byte", "forward FLOPs per byte"), ("bytes_per_token", "bytes per token")):
        figure, axes = new_figure(height=3.4)
        for method, color in zip(methods, itertools.cycle(COLORS), strict=False):
            at = method[key], mean_bits(method)
            axes.errorbar(*at, yerr=interval(method) or 0.0, fmt="o", color=color, capsize=3)
            axes.annotate(method["method"], at, xytext=(6, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel(label)
        axes.set_ylabel("bits per byte, test")
        axes.margins(0.15)
        page.picture(figure)
    page.table(
        ["method", "bytes per forward step", "bytes/s", "tokens/s"],
        [
            [
                method["method"],
                f"{method['served_bytes_per_step']:.2f}",
                f"{method['served_bytes_per_s']:,.0f}",
                f"{method['served_tokens_per_s']:,.0f}",
            ]
            for method in sorted(methods, key=lambda method: -method["served_bytes_per_step"])
        ],
        caption=f"Generating {methods[0]['served_rows']} rows with the key-value cache, on this machine.",
    )


def _positions(page: Page, methods: Sequence[Measures]) -> None:
    page.section(
        "By position",
        "Bits per byte of the tokens at each place of the context (over the method's mean bytes per token), and the "
        "share of tokens that the model held for the most probable: how fast what was read before pays off.",
    )
    for column, label in ((2, "bits per byte"), (3, "accuracy")):
        figure, axes = new_figure(height=3.2)
        for method, color in zip(methods, itertools.cycle(COLORS), strict=False):
            places = method["runs"][0]["by_context_position"]
            axes.plot([place[1] for place in places], [place[column] for place in places], "o-", color=color,
                      markersize=3, label=method["method"])  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("up to this position in the context, tokens")
        axes.set_ylabel(label)
        axes.legend(**LEGEND)
        page.picture(figure)
    columns = max(method["window_tokens"] for method in methods)
    page.table(
        ["method", *(f"token {number + 1} of a window" for number in range(columns))],
        [
            [method["method"], *(f"{share:.1%}" for share in method["runs"][0]["accuracy_by_window_position"])]
            + [""] * (columns - method["window_tokens"])
            for method in methods
        ],
        caption="Accuracy by a token's place in the code's window, ends of documents left out.",
    )


def _samples(page: Page, methods: Sequence[Measures]) -> None:
    page.section(
        "Samples", "The beginning of a held-out document, continued by each model (temperature 0.7, top-p 0.95)."
    )
    for method in methods:
        page.text(method["method"], note=True)
        sample = method["samples"][0]
        page.text_box(sample["prompt"], sample["text"])
