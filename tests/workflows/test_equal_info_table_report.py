"""The table's report: cells over seeds, the paper's numbers beside, and what follows from several cells."""

from typing import Any

import pytest

from workflows.equal_info_paper import ROWS, SIZES, mark_of, row_of
from workflows.equal_info_table_found import Cell, Found, cell_of, learned_nothing, structural_shares
from workflows.equal_info_table_report import page, result, terminal_tables


def _run(bits: float, **more: Any) -> dict[str, Any]:
    run = {"bits_per_byte": bits, "bits_per_token": 2 * bits, "accuracy": 0.25, "seed": 0, **more}
    run |= {"accuracy_by_window_position": [0.3, 0.2], "bits_by_window_position": [4.0, 6.0]}
    return {
        "runs": [run],
        "paper_flops_per_byte": 50e6,
        "flops_per_byte": 60e6,
        "window_tokens": 2,
        "training_text_bytes": 1e6,
        "epochs": 0.5,
        "training_flops": 1e12,
    }


def _found(methods: list[str] | None = None) -> Found:
    """As if we had measured what the paper did."""
    methods = methods or [*ROWS, "words:2048"]
    cells, examples = {}, {}
    for method in methods:
        row = row_of(method)
        density = row.bytes_per_token if row else 4.5
        uniform = (row and row.uniform_bits) or 3.0
        examples[method] = {
            "bytes_per_token": density,
            "uniformity": {
                "uniform_bits_per_byte": uniform,
                "unigram_bits_per_byte": (row and row.unigram_bits) or 2.9,
            },
        }
        for size in ("25m", "113m"):
            bits = row.bits(size) if row else 1.05
            if bits:
                measured = _run(bits)
                measured["paper_flops_per_byte"] = 2 * SIZES[size] / density
                measured["flops_per_byte"] = 2.2 * SIZES[size] / density
                cells[method, size] = cell_of([measured], 6e6 * bool(row and row.runs_m1))
    stability = {
        "distance": 3.0, "share": 0.1, "sequences": 9, "prefixes": 500,
        "word_sequences": 3, "word_contexts": 40, "repeated_share": 0.345,
    }  # fmt: skip
    noise = {"source": "bfloat16 logits", "changed_tables": 0.9, "wrong_texts": 1.0, "right_bytes": 1.5}
    probe = {
        "task": "decompress ac/8",
        "accuracy": 0.77,
        "accuracy_standard_error": 0.01,
        "nats": 0.8,
        "chance_nats": 5.545,
        "text_bytes": 1024,
    }
    return Found(
        methods=methods,
        sizes=[("25m", "25m"), ("113m", "113m")],
        examples=examples,
        cells=cells,
        halves={},
        probes=[{**probe, "curve": [[1, 0.1, 3.0], [2, 0.77, 0.8]], "block_parameters": 10}],
        stability=dict.fromkeys(methods, stability),
        noise={
            "texts": 4,
            "text_bytes": 64,
            "rows": [{**noise, "wrong_windows": 0.2}, {**noise, "wrong_windows": None}],
        },
        m1={"flops_per_byte": 6e6, "m1_held_out_bits_per_byte": 1.457},
        corpus={"corpus": "C4", "corpus_bytes": 1e9},
        example_bytes=10_240,
    )


def test_a_cell_is_the_mean_over_seeds_and_one_that_diverged_is_left_out() -> None:
    cell = cell_of([_run(1.2, exact_bits_per_byte=1.3), {"runs": []}, _run(1.4, exact_bits_per_byte=1.5)], 6e6)
    assert cell.bits_per_byte == pytest.approx(1.3)
    assert cell.half_range == pytest.approx(0.1)
    assert cell.exact_bits_per_byte == pytest.approx(1.4)
    assert (cell.paper_flops_per_byte, cell.flops_per_byte) == (56e6, 66e6)
    assert cell_of([_run(1.2)], 6e6, 5e6).paper_flops_per_byte == 55e6
    assert cell_of([_run(1.2)], 0.0).half_range is None is cell_of([_run(1.2)], 0.0).exact_bits_per_byte
    assert cell_of([{"runs": []}], 6e6) == Cell(None, None, None, None, None, {})


def test_the_papers_own_numbers_beside_themselves() -> None:
    """Fed with the paper's measurements, every cell equals what stands in brackets."""
    table, flops = terminal_tables(_found())
    rows = {row[0]: [*row, *costs[1:]] for row, costs in zip(table.rows, flops.rows, strict=True)}
    assert rows["greedy_windows:16/16"][1:] == [
        "5.31 (5.31)", "1.250 (1.25)", "1.120 (1.12)", "15.4 (15.4)", "48.6 (48.6)"
    ]  # fmt: skip
    assert rows["ac/8"][2] == "1.460 = (1.46)"  # nothing was learned: the paper's own finding
    assert rows["bytes"][2] == "1.290 (1.29)"
    assert rows["words:2048"][1:3] == ["4.50", "1.050"]
    assert rows["windows:24/8"][2] == ""
    assert "25m beside the paper's 25m" in table.notes[0]


def test_the_papers_numbers_are_shown_as_it_prints_them_and_marked_where_its_method_differs() -> None:
    found = Found(**{**vars(_found()), "sizes": [("25m", "403m"), ("113m", "2b")]})
    table, flops = terminal_tables(found)
    rows = {row[0]: [*row, *costs[1:]] for row, costs in zip(table.rows, flops.rows, strict=True)}
    assert rows["windows:24/8"][1:3] == ["3.15 (3.15*)", "(1.394*)"]
    assert rows["ac/16"][1] == "10.98 (10.98)"
    assert rows["bytes"][4:] == ["50 (806)", "226 (4,000)"]
    assert rows["windows:16/8"][3] == "1.250 (1.00)"
    for one in (table, flops):
        assert "its greedy windows, which lose text" in one.notes[-1]
    shown = page(found).render()
    for number in ("1.394*", "1.249*", "1.748*", "1.697*", "1.501*", "10.98", "4,000.0", "2.292*"):
        assert f"<td>{number}</td>" in shown
    assert "greedy windows, which lose text" in shown
    marked = [mark_of(row_of(f"sentencepiece_unigram:{pieces}")) for pieces in (2048, 32000)]
    assert marked == ["*", ""]


def test_nothing_is_learned_where_frequencies_alone_do_as_well() -> None:
    found = _found(["ac/8", "bytes"])
    assert learned_nothing(found, "ac/8", found.cells["ac/8", "25m"])
    assert not learned_nothing(found, "bytes", found.cells["bytes", "25m"])
    # tokens so rare that their frequencies say less than nothing
    about = {"uniform_bits_per_byte": 1.4, "unigram_bits_per_byte": 2.0}
    rare = Found(**{**vars(found), "examples": {"ac/8": {"bytes_per_token": 5.0, "uniformity": about}}})
    assert learned_nothing(rare, "ac/8", cell_of([_run(1.4)], 0))
    assert not learned_nothing(rare, "ac/8", cell_of([_run(1.3)], 0))


def test_the_share_of_structure_is_the_papers_for_its_numbers() -> None:
    """Table 6: 1.472, 1.287 and 1.251 make 84 %."""
    cells = {
        ("windows:16/8", "25m"): cell_of([_run(1.472)], 0),
        ("windows:16/16", "25m"): cell_of([_run(1.251)], 0),
    }
    found = Found(**{**vars(_found(["windows:16/8", "windows:16/16"])), "cells": cells,
                     "halves": {"windows:16/16": cell_of([_run(1.287)], 0)}})  # fmt: skip
    assert structural_shares(found)["windows:16/16"] == pytest.approx(0.84, abs=0.005)
    assert result(found)["windows_16_16_structural_share"] == structural_shares(found)["windows:16/16"]
    assert "84%" in page(found).render()
    cells["windows:16/16", "25m"] = cell_of([_run(1.5)], 0)  # nothing is gained
    assert structural_shares(found) == {}
    assert "windows_16_16_structural_share" not in result(found)
    assert "<td>1.500</td><td></td>" in page(found).render().replace("\n", "")


def test_the_result_is_flat_and_counts_what_diverged() -> None:
    found = _found(["bytes", "windows:16/8"])
    found = Found(**{**vars(found), "cells": {**found.cells, ("bytes", "113m"): cell_of([{"runs": []}], 0)}})
    told = result(found)
    assert all(isinstance(value, int | float | str | bool) for value in told.values())
    assert next(iter(told)) == "bytes_25m_bits_per_byte"
    assert told["windows_16_8_25m_paper_flops_per_byte"] == pytest.approx(28.7e6, rel=1e-2)
    assert told["diverged_cells"] == 1
    assert "bytes_113m_bits_per_byte" not in told
    assert "diverged" in page(found).render()


def test_the_page_has_every_section_and_needs_no_network() -> None:
    shown = page(_found()).render()
    for heading in ("Bits per byte", "How uniform tokens are", "By position in the window", "How stable tokens are"):
        assert f"<h2>{heading}</h2>" in shown
    assert "Can a transformer do, or undo, the compression?" in shown
    assert "77.00%" in shown
    assert "<td>90.00%</td>" in shown
    assert shown.count("<svg") == 5
