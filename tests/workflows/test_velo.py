"""The `velo` system: released weights and the reference's files through its DAG, and what its gin files promise."""

import json
from dataclasses import asdict
from pathlib import Path

import jax
import pytest

from models.learned_optimizers import theta_files
from models.learned_optimizers.interface import count_of
from models.learned_optimizers.released import to_checkpoint
from models.learned_optimizers.star import star
from models.learned_optimizers.suite import suite_task
from models.learned_optimizers.velo import VeloConfig, velo
from shammie import files
from shammie.errors import UserError
from workflows import gin_config
from workflows import velo as system
from workflows.cli import main
from workflows.dag_step import in_order
from workflows.velo import Settings, steps

TOY = [
    "--gin.TASKS=('quadratic',)",
    "--gin.SUITE_STEPS=20",
    "--gin.RATES={'adam': (0.01, 0.1)}",
    "--gin.LEARNED=()",
]


def _settings(size: str, *bindings: str) -> Settings:
    gin_config.parse([f"gin/velo/{size}.gin"], bindings, modules=["workflows.velo"])
    return gin_config.call(system.Settings)


def test_the_papers_size_and_phases() -> None:
    settings = _settings("paper")
    run = settings.learned[0].meta_training
    assert run is not None
    optimizer = theta_files.learned_optimizer("velo", **asdict(run.optimizer))
    assert count_of(jax.eval_shape(optimizer.init_theta, jax.random.key(0))) == 2_320_385
    phases = run.config.phases
    assert [(one.shortest, one.longest) for one in phases] == [
        (100, 20_000), (200, 20_000), (200, 20_000), (200, 200_000),
    ]  # fmt: skip
    assert [one.accumulate for one in phases] == [4, 10, 20, 20]
    assert [one.resample_every for one in phases] == [1000, 1000, 1000, 200]
    assert all(one.sign and one.estimator == "full_es" and one.sigma == 0.01 for one in phases)
    assert (run.config.learning_rate, run.config.clip_value) == (3e-4, 3.0)
    assert [step.name for step in in_order(steps(settings))] == ["baselines", "meta_train_velo", "suite_velo", "report"]


def test_the_references_tasks_are_all_named_and_each_says_what_it_needs() -> None:
    text = Path(gin_config.gin_root(), "gin/velo/suite_reference.gin").read_text()
    names = [line.strip(" ',") for line in text.splitlines() if line.startswith("    '")]
    assert len(names) == len(set(names)) == 125
    for name in names:
        with pytest.raises(UserError, match=r"cannot be built here: it needs .+; its curves"):
            suite_task(name)
    needs = {"RNNLM_lm1bbytes_Patch32_GRU128_Embed64": "LM1B", "VIT_Food101_64_skinnydeep": "Food-101"}
    for name, data in needs.items():
        with pytest.raises(UserError, match=f"it needs {data};"):
            suite_task(name)


@pytest.mark.slow
def test_released_weights_and_reference_curves_go_through_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint in the released format, of a small VeLO of ours."""
    optimizer = velo(VeloConfig(lstm_size=8, bank_size=4))
    folder, out = tmp_path / "released", str(tmp_path / "out")
    folder.mkdir()
    (folder / "params").write_bytes(to_checkpoint(optimizer, optimizer.init_theta(jax.random.key(0)), 7))
    baselines = tmp_path / "baselines.json"
    name = "Conv_Cifar10_32x64x64"
    baselines.write_text(json.dumps({name: [[0, 10], [3.0, 1.0]], "Conv_Cifar100_32x64x64": [[0, 5], [2, 2]]}))
    words = ["run", "velo", "--size", "tiny", "--out", out, *TOY, f"--gin.WEIGHTS='{folder}'"]
    words += [f"--gin.BASELINES='{baselines}'", f"--gin.REFERENCE_TASKS=('{name}', 'VIT_Cifar100')"]
    assert main(words) == 0, capsys.readouterr().err
    result = files.read_json(f"{out}/result.json")
    assert result["velo_released_beats_adam_tasks_of"] == 1
    # released weights do not say what they were trained on: no claim of held-out tasks
    assert "velo_released_beats_adam_tasks_held_out_of" not in result
    assert (result["reference_baseline_tasks"], result["reference_baseline_tasks_missing"]) == (1, 1)
    page = Path(out, "report.html").read_text()
    assert name in page
    assert "The file has no curve of VIT_Cifar100." in page
    assert "They were not measured" not in page


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, other = tmp_path / "wrong", tmp_path / "star.theta"
    wrong.write_bytes(b"no weights")
    theta_files.save(str(other), star(), star().init_theta(jax.random.key(0)))
    for words, says in (
        (["plan", "velo", "--size", "tiny", f"--gin.WEIGHTS='{other}'"], "has weights of star; give weights of velo"),
        (["plan", "velo", "--size", "tiny", f"--gin.WEIGHTS='{wrong}'"], "is no learned optimizer's checkpoint"),
        (["plan", "velo", "--input", "x"], "velo reads no --input (got x)"),
        (["plan", "velo", "--size", "tiny", "--gin.WEIGHTS='/nowhere'"], "gsutil cp"),
        (["plan", "velo", "--size", "tiny", "--gin.BASELINES='/nowhere'"], "/nowhere: no such file"),
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1
    with pytest.raises(UserError, match="is no learned optimizer's checkpoint"):
        theta_files.load(str(wrong))


@pytest.mark.slow
def test_a_run_from_gin_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["run", "velo", "--size", "tiny", "--out", out]) == 0, capsys.readouterr().err
    result = files.read_json(f"{out}/result.json")
    assert result["velo_beats_adam_tasks_of"] == 2
    assert result["velo_meta_environment_steps"] == 2 * 4 * 20 * (20 + 40)
    page = Path(out, "report.html").read_text()
    assert "gs://gresearch" in page
    assert page.count("<svg") == 3
