"""The paper's table from what its steps left: on the terminal, in result.json, and as a page."""

from typing import Any

from shammie.files import write_bytes, write_json
from workflows import equal_info_table_pages
from workflows.bench.table import Table
from workflows.dag import Running
from workflows.equal_info_paper import OTHER_RULE_MEANS, as_printed, mark_of, row_of
from workflows.equal_info_table_found import Found, load, shown_bits, structural_shares
from workflows.report import Page

TERMINAL = "table.txt"


def write(running: Running) -> dict[str, Any]:
    """Writes result.json, report.html, and table.txt, which the command prints."""
    found = load(running)
    table = "\n\n".join(table.render() for table in terminal_tables(found))
    write_json(running.path("result.json"), result(found), sort_keys=False)
    write_bytes(running.path("report.html"), page(found).render().encode())
    write_bytes(running.path(TERMINAL), f"{table}\n".encode())
    return {"cells": len(found.cells)}


def word_of(name: str) -> str:
    """A method's or a size's name as part of a key."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def result(found: Found) -> dict[str, Any]:
    """The flat result: bits per byte of every cell first, then what they cost and the analyses."""
    told: dict[str, Any] = {}
    for key in ("bits_per_byte", "half_range", "exact_bits_per_byte", "paper_flops_per_byte", "flops_per_byte"):
        for (method, size), cell in found.cells.items():
            if (value := getattr(cell, key)) is not None:
                name = "bits_per_byte_half_range" if key == "half_range" else key
                told[f"{word_of(method)}_{word_of(size)}_{name}"] = value
    for method in found.methods:
        about = found.examples[method]
        told[f"{word_of(method)}_bytes_per_token"] = about["bytes_per_token"]
        for key in ("uniform_bits_per_byte", "unigram_bits_per_byte"):
            told[f"{word_of(method)}_{key}"] = about["uniformity"][key]
        for key in ("distance", "word_sequences", "repeated_share"):
            told[f"{word_of(method)}_stability_{key}"] = found.stability[method][key]
    for method, share in structural_shares(found).items():
        told[f"{word_of(method)}_structural_share"] = share
    for probe in found.probes:
        told |= {f"probe_{word_of(probe['task'])}_{key}": probe[key] for key in ("accuracy", "nats", "chance_nats")}
    for row in found.noise["rows"]:
        told[f"noise_{word_of(row['source'])}_changed_tables"] = row["changed_tables"]
    diverged = sum(cell.bits_per_byte is None for cell in found.cells.values())
    return {**told, "diverged_cells": diverged, "m1_held_out_bits_per_byte": found.m1["m1_held_out_bits_per_byte"],
            **found.corpus}  # fmt: skip


def terminal_tables(found: Found) -> list[Table]:
    """The paper's columns, each of our numbers with the paper's in brackets: bits per byte, and FLOPs per byte."""
    bits, flops = [], []
    for method in found.methods:
        paper = row_of(method)
        bits.append(
            [
                method,
                beside(
                    f"{found.examples[method]['bytes_per_token']:.2f}",
                    as_printed(paper, paper and paper.bytes_per_token),
                ),
            ]
        )
        flops.append([method])
        for name, size in found.sizes:
            cell = found.cells.get((method, name))
            bits[-1].append(beside(shown_bits(found, method, cell), as_printed(paper, paper and paper.bits(size))))
            cost, theirs = cell and cell.paper_flops_per_byte, paper and paper.flops_per_byte(size)
            flops[-1].append(beside(_millions(cost), _millions(theirs) + mark_of(paper) if theirs else ""))
    stands = ", ".join(f"{name} beside the paper's {size}" for name, size in found.sizes)
    return [
        Table(
            "arXiv:2404.03626's table; in brackets the paper's numbers, on C4 and with its own models",
            ["method", "bytes/token", *(f"{name}: bits/byte" for name, _ in found.sizes)],
            bits,
            notes=[
                stands,
                "= has learned nothing beyond how often each token occurs; ± half the range of seeds",
                OTHER_RULE_MEANS,
            ],
        ),
        Table(
            "Millions of FLOPs per byte, as the paper counts them: 2 for each parameter in blocks, and M1's",
            ["method", *(f"{name}: MFLOPs/byte" for name, _ in found.sizes)],
            flops,
            notes=[OTHER_RULE_MEANS],
        ),
    ]


def beside(ours: str, theirs: str) -> str:
    """Ours (theirs)."""
    return f"{ours} ({theirs})".strip() if theirs else ours


def _millions(flops: float | None) -> str:
    return f"{float(f'{flops / 1e6:.3g}'):,.10g}" if flops else ""  # 3 digits, without an exponent


def page(found: Found) -> Page:
    """The page."""
    out = Page(
        "The paper's table",
        f"Text: {found.corpus['corpus']}, {found.corpus['corpus_bytes'] / 1e6:.1f} MB. Every method reads the first "
        f"tokens of the same examples of {found.example_bytes:,} bytes, as many tokens and steps each, as in "
        "arXiv:2404.03626; its own numbers, on web text and with its own models, stand beside ours for their order.",
    )
    equal_info_table_pages.add_sections(out, found)
    return out
