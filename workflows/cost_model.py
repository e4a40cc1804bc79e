"""What a step costs: bytes, core seconds and FLOPs, computed from rates that were measured on this machine."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from shammie.measured import Numbers
from workflows import cost_rates

# A chip's peak in bfloat16 without sparsity, FLOP/s: the vendors' public specifications.
PEAK_FLOPS_PER_S = {"v4": 275e12, "v5e": 197e12, "v5p": 459e12, "a100": 312e12, "h100": 989e12}
UTILISATION = 0.4  # share of the peak; assumed

MEASURED, DECLARED, FORMULA = "measured here", "declared", "formula"


@dataclass(frozen=True)
class Cost:
    """What a step, or a part of one, takes. Costs of parts are added; `scaled` is for so many equal parts.

    Attributes:
        read_bytes: from its inputs.
        written_bytes: that stay.
        scratch_bytes: the most that lies beside them while it runs, and then goes.
        core_seconds: user and system, of all processes, where all runs on cores.
        flops: of matrix products, which an accelerator can take over.
        flops_core_seconds: of the core seconds, what these products take.
        sources: where the numbers come from, in words.
    """

    read_bytes: float = 0.0
    written_bytes: float = 0.0
    scratch_bytes: float = 0.0
    core_seconds: float = 0.0
    flops: float = 0.0
    flops_core_seconds: float = 0.0
    sources: tuple[str, ...] = ()

    def __add__(self, other: "Cost") -> "Cost":
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return Cost(**sums, sources=tuple(dict.fromkeys([*self.sources, *other.sources])))

    def scaled(self, times: float) -> "Cost":
        """So many times each number."""
        return replace(self, **{name: times * getattr(self, name) for name in _NUMBERS})

    def accelerator_seconds(self, peak: float, utilisation: float = UTILISATION) -> float:
        """FLOPs / (peak * utilisation)."""
        return self.flops / (peak * utilisation)


_NUMBERS = ("read_bytes", "written_bytes", "scratch_bytes", "core_seconds", "flops", "flops_core_seconds")


@dataclass(frozen=True)
class Rates:
    """What costs are computed with. Nothing is measured before a step asks for it.

    Attributes:
        out: the run's output directory, for steps that are done in part; "" for none.
        scale: how many times as large the input is taken to be.
        products: FLOP/s of a core by network width, "training_WIDTH" and "decoding_WIDTH".
        corpus: of the text job, by byte of text (`cost_rates.measure_corpus`).
    """

    out: str = ""
    scale: float = 1.0
    products: Callable[[], Numbers] = field(default=cost_rates.products)
    corpus: Callable[[], Numbers] = field(default=cost_rates.corpus)

    def training(self, flops: float, width: int) -> Cost:
        """Products of a training, forward and both gradients, of a network of this width."""
        return self._products("training", flops, width)

    def decoding(self, flops: float, width: int) -> Cost:
        """Products of forward passes that make one token after the other, in many rows."""
        return self._products("decoding", flops, width)

    def _products(self, kind: str, flops: float, width: int) -> Cost:
        seconds = flops / between(self.products(), kind, width)
        return Cost(core_seconds=seconds, flops=flops, flops_core_seconds=seconds, sources=(FORMULA, MEASURED))


def between(rates: Mapping[str, float], kind: str, width: float) -> float:
    """The rate at a width, between the two nearest that were measured: linear in logarithms, level beyond the ends.

    Args:
        rates: "KIND_WIDTH" to rate.
        kind: which of them.
        width: of the network.
    """
    known = sorted(
        (int(name.removeprefix(f"{kind}_")), rate) for name, rate in rates.items() if name.startswith(f"{kind}_")
    )
    for (low, slow), (high, fast) in pairwise(known):
        if low <= width <= high:
            share = math.log(width / low) / math.log(high / low)
            return slow * (fast / slow) ** share
    return known[0][1] if width < known[0][0] else known[-1][1]


def declared(core_seconds: float) -> Cost:
    """Core seconds that a step's author measured once, on another machine perhaps."""
    return Cost(core_seconds=core_seconds, sources=(DECLARED,))
