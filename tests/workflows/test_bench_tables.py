"""`shammie bench tables`: splits, what each method is given, and the table."""

import argparse
from pathlib import Path

import jax
import numpy as np
import pytest

from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.tabular import classify, standardised
from models.in_context.trained import TrainedLearner
from shammie.errors import UserError
from workflows.bench import tables
from workflows.bench.tables import LOGISTIC, NEAREST, OURS, Measured

TINY = LearnerConfig(features=64, classes=10, examples=33, width=8, layers=1, heads=1, head_width=8, mlp_width=8)
SETS = {"run": {"mixture": {"distributions": [{"data": "digits"}, {"data": "table:3"}]}}}


@pytest.fixture(scope="module")
def trained() -> TrainedLearner:
    return TrainedLearner(TINY, first_params(network_of(TINY), jax.random.key(1)), SETS)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    tables.add_arguments(parser)
    return parser.parse_args(words)


def test_a_run_at_toy_size(tmp_path: Path, trained: TrainedLearner) -> None:
    (tmp_path / "tiny.bin").write_bytes(trained.to_bytes())
    found = tables.run(
        arguments(
            "--tables", "iris", "circles", "--splits", "2", "--votes", "1", "--learner", str(tmp_path / "tiny.bin")
        )
    )
    assert [list(row[:4]) for row in found.rows] == [["iris", "150 x 4", 3, 32], ["circles", "400 x 2", 2, 32]]
    nearest, logistic = (dict(zip(found.columns, found.rows[1], strict=True))[name] for name in (NEAREST, LOGISTIC))
    assert float(nearest[:5]) > 0.9  # circles: near things are alike, and no line parts them
    assert 0.3 < float(logistic[:5]) < 0.7
    assert any("chosen on others of their kind" in note for note in found.notes)
    assert "tiny.bin (transformer); at most 64 features, 10 classes, 32 labelled rows; votes: 1;" in found.notes[0]


def test_splits_have_every_class_and_no_row_twice(trained: TrainedLearner) -> None:
    x_MF, labels_M = np.arange(300.0).reshape(300, 1), np.repeat([0, 1, 2], [200, 98, 2])
    split = tables.split_of(x_MF, labels_M, trained, seed=3)
    assert len(split.train_x) == 32
    assert sorted(np.concatenate([split.train_x, split.test_x])[:, 0]) == list(range(300))
    assert set(split.train_labels) == {0, 1, 2}
    assert np.array_equal(labels_M[split.test_x[:, 0].astype(int)], split.test_labels)
    assert not np.array_equal(split.train_x, tables.split_of(x_MF, labels_M, trained, seed=4).train_x)
    small = tables.split_of(x_MF[:30], labels_M[170:200] * 0 + np.arange(30) % 2, trained, seed=0)
    assert (len(small.train_x), len(small.test_x)) == (20, 10)


def test_methods_read_the_same_split(trained: TrainedLearner) -> None:
    split = tables.split_of(*tables.TABLES["wine"](), trained, seed=0)
    methods = tables.methods_of(trained, 1, 5)
    own = classify(trained, split.train_x, split.train_labels, split.test_x, votes=1, seed=5).argmax(axis=1)
    assert np.array_equal(methods[OURS](split), own)
    train, test = standardised(split.train_x, split.test_x)
    nearest = np.square(test[:, None] - train[None]).sum(axis=-1).argmin(axis=1)
    assert np.array_equal(methods[NEAREST](split), split.train_labels[nearest])
    assert np.mean(methods[LOGISTIC](split) == split.test_labels) > 0.9


def test_means_spans_wins_and_what_is_starred() -> None:
    def measured(*accuracies: float) -> list[Measured]:
        return [Measured(one, 2.0) for one in accuracies]

    by_table = {
        "digits": {OURS: measured(0.9, 0.8), NEAREST: measured(0.8, 0.8), LOGISTIC: measured(0.9, 0.9)},
        "held-out digits": {OURS: measured(0.5, 0.5), NEAREST: measured(0.6, 0.5), LOGISTIC: measured(0.4, 0.4)},
    }
    found = tables.table({name: (9, 4, 2, 6) for name in by_table}, by_table, {"digits"}, "it", 8)
    digits = ["0.850 (0.80-0.90)", "0.800 (0.80-0.80)", "0.900 (0.90-0.90)", "1 - 1 - 0", "0 - 1 - 1", "2.00 / 2.000"]
    assert found.rows[0] == ["digits*", "9 x 4", 2, 6, *digits]
    assert found.rows[1][0] == "held-out digits"
    assert found.rows[1][7:9] == ["0 - 1 - 1", "2 - 0 - 0"]
    assert "better on average than 1-NN on 1 and than logistic regression on 1 of 2 tables" in found.notes
    assert any(note.startswith("* digits: ") for note in found.notes)
    assert len(tables.table({"digits": (9, 4, 2, 6)}, {"digits": by_table["digits"]}, set(), "it", 8).notes) == 5


def test_what_a_learner_was_trained_on(trained: TrainedLearner) -> None:
    assert tables.trained_on(trained) == {"digits", "table:3"}
    assert tables.trained_on(TrainedLearner(TINY, {}, {})) == set()


def test_tables_are_numbers_with_classes_from_0() -> None:
    assert len(tables.TABLES) >= 9
    for name, load in tables.TABLES.items():
        x_MF, labels_M = load()
        assert x_MF.shape[0] == len(labels_M) >= 150, name
        assert np.isfinite(x_MF).all(), name
        assert set(labels_M) == set(range(labels_M.max() + 1)), name
        assert np.array_equal(load()[0], x_MF), name
    assert abs(np.mean(tables.TABLES["diabetes"]()[1]) - 0.5) < 0.01
    digits, held_out = tables.TABLES["digits"]()[0], tables.TABLES["held-out digits"]()[0]
    assert (len(digits), len(held_out)) == (1797, 355)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--tables", "irs"], "unknown table 'irs'; did you mean iris"), (["--splits", "0"], "--splits is 0; give 1")],
)
def test_bad_options(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tables.run(arguments(*words))
