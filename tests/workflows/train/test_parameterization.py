"""Runs of the bundled trainer under a parameterization: what they compute, log, save, hand over and refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM
from models.lm.artefact import TrainedLM
from models.parameterization import PARAMETERIZATIONS
from models.parameterization.alignment import MEASURES, measure_alignment
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, inputs_of, lm_loss
from seqio_tasks.token_files import open_tokens
from seqio_tasks.windows import Windows
from shammie.errors import UserError
from workflows.train import TrainConfig, exchange, train
from workflows.train.compute import compute_of
from workflows.train.export import config_of_run, export
from workflows.train.language_model import objective_of
from workflows.train.mesh import make_mesh
from workflows.train.network import network_of

WIDTH = 16  # of the small model; a base of 4 makes every scale a power of 2
SCALES_AS = {"sgd": "sgd", "adam": "adam", "adamw": "adam", "adam_atan2": "adam", "adafactor": "adafactor"}


def optimizer(name: str, **settings: Any) -> OptimizerConfig:
    plain: dict[str, Any] = {"learning_rate": 1e-2, "factors": "constant", "weight_decay": 0.0, "clip_norm": 0.0}
    return OptimizerConfig(name, **{**plain, **settings})  # pyright: ignore[reportArgumentType]


def shaped(name: str, scales_as: str = "adam", **settings: Any) -> ParameterizationConfig:
    return ParameterizationConfig(name, scales_as, **{"base_width": 4, **settings})


def losses(run: TrainConfig, out: Path) -> list[float]:
    return [row["loss"] for row in train(run, str(out)).rows]


@pytest.mark.parametrize("pair", [("standard", "ntk"), ("mup", "mean_field")])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_equivalent_parameterizations_have_the_same_bits(config, kit, tmp_path: Path, name: str, pair: Any) -> None:
    """Without epsilon, and where n is a power of 4, through the whole trainer; other ones differ."""
    run = config(steps=3, log_every=1, optimizer=optimizer(name, eps=0.0, learning_rate=0.125))
    found = []
    for one in pair:
        given = replace(run, parameterization=shaped(one, name))
        result = train(given, str(tmp_path / one))
        weights = network_of(given.model, given.parameterization).folded(result.state.params)
        found.append(([row["loss"] for row in result.rows], weights))
    assert found[0][0] == found[1][0]
    assert len(set(found[0][0])) == 3
    kit.assert_same_bytes(found[0][1], found[1][1])
    if name == "sgd":
        assert found[0][0] != losses(run, tmp_path / "plain")


def test_at_the_base_width_a_run_is_the_plain_one(config, kit, tmp_path: Path) -> None:
    run = config(steps=3, log_every=1, optimizer=optimizer("adam_atan2", weight_decay=0.1))
    plain = train(run, str(tmp_path / "plain"))
    there = shaped("mup", base_width=WIDTH, epsilon="per_layer")
    same = train(replace(run, parameterization=there), str(tmp_path / "same"))
    kit.assert_same_bytes(plain.state, same.state)
    assert kit.without_speeds(plain.rows) == kit.without_speeds(same.rows)
    assert losses(replace(run, parameterization=replace(there, base_width=8)), tmp_path / "other") != [
        row["loss"] for row in plain.rows
    ]


def two_steps(run: TrainConfig, name: str, parameterization: str, out: Path) -> None:
    given = replace(run, optimizer=optimizer(name), parameterization=shaped(parameterization, SCALES_AS[name]))
    first, second = losses(given, out)
    assert np.isfinite([first, second]).all()
    assert first != second


@pytest.mark.parametrize(
    ("name", "parameterization"), [("adafactor", "standard"), ("adam_atan2", "mup"), ("adamw", "mean_field")]
)
def test_two_steps(config, tmp_path: Path, name: str, parameterization: str) -> None:
    two_steps(config(steps=2, log_every=1), name, parameterization, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALES_AS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_every_optimizer_takes_two_steps_under_every_one(
    config, tmp_path: Path, name: str, parameterization: str
) -> None:
    two_steps(config(steps=2, log_every=1), name, parameterization, tmp_path)


@pytest.fixture(scope="module")
def aligned(config, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path, Any]:
    """A run of six steps under muP that measures alignment every two and saves every four: config, folder, result."""
    out = tmp_path_factory.mktemp("aligned")
    run = config(
        steps=6,
        log_every=3,
        eval_every=6,
        eval_batches=2,
        checkpoint_every=4,
        alignment_every=2,
        optimizer=optimizer("adam", learning_rate=0.02),
        parameterization=shaped("mup", epsilon="per_layer"),
    )
    return run, out, train(run, str(out))


def test_alignment_is_logged_layer_by_layer(aligned) -> None:
    run, out, result = aligned
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.rows
    assert [(row["step"], "alignment/logits" in row) for row in rows] == [(2, True), (3, False), (4, True), (6, True)]
    layers = {name.partition("/")[2] for name in rows[-1] if name.startswith("alpha/")}
    assert layers == {
        *(f"attention_0/{name}" for name in ("query", "key", "value", "out", "distance")),
        *(f"mlp_0/{name}" for name in ("gate", "linear", "out")), "logits",
    }  # fmt: skip
    network = network_of(run.model, run.parameterization)
    params_0 = network.init(jax.random.key(run.seed), jnp.zeros((1, 2), jnp.int32))["params"]
    batch = jnp.asarray(Windows(open_tokens(run.data, "train").ids, run.length).batch(run.seed, 0, run.batch_size))
    measure = jax.jit(lambda *both: measure_alignment(network, *both, inputs_of(batch)))
    told = jax.device_get(measure(params_0, result.state.params))
    for layer, values in told.items():
        for name in MEASURES:
            assert rows[-1][f"{name}/{layer}"] == pytest.approx(float(values[name]), abs=1e-3), (name, layer)
    # Adam's first steps go along the gradient, which is made of the inputs: more aligned than by chance
    assert np.mean([rows[0][f"alpha/{layer}"] for layer in ("mlp_0/gate", "mlp_0/linear", "logits")]) > 0.55


def test_a_resumed_run_measures_from_the_same_beginning(aligned, kit, tmp_path: Path) -> None:
    run, out, whole = aligned
    train(replace(run, steps=4), str(tmp_path))
    again = train(run, str(tmp_path))
    kit.assert_same_bytes(again.state, whole.state)
    rows = kit.without_speeds(again.rows)
    assert rows[-1] == kit.without_speeds(whole.rows)[-1]
    assert config_of_run(str(out)) == run


def test_a_models_file_holds_weights_of_the_plain_decoder(aligned, config, kit, tmp_path: Path) -> None:
    run, out, result = aligned
    path = export(str(tmp_path / "lm.bin"), run=str(out))
    model = TrainedLM.from_bytes(Path(path).read_bytes())
    windows = Windows(open_tokens(run.data, "validation").ids, run.length)
    _, metrics = jax.jit(lm_loss(DecoderLM(run.model), run.z_loss))(
        model.params, {"targets": windows.take(np.arange(8))}
    )
    assert result.rows[-1]["validation_loss"] == pytest.approx(float(metrics["loss"].compute()), rel=1e-5)
    raw = result.state.params
    assert not np.array_equal(model.params["logits"]["kernel"], raw["logits"]["kernel"])  # muP's multiplier, 1/2
    np.testing.assert_array_equal(model.params["logits"]["kernel"], 0.5 * raw["logits"]["kernel"])
    np.testing.assert_array_equal(model.params["embedding"], 2.0 * raw["embedding"])
    # and a run that begins with them has the same parameters again
    frozen = replace(
        run,
        start_params=path,
        steps=1,
        optimizer=optimizer("adam", learning_rate=1e-30, min_learning_rate=0.0),
        alignment_every=0,
    )
    kit.assert_same_bytes(train(frozen, str(tmp_path / "begun")).state.params, raw)
    seen: list[Any] = []
    train(replace(frozen, eval_every=1), str(tmp_path / "seen"), evaluate=lambda weights: seen.append(weights) or {})
    kit.assert_same_bytes(seen[0], model.params)


@pytest.mark.parametrize(("name", "momentum"), [*((name, 0.0) for name in SCALES_AS), ("sgd", 0.9)])
def test_states_go_to_t5xs_checkpoints_and_back(config, kit, tmp_path: Path, name: str, momentum: float) -> None:
    run = config(optimizer=optimizer(name, momentum=momentum), parameterization=shaped("mup", SCALES_AS[name]))
    compute = compute_of(objective_of(run), run, make_mesh(1, 1))
    state = compute.start(3)[0]
    numbered = state._replace(
        step=jnp.asarray(5, jnp.int32),
        optimizer_state=jax.tree.map(lambda x: (jnp.arange(x.size) + 1).reshape(x.shape).astype(x.dtype),
                                     state.optimizer_state),
    )  # fmt: skip
    path = exchange.write(numbered, str(tmp_path))
    assert path.endswith("checkpoint_5")
    back = exchange.read(path, compute.places[0])
    assert jax.tree.structure(back) == jax.tree.structure(numbered)
    kit.assert_same_bytes(back, numbered)
    other = config(optimizer=optimizer("adafactor" if name == "sgd" else "sgd", momentum=0.9))
    wrong = compute_of(objective_of(other), other, make_mesh(1, 1))
    with pytest.raises(UserError, match="it is of another optimizer; give the optimizer's settings"):
        exchange.read(path, wrong.places[0])


def test_what_cannot_be_is_refused(config) -> None:
    with pytest.raises(
        UserError, match=r"parameterization.optimizer is 'adam', but the run's is 'sgd'; set .* to 'sgd'"
    ):
        config(optimizer=optimizer("sgd"), parameterization=shaped("mup", "adam"))
    with pytest.raises(
        UserError, match=r"'adafactor', but the run's is 'adafactor' without parameter_scale; .* 'adam'"
    ):
        config(optimizer=optimizer("adafactor", parameter_scale=False), parameterization=shaped("mup", "adafactor"))
    with pytest.raises(UserError, match=r"unknown optimizer 'unheard'"):
        shaped("mup", "unheard")
    with pytest.raises(UserError, match="alignment_every=4, but the parameters before step 0 are not in start_from=x"):
        config(alignment_every=4, start_from="x")
    with pytest.raises(UserError, match="alignment_every=4 is no multiple of steps_per_call=3"):
        config(alignment_every=4, steps_per_call=3, log_every=3)


def test_runs_without_one_keep_the_identity_that_older_checkpoints_hold(config) -> None:
    run = config()
    told = run.identity(tokens_sha256="hash")
    assert "parameterization" not in told
    assert not told["optimizer"].keys() & {"eps", "atan2_a", "atan2_b", "momentum", "parameter_scale"}
    assert TrainConfig.from_json(json.loads(json.dumps(run.to_json()))) == run
    other = replace(run, parameterization=shaped("mup", rates=(1, 2, 0.5)), alignment_every=4)
    assert TrainConfig.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert json.loads(json.dumps(other.identity(tokens_sha256="hash"))) == other.identity(tokens_sha256="hash")
    assert other.identity(tokens_sha256="hash")["parameterization"]["name"] == "mup"
    assert replace(other, alignment_every=0).identity(tokens_sha256="hash") == other.identity(tokens_sha256="hash")


@pytest.mark.slow
def test_two_devices_compute_what_one_does(kit, toy, tmp_path: Path) -> None:
    text = f"""
import sys, jax
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import MODEL
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig
from workflows.train import TrainConfig, train
rows = []
for data, model in ((1, 1), (2, 1), (1, 2)):
    config = TrainConfig(data={toy!r}, model=MODEL, optimizer=OptimizerConfig("adam_atan2", warmup_steps=1), length=16,
        batch_size=4, steps=3, log_every=1, eval_every=0, checkpoint_every=0, alignment_every=3, mesh_data=data,
        mesh_model=model, parameterization=ParameterizationConfig("mean_field", base_width=4))
    rows.append(train(config, {str(tmp_path)!r} + f"/{{data}}x{{model}}").rows)
keep = lambda row: {{name: value for name, value in row.items() if "per_s" not in name}}
for others in rows[1:]:
    for one, other in zip(rows[0], others, strict=True):
        one, other = keep(one), keep(other)
        assert one.keys() == other.keys()
        assert all(abs(one[name] - other[name]) <= 2e-3 * abs(one[name]) + 1e-6 for name in one), (one, other)
assert "alpha/logits" in rows[0][-1]
"""
    process = kit.start(text, devices=2)
    _, told = process.communicate()
    assert process.returncode == 0, told
