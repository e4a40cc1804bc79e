"""Which stream: the compressor, its windows, and how wide the tokens are that its bits are cut into."""

from dataclasses import dataclass
from fractions import Fraction

from shammie.errors import UserError, unknown

WINDOWED = ("windows", "greedy_windows")
SCHEMES = (*WINDOWED, "ac", "static_ac", "gzip")
NEVER = "never"
PAPER_PIECE_BYTES = 10_240  # arXiv:2404.03626 section 3.1: each example is compressed on its own
LEAST_WINDOW_BITS, MOST_WINDOW_BITS = 9, 128


@dataclass(frozen=True)
class StreamSpec:
    """A stream of compressed bits, read by N at a time.

    Its text, such as windows:24/8, windows:16:2/16 or ac/8, is the method's name; `spec_of_stream` reads it back.

    Attributes:
        scheme: "windows" (Equal-Info, lossless), "greedy_windows" (the paper's rule as written), "ac", "static_ac" or
            "gzip".
        token_bits: N, 8 or 16.
        window_bits: W, bits of a window; 0 where there are none.
        reset_windows: M1 begins anew after so many windows; 0 for never, but at every piece.
        piece_bytes: text is compressed in pieces of so many bytes, where windows do not reset M1.
    """

    scheme: str
    token_bits: int
    window_bits: int = 0
    reset_windows: int = 1
    piece_bytes: int = PAPER_PIECE_BYTES

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise unknown("stream", self.scheme, SCHEMES)
        if self.token_bits not in (8, 16):
            raise UserError(f"tokens of {self.token_bits!r} bits", "tokens have 8 or 16 bits")
        if self.scheme in WINDOWED:
            least = max(LEAST_WINDOW_BITS, self.token_bits)  # a wider token could pad a window more at the end
            if not least <= self.window_bits <= MOST_WINDOW_BITS:
                raise UserError(
                    f"windows of {self.window_bits} bits in tokens of {self.token_bits}",
                    f"windows have {least} to {MOST_WINDOW_BITS} bits there",
                )
        elif (self.window_bits, self.reset_windows) != (0, 1):
            raise UserError(f"{self.scheme} has no windows", f"write {self.scheme}/{self.token_bits}")
        if not 0 <= self.reset_windows < 1 << 31:  # it is counted in the kernels' integers
            raise UserError(f"a reset every {self.reset_windows} windows", f"give 1 or more, or {NEVER}")
        if not 1 <= self.piece_bytes < 1 << 24:
            raise UserError(f"pieces of {self.piece_bytes} bytes", "give 1 to 16 million bytes")

    def __str__(self) -> str:
        reset = {0: f":{NEVER}", 1: ""}.get(self.reset_windows, f":{self.reset_windows}")
        window = f":{self.window_bits}{reset}" if self.scheme in WINDOWED else ""
        return f"{self.scheme}{window}/{self.token_bits}"

    @property
    def vocab_size(self) -> int:
        """Codes run from 0 to this, less one."""
        return 1 << self.token_bits

    @property
    def lossless(self) -> bool:
        """Whether every text comes back; the paper's own rule loses some."""
        return self.scheme != "greedy_windows"

    @property
    def window_tokens(self) -> Fraction:
        """Tokens of a window, W / N; 0 where there are no windows."""
        return Fraction(self.window_bits, self.token_bits)


def spec_of_stream(method: str) -> StreamSpec | None:
    """Parses SCHEME[:WINDOW_BITS[:RESET]]/TOKEN_BITS; None where the scheme is none of ours.

    Raises:
        UserError: the scheme is ours and the rest is wrong.
    """
    head, slash, token_bits = method.partition("/")
    scheme, *numbers = head.split(":")
    if scheme not in SCHEMES:
        return None
    example = f"write {scheme}:24/8 or {scheme}:16:2/16" if scheme in WINDOWED else f"write {scheme}/8 or {scheme}/16"
    wanted = (1, 2) if scheme in WINDOWED else (0,)
    reset = numbers[1] if len(numbers) == 2 else "1"
    if not slash or token_bits not in ("8", "16") or len(numbers) not in wanted:
        raise UserError(f"{method!r} names no stream", example)
    if not all(number.isdecimal() for number in numbers[:1]) or not (reset == NEVER or reset.isdecimal()):
        raise UserError(f"{method!r} names no stream", example)
    if reset.isdecimal() and int(reset) == 0:
        raise UserError(f"{method!r} resets M1 every 0 windows", f"give 1 or more, or {NEVER}")
    window_bits = int(numbers[0]) if numbers else 0
    return StreamSpec(scheme, int(token_bits), window_bits, 0 if reset == NEVER else int(reset))
