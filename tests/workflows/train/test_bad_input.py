"""Everything that a person can get wrong is one line that names it and the cure."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.training import OptimizerConfig
from seqio_tasks.token_files import write_tokens
from shammie.errors import UserError
from workflows.train import train
from workflows.train.checkpoints import Checkpoints
from workflows.train.data import tokens_of
from workflows.train.run_config import check_devices


def refused(match: str):
    return pytest.raises(UserError, match=match)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": ""}, "data is not set; name a folder"),
        ({"steps": 0}, "TrainConfig.steps is 0; give a whole number of 1 or more"),
        ({"batch_size": 2.5}, r"TrainConfig.batch_size is 2.5; give a whole number"),
        ({"eval_every": -1}, "TrainConfig.eval_every is -1; give a whole number of 0 or more"),
        ({"z_loss": float("nan")}, "TrainConfig.z_loss is nan"),
        ({"steps_per_call": 3}, "log_every=4 is no multiple of steps_per_call=3; change one"),
    ],
)
def test_settings(config, settings, message) -> None:
    with refused(message):
        config(**settings)


@pytest.mark.parametrize(
    ("settings", "devices", "hosts", "message"),
    [
        ({"mesh_data": 2}, 1, 1, "a mesh of mesh_data=2 x mesh_model=1 does not fit 1 devices; make their product"),
        ({"mesh_model": 4}, 2, 1, "mesh_data=0 x mesh_model=4 does not fit 2 devices"),
        ({"mesh_data": 2}, 4, 2, "does not fit 4 devices"),
        ({"mesh_model": 4}, 4, 2, "mesh_model=4 does not divide the 2 devices of each process"),
        ({"batch_size": 6}, 4, 1, "batch_size=6 is no multiple of mesh_data=4 x microbatches=1; give 8"),
        ({"batch_size": 6, "microbatches": 4}, 1, 1, "batch_size=6 is no multiple of .* microbatches=4; give 8"),
        ({"mesh_model": 4, "heads": 2}, 4, 1, "model.heads=2 is no multiple of mesh_model=4; give 4"),
        ({"mesh_model": 2, "mlp_width": 33}, 2, 1, "model.mlp_width=33 is no multiple of mesh_model=2; give 34"),
        ({"mesh_model": 2, "vocab_size": 65}, 2, 1, "model.vocab_size=65 is no multiple of mesh_model=2; give 66"),
    ],
)
def test_devices(config, settings, devices, hosts, message) -> None:
    sizes = {name: settings.pop(name) for name in ("heads", "mlp_width", "vocab_size") if name in settings}
    run = config(**{"batch_size": 8, **settings})
    with refused(message):
        check_devices(replace(run, model=replace(run.model, **sizes)), devices=devices, hosts=hosts)


def test_meshes_that_fit(config) -> None:
    assert check_devices(config(), devices=4) == (4, 1)
    assert check_devices(config(mesh_model=2), devices=4) == (2, 2)
    assert check_devices(config(mesh_data=1), devices=4) == (1, 1)
    assert check_devices(config(mesh_model=2), devices=4, hosts=2) == (2, 2)


def test_data(config, toy, kit, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with refused("holds neither token files nor a dataset; make one with python -m beam_jobs.equal_info"):
        train(config(data=str(tmp_path / "nowhere")), out)
    run = config()
    with refused(r"split train of .* has ids up to 63, beyond model.vocab_size=60; set the model's vocab_size to 64"):
        train(replace(run, model=replace(run.model, vocab_size=60)), out)
    with refused(r"was made with toy, not with tokenizer=718771; make it again with that one"):
        train(config(tokenizer="718771"), out)
    with refused(r"fewer than batch_size=100000; give more text, a shorter length or a smaller batch"):
        train(config(batch_size=100_000), out)
    with refused(r"fewer than one window of length=1000000; give more text or a shorter length"):
        train(config(length=1_000_000), out)
    kit.write_split(str(tmp_path / "one"), "train", 50)
    with refused(r"has no split 'validation', only train; .* or set eval_every=0 to train without validation"):
        train(config(data=str(tmp_path / "one"), eval_every=4), out)
    assert not Path(out).exists()


def test_damaged_token_files(toy, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(toy, folder)
    with (folder / "train.tokens").open("ab") as file:
        file.write(b"xx")
    with refused(r"train.tokens has \d+ bytes, not the \d+ of its description; make the split again"):
        tokens_of(str(folder), "train")
    (folder / "train.tokens.json").write_text("{")
    with refused(r"train.tokens.json is damaged; make the split again"):
        tokens_of(str(folder), "train")
    with refused(r"token id 64 of split train is not from 1 to 63; give model ids"):
        write_tokens(str(folder), "train", [np.array([64])], vocab_size=64, text_bytes=1, made_with="toy")
    with refused(r"token id 0 of split train is not from 1 to 63"):
        write_tokens(str(folder), "train", [np.array([5, 0])], vocab_size=64, text_bytes=1, made_with="toy")
    with refused(r"has no split 'train', only validation"):  # what was there is gone, and nothing half written is left
        tokens_of(str(folder), "train")


def test_another_runs_checkpoint(config, toy, kit, tmp_path: Path) -> None:
    run, out = config(steps=4), str(tmp_path / "out")
    first = train(run, out)
    with refused(r"holds a run with model.width=16, not 32; choose another --out, or give back the old value"):
        train(replace(run, model=replace(run.model, width=32)), out)
    with refused(r"holds a run with optimizer.learning_rate=0.01, not 0.5"):
        train(replace(run, optimizer=replace(run.optimizer, learning_rate=0.5)), out)
    with refused(r"holds a run with seed=0, not 1"):
        train(replace(run, seed=1), out)
    kit.write_split(str(tmp_path / "other"), "train", 300, seed=9)
    with refused(r"holds a run with tokens_sha256="):
        train(replace(run, data=str(tmp_path / "other")), out)
    with refused(r"holds a run with steps=4, not 2; choose another --out"):
        train(replace(run, steps=2), out)
    again = train(run, out)
    kit.assert_same_bytes(first.state, again.state)
    assert again.rows == first.rows


def test_a_run_may_be_extended_where_its_schedule_does_not_know_its_length(config, kit, tmp_path: Path) -> None:
    steady = OptimizerConfig(learning_rate=1e-2, warmup_steps=2, factors="constant * linear_warmup")
    run, out = config(steps=4, optimizer=steady), str(tmp_path / "out")
    train(run, out)
    longer = train(replace(run, steps=6), out)
    assert [row["step"] for row in longer.rows] == [4, 6]
    kit.assert_same_bytes(longer.state, train(replace(run, steps=6), str(tmp_path / "unbroken")).state)
    cosine = config(steps=4)
    train(cosine, str(tmp_path / "cosine"))
    with refused(r"holds a run with steps=4, not 6; choose another --out"):
        train(replace(cosine, steps=6), str(tmp_path / "cosine"))


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_good_checkpoint(config, tmp_path: Path) -> None:
    # without warm-up or clipping Adam moves every parameter by 1e30 at once: the next step's loss is not finite
    wild = OptimizerConfig(learning_rate=1e30, factors="constant * rsqrt_decay", warmup_steps=1, clip_norm=0.0)
    for name, more in (("one", {}), ("many", {"steps_per_call": 2}), ("late", {"checkpoint_every": 4, "log_every": 8})):
        out = tmp_path / name
        run = config(optimizer=wild, **{"steps": 8, "checkpoint_every": 2, "log_every": 2, **more})
        with refused(
            r"not finite at step 2 \(no checkpoint was saved before it\); "
            r"lower optimizer.learning_rate=1e\+30 or set optimizer.clip_norm, and train into another --out"
        ):
            train(run, str(out))
        assert not [path for path in (out / "checkpoints").iterdir() if path.name.isdigit()]
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert all(np.isfinite(row["loss"]) for row in rows)


def test_the_checkpoint_before_a_bad_step_is_named_and_kept(config, tmp_path: Path, monkeypatch) -> None:
    from workflows.train import compute, language_model

    real = language_model.lm_loss

    def breaking(network, z_loss, **settings):
        inner = real(network, z_loss, **settings)

        def loss(params, batch):
            value, metrics = inner(params, batch)
            return value * np.nan, metrics  # the gradient alone is bad: the loss before the update is still finite

        return loss

    out = str(tmp_path)
    run = config(steps=12, checkpoint_every=4)
    train(replace(run, steps=4, optimizer=replace(run.optimizer, factors="constant")), out)
    compute._compute_of.cache_clear()
    monkeypatch.setattr(language_model, "lm_loss", breaking)
    with refused(rf"not finite at step 5 \(checkpoint 4 in {out} is the last good one\)"):
        train(replace(run, optimizer=replace(run.optimizer, factors="constant")), out)
    assert Checkpoints(out, {}, 1).latest() == 4
    compute._compute_of.cache_clear()


def test_parameters_that_burst_in_the_last_step_are_not_saved(config, tmp_path: Path) -> None:
    wild = OptimizerConfig(learning_rate=3e38, factors="constant", warmup_steps=1, weight_decay=1e10, clip_norm=0.0)
    with refused("not finite at step 1 "):
        train(config(optimizer=wild, steps=1), str(tmp_path))
    assert Checkpoints(str(tmp_path), {}, 1).latest() is None
