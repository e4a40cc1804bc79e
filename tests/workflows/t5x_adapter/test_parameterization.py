"""A run under a parameterization changes trainers and back, with T5X's own command. Needs T5X."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from models.lm.artefact import TrainedLM
from seqio_tasks.token_files import write_tokens
from shammie.errors import UserError
from workflows import gin_config
from workflows.train import TrainConfig, train
from workflows.train.__main__ import MODULES
from workflows.train.export import export
from workflows.train.network import network_of

pytestmark = [pytest.mark.t5x, pytest.mark.usefixtures("t5x")]

TINY = "gin/t5x/parameterization_tiny.gin"
SMALL = ["WIDTH=64", "BASE_WIDTH=16", "VOCAB_SIZE=128", "LENGTH=32", "BATCH_SIZE=8", "CHECKPOINT_EVERY=2", "KEEP=9",
         "EVAL_EVERY=2", "LOG_EVERY=1", "OPTIMIZER_NAME='adam_atan2'", "PARAMETERIZATION_NAME='mup'"]  # fmt: skip


def config_of(data: str, *bindings: str) -> TrainConfig:
    given = [f"DATA='{data}'", *SMALL, "ALIGNMENT_EVERY=0", *bindings]
    gin_config.parse(["gin/train/parameterization_tiny.gin"], given, modules=MODULES)
    return gin_config.call(TrainConfig)


def test_a_run_changes_trainers_and_back(tmp_path: Path, launch, losses) -> None:
    data, chance = str(tmp_path / "tokens"), np.random.default_rng(0)
    for split, count in (("train", 4000), ("validation", 2000)):
        ids = 2 + np.cumsum(chance.integers(0, 3, count)) % 126
        write_tokens(data, split, [ids], vocab_size=128, text_bytes=3 * count, made_with="counted")
    config = config_of(data, "STEPS=4")
    ours = train(config, str(tmp_path / "ours"))
    path = export(str(tmp_path / "given"), run=str(tmp_path / "ours"))
    given = [f"DATA='{data}'", *SMALL, "STEPS=6", f"START_FROM='{path}'", f"MODEL_DIR='{tmp_path}/t5x'"]
    theirs = losses(launch("train", [TINY], given))
    longer = config_of(data, "STEPS=6", f"START_FROM='{path}'", "train.TrainConfig.eval_every=0")
    going_on = train(longer, str(tmp_path / "going_on"))
    assert sorted(theirs) == [5, 6]
    assert theirs == pytest.approx({row["step"]: row["loss"] for row in going_on.rows}, rel=1e-5)
    assert going_on.rows[-1]["loss"] < ours.rows[0]["loss"]

    # T5X's checkpoint goes on in the bundled trainer, and becomes a file of the plain decoder's weights
    back = f"{tmp_path}/t5x/checkpoint_6"
    model = TrainedLM.from_bytes(Path(export(f"{tmp_path}/lm.bin", t5x=back, config=longer)).read_bytes())
    folded = network_of(longer.model, longer.parameterization).folded(going_on.state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), model.params, jax.device_get(folded)
    )
    more = train(config_of(data, "STEPS=7", f"START_FROM='{back}'"), str(tmp_path / "back"))
    assert [row["step"] for row in more.rows] == [7]
    assert np.isfinite(more.rows[0]["loss"])


def test_a_model_predicts_and_scores_with_its_weights() -> None:
    from models.lm import LMConfig
    from models.parameterization.scaling import ParameterizationConfig
    from models.training import OptimizerConfig
    from workflows.t5x_adapter import LanguageModel

    sizes = LMConfig(vocab_size=48, width=32, layers=1, heads=2, head_width=16, mlp_width=64, max_distance=8)
    shaped = ParameterizationConfig("mup", base_width=8)
    model, plain = LanguageModel(sizes, OptimizerConfig("adam"), parameterization=shaped), LanguageModel(sizes)
    params = model.get_initial_variables(jax.random.key(0), {})["params"]
    weights = network_of(sizes, shaped).folded(jax.tree.map(lambda x: x, dict(params.unfreeze())))
    rows = np.random.default_rng(0).integers(2, 48, (3, 24)).astype(np.int32)
    batch: Any = {
        "decoder_target_tokens": rows,
        "decoder_input_tokens": np.pad(rows[:, :-1], ((0, 0), (1, 0))),
        "decoder_loss_weights": np.ones_like(rows),
    }
    scores = model.score_batch(params, batch)
    np.testing.assert_allclose(scores, plain.score_batch(weights, batch), rtol=1e-6)
    assert np.abs(np.asarray(scores) - np.asarray(plain.score_batch(params, batch))).max() > 1.0
    tokens, _ = model.predict_batch_with_aux(params, batch)
    np.testing.assert_array_equal(tokens, plain.predict_batch_with_aux(weights, batch)[0])
    with pytest.raises(UserError, match=r"parameterization.optimizer is 'adam', but the run's is 'sgd'"):
        LanguageModel(sizes, OptimizerConfig("sgd"), parameterization=shaped)
