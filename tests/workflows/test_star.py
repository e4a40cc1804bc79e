"""The `star` system: its theory, and its DAG from gin to the report."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from models.learned_optimizers import theta_files
from models.learned_optimizers.interface import count_of
from models.star.noisy_quadratic import random_blocks, random_hessian
from shammie import files
from workflows import gin_config, star
from workflows.cli import main
from workflows.dag_step import in_order
from workflows.star import Settings, steps
from workflows.star_theory import CURVATURES, Theory, clouds, growth, losses, random_theta, regions

THEORY = Theory(map_points=40, blocks=100, chains=4000, loss_steps=60, gradient_chains=16, random_seeds=6,
                random_steps=60, random_task="quadratic")  # fmt: skip


def _settings(size: str, *bindings: str) -> Settings:
    gin_config.parse([f"gin/star/{size}.gin"], bindings, modules=["workflows.star"])
    return gin_config.call(star.Settings)


def _quadratic() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    hessian = random_hessian(CURVATURES, random)
    return hessian, random_blocks(THEORY.blocks, len(CURVATURES), THEORY.block_scale, random)


def test_maps_change_from_stable_to_unstable_at_the_closed_forms_limits() -> None:
    found = regions(200)
    assert found["limits"] == pytest.approx({"SGD": 2.0, "momentum 0.9": 38.0, "AggMo": 103.169}, rel=1e-5)
    at = np.array(found["steps"])
    for name, radii in found["radii"].items():
        stable = at[np.array(radii) < 1]
        assert stable.max() < found["limits"][name] < at[at > stable.max()][0], name
    # beside a block that ascends, SGD is stable where its rate outweighs it
    radii = np.array(found["block_radii"]["SGD"])
    shares, rates = np.array(found["block_shares"])[:, None], np.array(found["block_steps"])[None]
    inside = (shares + rates > 0.05) & (shares + rates < 1.95)
    assert (radii[inside] < 1).all()
    assert (radii[(shares + rates < -0.05) | (shares + rates > 2.05)] > 1).all()


def test_a_nominal_term_moves_random_blocks_into_the_unit_disk() -> None:
    found = clouds(*_quadratic(), 0.3)
    assert found["block alone"]["stable_share"] < 0.2
    assert found["with SGD"]["stable_share"] > 0.95
    assert found["block alone"]["stable_share"] < found["with AggMo"]["stable_share"]
    for name, size in (("block alone", 1), ("with AggMo", 4)):
        assert len(found[name]["real"]) == THEORY.blocks * len(CURVATURES) * size


def test_the_closed_form_loss_is_that_of_chains() -> None:
    found = losses(THEORY, *_quadratic())
    assert found["radius"] < 1
    assert found["largest_relative_difference"] < 0.08
    assert found["closed"][0] == pytest.approx(sum(CURVATURES) * 10 / 2, rel=0.6)
    settled = np.mean(found["simulated"][-20:])
    assert settled == pytest.approx(found["stationary"], rel=0.08)


def test_meta_gradients_explode_by_the_radius_and_only_above_1() -> None:
    hessian, _ = _quadratic()
    found = growth(replace(THEORY, lengths=(4, 8, 16, 32, 48, 64)), hessian)
    for name, radius in found["radii"].items():
        norms = found["norms"][name]
        if radius > 1:
            assert found["measured_growth"][name] == pytest.approx(radius, rel=0.01)
            assert norms[-1] > 50 * norms[0]
        else:
            assert norms[-1] < 10 * norms[0]
    assert sorted(radius > 1 for radius in found["radii"].values()) == [False, False, True, True]


@pytest.mark.slow
def test_untrained_networks_fail_where_the_nominal_term_alone_does_not() -> None:
    found = random_theta(THEORY)
    assert found["falls_share"]["nominal term alone"] == 1.0
    assert found["falls_share"]["network alone"] < 0.7
    assert set(found["shares"]) == {"nominal term alone", "network alone", "both"}


def test_sizes_of_the_paper_and_names_of_steps() -> None:
    settings = _settings("paper")
    counts = {}
    for one in settings.learned:
        assert one.meta_training is not None
        optimizer = theta_files.learned_optimizer(one.meta_training.name)
        counts[one.optimizer] = count_of(jax.eval_shape(optimizer.init_theta, jax.random.key(0)))
        phase = one.meta_training.config.phases[0]
        assert (phase.estimator, phase.window) == ("pes", 50)
    assert counts == {"star": 207, "adafactor_mlp": 197}
    names = [step.name for step in in_order(steps(settings))]
    assert names == [
        "baselines", "meta_train_star_fresh", "suite_star_fresh", "meta_train_adafactor_mlp_fresh",
        "suite_adafactor_mlp_fresh", "theory", "report",
    ]  # fmt: skip


def test_the_paper_s_star_has_what_the_paper_adds() -> None:
    """Its best: preconditioning and heavy decay of theta; the weights that ship, of minutes, have neither."""
    run = _settings("paper").learned[0].meta_training
    assert run is not None
    assert (run.optimizer.precondition, run.optimizer.nominal_stepsize) == (True, 1e-3)
    assert run.config.theta_decay >= 0.1


def test_both_rivals_have_the_same_meta_training() -> None:
    for size in ("tiny", "main", "paper"):
        made = [one.meta_training for one in _settings(size).learned if one.meta_training is not None]
        assert [one.name for one in made] == ["star", "adafactor_mlp"]
        assert made[0].config == made[1].config


def test_every_baseline_has_seven_learning_rates_where_claims_are_made() -> None:
    for size in ("main", "small"):
        suite = _settings(size).suite
        assert {len(rates) for rates in suite.rates.values()} == {7}
        assert len(suite.seeds) >= 3


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["--input", "x"], "star reads no --input (got x)"),
        (["--size", "tiny", "--gin.TASKS=('mpl',)"], "unknown task 'mpl'; did you mean mlp?"),
        (["--size", "tinny"], "did you mean tiny?"),
    ):
        assert main(["plan", "star", *words]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1


@pytest.mark.slow
def test_a_run_from_gin_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["run", "star", "--size", "tiny", "--out", out]) == 0, capsys.readouterr().err
    result = files.read_json(f"{out}/result.json")
    assert result["stability_limit_aggmo"] == pytest.approx(103.169, rel=1e-5)
    assert result["star_fresh_below_adafactor_mlp_fresh_tasks_of"] == 2
    assert result["star_fresh_below_adafactor_mlp_fresh_tasks_trained_on_of"] == 1
    assert result["star_fresh_below_adafactor_mlp_fresh_tasks_held_out_of"] == 1
    assert result["star_fresh_meta_environment_steps"] == result["adafactor_mlp_fresh_meta_environment_steps"] > 0
    page = Path(out, "report.html").read_text()
    assert page.count("<svg") == 9
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    capsys.readouterr()
    assert main(["run", "star", "--size", "tiny", "--out", out]) == 0
    assert "running" not in capsys.readouterr().err
