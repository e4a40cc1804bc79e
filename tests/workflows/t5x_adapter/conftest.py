"""Jobs parsed as T5X's commands parse them, and the real T5X where it is importable."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import pytest

from workflows import t5x_contract

ROOT = Path(__file__).parents[3]
Jobs = list[dict[str, Any]]


@pytest.fixture(scope="session")
def parse() -> Callable[..., Jobs]:
    """Jobs (script, files, bindings) to what each would run; see `parse_all`."""

    def run(jobs: Jobs, *, real: bool = False, devices: int = 8) -> Jobs:
        words = [sys.executable, str(Path(__file__).with_name("parse_all.py")), *(["--real"] if real else [])]
        lines = "".join(json.dumps(job) + "\n" for job in jobs)
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        done = subprocess.run(
            words, input=lines, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


def launched(command: str, files: list[str], bindings: list[str], *, well: bool = True) -> str:
    words = [sys.executable, "-m", f"t5x.{command}", *(f"--gin_file={name}" for name in files)]
    words += [f"--gin.{binding}" for binding in bindings]
    environment = {name: value for name, value in os.environ.items() if name not in ("JAX_NUMPY_RANK_PROMOTION",)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert (done.returncode == 0) == well, done.stderr[-3000:]
    return done.stderr


def losses_of(log: str) -> dict[int, float]:
    """The training losses that T5X logged, by step."""
    found = re.findall(r"\[(\d+)\] collection=train .*\bloss=([\d.e+-]+)", log)
    return {int(step): float(loss) for step, loss in found}


@pytest.fixture(scope="session")
def launch() -> Callable[..., str]:
    """Runs a command of T5X (train, eval, infer) on gin files and bindings; gives its log."""
    return launched


@pytest.fixture(scope="session")
def losses() -> Callable[[str], dict[int, float]]:
    """A log to the training losses in it, by step."""
    return losses_of


@pytest.fixture
def t5x() -> None:
    """Skips where T5X, or something that it needs, cannot be imported."""
    gin.clear_config()  # T5X registers names when it is imported, which a configuration in use forbids
    if lost := t5x_contract.missing():
        pytest.skip(f"{', '.join(lost)} cannot be imported; {t5x_contract.INSTALL}")
