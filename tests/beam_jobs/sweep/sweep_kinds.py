"""Kinds of cells for the tests; the folder of this file is on the path of the tests and of the processes they start."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_jobs.sweep.ways import Ways


def recorder(log: Path) -> Callable[[], list[list[float]]]:
    """Of a SWEEP_LOG: the groups that ran since it was last asked, each as the x of its cells, sorted."""

    def read() -> list[list[float]]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return sorted(map(json.loads, lines))

    return read


class Squares:
    """y = x²; a row also tells which cells ran with it, so that another grouping would give other bytes.

    Settings: x, and if wanted width (the key), fail (a reason to raise), seconds (to sleep).
    """

    name = "squares"
    version = 1
    schema = pa.schema([("y", pa.float64()), ("mates", pa.list_(pa.float64())), ("way", pa.string())])

    def group_key(self, config: Mapping[str, Any]) -> Any:
        return {"width": config.get("width", 1)}

    def group_size(self, config: Mapping[str, Any]) -> int:
        return 4

    def cost(self, config: Mapping[str, Any]) -> float:
        return float(config.get("width", 1))

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        if "SWEEP_LOG" in os.environ:
            with open(os.environ["SWEEP_LOG"], "a") as log:
                log.write(json.dumps([config["x"] for config in configs]) + "\n")
        time.sleep(sum(config.get("seconds", 0.0) for config in configs))
        for config in configs:
            if config.get("fail") and not os.environ.get("SWEEP_MENDED"):
                raise ValueError(config["fail"])
        (width,) = {config.get("width", 1) for config in configs}
        way = ways.choose({"width": width}, {"group": lambda: 2.0, "loop": lambda: 1.0 + width})
        mates = [float(config["x"]) for config in configs]
        return [{"y": _square(x), "mates": mates, "way": way} for x in mates]


class Huge(Squares):
    name = "huge"

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        return 10**16


class Short(Squares):
    """Forgets a row, or a column."""

    name = "short"

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        rows = super().run(configs, ways)
        return rows[1:] if len(rows) > 1 else [{"y": row["y"]} for row in rows]


class Clash(Squares):
    schema = pa.schema([("config", pa.string())])


def _square(x: float) -> float:
    return float("nan") if x == 7 else float("inf") if x == 8 else x * x


SQUARES, HUGE, SHORT, CLASH = Squares(), Huge(), Short(), Clash()
NUMBER = 3
