"""The experiments of `evolution` as a DAG, what is measured on them, and what its gin files promise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.evolution.learning import Learning
from models.evolution.linear import example_derivatives, gpes_variance
from shammie.errors import UserError
from shammie.files import canonical_json
from workflows import evolution, evolution_report, gin_config
from workflows.cli import main
from workflows.dag_step import in_order
from workflows.evolution import Bias, Comparison, Settings, Variance, steps
from workflows.evolution_measures import bias_of, curves_of, equal_steps, results, variance_of

ARMS = {"nres": {"iterations": 4}, "pes": {"iterations": 8}, "full_es": {"particles": 2, "iterations": 2}}
TOY = [
    "--gin.COMPARISONS=(%CART_POLE,)",
    "--gin.CART_POLE_ARMS={'nres': {'iterations': 4}, 'pes': {'iterations': 8}}",
    "--gin.CART_POLE_SHARED={'particles': 2, 'window': 20, 'sigma': 0.3, 'points': 2, 'episodes': 2, 'pairs': 0}",
    "--gin.SEEDS=(1, 2)",
    "--gin.VARIANCE_EPISODES=2000",
    "--gin.BIASES=()",
]


def _settings(size: str, *bindings: str) -> Settings:
    gin_config.parse([f"gin/evolution/{size}.gin"], bindings, modules=["workflows.evolution"])
    return gin_config.call(evolution.Settings)


def _table(rows: dict[str, dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"config": text, **row} for text, row in rows.items()])


def _curves(losses: dict[tuple[str, int], list[float]], *, steps_of: dict[str, list[int]], **more: Any) -> Any:
    """Curves of three points made by hand: losses by arm and seed, environment steps by arm; ten follow one another."""
    comparison = Comparison(arms={arm: {"window": 100} for arm in steps_of}, seeds=(1, 2), **more)
    rows = {
        canonical_json(comparison.run(arm, seed).to_json()): {
            "iterations": [0, 1, 2],
            "environment_steps": steps_of[arm],
            "sequential_steps": [one // 10 for one in steps_of[arm]],
            "loss": values,
            "smoothed_loss": [],
            "skipped": 1,
            "theta": [0.0, 1.0],
        }
        for (arm, seed), values in losses.items()
    }
    return curves_of(comparison, _table(rows))


HAND_MADE = {
    ("nres", 1): [100.0, 40.0, 10.0],
    ("nres", 2): [100.0, 60.0, 20.0],
    ("pes", 1): [100.0, 50.0, 30.0],
    ("pes", 2): [100.0, 20.0, 15.0],
}
STEPS = {"nres": [0, 1000, 2000], "pes": [0, 2000, 4000]}


def test_losses_at_equal_steps_lie_between_points() -> None:
    curves = _curves(HAND_MADE, steps_of=STEPS)
    same = equal_steps(curves)
    assert same is not None
    assert same.environment_steps == 2000
    assert same.losses == {1: (10.0, 50.0), 2: (20.0, 20.0)}
    assert same.below == 1  # equal is not below
    assert curves.at("pes", 1, 1000) == 75.0
    result = results([curves], [], [])
    assert result["lorenz_nres_over_pes_seed_1"] == 0.2
    assert result["lorenz_seeds_with_nres_below_pes"] == 1
    assert result["lorenz_seeds_of_nres_and_pes"] == 2
    assert (result["lorenz_first_loss"], result["lorenz_nres_final_loss"]) == (100, 15)
    low, high = result["lorenz_nres_final_loss_low"], result["lorenz_nres_final_loss_high"]
    assert (low + high) / 2 == pytest.approx(15)
    assert high - 15 == pytest.approx(12.706 * 5, rel=1e-3)  # Student's t of two seeds
    # 90 % of the way from 100 to 15 is 23.5: NRES's mean is 15 at its last point, PES's 22.5
    assert result["lorenz_nres_environment_steps_to_90_percent"] == 2000
    assert result["lorenz_nres_sequential_steps_to_90_percent"] == 200
    assert result["lorenz_pes_environment_steps_to_90_percent"] == 4000
    assert result["lorenz_pes_updates_skipped"] == 2


def test_what_diverges_or_failed_is_told_and_is_never_lower() -> None:
    losses = {**HAND_MADE, ("pes", 1): [100.0, np.nan, np.nan], ("nres", 2): [100.0, np.inf, np.nan]}
    curves = _curves(losses, steps_of=STEPS)
    same = equal_steps(curves)
    assert same is not None
    assert same.below == 1  # of the seed where PES is not finite
    result = results([curves], [], [])
    assert "lorenz_nres_final_loss" not in result
    assert all(np.isfinite(value) for value in result.values())
    page = evolution_report.page([curves], [], []).render()
    assert "NRES diverges with some seed" in page
    del losses["nres", 1]
    alone = _curves(losses, steps_of=STEPS)
    assert list(alone.runs["nres"]) == [2]
    assert "1 runs of NRES failed" in evolution_report.page([alone], [], []).render()


def test_rewards_are_one_minus_losses() -> None:
    curves = _curves(HAND_MADE, steps_of=STEPS, problem="cart_pole", reward=True, shared={"window": 20})
    assert "reward" in evolution_report.page([curves], [], []).render()


def test_variances_stand_beside_their_closed_forms() -> None:
    variance = Variance(reuses=(1, 3, 6))
    closed = [gpes_variance(example_derivatives(), reuse) for reuse in (1, 3, 6)]
    rows = {
        canonical_json(config): {"variance": value + 0.2, "variance_error": 0.1, "mean": [0.0], "mean_error": [0.0]}
        for config, value in zip(variance.configs(), [*closed, 3.6529463705], strict=True)
    }
    found = variance_of(variance, _table(rows))
    assert [point.apart for point in found.points] == pytest.approx([2, 2, 2])
    assert found.full_es is not None
    assert found.full_es.apart == pytest.approx(2, abs=1e-6)
    result = results([], [found], [])
    assert result["linear_variance_K_6_closed_form"] == pytest.approx(7.753664, abs=1e-6)
    assert result["linear_variance_K_1"] == pytest.approx(52.250023, abs=1e-5)
    page = evolution_report.page([], [found], []).render()
    assert "it does not fall" not in page
    assert page.count("<svg") == 1


def test_biases_are_measured_from_the_exact_gradient() -> None:
    bias = Bias(log_rates=(-3.0, -2.0), estimators=("truncated_es", "nres"), options={"horizon": 20, "noise": 0.0})
    texts = [canonical_json(config) for config in bias.configs()]
    assert [json.loads(text)["options"]["first_log_rate"] for text in texts] == [-3, -2, -3, -2]
    rows = {text: {"mean": [-0.02], "mean_error": [0.01], "variance": 1.0, "variance_error": 0.1} for text in texts}
    found = bias_of(bias, _table(rows))
    exact = found["nres"][0].exact
    assert exact < 0
    # w <- (1 - a h) w: the mean over steps of h (1 - a h)^(2 t) / 2, differentiated numerically and smoothed little
    h_D, rates = np.geomspace(1, 0.01, 10), np.exp(-3.0 + np.array([-1e-4, 1e-4]))
    t_T = np.arange(1, 21)
    means = [(h_D[:, None] * (1 - a * h_D[:, None]) ** (2 * t_T)).mean() / 2 for a in rates]
    assert exact == pytest.approx((means[1] - means[0]) / 2e-4, rel=0.02)
    assert found["nres"][0].apart == pytest.approx((-0.02 - exact) / 0.01)
    result = results([], [], [(bias, found)])
    assert result["quadratic_nres_mean_estimate_over_exact"] == pytest.approx(-0.02 / exact)


def test_an_arm_names_its_estimator_and_k() -> None:
    comparison = Comparison(arms={"gpes_500": {}, "nres": {"learning_rate": 2.0}}, shared={"learning_rate": 1.0})
    assert comparison.run("gpes_500", 1) == Learning(estimator="gpes", reuse=500, learning_rate=1.0, seed=1)
    assert comparison.run("nres", 1).learning_rate == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Comparison(arms={}), "arms of lorenz is empty"),
        (lambda: Comparison(arms={"nress": {}}), "unknown estimator 'nress'; did you mean nres"),
        (lambda: Comparison(arms={"nres": {"particle": 3}}), "unknown setting of lorenz's arm nres 'particle'"),
        (lambda: Comparison(arms={"nres": {"particles": 0}}), "particles is 0; give at least 1"),
        (lambda: Comparison(shared={"window": 4000}), "window is 4000 and the problem's horizon 2000"),
        (lambda: Comparison(problem="lorenc"), "unknown problem 'lorenc'; did you mean lorenz"),
        (lambda: Comparison(seeds=()), "seeds of lorenz are"),
        (lambda: Comparison(seeds=(1, 1)), "each once"),
        (lambda: Comparison(seeds=(1.5,)), "give whole numbers"),  # pyright: ignore[reportArgumentType]
        (lambda: Comparison(problem="physics", model_file="/none.xml"), "/none.xml, cannot be read: FileNotFoundError"),
        (lambda: Comparison(name="a b"), "name is 'a b'"),
        (lambda: Variance(reuses=(3, 1)), "reuses of linear are"),
        (lambda: Variance(reuses=(1, 2), window=2), "windows of 2"),
        (lambda: Variance(reuses=(3,), window=2, closed=False), "reuse is 3, the window 2 and the horizon 6"),
        (lambda: Bias(log_rates=()), "log_rates of quadratic is empty"),
        (lambda: Bias(window=7), "window is 7 and the horizon 100; give a window that divides it"),
        (lambda: Settings((), (), ()), "names nothing to run"),
        (lambda: Settings((Comparison(), Comparison())), "names one twice: lorenz, lorenz"),
        (lambda: steps(input=("a.txt",)), "evolution reads no --input"),
    ],
)
def test_bad_settings_are_named(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_main_and_small_ask_what_the_issue_asks() -> None:
    for size, seeds in (("main", 3), ("small", 5)):
        settings = _settings(size)
        lorenz = settings.comparisons[0]
        assert list(lorenz.seeds) == [101, 103, 107, 109, 113][:seeds]
        rates = {arm: lorenz.run(arm, 101).learning_rate for arm in lorenz.arms}
        asked = {"nres": 1e-5, "pes": 1e-5, "full_es": 3e-5, "truncated_es": 3e-4, "backprop": 1e-8}
        asked |= {"truncated_backprop": 3e-4, "uoro": 1e-13, "dodge": 1e-10}
        assert asked.items() <= rates.items()
        nres = lorenz.run("nres", 101)
        assert (nres.particles, nres.window, nres.sigma, nres.optimizer) == (200, 100, 0.04, "sgd")
        assert lorenz.run("full_es", 101).particles == 10
        assert lorenz.run("pes", 101).drop_at == 1000
        assert list(settings.variances[0].reuses) == [1, 2, 3, 6]
        assert "truncated_es" in settings.biases[0].estimators


def test_paper_has_the_papers_tasks(tmp_path: Path) -> None:
    model = tmp_path / "half_cheetah.xml"
    model.write_text("<mujoco/>")
    settings = _settings("paper", f"HALF_CHEETAH_MODEL={str(model)!r}")
    by_name = {one.name: one for one in settings.comparisons}
    swimmer, cheetah = by_name["swimmer"], by_name["half_cheetah"]
    assert {arm: swimmer.run(arm, 23).learning_rate for arm in swimmer.arms} == {
        "nres": 3, "pes": 1, "truncated_es": 30, "full_es": 1}  # fmt: skip
    assert cheetah.run("nres", 23).options["model"] == "<mujoco/>"
    assert str(tmp_path) not in canonical_json(cheetah.run("nres", 23).to_json())
    assert cheetah.run("pes", 23).iterations == 30_000
    optimizer = by_name["optimizer"]
    assert {"gpes_4", "gpes_16", "gpes_64", "gpes_256", "nres", "pes"} <= set(optimizer.arms)
    run = optimizer.run("nres", 23)
    assert (run.particles, run.window, run.sigma, run.iterations) == (100, 1, 0.01, 240_000)
    with pytest.raises(UserError, match="HALF_CHEETAH_MODEL"):
        _settings("paper")


def test_an_arm_more_makes_another_step_of_that_comparison_alone() -> None:
    def identities(arms: Any) -> dict[str, str]:
        settings = Settings((Comparison(arms=arms),))
        return {step.name: step.identity for step in in_order(steps(settings))}

    before, after = identities({"nres": {}}), identities({"nres": {}, "pes": {}})
    assert {name for name in before if before[name] != after[name]} == {"learn_lorenz", "report"}


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evolution")
    assert main(["run", "evolution", "--size", "tiny", "--out", str(out), *TOY]) == 0
    return out


def test_a_run_ends_in_a_flat_result_with_the_right_values_and_a_page(toy_run: Path) -> None:
    result = json.loads((toy_run / "result.json").read_text())
    assert all(isinstance(value, int | float) for value in result.values())
    assert (result["runs"], result["seeds"]) == (4, 2)
    # 2 workers, pairs, burn-in of an episode of 200 steps, windows of 20
    assert result["cart_pole_nres_environment_steps"] == 2 * 2 * (200 + 4 * 20)
    assert result["cart_pole_pes_sequential_steps"] == 200 + 8 * 20
    assert result["cart_pole_equal_environment_steps"] == 2 * 2 * (200 + 4 * 20)
    for reuse in (1, 2, 3, 6):
        closed = gpes_variance(example_derivatives(), reuse)
        assert result[f"linear_variance_K_{reuse}_closed_form"] == pytest.approx(closed)
        assert abs(result[f"linear_variance_K_{reuse}_standard_errors_apart"]) < 4
    page = (toy_run / "report.html").read_text()
    assert page.count("<svg") == 2
    for heading in ("Balancing a pole", "Variance against K", "Made by"):
        assert heading in page


def test_a_resumed_run_makes_nothing_twice(toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sorted(toy_run.glob("**/step.json"))
    times = [path.stat().st_mtime_ns for path in made]
    assert main(["run", "evolution", "--size", "tiny", "--out", str(toy_run), *TOY]) == 0
    assert [path.stat().st_mtime_ns for path in made] == times
    assert sorted(toy_run.glob("**/step.json")) == made
    more = [one.replace("SEEDS=(1, 2)", "SEEDS=(1, 2, 3)") for one in TOY]
    capsys.readouterr()
    assert main(["plan", "evolution", "--size", "tiny", "--out", str(toy_run), *more]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "4 of 6 cells done" in printed


@pytest.mark.slow
def test_tiny_runs(tmp_path: Path) -> None:
    assert main(["run", "evolution", "--size", "tiny", "--out", str(tmp_path)]) == 0
