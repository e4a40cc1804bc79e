"""The jobs of the suite: the Equal-Info encode job, a sweep, a DAG with a Beam job in it, and the trainer."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shammie.files import canonical_json, digest, read_json
from workflows.chaos.subject import Subject, count_of, hashes_of, short_hash

UNITS, SHARDS = 40, 6
TILES = 24
SPEEDS = ("steps_per_s", "tokens_per_s")


def write_text(path: Path, *, megabytes: float, seed: int = 0) -> None:
    """Lines of seeded words, no two files alike."""
    chance = random.Random(seed)
    words = [f"w{chance.randrange(10**6)}" for _ in range(4000)]
    left = megabytes * 1e6
    with open(path, "w") as file:
        while left > 0:
            left -= file.write(" ".join(chance.choices(words, k=chance.randint(5, 100))) + "\n")


def encode(folder: Path, *, megabytes: float = 8, flags: tuple[str, ...] = (), at_once: int = 1) -> Subject:
    """`beam_jobs.equal_info` on its own."""
    text = folder / f"text{megabytes:g}.txt"
    if not text.exists():
        write_text(text, megabytes=megabytes)
    unit = int(megabytes * 1e6 / UNITS)

    def words(out: Path) -> list[str]:
        job = ["beam_jobs.equal_info", "--input", str(text), "--output", str(out), f"--num_shards={SHARDS}"]
        return [*job, f"--unit_bytes={unit}", *flags]

    def kept(out: Path) -> int:
        work = out / "_work.train"
        if not work.is_dir():
            return UNITS + SHARDS if (out / "manifest.train.json").exists() else 0
        return count_of(work, "units/*.json") + count_of(work, "shards/*.json")

    name = "encode" if at_once == 1 else f"encode x{at_once}"
    return Subject(name, words, kept, at_once, hashes_of, lambda out: frames_of(out, "*.tfrecord-*"))


def frames_of(folder: Path, pattern: str) -> Counter[str]:
    """The records of TFRecord files below a folder."""
    from beam_jobs import tfrecord

    found: Counter[str] = Counter()
    for path in folder.rglob(pattern):
        data = np.fromfile(path, np.uint8)
        frames = tfrecord.scan(data)
        ends = zip(frames.starts.tolist(), frames.ends.tolist(), strict=True)
        found.update(short_hash(data[start:end].tobytes()) for start, end in ends)
    return found


def sweep(folder: Path) -> Subject:
    """`beam_jobs.sweep` over tiles of the trainability plane."""
    from beam_jobs.trainability.cells import ADDRESS, tile_config
    from models.trainability.planes import Plane
    from models.trainability.windows import Tile

    grid = folder / "grid.json"
    plane = Plane("tanh_single", width=8, steps=200)
    grid.write_text(json.dumps([tile_config(plane, 48, Tile(3, n % 8, n // 8)) for n in range(TILES)]))

    def words(out: Path) -> list[str]:
        what = ["--kind", ADDRESS, "--grid", str(grid), "--output", str(out), "--table", str(out / "table.parquet")]
        return ["beam_jobs.sweep", *what, "--threads=2"]

    def outputs(out: Path) -> dict[str, str]:
        return {name: sha for name, sha in hashes_of(out).items() if not name.endswith(".json")}

    def records(out: Path) -> Counter[str]:
        from pyarrow.parquet import read_table

        return Counter(read_table(out / "table.parquet")["cell"].to_pylist())

    return Subject("sweep", words, lambda out: count_of(out, "*/cells/*.json"), 2, outputs, records)


def dag(folder: Path) -> Subject:
    """`workflows.chaos.pipeline`: three steps, the middle one the encode job."""

    def words(out: Path) -> list[str]:
        return ["workflows.chaos.pipeline", "--out", str(out)]

    def kept(out: Path) -> int:
        units = count_of(out, ".partial/dataset-*/data/_work.train/units/*.json")
        return units + (UNITS if count_of(out, "dataset-*/step.json") else 0)

    return Subject("DAG", words, kept, 1, dag_outputs, lambda out: frames_of(out, "*.tfrecord-*"))


def dag_outputs(out: Path) -> dict[str, str]:
    """Files of finished steps; of a record what does not tell of the machine and the time."""
    found = {name: sha for name, sha in hashes_of(out).items() if not name.endswith("step.json")}
    for path in out.glob("*/step.json"):
        record = read_json(path)
        lasting = {name: record[name] for name in ("name", "version", "identity", "config")}
        outputs = {name: about for name, about in record["outputs"].items() if "/." not in f"/{name}"}
        found[str(path.relative_to(out))] = digest({**lasting, "outputs": outputs})
    return found


def trainer(folder: Path, *, steps: int = 400, checkpoint_every: int = 50, keep: int = 3) -> Subject:
    """`workflows.train` on a small language model."""
    data = folder / "tokens"
    if not data.exists():
        _write_tokens(data)
    small = ["m2_tiny/lm.LMConfig.width=32", "m2_tiny/lm.LMConfig.layers=2", "m2_tiny/lm.LMConfig.head_width=16"]
    bindings = [f"DATA='{data}'", "VOCAB_SIZE=64", "LENGTH=32", "BATCH_SIZE=8", f"STEPS={steps}", f"KEEP={keep}"]
    every = [f"CHECKPOINT_EVERY={checkpoint_every}", "LOG_EVERY=5", f"EVAL_EVERY={checkpoint_every}"]

    def words(out: Path) -> list[str]:
        given = [f"--gin.{one}" for one in (*bindings, *every, *small)]
        return ["workflows.train", "--gin_file", "gin/train/equal_info_tiny.gin", "--out", str(out), *given]

    def kept(out: Path) -> int:
        return max(checkpoints_in(out), default=0)

    def outputs(out: Path) -> dict[str, str]:
        arrays = {f"{steps}/{name}": sha for name, sha in arrays_of(out / "checkpoints" / str(steps)).items()}
        rows = [canonical_json(_without_speeds(row)) for row in rows_of(out)]
        config = read_json(out / "config.json")
        return {**arrays, "metrics.jsonl": digest(rows), "config.json": digest(config)}

    def records(out: Path) -> Counter[str]:
        return Counter(str(row["step"]) for row in rows_of(out))

    return Subject("trainer", words, kept, checkpoint_every, outputs, records)


def _write_tokens(folder: Path) -> None:
    from seqio_tasks.token_files import write_tokens

    folder.mkdir()
    for split, documents, seed in (("train", 300, 0), ("validation", 60, 1)):
        chance = np.random.default_rng(seed)
        rows = [np.cumsum(chance.integers(1, 3, chance.integers(20, 60))) % 60 + 2 for _ in range(documents)]
        write_tokens(str(folder), split, rows, vocab_size=64, text_bytes=1000, made_with="toy")


def checkpoints_in(out: Path) -> list[int]:
    """The steps of the whole checkpoints of a run, rising."""
    return sorted(int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit())


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's log."""
    from workflows.train.metric_log import ROWS, read_rows

    return read_rows(str(out / ROWS))


def _without_speeds(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in SPEEDS}


def arrays_of(checkpoint: Path) -> dict[str, str]:
    """sha256 of the bytes of every array of a checkpoint: Orbax's own files differ from run to run."""
    return {name: short_hash(np.asarray(value).tobytes()) for name, value in _leaves(checkpoint)}


def _leaves(checkpoint: Path) -> Iterator[tuple[str, Any]]:
    import jax
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(checkpoint.absolute() / "state")
    for at, value in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(at), value
