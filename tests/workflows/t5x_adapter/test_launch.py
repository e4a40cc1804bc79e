"""T5X's own commands on gin/t5x: two steps of every tiny run, evaluation, inference, and runs that change trainers."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling, generate
from models.training import lm_loss
from seqio_tasks.token_files import open_tokens, write_tokens
from workflows import gin_config
from workflows.gin_config import gin_files
from workflows.train import TrainConfig, train
from workflows.train.__main__ import MODULES
from workflows.train.export import export

pytestmark = [pytest.mark.t5x, pytest.mark.usefixtures("t5x")]

ROOT = Path(__file__).parents[3]
TINY = [name for name in gin_files() if name.startswith("gin/t5x/") and name.endswith("_tiny.gin")]
VOCAB, LENGTH, BATCH = 128, 32, 8
SMALL = [f"VOCAB_SIZE={VOCAB}", f"LENGTH={LENGTH}", f"BATCH_SIZE={BATCH}", "CHECKPOINT_EVERY=2", "EVAL_EVERY=2",
         "LOG_EVERY=1", "KEEP=9"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokens")
    generator = np.random.default_rng(0)
    for split, count in (("train", 4000), ("validation", 2000)):
        ids = 2 + np.cumsum(generator.integers(0, 3, count)) % (VOCAB - 2)
        write_tokens(str(folder), split, [ids], vocab_size=VOCAB, text_bytes=3 * count, made_with="counted")
    return str(folder)


def config_of(data: str, *bindings: str) -> TrainConfig:
    gin_config.parse(["gin/train/equal_info_tiny.gin"], [f"DATA='{data}'", *SMALL, *bindings], modules=MODULES)
    return gin_config.call(TrainConfig)


@pytest.fixture(scope="module")
def run(data: str, tmp_path_factory: pytest.TempPathFactory, launch) -> tuple[Path, str]:
    """A run of two steps under T5X: its folder and log."""
    out = tmp_path_factory.mktemp("t5x") / "run"
    bindings = [f"DATA='{data}'", f"MODEL_DIR='{out}'", "STEPS=2", *SMALL]
    return out, launch("train", ["gin/t5x/equal_info_tiny.gin"], bindings)


def test_there_is_a_tiny_run() -> None:
    assert "gin/t5x/equal_info_tiny.gin" in TINY


def test_two_steps_log_losses_and_bits_per_byte(run, losses) -> None:
    out, log = run
    assert sorted(losses(log)) == [1, 2]
    assert losses(log)[1] == pytest.approx(np.log(VOCAB), rel=0.2)
    rows = (out / "inference_eval").glob("*-metrics.jsonl")
    (row,) = [json.loads(line) for path in rows for line in path.read_text().splitlines()]
    # as many nats a token as the loss, three bytes a token
    assert row["bits_per_byte"] == pytest.approx(losses(log)[2] / np.log(2) / 3, rel=0.1)


def test_a_learned_optimizer_trains_and_resumes(run, data: str, tmp_path: Path, launch, losses) -> None:
    bindings = [f"DATA='{data}'", f"MODEL_DIR='{tmp_path}/star'", *SMALL, "training.OptimizerConfig.name='star'"]
    first = losses(launch("train", ["gin/t5x/equal_info_tiny.gin"], [*bindings, "STEPS=2"]))
    assert first[1] == losses(run[1])[1]  # before any update it is the other run
    resumed = losses(launch("train", ["gin/t5x/equal_info_tiny.gin"], [*bindings, "STEPS=4"]))
    assert sorted(resumed) == [3, 4]  # from its own state, averages and all
    whole = [f"MODEL_DIR='{tmp_path}/whole'" if one.startswith("MODEL_DIR") else one for one in bindings]
    unbroken = losses(launch("train", ["gin/t5x/equal_info_tiny.gin"], [*whole, "STEPS=4", "CHECKPOINT_EVERY=4"]))
    assert resumed == pytest.approx({step: unbroken[step] for step in (3, 4)}, rel=1e-5)


def test_eval_and_infer(run, data: str, tmp_path: Path, launch) -> None:
    out, _ = run
    bindings = [f"DATA='{data}'", f"CHECKPOINT_PATH='{out}/checkpoint_2'", *SMALL[:3]]
    files = ["gin/equal_info/m2_tiny.gin"]
    launch("eval", ["gin/t5x/equal_info_eval.gin", *files], [*bindings, f"EVAL_OUTPUT_DIR='{tmp_path}/eval'"])
    (path,) = (tmp_path / "eval/inference_eval").glob("*-metrics.jsonl")
    told = json.loads(path.read_text())["bits_per_byte"]
    model = TrainedLM.from_bytes(Path(export(f"{tmp_path}/lm.bin", config=config_of(data, "STEPS=2"),
                                             t5x=f"{out}/checkpoint_2")).read_bytes())  # fmt: skip
    ids = open_tokens(data, "validation").ids
    rows = list(np.asarray(ids[: len(ids) // LENGTH * LENGTH], np.int32).reshape(-1, LENGTH))
    loss, _ = lm_loss(DecoderLM(model.config))(model.params, {"targets": jnp.asarray(np.stack(rows))})
    # three bytes a token, but for the ends of the two splits
    assert told == pytest.approx(float(loss) / np.log(2) / 3, rel=1e-3)

    launch("infer", ["gin/t5x/equal_info_infer.gin", *files],
           [*bindings, "PROMPT_TOKENS=12", f"INFER_OUTPUT_DIR='{tmp_path}/infer'"])  # fmt: skip
    (path,) = (tmp_path / "infer").glob("*predict.jsonl-00000-of-00001")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    predictions = [one["prediction"] for one in told]
    assert list(map(int, re.findall(r"\d+", str(told[2]["inputs"]["prompt_pretokenized"])))) == rows[2][:12].tolist()
    assert len(predictions) == len(rows)
    prompts = np.pad(np.stack(rows)[:3, :12], ((0, 0), (1, 0)))
    found = generate(
        DecoderLM(model.config),
        model.params,
        jnp.asarray(prompts),
        jnp.full(3, 13),
        jax.random.key(0),
        new_tokens=LENGTH - 12,
        sampling=Sampling(temperature=0.0),
    )
    numbers = [list(map(int, re.findall(r"\d+", str(one)))) for one in predictions[:3]]
    assert numbers == np.asarray(found.tokens).tolist()


def test_a_run_changes_trainers_and_back(run, data: str, tmp_path: Path, launch, losses) -> None:
    out, _ = run
    start = [f"START_FROM='{out}/checkpoint_2'", "LOG_EVERY=1", "train.TrainConfig.eval_every=0", "STEPS=6"]
    ours = train(config_of(data, *start), str(tmp_path / "ours"))
    assert [row["step"] for row in ours.rows] == [3, 4, 5, 6]
    resumed = launch(
        "train",
        ["gin/t5x/equal_info_tiny.gin"],
        [f"DATA='{data}'", f"MODEL_DIR='{out}'", *SMALL, "STEPS=6"],
    )
    theirs = losses(resumed)  # T5X resumes its own run: the same rows, the same losses
    assert {row["step"]: row["loss"] for row in ours.rows} == pytest.approx(theirs, rel=1e-5)

    path = export(str(tmp_path / "back"), run=str(tmp_path / "ours"))
    log = launch(
        "train",
        ["gin/t5x/equal_info_tiny.gin"],
        [f"DATA='{data}'", f"MODEL_DIR='{tmp_path}/again'", f"START_FROM='{path}'", *SMALL, "STEPS=8"],
    )
    longer = train(config_of(data, *start[:-1], "STEPS=8"), str(tmp_path / "ours_8"))
    assert losses(log) == pytest.approx({row["step"]: row["loss"] for row in longer.rows[-2:]}, rel=1e-5)


def test_examples_of_a_dataset_resume_with_their_order(tmp_path: Path, launch, losses) -> None:
    text = "".join(f"line {number} of a text, {number * 7919 % 97} in it\n" for number in range(3000))
    (tmp_path / "text.txt").write_text(text)
    for split in ("train", "validation"):
        words = ["--input", f"{tmp_path}/text.txt", "--output", f"{tmp_path}/data", "--split", split]
        subprocess.run(
            [sys.executable, "-m", "beam_jobs.equal_info", *words], cwd=ROOT, check=True, capture_output=True
        )
    given = [f"DATA='{tmp_path}/data'", "VOCAB_SIZE=65664", "LENGTH=16", *SMALL[2:], "EVAL_ROWS=8",
             "ROWS='examples'", "SAVE_DATASET=True"]  # fmt: skip
    run = lambda out, steps: losses(  # noqa: E731
        launch("train", ["gin/t5x/equal_info_tiny.gin"], [*given, f"MODEL_DIR='{tmp_path}/{out}'", f"STEPS={steps}"])
    )
    whole = run("whole", 4)
    assert run("parts", 2) == pytest.approx({step: whole[step] for step in (1, 2)}, rel=1e-6)
    assert run("parts", 4) == pytest.approx({step: whole[step] for step in (3, 4)}, rel=1e-6)
    rows = [json.loads(line) for path in (tmp_path / "whole/inference_eval").glob("*-metrics.jsonl")
            for line in path.read_text().splitlines()]  # fmt: skip
    # every document has as many tokens: the evaluated rows are as dense as the split
    stats = json.loads((tmp_path / "data/stats.validation.json").read_text())
    density = stats["text_bytes"] / stats["targets_tokens"]
    assert rows[1]["bits_per_byte"] == pytest.approx(whole[4] / np.log(2) / density, rel=0.15)
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("bindings", "words"),
    [
        (["TASK='nowhere_v001'"], "SeqIO knows no task 'nowhere_v001'"),
        (["m2_tiny/lm.LMConfig.width=48"], "the checkpoint is another model's"),
        (["DATA='/no/such/folder'"], "holds neither token files nor a dataset"),
        (["DATA=/no/quotes"], "text needs quotes that reach gin"),
        (["STEPZ=3"], "unknown gin macro 'STEPZ'; did you mean STEPS?"),
        (["CHECKPOINT_EVERY=3"], "CHECKPOINT_EVERY=3 and EVAL_EVERY=2 are no multiples of each other"),
    ],
)
def test_errors_are_one_line(run, data: str, bindings: list[str], words: str, launch) -> None:
    out, _ = run
    given = [f"DATA='{data}'", f"MODEL_DIR='{out}'", *SMALL, "STEPS=9", *bindings]
    last = launch("train", ["gin/t5x/equal_info_tiny.gin"], given, well=False).splitlines()[-1]
    assert last.startswith("t5x: ")
    assert words in last


OWN_TESTS = {  # those that another test launches, with data of their own or none
    "gin/t5x/equal_info_tiny.gin": "test_launch.py",
    "gin/t5x/rest_em_tiny.gin": "test_rest_em.py",
    "gin/t5x/in_context_tiny.gin": "test_in_context.py",
    "gin/t5x/composition_tiny.gin": "test_composition.py",
}


@pytest.mark.parametrize("name", OWN_TESTS)
def test_every_tiny_run_is_launched_somewhere(name: str) -> None:
    assert name in TINY
    assert name in Path(__file__).with_name(OWN_TESTS[name]).read_text()


@pytest.mark.parametrize("name", [name for name in TINY if name not in OWN_TESTS])
def test_every_other_tiny_run_takes_two_steps(name: str, data: str, tmp_path: Path, launch) -> None:
    launch("train", [name], [f"DATA='{data}'", f"MODEL_DIR='{tmp_path}/run'", "STEPS=2", *SMALL])


def test_eight_devices_share_the_matrices(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launch, losses
) -> None:
    """On processors T5X's mesh is 1 x 8, but for a submesh: here 4 x 2."""
    wide = ["m2_tiny/lm.LMConfig.heads=8", "m2_tiny/lm.LMConfig.head_width=8", "STEPS=4"]
    found = []
    submesh = ["NUM_PARTITIONS=None", "SUBMESH=(1, 2, 1, 1)"]
    for name, devices, more in (("1", 1, []), ("8", 8, []), ("4x2", 8, submesh)):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
        given = [f"DATA='{data}'", f"MODEL_DIR='{tmp_path}/{name}'", *SMALL, *wide, *more]
        found.append(losses(launch("train", ["gin/t5x/equal_info_tiny.gin"], given)))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert found[2] == pytest.approx(found[0], rel=1e-4)
    info = (tmp_path / "8/model-info.txt").read_text()
    assert re.search(r"mlp_0/gate/kernel .*\bmodel\b", info)


def test_two_processes_train_to_the_losses_of_one(data: str, tmp_path: Path, launch, losses) -> None:
    """As on a pod: the same command on every host, with the flags that join them."""
    with socket.socket() as chosen:
        chosen.bind(("localhost", 0))
        address = f"localhost:{chosen.getsockname()[1]}"
    given = [f"DATA='{data}'", f"MODEL_DIR='{tmp_path}/two'", *SMALL, "STEPS=4"]
    words = [sys.executable, "-m", "t5x.train", "--gin_file=gin/t5x/equal_info_tiny.gin"]
    words += [f"--gin.{one}" for one in given]
    words += ["--multiprocess_gpu", f"--coordinator_address={address}", "--process_count=2"]
    environment = {**os.environ, "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo", "XLA_FLAGS": ""}
    environment.pop("JAX_NUMPY_RANK_PROMOTION", None)
    both = [
        subprocess.Popen(
            [*words, f"--process_index={index}"], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        for index in range(2)
    ]
    logs = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], logs[0][-2000:]
    alone = launch("train", ["gin/t5x/equal_info_tiny.gin"], [*given, f"MODEL_DIR='{tmp_path}/one'"])
    assert losses(logs[0]) == pytest.approx(losses(alone), rel=1e-4)
    assert len(losses(alone)) == 4


def test_doctors_two_steps() -> None:
    from workflows.t5x_smoke import smoke

    assert re.match(r"2 steps, losses \d\.\d{3} and \d\.\d{3}, \d+ s", smoke())
