import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from models.lm import LMConfig
from models.training import OptimizerConfig
from seqio_tasks.token_files import write_tokens
from workflows.train import TrainConfig

ROOT = Path(__file__).parent.parent.parent.parent
sys.path.append(str(Path(__file__).parent))  # where regression_job lies: pytest imports no neighbours
MODEL = LMConfig(vocab_size=64, width=16, layers=1, heads=2, head_width=8, mlp_width=32, max_distance=8)
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=4)
COMPILED: dict[str, Any] = {
    "jax_compilation_cache_dir": os.path.join(tempfile.gettempdir(), f"shammie-tests-xla-{os.getuid()}"),
    "jax_persistent_cache_min_compile_time_secs": 0.1,
    "jax_disable_most_optimizations": True,  # compiling takes most of the time of these runs
}
SPEEDS = ("steps_per_s", "tokens_per_s")


def write_split(directory: str, split: str, documents: int, seed: int = 0, **about: Any) -> None:
    chance = np.random.default_rng(seed)
    rows = [np.cumsum(chance.integers(1, 3, chance.integers(20, 60))) % 60 + 2 for _ in range(documents)]
    write_tokens(directory, split, rows, **{"vocab_size": 64, "text_bytes": 1000, "made_with": "toy", **about})


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """What these tests compile is kept on disk: most of them compile the same, in one process or another.

    What is compiled so ends with each module, and nothing that was compiled otherwise is used in it: other tests
    compare the bits of this process with those of processes that optimise.
    """
    from jax.experimental.compilation_cache import compilation_cache

    def switched(values: dict[str, Any]) -> None:
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        jax.clear_caches()

    before = {name: jax.config.values[name] for name in COMPILED}
    switched(COMPILED)
    yield
    switched(before)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of token files: documents that count upwards, modulo 60, by 1 or 2."""
    folder = str(tmp_path_factory.mktemp("toy"))
    write_split(folder, "train", 300)
    write_split(folder, "validation", 60, seed=1)
    return folder


@pytest.fixture(scope="session")
def config(toy: str) -> Callable[..., TrainConfig]:
    """Makes a small run; settings by name."""

    def make(**settings: Any) -> TrainConfig:
        small: dict[str, Any] = {
            "data": toy,
            "model": MODEL,
            "optimizer": OPTIMIZER,
            "length": 16,
            "batch_size": 4,
            "steps": 12,
            "log_every": 4,
            "eval_every": 0,
            "checkpoint_every": 0,
        }
        return TrainConfig(**{**small, **settings})

    return make


def start(program: str | list[str], *, devices: int = 1) -> subprocess.Popen[str]:
    """Starts Python on a text, or on words after `-m`, with so many fake devices."""
    words = ["-c", program] if isinstance(program, str) else ["-m", *program]
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
        **{name.upper(): str(value) for name, value in COMPILED.items()},
    }
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same_bytes(one: Any, other: Any) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert a.tobytes() == b.tobytes()


def without_speeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in SPEEDS} for row in rows]


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers above, for test modules (which pytest imports without a package)."""
    return SimpleNamespace(
        start=start,
        write_split=write_split,
        leaves=leaves,
        assert_same_bytes=assert_same_bytes,
        without_speeds=without_speeds,
    )
