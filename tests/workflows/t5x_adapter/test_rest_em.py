"""Fine-tuning on pairs under T5X: the bundled trainer's losses, from a model's file and back to one. Needs T5X."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.equal_info.ids import ids_of_codes
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling, generate
from models.training import lm_loss, packed_batch
from seqio_tasks.pair_rows import rows_of_pairs
from seqio_tasks.pairs import write_pairs_text
from shammie.errors import UserError
from workflows import gin_config
from workflows.train import TrainConfig, train
from workflows.train.__main__ import MODULES
from workflows.train.export import export

pytestmark = [pytest.mark.t5x, pytest.mark.usefixtures("t5x")]

MODEL = LMConfig(vocab_size=384, width=32, layers=1, heads=2, head_width=16, mlp_width=64, max_distance=64)
CODEC = BytesCodec()
SIZES = "width", "layers", "head_width", "mlp_width"
ROW, LENGTHS = 48, {"inputs": 28, "targets": 20}
SMALL = [
    *(f"rest_em_tiny/lm.LMConfig.{one}={getattr(MODEL, one)}" for one in SIZES),
    "STEPS=4", "BATCH_SIZE=8", "CHECKPOINT_EVERY=2", "EVAL_EVERY=4", "LOG_EVERY=1", "KEEP=9",
]  # fmt: skip
PAIRED = [f"INPUTS_LENGTH={LENGTHS['inputs']}", f"TARGETS_LENGTH={LENGTHS['targets']}"]
TINY = "gin/t5x/rest_em_tiny.gin"


def texts() -> list[tuple[str, str]]:
    chance = np.random.default_rng(0)
    return [
        (f"What is {a}+{b}?\n", f"{a}+{b}={a + b}") for a, b in chance.integers(0, 10 ** chance.integers(1, 4, (80, 2)))
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs and, as lm.bin, the model to start from."""
    folder = tmp_path_factory.mktemp("rest_em")
    for split, part in (("train", texts()), ("validation", texts()[:40])):
        write_pairs_text(str(folder / "pairs"), split, part, CODEC)
    params: Any = jax.jit(DecoderLM(MODEL).init)(jax.random.key(3), jnp.zeros((1, 2), jnp.int32))["params"]
    (folder / "lm.bin").write_bytes(TrainedLM(MODEL, jax.device_get(params), CODEC.fingerprint).to_bytes())
    return folder


def config_of(home: Path, *bindings: str) -> TrainConfig:
    given = [f"DATA='{home}/pairs'", f"LENGTH={ROW}", *SMALL, *bindings]
    gin_config.parse(["gin/train/rest_em_tiny.gin"], given, modules=MODULES)
    return gin_config.call(TrainConfig)


@pytest.fixture(scope="module")
def run(home: Path, launch) -> tuple[list[str], str]:
    """Four steps under T5X from the model's file: what was given beside its folder, and its log."""
    start = export(str(home / "base"), lm=str(home / "lm.bin"), config=config_of(home))
    assert start == f"{home}/base/checkpoint_0"
    given = [f"DATA='{home}/pairs'", *SMALL, f"START_FROM='{start}'"]
    return given, launch("train", [TINY], [*given, f"LENGTH={ROW}", f"MODEL_DIR='{home}/t5x'"])


def test_packed_examples_have_one_loss_by_either_converter(home: Path) -> None:
    import seqio

    from seqio_tasks.rest_em import add_rest_em_task
    from workflows.t5x_adapter import LanguageModel

    params = TrainedLM.from_bytes((home / "lm.bin").read_bytes()).params
    rows = jnp.asarray(rows_of_pairs(f"{home}/pairs", "train", ROW).ids.reshape(-1, ROW))
    ours, _ = lm_loss(DecoderLM(MODEL))(params, packed_batch(rows))
    by_rows, _ = LanguageModel(MODEL, z_loss=0.0, packed=True).loss_fn(params, {"decoder_target_tokens": rows}, None)
    assert float(by_rows) == pytest.approx(float(ours), rel=1e-6)

    model = LanguageModel(MODEL, z_loss=0.0, prefix=True)
    task = add_rest_em_task(f"{home}/pairs")
    dataset = task.get_dataset(LENGTHS, "train", shuffle=True, seed=1)
    converted = model.FEATURE_CONVERTER_CLS(pack=True)(dataset, LENGTHS)
    batch = seqio.utils.tf.data.Dataset.get_single_element(converted.batch(1000))
    batch = {name: jnp.asarray(value.numpy()) for name, value in batch.items()}
    assert len(batch["decoder_target_tokens"]) < 70  # of 80
    by_pairs, _ = model.loss_fn(params, batch, None)
    assert float(by_pairs) == pytest.approx(float(ours), rel=1e-6)
    # the same without segments would be another loss
    del batch["decoder_segment_ids"]
    assert float(model.loss_fn(params, batch, None)[0]) != pytest.approx(float(ours), rel=1e-4)
    # and each example's own, whatever lies beside it
    alone = task.get_dataset(LENGTHS, "train", shuffle=False).take(12)
    scores = [
        float(model.score_batch(params, one)[0])
        for one in _batches(model.FEATURE_CONVERTER_CLS(pack=False)(alone, LENGTHS))
    ]
    stored = [_stored(example) for example in alone.as_numpy_iterator()]
    row_scores = LanguageModel(MODEL, packed=True).score_batch(params, {"decoder_target_tokens": jnp.asarray(stored)})
    np.testing.assert_allclose(row_scores, scores, rtol=1e-5)


def _batches(dataset: Any) -> Any:
    return ({name: jnp.asarray(value) for name, value in one.items()} for one in dataset.batch(1).as_numpy_iterator())


def _stored(example: Any) -> np.ndarray:
    ids = np.concatenate([-example["inputs"], example["targets"]])
    return np.pad(ids, (0, ROW - len(ids)))


def test_a_model_is_fine_tuned_to_the_bundled_trainers_losses(run, home: Path, losses, tmp_path: Path) -> None:
    _, log = run
    ours = train(config_of(home, f"START_PARAMS='{home}/lm.bin'"), str(tmp_path / "ours"))
    expected = {row["step"]: row["loss"] for row in ours.rows}
    assert losses(log)[1] == pytest.approx(expected[1], rel=1e-6)
    assert losses(log) == pytest.approx(expected, rel=1e-5)
    base = TrainedLM.from_bytes((home / "lm.bin").read_bytes())
    first = rows_of_pairs(f"{home}/pairs", "train", ROW)
    whole, _ = lm_loss(DecoderLM(MODEL))(base.params, packed_batch(jnp.asarray(first.ids.reshape(-1, ROW))))
    assert losses(log)[1] == pytest.approx(float(whole), rel=0.02)  # of the base, on a part of the data
    assert losses(log)[4] < losses(log)[1]

    tuned = TrainedLM.from_bytes(
        Path(export(f"{tmp_path}/tuned.bin", t5x=f"{home}/t5x/checkpoint_4", config=config_of(home))).read_bytes(),
        made_with=CODEC.fingerprint,
    )
    same = jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), tuned.params,
                        jax.device_get(ours.state.params))  # fmt: skip
    assert jax.tree.structure(same) is not None
    (rows,) = (home / "t5x/inference_eval").glob("*-metrics.jsonl")
    told = json.loads(rows.read_text().splitlines()[-1])
    held = rows_of_pairs(f"{home}/pairs", "validation", ROW).ids.reshape(-1, ROW)
    nats = lm_loss(DecoderLM(MODEL))(tuned.params, packed_batch(jnp.asarray(held)))[1]["loss"]
    target_bytes = sum(len(target) for _, target in texts()[:40])
    assert told["bits_per_byte"] == pytest.approx(float(nats.total) / np.log(2) / target_bytes, rel=1e-4)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_resumed_run_goes_on_in_its_order(run, home: Path, launch, losses, tmp_path: Path) -> None:
    given, log = run
    shutil.copytree(home / "t5x", tmp_path / "t5x")
    shutil.rmtree(tmp_path / "t5x/checkpoint_4")
    resumed = launch("train", [TINY], [*given, f"LENGTH={ROW}", f"MODEL_DIR='{tmp_path}/t5x'"])
    assert losses(resumed) == {step: loss for step, loss in losses(log).items() if step > 2}


def test_pairs_as_examples_train_and_are_completed(run, home: Path, launch, losses, tmp_path: Path) -> None:
    given, log = run
    found = launch(
        "train",
        [TINY, "gin/t5x/pairs_as_examples.gin"],
        [*given, *PAIRED, f"MODEL_DIR='{tmp_path}/t5x'", "EVAL_EVERY=2"],
    )
    assert losses(found)[1] == pytest.approx(losses(log)[1], rel=0.05)  # another order
    assert losses(found)[4] < losses(found)[1]
    checkpoint = f"{tmp_path}/t5x/checkpoint_4"
    launch(
        "infer",
        ["gin/t5x/pairs_infer.gin", "gin/rest_em/model_tiny.gin"],
        [
            *SMALL[:4],
            given[0],
            *PAIRED,
            "BATCH_SIZE=8",
            f"CHECKPOINT_PATH='{checkpoint}'",
            f"INFER_OUTPUT_DIR='{tmp_path}/infer'",
        ],
    )
    (path,) = (tmp_path / "infer").glob("*predict.jsonl-00000-of-00001")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    pairs = [(one["inputs"]["inputs_pretokenized"], one["inputs"]["targets_pretokenized"]) for one in told]
    assert pairs == texts()[:40]
    tuned = TrainedLM.from_bytes(
        Path(export(f"{tmp_path}/tuned.bin", t5x=checkpoint, config=config_of(home))).read_bytes()
    )
    prompts = [ids_of_codes(CODEC.encode(prompt.encode())) for prompt, _ in texts()[:8]]
    made = generate(
        DecoderLM(tuned.config),
        tuned.params,
        jnp.asarray(np.stack([np.pad(ids, (1, ROW - 1 - len(ids))) for ids in prompts])),
        jnp.asarray([len(ids) + 1 for ids in prompts]),
        jax.random.key(0),
        new_tokens=ROW,
        sampling=Sampling(temperature=0.0),
    )
    for one, ids in zip(told, np.asarray(made.tokens), strict=False):
        codes = ids[ids > 1] - 2
        assert one["prediction"] == CODEC.decode_prefix(codes).decode(errors="replace")


def test_what_cannot_be_is_refused(home: Path) -> None:
    from workflows.t5x_adapter import LanguageModel, lm_task

    with pytest.raises(UserError, match="both prefix and packed"):
        LanguageModel(MODEL, prefix=True, packed=True)
    with pytest.raises(UserError, match="rows of packed pairs hold many prompts; predict with prefix=True"):
        LanguageModel(MODEL, packed=True).predict_batch({}, {})
    with pytest.raises(UserError, match=r"has ids up to 257, beyond the model's vocab_size=200; --gin.VOCAB_SIZE=384"):
        lm_task(f"{home}/pairs", LMConfig(vocab_size=200), length=ROW)
