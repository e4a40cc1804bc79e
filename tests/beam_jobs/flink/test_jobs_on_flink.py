"""Every job on a real Flink cluster of two task managers: the same bytes as in this process, file for file."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from beam_jobs.adversarial_arithmetic.search import Writer, search
from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.equal_info import job as encoding
from beam_jobs.flink.artefacts import flink_classpath, java, job_server_classpath
from beam_jobs.flink.cluster import Cluster, standing
from beam_jobs.inference.requests import Generation
from beam_jobs.parameterization.cells import TRAINING_ADDRESS
from beam_jobs.rest_em import grade as grading
from beam_jobs.rest_em import sample as sampling
from beam_jobs.rest_em.sample import LocalModel
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.trainability.cells import ADDRESS as TILES_ADDRESS
from beam_jobs.trainability.cells import tile_config
from models.adversarial_arithmetic.pirs import PirsConfig
from models.adversarial_arithmetic.questions import question_of
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.lm.sampler import Slots
from models.rest_em.records import Problem, write_records
from models.trainability.planes import Plane
from models.trainability.windows import Tile
from shammie.errors import UserError
from workflows.parameterization_settings import Sizes, Sweep

pytestmark = [pytest.mark.flink, pytest.mark.timeout(1800)]  # a first run fetches some 400 MB
NETWORK = LMConfig(vocab_size=258, width=16, layers=1, heads=1, head_width=16, mlp_width=16, max_distance=8)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        for had in (java, flink_classpath, job_server_classpath):
            had()
    except UserError as error:
        pytest.skip(f"no Flink cluster can be had here: {error}")
    with standing(str(tmp_path_factory.mktemp("flink"))) as found:
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    """A network of random weights over bytes: the same noise every time."""
    params = DecoderLM(NETWORK).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    path = tmp_path_factory.mktemp("lm") / "lm.bin"
    path.write_bytes(TrainedLM(NETWORK, params, BytesCodec().fingerprint).to_bytes())
    return LocalModel(str(path), "bytes")


def test_equal_info(cluster: Cluster, job: Any, text_file: Path, kit: Any) -> None:
    here, there = (encoding.run(job(text_file, output=name), flags) for name, flags in _both(cluster))
    assert len(json.loads((Path(here.output) / "manifest.train.json").read_text())["shards"]) == 3
    assert kit.hashes(there.output) == kit.hashes(here.output)
    assert there.counters["documents"] == here.counters["documents"] > 400  # counters come back from the cluster


@pytest.mark.slow
def test_a_worker_s_error_reaches_the_driver_as_one_line(cluster: Cluster, job: Any, tmp_path: Path) -> None:
    broken = tmp_path / "in" / "broken.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"PAR1 no table PAR1")
    said = []
    for name, flags in _both(cluster):
        with pytest.raises(UserError) as error:
            encoding.run(job(broken, output=name, format="parquet"), flags)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "broken.parquet" in said[0]


@pytest.mark.slow
def test_samples_and_verdicts(cluster: Cluster, model: LocalModel, tmp_path: Path, kit: Any) -> None:
    problems = [Problem(f"sum/{n}", f"{n % 4} + {n % 3} =", verifier="number", answer="3") for n in range(20)]
    problems += [Problem("twice", "def f(x):\n", verifier="python", tests=("assert f(3) == 6",))]
    write_records(str(tmp_path / "problems.jsonl"), problems)
    for name, flags in _both(cluster):
        samples, graded = str(tmp_path / name / "samples"), str(tmp_path / name / "graded")
        given = {"samples": 4, "group_samples": 12, "slots": Slots(slots=4, prompts=2)}
        generation = Generation(Sampling(temperature=0.7, top_k=40), 6)
        config = sampling.SampleConfig(str(tmp_path / "problems.jsonl"), samples, model, generation, **given)
        assert sampling.run(config, flags)["counters"]["records"] == 4 * len(problems)
        grading.run(grading.GradeConfig(config.problems, samples, graded, timeout_s=2.0, threads=2), flags)
    assert len(kit.hashes(tmp_path / "here", ".jsonl")) > 4
    assert kit.hashes(tmp_path / "there", ".jsonl") == kit.hashes(tmp_path / "here", ".jsonl")
    assert kit.hashes(tmp_path / "there", "manifest.json") == kit.hashes(tmp_path / "here", "manifest.json")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TRAINING_ADDRESS, TILES_ADDRESS])
def test_sweeps(cluster: Cluster, tmp_path: Path, kit: Any, kind: str) -> None:
    if kind == TILES_ADDRESS:
        configs = [tile_config(Plane("tanh_single", width=4, steps=60), 4, Tile(4, 7, row)) for row in range(16)]
    else:
        sizes = Sizes(widths=(4, 8), batch=2)
        configs = Sweep(
            sizes=sizes, log2_learning_rates=(-5, -3), steps=12, warmup_steps=2, variants=("full",)
        ).configs()
    for name, flags in _both(cluster):
        outcome = run_sweep(str(tmp_path / name), kind, configs, beam_flags=flags, what="cells")
        assert (outcome.ran, outcome.failed) == (10 if kind == TRAINING_ADDRESS else 16, 0)
        if name == "here":  # how a group is computed, which is measured, decides the last bits
            for ways in (tmp_path / name).rglob("ways"):
                shutil.copytree(ways, tmp_path / "there" / ways.relative_to(tmp_path / name))
    tables = [read_cells(str(tmp_path / name), kind, configs) for name in ("here", "there")]
    assert tables[1].equals(tables[0])
    assert len(kit.hashes(tmp_path / "here", ".parquet")) >= 1
    assert kit.hashes(tmp_path / "there", ".parquet") == kit.hashes(tmp_path / "here", ".parquet")


@pytest.mark.slow
def test_the_attack_search(cluster: Cluster, model: LocalModel, tmp_path: Path, kit: Any) -> None:
    questions = [question_of(x, "+", y) for x, y in ((2, 2), (3, 4), (9, 0))]
    config = PirsConfig(rounds=2, candidates=3, samples=4, targets=(1, -1), seed=5)
    victim = Victim("noise", model, Generation(Sampling(), 4), slots=Slots(slots=4, prompts=2))
    found = [
        search(questions, victim, Writer(), config, str(tmp_path / name), beam_flags=flags)
        for name, flags in _both(cluster)
    ]
    assert len(found[0].trials) > 20
    assert found[1] == found[0]
    assert kit.hashes(tmp_path / "there") == kit.hashes(tmp_path / "here")


@pytest.mark.slow
def test_nothing_is_left_of_a_cluster(tmp_path: Path) -> None:
    """After its end none of its processes lives: no program's words hold its folder."""
    try:
        with standing(str(tmp_path), task_managers=1) as one:
            pids = [one.workers.pid, *(manager.pid for manager in one.task_managers)]
            assert _alive(str(tmp_path)) >= set(pids[1:])
    except UserError as error:
        pytest.skip(f"no Flink cluster can be had here: {error}")
    assert not _alive(str(tmp_path))
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _alive(word: str) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.encode() in one for one in words[1:]):
            found.add(int(process.name))
    return found


def _both(cluster: Cluster) -> list[tuple[str, tuple[str, ...]]]:
    """The folders' names, and the flags that fill them."""
    return [("here", ()), ("there", cluster.flags)]
