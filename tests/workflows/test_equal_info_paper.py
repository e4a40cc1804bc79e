"""The paper's numbers, as arXiv:2404.03626 Tables 15 to 17 print what follows from others."""

import pytest

from workflows.equal_info_paper import ROWS, SIZES, row_of


@pytest.mark.parametrize(
    ("method", "size", "mflops"),
    [
        ("bytes", "25m", 50),
        ("bytes", "2b", 4000),
        ("sentencepiece_unigram:32000", "25m", 11.7),
        ("sentencepiece_unigram:32000", "2b", 934.84),
        ("ac/8", "25m", 15.1),
        ("ac/16", "25m", 10.6),
        ("ac/16", "2b", 370),
        ("greedy_windows:16/8", "403m", 309),
        ("greedy_windows:16/16", "25m", 15.4),
        ("greedy_windows:16/16", "2b", 759.3),
        ("windows:16/16", "113m", 57.4),
        ("windows:16/8", "2b", 1820),
    ],
)
def test_flops_per_byte_are_the_printed_ones(method: str, size: str, mflops: float) -> None:
    row = row_of(method)
    assert row
    assert (row.flops_per_byte(size) or 0) / 1e6 == pytest.approx(mflops, rel=5e-3)


def test_rows_are_found_by_our_names() -> None:
    assert row_of("delay:65536") is ROWS["windows:16/16"]
    assert row_of("words:2048") is None
    greedy = ROWS["greedy_windows:16/16"]
    assert [greedy.bits(size) for size in SIZES] == [1.25, 1.12, 1.02, 0.94]
    assert greedy.bits("0.4m") is None is greedy.flops_per_byte("0.4m")
    assert ROWS["windows:24/8"].bits("403m") == 1.394
    for bits in (8, 16):  # twice the bits, twice the bytes
        assert ROWS[f"windows:64/{bits}"].bytes_per_token == pytest.approx(4.165 * bits / 8, rel=2e-3)
