"""The numbers of arXiv:2404.03626 that ours stand beside: web text (C4), 26 billion tokens for each model.

Tables 2, 3 and 12 (bytes per token), 15 to 17 (bits per byte), 2 and 3 (uniform and unigram bits per byte). A method
is named as ours is; where the paper's rule differs from ours the row says so (`same_rule`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

SIZES: Mapping[str, float] = {"25m": 25e6, "113m": 113e6, "403m": 403e6, "2b": 2e9}  # as the paper's FLOPs count them
M1_FLOPS_PER_BYTE = 6e6


@dataclass(frozen=True)
class Row:
    """One method of the paper.

    Attributes:
        name: in the paper.
        bytes_per_token: on C4.
        bits_per_byte: by size, in the order of SIZES; None where the paper has none.
        uniform_bits: bits per byte were all tokens equally frequent; None where the paper has none.
        unigram_bits: were they independent; likewise.
        runs_m1: whether the paper charges M1's FLOPs.
        same_rule: whether the method is the paper's, not only one that stands for it.
    """

    name: str
    bytes_per_token: float
    bits_per_byte: tuple[float | None, ...] = (None,) * len(SIZES)
    uniform_bits: float | None = None
    unigram_bits: float | None = None
    runs_m1: bool = False
    same_rule: bool = True

    def bits(self, size: str) -> float | None:
        """Bits per byte of a size of the paper's."""
        return dict(zip(SIZES, self.bits_per_byte, strict=True)).get(size)

    def flops_per_byte(self, size: str) -> float | None:
        """2 * parameters / bytes per token, and M1's where it runs (section 3.8)."""
        if size not in SIZES:
            return None
        return 2 * SIZES[size] / self.bytes_per_token + M1_FLOPS_PER_BYTE * self.runs_m1


_WINDOWS = {
    (24, 8): (3.15, (None, None, 1.394, None), None, None),
    (24, 16): (6.30, (None, None, 1.249, None), None, None),
    (32, 8): (3.49, (2.05, 1.94, 1.83, 1.65), 2.292, 2.285),
    (32, 16): (6.97, (1.95, 1.85, 1.74, 1.63), 2.292, 2.285),
    (64, 8): (4.16, (1.85, 1.82, 1.80, 1.79), 1.923, 1.921),
    (64, 16): (8.33, (1.82, 1.80, 1.79, 1.76), 1.923, 1.921),
    (128, 8): (4.61, (1.71, 1.71, 1.71, 1.71), 1.735, 1.735),
    (128, 16): (9.22, (1.70, 1.69, 1.68, 1.67), 1.735, 1.735),
}
_DELAY = {
    8: Row("EqualInfo 16 Delay, 256", 2.20, (1.50, 1.25, 1.11, 1.00), runs_m1=True),
    16: Row("EqualInfo 16 Delay, 65k", 4.40, (1.23, 1.11, 1.01, 0.93), runs_m1=True),
}
_SENTENCEPIECE = Row("SentencePiece 32k", 4.28, (1.12, 1.01, 0.94, 0.87), 3.497, 2.443)

ROWS: Mapping[str, Row] = {
    "bytes": Row("Bytes", 1.0, (1.29, 1.16, 1.08, 1.03), 8.000, 4.602),
    "ac/8": Row("AC, 256", 5.49, (1.46,) * 4, 1.457, 1.457, runs_m1=True),
    "ac/16": Row("AC, 65k", 10.98, (1.46,) * 4, 1.457, 1.457, runs_m1=True),
    "static_ac/8": Row("StaticAC, 256", 1.73, (4.61,) * 4, 4.624, 4.624),
    "static_ac/16": Row("StaticAC, 65k", 3.46, (4.60, 4.60, 4.62, 4.62), 4.624, 4.624),
    "gzip/8": Row("GZip, 256", 2.23, (2.34, 1.93, 1.69, 1.56), 3.587, 3.586),
    "gzip/16": Row("GZip, 65k", 4.47, (2.92, 2.69, 2.48, 2.26), 3.587, 3.586),
    "greedy_windows:16/8": Row("EqualInfo 16, 256", 2.66, (1.47, 1.23, 1.09, 0.99), 3.008, 2.976, runs_m1=True),
    "greedy_windows:16/16": Row("EqualInfo 16, 65k", 5.31, (1.25, 1.12, 1.02, 0.94), 3.008, 2.976, runs_m1=True),
    "windows:16/8": _DELAY[8],
    "windows:16/16": _DELAY[16],
    **{
        f"windows:{window}/{bits}": Row(
            f"EqualInfo {window}, {'256' if bits == 8 else '65k'}", *numbers, runs_m1=True, same_rule=False
        )
        for (window, bits), numbers in _WINDOWS.items()
    },
    "windows:16:2/8": Row(
        "reset every 2nd, 256", 3.40, (None, None, 1.748, None), runs_m1=True, same_rule=False
    ),
    "windows:16:2/16": Row("reset every 2nd, 65k", 6.80, (None, None, 1.697, None), runs_m1=True, same_rule=False),
    "windows:16:never/8": Row("never reset, 256", 5.33, (None, None, 1.501, None), runs_m1=True, same_rule=False),
    "windows:16:never/16": Row("never reset, 65k", 10.66, (None, None, 1.501, None), runs_m1=True, same_rule=False),
}  # fmt: skip

# What else the paper measured: seq2seq probes (Table 5), vocabulary at equal bytes (Table 6), repeated tokens (D.8).
PROBES = {
    "decompress ac/8": 0.7698,
    "decompress windows:16/8": 0.9530,
    "compress ac/8": 0.017,
    "bytes": 0.7686,
}
STRUCTURAL_SHARE = 0.84
OTHER_RULE = "*"
OTHER_RULE_MEANS = (
    f"{OTHER_RULE} the paper's number is not of this method: of its greedy windows, which lose text, or of a "
    "vocabulary of 32,000 pieces"
)
REPEATED_SHARE = 0.345


def row_of(method: str) -> Row | None:
    """The paper's row for a method of ours; None where it has none.

    Its Delay is also what our compiled `delay` of 65,536 codes stands for, without M1; its SentencePiece, Unigram with
    32,000 pieces, what any Unigram stands for; only that of 32,000 is the same.
    """
    if method in ROWS:
        return ROWS[method]
    if method == "delay:65536":
        return _DELAY[16]
    if method == "delay:65536/8":
        return _DELAY[8]
    if not method.startswith("sentencepiece_unigram:"):
        return None
    return replace(_SENTENCEPIECE, same_rule=method == "sentencepiece_unigram:32000")


def as_printed(row: Row | None, value: float | None) -> str:
    """A number of a row as the paper prints it, 2 or 3 digits behind the point; marked where the method differs."""
    return "" if row is None or value is None else f"{value:.3f}".removesuffix("0") + mark_of(row)


def mark_of(row: Row | None) -> str:
    """What follows a row's numbers: OTHER_RULE where the method is not the paper's."""
    return OTHER_RULE if row and not row.same_rule else ""
