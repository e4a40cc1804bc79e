"""The optimizer benchmark as steps, and what is read from its curves."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pytest

from models.learned_optimizers import theta_files
from models.learned_optimizers.speedup import envelope, smoothed, steps_to_reach
from models.learned_optimizers.star import StarConfig, star
from shammie import files
from shammie.errors import UserError
from shammie.files import canonical_json
from workflows import dag
from workflows.optimizer_suite import ABOUT, Learned, Suite, baselines_step, checked_learned, decades, learned_step
from workflows.optimizer_suite_measures import SuiteCurves, curves_table, suite_curves, suite_results, trained_on
from workflows.optimizer_suite_pictures import in_groups
from workflows.sweep import read_table

SUITE = Suite(("quadratic", "mlp"), steps=40, every=2, seeds=(0, 1), rates={"adam": (0.01, 0.1), "momentum": (0.1,)})
MADE_WITH = {"meta_training": {"phases": [{"tasks": [{"name": "image_mlp", "config": None}]}]}}


def _row(config: dict[str, Any], losses: np.ndarray) -> tuple[str, list[float]]:
    return canonical_json(config), losses.tolist()


def _curves(
    own: dict[str, float],
    adam: dict[tuple[str, float], float],
    spread: float = 0.0,
    made_with: dict[str, Any] = MADE_WITH,
) -> SuiteCurves:
    """Curves that fall evenly from 1 to an end: of the learned one by task, of Adam by task and rate."""

    def falls(end: float, points: int, seed: int) -> np.ndarray:
        return np.linspace(1, end, points) + spread * seed

    rows = []
    for config in SUITE.baseline_configs():
        points = config["steps"] // config["every"]
        end = adam.get((config["task"], config["learning_rate"]), 0.9) if config["optimizer"] == "adam" else 0.95
        rows.append(_row(config, falls(end, points, config["seed"])))
    learned = [_row(c, falls(own[c["task"]], 20, c["seed"])) for c in SUITE.learned_configs("star", "w", "d")]
    tables = [pa.table({"config": list(c), "losses": list(v)}) for c, v in (zip(*rows), zip(*learned))]  # noqa: B905
    return suite_curves(SUITE, tables[0], {"star": (tables[1], {"made_with": made_with})})


def test_final_losses_are_of_the_suites_steps_and_the_best_rate() -> None:
    curves = _curves({"quadratic": 0.5, "mlp": 0.2}, {("quadratic", 0.1): 0.0, ("mlp", 0.01): 0.4})
    # Adam trains four times as long: after the suite's steps it has come a quarter of its way
    adam = np.linspace(1, 0.0, 80)[18:20].mean()
    assert curves.best_rate("quadratic", "adam") == 1
    np.testing.assert_allclose(curves.finals_S("quadratic", "adam"), [adam, adam])
    np.testing.assert_allclose(curves.finals_S("quadratic", "star"), np.linspace(1, 0.5, 20)[18:].mean())
    assert curves.contest("quadratic", "star").beats
    assert curves.wins("star") == (2, 2)
    assert curves.wins("star", "adam", "trained on") == (1, 1)
    assert curves.kinships == {("quadratic", "star"): "other family", ("mlp", "star"): "trained on"}


def test_the_speedup_is_read_from_adams_envelope_with_the_same_smoothing() -> None:
    curves = _curves({"quadratic": 0.5, "mlp": 0.95}, {("quadratic", 0.1): 0.0, ("mlp", 0.01): 0.4})
    steps = 2.0 * np.arange(1, 81)
    both = np.stack([np.linspace(1, 0.9, 80), np.linspace(1, 0.0, 80)])[:, None]
    own = smoothed(np.linspace(1, 0.5, 20))[-1]
    expected = steps_to_reach(envelope(steps, both), own) / 40
    assert curves.speedup("quadratic", "star") == pytest.approx(float(expected), rel=1e-12)
    assert 1 < expected < 4
    assert not curves.at_least("quadratic", "star")
    assert curves.speedup("mlp", "star") < 1


def test_a_loss_that_adam_never_has_is_a_bound_and_a_divergence_is_nothing() -> None:
    curves = _curves({"quadratic": -5.0, "mlp": np.nan}, {})
    assert curves.speedup("quadratic", "star") == pytest.approx(4.0)
    assert curves.at_least("quadratic", "star")
    assert curves.speedup("mlp", "star") == 0.0
    contest = curves.contest("mlp", "star")
    assert (contest.beats, contest.clearly, np.isnan(contest.difference.mean)) == (False, 0, True)
    assert curves.wins("star") == (1, 2)
    assert all(np.isfinite(value) for value in suite_results(curves).values())


def test_differences_are_paired_over_seeds() -> None:
    curves = _curves({"quadratic": 0.5, "mlp": 0.99}, {("quadratic", 0.1): 0.0}, spread=3.0)
    contest = curves.contest("quadratic", "star")
    assert contest.difference.high - contest.difference.low < 1e-12  # though seeds lie 3 apart
    assert contest.clearly == 1
    assert curves.contest("mlp", "star").clearly == -1
    result = suite_results(curves)
    assert (result["star_beats_adam_tasks"], result["star_beats_adam_tasks_of"]) == (1, 2)
    assert (result["star_clearly_beats_adam_tasks"], result["star_clearly_behind_adam_tasks"]) == (1, 1)
    # the quadratic is of another family than what it was meta-trained on, the perceptron is that
    wins = {name.removeprefix("star_beats_adam_tasks_"): value for name, value in result.items() if "m_tasks_" in name}
    assert wins == {"of": 2, "trained_on": 0, "trained_on_of": 1, "other_family": 1, "other_family_of": 1,
                    "held_out": 1, "held_out_of": 1}  # fmt: skip
    assert in_groups(curves, "star", "adam") == ": on 0 of 1 that it was meta-trained on, on 1 of 1 others"
    assert result["adam_quadratic_best_learning_rate"] == 0.1


def test_published_curves_have_every_training_and_no_path() -> None:
    curves = _curves({"quadratic": 0.5, "mlp": 0.2}, {})
    table = curves_table(curves)
    assert table.num_rows == 2 * 2 * (2 + 1 + 1)
    assert table.column_names == ["task", "optimizer", "learning_rate", "seed", "every", "losses"]
    rows = [row for row in table.to_pylist() if row["optimizer"] == "star"]
    assert {(row["learning_rate"], len(row["losses"])) for row in rows} == {(None, 20)}
    assert {len(row["losses"]) for row in table.to_pylist() if row["optimizer"] == "adam"} == {80}


def test_weights_that_do_not_say_what_they_were_trained_on_make_no_claim_of_held_out_tasks() -> None:
    curves = _curves({"quadratic": 0.5, "mlp": 0.2}, {}, made_with={"released": "somewhere", "step": 3})
    assert set(curves.kinships.values()) == {"unknown"}
    assert [name for name in suite_results(curves) if "m_tasks_" in name] == ["star_beats_adam_tasks_of"]
    assert in_groups(curves, "star", "adam") == ""


def test_what_weights_were_trained_on_is_read_from_what_made_them() -> None:
    assert trained_on(MADE_WITH) == [("image_mlp", None)]
    assert trained_on({"released": "somewhere", "step": 3}) is None


def test_decades_are_even_in_the_logarithm() -> None:
    assert decades(-4, -1, 7) == (0.0001, 0.000316228, 0.001, 0.00316228, 0.01, 0.0316228, 0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tasks": ("mpl",)}, "unknown task 'mpl'; did you mean mlp"),
        ({"tasks": ("mlp", "mlp")}, "each once"),
        ({"tasks": ()}, "name at least one"),
        ({"seeds": ()}, "Suite.seeds are"),
        ({"rates": {"adma": (0.1,)}}, "unknown optimizer 'adma'; did you mean adam"),
        ({"rates": {"momentum": (0.1,)}}, "add adam, which scores stand on"),
        ({"rates": {"adam": ()}}, "rates of adam"),
        ({"rates": {"adam": (0.1, 0.01)}}, "give rising numbers"),
        ({"rates": {"adam": (0.0, 0.01)}}, "above 0"),
        ({"every": 3}, "40 steps with a point each 3"),
        ({"adam_factor": 0}, "Suite.adam_factor is 0"),
        ({"tasks": ("ImageMLP_Mnist_128x128x128_Relu",)}, "it needs MNIST"),
    ],
)
def test_bad_suites(change: dict[str, Any], says: str) -> None:
    own: dict[str, Any] = {"tasks": ("mlp",), "steps": 40, "every": 2, **change}
    with pytest.raises(UserError, match=says):
        Suite(**own)


def test_bad_learned_optimizers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither weights nor a meta-training"):
        Learned("star")
    with pytest.raises(UserError, match="gsutil cp"):
        Learned("velo", "velo", str(tmp_path / "none")).source()
    with pytest.raises(UserError, match="no weights of 'mlp' ship"):
        Learned("mlp", "mlp", "shipped").source()
    with pytest.raises(UserError, match="two optimizers of the suite are called 'adam'"):
        checked_learned([Learned("adam", "star", "shipped")], SUITE)


def test_the_steps_run_resume_and_name_weights_by_their_checksum(tmp_path: Path) -> None:
    suite = Suite(("quadratic",), steps=20, every=5, seeds=(0, 1), rates={"adam": (0.01,)}, adam_factor=2)
    optimizer = star(StarConfig(hidden_size=2))
    path, out = str(tmp_path / "own.theta"), str(tmp_path / "out")
    theta_files.save(path, optimizer, optimizer.init_theta(jax.random.key(0)), MADE_WITH)
    learned = Learned("mine", "star", path)
    targets = [baselines_step(suite), learned_step(learned, suite, None)]
    done = dag.run(targets, out)
    assert [one.ran for one in done] == [True, True]
    about = files.read_json(files.join(done[1].directory, ABOUT))
    assert about["made_with"] == MADE_WITH
    rows = read_table(done[1].directory).to_pylist()
    configs = [json.loads(row["config"]) for row in rows]
    assert {config["sha256"] for config in configs} == {about["sha256"]}
    assert [len(row["losses"]) for row in rows] == [4, 4]
    assert not any(one.ran for one in dag.run([baselines_step(suite), learned_step(learned, suite, None)], out))
    # other weights in the same file: another step, that runs
    theta_files.save(path, optimizer, optimizer.init_theta(jax.random.key(1)), MADE_WITH)
    again = dag.run([learned_step(learned, suite, None)], out)
    assert [one.ran for one in again] == [True]
    assert read_table(again[0].directory)["losses"].to_pylist() != [row["losses"] for row in rows]


def test_a_silenced_network_leaves_the_nominal_term(tmp_path: Path) -> None:
    suite = Suite(("quadratic",), steps=20, every=5, seeds=(0, 1), rates={"adam": (0.01,)}, adam_factor=2)
    optimizer = star(StarConfig(hidden_size=2))
    paths = [str(tmp_path / f"{number}.theta") for number in (0, 1)]
    for number, path in enumerate(paths):  # two thetas whose decays are the same: none was trained
        theta_files.save(path, optimizer, optimizer.init_theta(jax.random.key(number)), MADE_WITH)
    told = [
        Learned(f"n{at}_{scale:.0f}", "star", path, None, scale)
        for at, path in enumerate(paths)
        for scale in (1.0, 0.0)
    ]
    done = dag.run([learned_step(one, suite, None) for one in told], str(tmp_path / "out"))
    one, silent, other, other_silent = (read_table(step.directory)["losses"].to_pylist() for step in done)
    assert one != other
    assert silent == other_silent != one


def test_weights_of_another_optimizer_are_refused(tmp_path: Path) -> None:
    optimizer = star(StarConfig(hidden_size=2))
    path = str(tmp_path / "own.theta")
    theta_files.save(path, optimizer, optimizer.init_theta(jax.random.key(0)), MADE_WITH)
    with pytest.raises(UserError, match="has weights of star; give weights of velo"):
        dag.run([learned_step(Learned("released", "velo", path), SUITE, None)], str(tmp_path / "out"))
