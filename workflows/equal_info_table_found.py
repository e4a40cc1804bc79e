"""What the steps of the paper's table left, gathered: cells over their seeds, and what follows from several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.equal_info.m1 import M1Config
from models.lm import LMConfig
from shammie.files import join, read_json
from workflows.dag import Running, Step
from workflows.equal_info_methods import m1_flops_per_byte

Measures = Mapping[str, Any]
NOTHING_LEARNED = 0.99  # of the bits per byte that frequencies alone give: above it a model has learned no order


@dataclass(frozen=True)
class Cell:
    """A method at a size, over its seeds.

    Attributes:
        bits_per_byte: the paper's, the mean over seeds that did not diverge; None where all did.
        half_range: half the range over seeds; None for one.
        exact_bits_per_byte: the code length over the exact bytes, where the method can tell them.
        paper_flops_per_byte: 2 * block parameters / bytes per token, and M1's where it runs.
        flops_per_byte: all products counted, softmax and attention too, and M1's where it runs.
        one: what was measured of the first seed; empty where it diverged.
    """

    bits_per_byte: float | None
    half_range: float | None
    exact_bits_per_byte: float | None
    paper_flops_per_byte: float | None
    flops_per_byte: float | None
    one: Measures


@dataclass(frozen=True)
class Found:
    """All that a table's steps left.

    Attributes:
        methods: rows, in order.
        sizes: columns: name, and the paper's size that it stands beside.
        examples: by method, what was seen of its examples.
        cells: by method and size.
        halves: by method, its cell at half the length.
        probes: what each seq2seq probe measured.
        stability: by method.
        noise: what numerical noise did.
        m1: what was measured of M1, with the FLOPs of a byte.
        corpus: about the text.
        example_bytes: size of the examples.
    """

    methods: Sequence[str]
    sizes: Sequence[tuple[str, str]]
    examples: Mapping[str, Measures]
    cells: Mapping[tuple[str, str], Cell]
    halves: Mapping[str, Cell]
    probes: Sequence[Measures]
    stability: Mapping[str, Measures]
    noise: Measures
    m1: Measures
    corpus: Measures
    example_bytes: int


def cell_of(runs: Sequence[Measures], m1_flops: float, paper_m1_flops: float | None = None) -> Cell:
    """One cell from what was measured with each seed.

    Args:
        runs: each seed's cell.json, the first seed first.
        m1_flops: FLOPs of M1 for a byte; 0 where it does not run.
        paper_m1_flops: the same as the paper counts them, without logits; None: as many.
    """
    good = [run for run in runs if run["runs"]]
    if not good:
        return Cell(None, None, None, None, None, {})
    bits = [run["runs"][0]["bits_per_byte"] for run in good]
    exact = [run["runs"][0].get("exact_bits_per_byte") for run in good]
    return Cell(
        bits_per_byte=float(np.mean(bits)),
        half_range=(max(bits) - min(bits)) / 2 if len(bits) > 1 else None,
        exact_bits_per_byte=float(np.mean(exact)) if None not in exact else None,
        paper_flops_per_byte=good[0]["paper_flops_per_byte"] + (m1_flops if paper_m1_flops is None else paper_m1_flops),
        flops_per_byte=good[0]["flops_per_byte"] + m1_flops,
        one=good[0],
    )


def load(running: Running) -> Found:
    """Reads what the steps left."""
    config = running.config
    methods, m1 = config["methods"], dict(read_json(join(running.input("m1"), "m1.json")))
    m1_of = running.step.inputs["m1"]
    assert isinstance(m1_of, Step)
    settings: Any = m1_of.config["m1"]
    m1_config = M1Config(**{**settings, "decoder": LMConfig(**settings["decoder"])})
    m1["flops_per_byte"] = m1_flops_per_byte(m1_config)
    each = m1["flops_per_byte"], m1_flops_per_byte(m1_config, logits=False)
    m1_flops = {m: [one * runs for one in each] for m, runs in zip(methods, config["runs_m1"], strict=True)}
    whole: dict[tuple[str, str], list[Measures]] = {}
    halves: dict[str, list[Measures]] = {}
    full_length = max(about["length"] for about in config["cells"])
    for number, about in enumerate(config["cells"]):
        measured = read_json(join(running.input(f"cell_{number}"), "cell.json"))
        if about["length"] == full_length:
            whole.setdefault((about["method"], about["size"]), []).append(measured)
        else:
            halves.setdefault(about["method"], []).append(measured)
    return Found(
        methods=methods,
        sizes=[(size["name"], size["beside"]) for size in config["sizes"]],
        examples={
            method: read_json(join(running.input(f"examples_{number}"), "examples.json"))
            for number, method in enumerate(methods)
        },
        cells={key: cell_of(runs, *m1_flops[key[0]]) for key, runs in whole.items()},
        halves={method: cell_of(runs, *m1_flops[method]) for method, runs in halves.items()},
        probes=[
            read_json(join(running.input(f"probe_{number}"), "probe.json")) for number in range(len(config["probes"]))
        ],
        stability=read_json(join(running.input("stability"), "stability.json")),
        noise=read_json(join(running.input("noise"), "noise.json")),
        m1=m1,
        corpus=read_json(join(running.input("corpus"), "corpus.json")),
        example_bytes=config["example_bytes"],
    )


def structural_shares(found: Found) -> dict[str, float]:
    """By 16-bit method trained at half the length: the share of its gain over 8 bits that seeing more text is not.

    Table 6: (8 bits - 16 bits at as many bytes) / (8 bits - 16 bits at as many tokens). A method that gains nothing
    has none.
    """
    size, shares = found.sizes[0][0], {}
    for method, half in found.halves.items():
        names = (f"{method.removesuffix('/16')}/8", method)
        eight, whole = (cell.bits_per_byte if (cell := found.cells.get((name, size))) else None for name in names)
        if eight is not None and whole is not None and half.bits_per_byte is not None and whole < eight:
            shares[method] = (eight - half.bits_per_byte) / (eight - whole)
    return shares


def learned_nothing(found: Found, method: str, cell: Cell) -> bool:
    """Whether a cell's bits per byte are what frequencies alone give, those of training text or all the same."""
    about = found.examples[method]["uniformity"]
    bits = min(about["uniform_bits_per_byte"], about["unigram_bits_per_byte"])  # of rare tokens frequencies say less
    return cell.bits_per_byte is not None and cell.bits_per_byte > NOTHING_LEARNED * bits


def shown_bits(found: Found, method: str, cell: Cell | None) -> str:
    """Bits per byte of a cell in a table."""
    if cell is None:
        return ""
    if cell.bits_per_byte is None:
        return "diverged"
    half = f" ± {cell.half_range:.3f}" if cell.half_range is not None else ""
    return f"{cell.bits_per_byte:.3f}{half}{' =' if learned_nothing(found, method, cell) else ''}"
