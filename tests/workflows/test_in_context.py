"""The `in_context` system: what is read off a run, its settings, and its DAG from gin to the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.contexts import contexts_of
from models.in_context.judging import Evaluation
from models.in_context.learner import network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.meta_training import MetaTraining
from models.in_context.tasks import Mixture, TaskDistribution, unseen_rows
from models.in_context.trained import TrainedLearner
from seqio_tasks.base_sets import bank_for
from shammie import files
from shammie.errors import UserError
from workflows import gin_config, in_context
from workflows import in_context_pictures as pictures
from workflows.cli import main
from workflows.in_context_measures import (
    Found,
    full_context,
    half_way,
    labels_of,
    over_seeds,
    shown_tasks,
    word,
    words_of,
)
from workflows.in_context_report import results
from workflows.in_context_settings import SEEN, UNSEEN, Grid, Recipe, Settings, word_of
from workflows.in_context_training import unseen_evaluation

LEARNER = LearnerConfig(examples=20)


def _found(seen: tuple[float, float], unseen: tuple[float, float], **changed: Any) -> Found:
    """A training of 400 steps and 4 points whose contexts go evenly from a first to a last accuracy."""
    curves = {SEEN: seen, UNSEEN: unseen}
    accuracy = {name: np.tile(np.linspace(*ends, 20), (4, 1)) for name, ends in curves.items()}
    evaluations = [Evaluation(SEEN, met=True), Evaluation(UNSEEN)]
    training = MetaTraining(changed.pop("learner", LEARNER), steps=400, points=4, evaluations=evaluations)
    told: dict[str, Any] = {"recipe": "plain", "tasks": 16, "state_size": 5, "parameters": 7, **changed}
    return Found(training, losses_P=np.ones(4), accuracy=accuracy, **told)


def test_phases_are_told_from_what_improves_within_a_context() -> None:
    assert _found((0.1, 0.1), (0.1, 0.1)).phase == "untrained"
    assert _found((0.9, 0.95), (0.1, 0.1)).phase == "memorises"
    assert _found((0.1, 0.8), (0.1, 0.15)).phase == "identifies"
    assert _found((0.1, 0.8), (0.1, 0.7)).phase == "generalises"
    assert _found((0.1, 0.8), (0.1, 0.4)).phase == "identifies"  # less than half as much on unseen tasks
    assert _found((0.9, 0.95), (0.1, 0.8)).phase == "generalises"
    assert replace(_found((0.1, 0.8), (0.1, 0.7)), losses_P=np.array([1.0, np.nan])).phase == "diverged"


def test_a_full_context_is_its_last_tenth() -> None:
    assert full_context(np.arange(20) / 20) == pytest.approx((18 + 19) / 40)
    assert full_context(np.array([0.5])) == 0.5
    one = _found((0.1, 0.9), (0.1, 0.5))
    assert one.last(SEEN) == pytest.approx(np.linspace(0.1, 0.9, 20)[-2:].mean())
    assert one.improvement(SEEN) == pytest.approx(one.last(SEEN) - 0.1)


def test_steps_to_an_accuracy_lie_between_points() -> None:
    accuracy = np.repeat(np.array([0.1, 0.2, 0.6, 0.7])[:, None], 20, axis=1)
    one = replace(_found((0.1, 0.1), (0.1, 0.1)), accuracy={UNSEEN: accuracy})
    assert one.steps_to(0.4) == pytest.approx(250)  # half way from step 200 to 300
    assert one.steps_to(0.15) == pytest.approx(150)
    assert one.steps_to(0.71) == float("inf")
    assert one.at_steps.tolist() == [100, 200, 300, 400]


def test_half_way_lies_between_chance_and_the_nearest_neighbour() -> None:
    assert half_way(np.full(20, 0.8), 10) == pytest.approx(0.45)


def test_seeds_are_grouped_and_named() -> None:
    first, second = _found((0.1, 0.5), (0.1, 0.5)), _found((0.1, 0.7), (0.1, 0.7))
    other = _found((0.1, 0.7), (0.1, 0.7), tasks=0)
    groups = over_seeds([first, second, other])
    assert [len(group) for group in groups.values()] == [2, 1]
    assert [shown_tasks(count) for count in (0, 1, 4096, 3000)] == ["∞", "1", "2^12", "3,000"]
    assert word_of("tfds:fashion_mnist") == "fashion_mnist"
    assert word_of("data/K-MNIST/") == "k_mnist"
    assert word_of("table:1000") == "table_1000"
    assert word_of("sklearn:breast_cancer") == "breast_cancer"


def test_results_are_means_over_seeds_and_shares_of_the_nearest_neighbour() -> None:
    grid = Grid("plateau", "plateau", learners=(LEARNER,), tasks=(16,), seeds=(0, 1))
    never = _found((0.1, 0.1), (0.1, 0.1), recipe="slow")
    found = [_found((0.1, 0.5), (0.1, 0.4)), _found((0.1, 0.7), (0.1, 0.8)), never]
    nearest = {("nearest_neighbour", UNSEEN, 20): np.full(20, 0.5)}
    judged = {UNSEEN: {"accuracy": [0.1] * 18 + [0.4, 0.4], "nats": [2.3] + [1.0] * 19}}
    out = results(Settings(grids=(grid,), learner=LEARNER), {"plateau": (grid, found)}, judged, nearest)
    assert out["learner_unseen"] == pytest.approx(0.4)
    assert out["learner_of_nearest_unseen"] == pytest.approx(0.8)
    assert out["learner_nats_first_unseen"] == 2.3
    ends = [np.linspace(0.1, last, 20)[-2:].mean() for last in (0.5, 0.7, 0.4, 0.8)]
    assert out["plateau_transformer_64_16_plain_seen"] == pytest.approx(np.mean(ends[:2]))
    assert out["plateau_transformer_64_16_plain_gap"] == pytest.approx(np.mean(ends[:2]) - np.mean(ends[2:]))
    # half way is 0.3: both come there within the first point
    half = "plateau_transformer_64_16_plain_steps_to_half"
    assert 0 < out[f"{half}_least"] <= out[half] <= 100
    assert out["plateau_transformer_64_16_slow_steps_to_half"] is None


def test_no_two_rows_share_a_key() -> None:
    learners = [
        LEARNER,
        replace(LEARNER, shifted=True),
        replace(LEARNER, heads=2, head_width=32),
        replace(LEARNER, width=32),
        replace(LEARNER, kind="lstm"),
    ]
    words = words_of([*learners, LEARNER])
    assert list(words) == learners
    assert list(words.values()) == [
        "transformer_64_heads_4_head_width_16_not_shifted",
        "transformer_64_heads_4_head_width_16_shifted",
        "transformer_64_heads_2_head_width_32_not_shifted",
        "transformer_32",
        "lstm_64",
    ]
    found = [
        _found((0.1, 0.1 * place), (0.1, 0.1), learner=one, tasks=tasks)
        for place, (one, tasks) in enumerate((one, tasks) for one in learners for tasks in (16, 0))
    ]
    for role in ("phase", "plateau", "state"):
        grid = Grid("g", role, learners=learners, tasks=(16, 0))
        out = results(Settings(grids=(grid,), learner=None), {"g": (grid, found)}, {}, {})
        ends = [value for name, value in out.items() if name.endswith("_seen")]
        assert ends == pytest.approx([one.last(SEEN) for one in found])
        assert len([name for name in out if name.endswith("steps_to_half")]) == (10 if role == "plateau" else 0)
    assert labels_of(found[:2]) == {(LEARNER, 16, "plain"): "2^4 tasks", (LEARNER, 0, "plain"): "∞ tasks"}
    assert len({*labels_of(found).values()}) == 10
    assert [*labels_of(found[:1]).values()] == ["transformer_64"]
    # and every one is in the maps, those of one width too
    seen, unseen = pictures.phase_map(found, "plain").axes[:2]
    assert seen.images[0].get_array().shape == (5, 2)
    assert sorted(np.ravel(seen.images[0].get_array())) == pytest.approx(ends)
    assert len(unseen.texts) == 10
    assert next(text.get_text() for text in seen.get_yticklabels()) == "transformer_32"
    assert len(pictures.phases_against(found).axes[0].patches) == 10


def test_what_was_not_met_is_not_called_seen() -> None:
    spread = [Evaluation(SEEN, seen=True), Evaluation(UNSEEN)]
    one = _found((0.1, 0.5), (0.1, 0.4))
    one = replace(one, training=replace(one.training, evaluations=spread))
    grid = Grid("plateau", "plateau", learners=(LEARNER,))
    out = results(Settings(grids=(grid,), learner=None), {"plateau": (grid, [one])}, {}, {})
    assert "plateau_transformer_64_16_plain_unseen" in out
    assert not [name for name in out if "_seen" in name or "_gap" in name]


def test_seen_tasks_of_a_run_are_met_ones_and_other_data_judges_what_is_kept() -> None:
    transfer = ("random", "table:1000", "sklearn:wine")
    grids = [
        Grid("phase", tasks=(16, 0)),
        Grid("state", "state", tasks=(16, 0), transfer=("table:7",)),
        Grid("plateau", "plateau", tasks=(16, 0)),
    ]
    settings = Settings(transfer=transfer, grids=grids)
    met = {grid.name: [[e.met for e in t.evaluations[:3]] for t in settings.trainings(grid)] for grid in grids}
    yes, no = [True, True, False], [False, False, False]
    assert met == {"phase": [yes, yes], "state": [yes, no], "plateau": [yes, no]}
    last = {grid.name: settings.trainings(grid)[0].evaluations[-1].name for grid in grids}
    assert last == {"phase": "unseen", "state": "table_7", "plateau": "unseen"}
    kept = settings.evaluations(0, everything=True)
    assert [one.name for one in kept[5:]] == ["random", "table_1000", "wine"]
    assert [one.distribution.repeat for one in kept[5:]] == [True, False, False]
    assert kept[0].met
    assert kept[1].met
    judged = [one.evaluation.name for one in settings.judged() if one.examples == settings.judged()[0].examples]
    assert judged == ["unseen", "orthogonal", "shuffled", "random", "table_1000", "wine", "table_7"]
    with pytest.raises(UserError, match=r"transfer of the settings and of their grids is .*kmnist, kmnist"):
        Settings(transfer=("a/kmnist",), grids=(Grid("state", "state", transfer=("b/kmnist",)),))


def test_recipes_make_their_mixtures() -> None:
    plain = Recipe(curriculum_draws=10).mixture("digits", 64)
    assert plain == Mixture((TaskDistribution("digits", 64, curriculum_draws=10),), (1.0,))
    mixed = Recipe(two_class_share=0.25, biased_share=0.5).mixture("digits", 64)
    assert [one.classes for one in mixed.distributions] == [0, 2]
    assert all(one.biased_share == 0.5 and one.tasks == 64 for one in mixed.distributions)
    assert mixed.shares == (0.75, 0.25)
    tables = Recipe(any_class_share=0.25, table_share=0.5, tables=4).mixture("digits", 0)
    assert [one.data for one in tables.distributions] == ["digits", "digits", *(f"table:{n}" for n in range(4))]
    assert tables.shares == (0.25, 0.25, *[0.125] * 4)
    with pytest.raises(UserError, match="leave some for contexts of all classes"):
        Recipe(two_class_share=0.5, table_share=0.5)


def test_settings_refuse_what_cannot_be_run() -> None:
    with pytest.raises(UserError, match="phse"):
        Grid(role="phse")
    with pytest.raises(UserError, match="name each once"):
        Settings(grids=(Grid(), Grid()))
    with pytest.raises(UserError, match="nearest_neighbor"):
        Settings(baselines=("nearest_neighbor",))
    with pytest.raises(UserError, match="empty"):
        Grid(tasks=())
    with pytest.raises(UserError, match="reads no --input"):
        in_context.steps(Settings(), input=["x.csv"])


def test_each_size_parses_and_small_has_the_papers_axes() -> None:
    for size in ("tiny", "main", "small", "paper", "shipped"):
        gin_config.parse([f"gin/in_context/{size}.gin"], (), modules=["workflows.in_context"])
        settings = gin_config.call(in_context.Settings)
        trainings = [one for grid in settings.grids for one in settings.trainings(grid)]
        assert all(one.learner.features == (3072 if size == "paper" else 64) for one in trainings)
        if size == "small":
            phase = {one.name: one for one in settings.grids}
            assert {learner.width for learner in phase["phase"].learners} == {32, 64, 96, 160}
            assert {(one.learning_rate, one.batch) for one in phase["meta_optimization"].recipes} == {
                (3e-4, 32), (3e-3, 32), (1e-3, 8), (1e-3, 64),
            }  # fmt: skip
            kinds = {learner.kind for learner in phase["state"].learners}
            assert kinds == {"transformer", "lstm", "outer_product", "vsml", "linear_recurrence", "maml"}
            assert phase["plateau"].seeds == (0, 1, 2)


def test_the_tiny_run_from_gin_to_the_report(tmp_path: Path, own_cache: Path, capsys: Any) -> None:
    out = str(tmp_path / "out")
    assert main(["run", "in_context", "--size", "tiny", "--out", out]) == 0
    result = files.read_json(f"{out}/result.json")
    page = Path(out, "report.html").read_text()
    for heading in ("Phase map: phase", "The plateau, and what shortens it", "State against parameters", "was kept"):
        assert heading in page
    assert page.count("<svg") == 4
    assert result["state_transformer_16_state_size"] == 2 * 2 * 16 * 20 + 64  # keys, values, and the example before
    assert result["nearest_neighbour_random"] > 0.7
    assert 0.1 < result["nearest_neighbour_table_1000"] <= 1
    assert 0 <= result["learner_table_1000"] <= 1
    # learner.bin is the learner that was judged
    (path,) = map(str, Path(out).glob("report-*/learner.bin"))
    trained = TrainedLearner.from_bytes(files.read_bytes(path), path)
    assert trained.made_with["run"]["steps"] == 20
    mixture, rows = Mixture((TaskDistribution("digits"),)), jnp.asarray(unseen_rows(64))
    contexts = contexts_of(mixture, bank_for([("digits", "test")], 64), rows, examples=20, classes=10)
    params = jax.tree.map(jnp.asarray, trained.params)
    network: Any = network_of(trained.config)
    logits = network.apply({"params": params}, *contexts)
    accuracy_N = np.mean(np.argmax(logits, axis=-1) == contexts.labels_BN, axis=0)
    assert full_context(accuracy_N) == pytest.approx(result["learner_unseen"], abs=1e-6)
    assert word(trained.config) == "transformer_16"
    capsys.readouterr()
    assert main(["plan", "in_context", "--size", "tiny", "--out", out]) == 0
    assert "missing" not in capsys.readouterr().out


def test_learners_are_judged_on_inputs_of_the_scale_they_were_trained_on() -> None:
    grid = Grid(recipes=(Recipe(), Recipe("small", scale="std")), role="state")
    for training in Settings(grids=(grid,)).trainings(grid):
        (trained,) = training.mixture.distributions
        assert {one.distribution.scale for one in training.evaluations} == {trained.scale}
    mixture = Mixture([TaskDistribution("random", 8, scale="std", repeat=True, biased_share=0.9, noise=0.5)])
    assert unseen_evaluation(mixture).distribution == TaskDistribution("random", scale="std", repeat=True)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"contexts": 100}, "contexts is 100"),
        ({"contexts": 0}, "contexts is 0"),
        ({"transfer": ("tfds:kmnist", "data/kmnist/")}, "kmnist, kmnist"),
        ({"transfer": ("data/unseen",)}, "data/unseen"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_any_training(told: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Settings(**told)


def test_a_seed_below_zero_is_named() -> None:
    for make in (lambda: TaskDistribution(seed=-1), lambda: MetaTraining(seed=-1)):
        with pytest.raises(UserError, match="seed is -1"):
            make()
