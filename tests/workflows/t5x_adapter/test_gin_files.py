"""Every run of gin/t5x, parsed against the recorded T5X: sizes and counts are the paper's, nothing is allocated."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from workflows.gin_config import gin_files

TOKENS = [name for name in gin_files() if name.startswith("gin/equal_info/tokens/")]
BLOCK_PARAMETERS = {"25m": 25.2e6, "113m": 113.2e6, "403m": 402.7e6, "2b": 1.61e9, "3m": 3.15e6}  # arXiv:2404.03626
RUN = ["DATA = 'anywhere'", "MODEL_DIR = 'anywhere'", "TASK = 'any'"]


def train_job(size: str, tokens: str | None = None, *bindings: str) -> dict[str, Any]:
    files = [f"gin/t5x/equal_info_{size}.gin", *([tokens] if tokens else [])]
    return {"script": "train", "files": files, "bindings": [*RUN, *bindings]}


@pytest.fixture(scope="module")
def runs(parse) -> dict[tuple[str, str | None], dict[str, Any]]:
    keys = [(size, tokens) for size in ("25m", "113m", "403m", "2b") for tokens in TOKENS] + [("3m", None)]
    jobs = [train_job(size, tokens) for size, tokens in keys]
    return dict(zip(keys, parse(jobs), strict=True))


def test_there_is_a_file_for_each_of_the_papers_methods() -> None:
    coded = [f"{name}_{bits}" for name in ("ac", "static_ac", "gzip") for bits in (8, 16)]
    windows = [f"windows_{width}_{bits}" for width in (16, 24, 32, 64, 128) for bits in (8, 16)]
    names = sorted(name.rpartition("/")[2].removesuffix(".gin") for name in TOKENS)
    assert names == sorted(["bytes", "sentencepiece", *coded, *windows])


def test_the_papers_models_and_schedule(runs) -> None:
    assert len(runs) == 4 * len(TOKENS) + 1
    for (size, tokens), run in runs.items():
        config = LMConfig(**run["config"])
        assert config.block_parameters() == pytest.approx(BLOCK_PARAMETERS[size], rel=2e-3), size
        assert config.dtype == "bfloat16"
        assert config.vocab_size % 128 == 0
        least = 258 if not tokens or tokens.endswith(("_8.gin", "bytes.gin")) else 32002 if "piece" in tokens else 65538
        assert least <= config.vocab_size < least + 128
        wanted = (2_500_000, 128, 1024) if size == "3m" else (200_000, 256, 512)
        assert (run["total_steps"], run["batch_size"], run["task_feature_lengths"]["targets"]) == wanted
        assert run["save_dataset"] is True
        shared = int(np.prod(run["submesh"]))
        assert {"25m": 1, "3m": 1, "113m": 2, "403m": 4, "2b": 8}[size] == shared
        assert all(getattr(config, name) % shared == 0 for name in ("heads", "mlp_width", "vocab_size"))


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_the_real_t5x_takes_the_papers_runs(parse, runs) -> None:
    keys = [(size, "gin/equal_info/tokens/windows_24_16.gin") for size in ("25m", "113m", "403m", "2b")] + [
        ("3m", None)
    ]
    found = parse([train_job(*key) for key in keys], real=True)
    for key, run in zip(keys, found, strict=True):
        for name in ("told", "config", "task_feature_lengths", "batch_size", "total_steps", "save_dataset"):
            assert run[name] == runs[key][name], (key, name)


def test_abstract_shapes_have_the_papers_counts(runs) -> None:
    configs = {json.dumps(run["config"]): size for (size, _), run in runs.items()}
    for text, size in configs.items():
        config = LMConfig(**json.loads(text))
        shapes: Any = jax.eval_shape(DecoderLM(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
        sizes = {jax.tree_util.keystr(path): np.prod(leaf.shape, dtype=np.int64)
                 for path, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"])}  # fmt: skip
        tables = sum(size for name, size in sizes.items() if "embedding" in name or "logits" in name)
        assert tables == 2 * config.vocab_size * config.width
        small = sum(size for name, size in sizes.items() if "distance" in name or "scale" in name)
        assert sum(sizes.values()) - tables - small == config.block_parameters()
        assert sum(sizes.values()) - tables == pytest.approx(BLOCK_PARAMETERS[size], rel=0.03)


def test_eval_and_infer_take_any_size(parse) -> None:
    bindings = ["DATA = 'x'", "CHECKPOINT_PATH = 'x'", "TASK = 'any'"]
    jobs = [
        {
            "script": script,
            "files": [f"gin/t5x/equal_info_{file}.gin", f"gin/equal_info/m2_{size}.gin", TOKENS[0]],
            "bindings": [*bindings, f"{file.upper()}_OUTPUT_DIR = 'x'"],
        }
        for script, file in (("evaluate", "eval"), ("infer", "infer"))
        for size in ("25m", "2b")
    ]
    runs = parse(jobs, devices=1)
    assert [run["config"]["width"] for run in runs] == [512, 2048, 512, 2048]
    assert [run["task_feature_lengths"] for run in runs] == [{"targets": 512}] * 4


def test_pairs_are_packed_rows_or_examples(parse) -> None:
    tiny, examples = "gin/t5x/rest_em_tiny.gin", "gin/t5x/pairs_as_examples.gin"
    infer = ["gin/t5x/pairs_infer.gin", "gin/rest_em/model_tiny.gin"]
    jobs = [
        {"script": "train", "files": [tiny], "bindings": RUN},
        {"script": "train", "files": [tiny, examples], "bindings": [*RUN, "INPUTS_LENGTH = 60", "TARGETS_LENGTH = 40"]},
        {"script": "infer", "files": infer, "bindings": ["DATA = 'x'", "CHECKPOINT_PATH = 'x'", "TASK = 'any'",
                                                        "INFER_OUTPUT_DIR = 'x'"]},
    ]  # fmt: skip
    rows, pairs, completed = parse(jobs, devices=1)
    assert rows["task_feature_lengths"] == {"targets": 256}
    assert pairs["task_feature_lengths"] == {"inputs": 60, "targets": 40}
    assert completed["task_feature_lengths"] == {"inputs": 128, "targets": 128}
    assert rows["config"] == pairs["config"] == completed["config"]
    assert (rows["config"]["vocab_size"], rows["config"]["width"]) == (384, 64)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.t5x)])
def test_what_is_wrong_is_said_in_one_line(parse, request, real: bool) -> None:
    if real:
        request.getfixturevalue("t5x")
    cases = [
        (
            train_job("tiny", None, "trainer.Trainer.num_microbatch = 2"),
            "trainer.Trainer has no parameter num_microbatch",
        ),
        (train_job("tiny", None, "OPTIMIZER = @optimizers.adamw()"), "nothing is called @optimizers.adamw"),
        ({**train_job("tiny"), "bindings": ["DATA = 'x'"]}, "MODEL_DIR must be set"),
        ({**train_job("25m"), "bindings": RUN}, "VOCAB_SIZE must be set"),
        (
            train_job("tiny", None, "NUM_PARTITIONS = 2", "m2_tiny/lm.LMConfig.heads = 3"),
            "heads=3 is no multiple of the 2 dev",
        ),
        ({**train_job("tiny"), "bindings": [*RUN[:2]]}, "anywhere holds neither token files nor a dataset"),
    ]
    found = parse([job for job, _ in cases], real=real, devices=2)
    for run, (_, words) in zip(found, cases, strict=True):
        assert words in run["error"]
        assert "\n" not in run["error"]
