"""Two steps under T5X, to see whether it runs here."""

import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from seqio_tasks.token_files import write_tokens
from workflows.gin_config import gin_root

GIN_FILE = "gin/t5x/equal_info_tiny.gin"
STEPS, VOCAB_SIZE, LENGTH, BATCH_SIZE = 2, 128, 16, 8
TIMEOUT_S = 600


def smoke() -> str:
    """Trains a toy for two steps by T5X's own command; says what came of it.

    Raises:
        RuntimeError: it failed, with its last line.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shammie-t5x-") as folder:
        generator = np.random.default_rng(0)
        for split in ("train", "validation"):
            ids = generator.integers(2, VOCAB_SIZE, 40 * LENGTH)
            write_tokens(folder, split, [ids], vocab_size=VOCAB_SIZE, text_bytes=len(ids), made_with="random")
        bindings = {
            "DATA": repr(folder),
            "MODEL_DIR": repr(f"{folder}/run"),
            **{"STEPS": STEPS, "VOCAB_SIZE": VOCAB_SIZE, "LENGTH": LENGTH, "BATCH_SIZE": BATCH_SIZE},
            **dict.fromkeys(("CHECKPOINT_EVERY", "EVAL_EVERY"), STEPS),
            "LOG_EVERY": 1,
            "EVAL_BATCHES": 1,
        }
        words = [sys.executable, "-m", "t5x.train", f"--gin_file={GIN_FILE}"]
        words += [f"--gin.{name}={value}" for name, value in bindings.items()]
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path]))
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            cwd=gin_root(),
            env={**os.environ, "PYTHONPATH": path},
            timeout=TIMEOUT_S,
            check=False,
        )
    losses = re.findall(r"collection=train .*\bloss=([\d.e+-]+)", done.stderr)
    if done.returncode or len(losses) != STEPS:
        raise RuntimeError(done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "it said nothing")
    return (
        f"{STEPS} steps, losses {' and '.join(f'{float(one):.3f}' for one in losses)}, {time.monotonic() - begun:.0f} s"
    )
