"""`shammie bench tables`: the in-context learner on scikit-learn's tables, beside nearest neighbour and regression.

Of each table some random splits: as many labelled rows as the learner can read, at most two thirds of the table, with
each class in its share; all other rows are classified. The three read the same rows of the same standardised features
(`models.in_context.tabular.standardised`); scikit-learn's have its defaults. The learner's parameters stay as they are.
M = rows, F = features.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shammie.errors import UserError, unknown
from workflows.bench.table import Table

if TYPE_CHECKING:  # a command's help must not wait for JAX
    from models.in_context.trained import TrainedLearner

OURS, NEAREST, LOGISTIC = "in-context", "1-NN", "logistic"
GENERATED_ROWS = 400
GENERATED = ("moons", "circles", "clusters")
DIGITS = ("digits", "held-out digits")


class Split(NamedTuple):
    """A table in two parts: float64 [M, F] and int64 [M] each."""

    train_x: np.ndarray
    train_labels: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray


class Measured(NamedTuple):
    """One method on one split: the share of rows that are right, and seconds for all of it."""

    accuracy: float
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--tables", nargs="+", default=list(TABLES), metavar="NAME", help=f"some of {', '.join(TABLES)} (default: all)")
    add("--splits", type=int, default=10, help="random splits of each table (default: 10)")
    add("--learner", metavar="FILE", help="a learner.bin of a run of in_context (default: the one that ships)")
    add("--votes", type=int, default=8, help="as of shammie in-context predict (default: 8)")
    add("--seed", type=int, default=0, help="of the splits and the votes (default: 0)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.

    Raises:
        UserError: an unknown table, or no splits.
    """
    from workflows.in_context_predict import learner_text, load_learner

    for name in args.tables:
        if name not in TABLES:
            raise unknown("table", name, TABLES)
    if args.splits < 1:
        raise UserError(f"--splits is {args.splits}", "give 1 or more")
    trained = load_learner(args.learner)
    methods = methods_of(trained, args.votes, args.seed)
    shapes, measured = {}, {}
    for name in args.tables:
        x_MF, labels_M = TABLES[name]()
        splits = [split_of(x_MF, labels_M, trained, args.seed + place) for place in range(args.splits)]
        shapes[name] = (*x_MF.shape, int(labels_M.max()) + 1, len(splits[0].train_x))
        methods[OURS](splits[0])  # compiles what this table's shape needs
        measured[name] = {
            method: [_measured(classify, split) for split in splits] for method, classify in methods.items()
        }
    return table(shapes, measured, trained_on(trained), learner_text(trained, args.learner), args.votes)


def split_of(x_MF: np.ndarray, labels_M: np.ndarray, trained: "TrainedLearner", seed: int) -> Split:
    """A random split: for training what the learner can read, at most two thirds; the rest to classify."""
    from models.in_context.tabular import most_examples, subsample

    train = subsample(labels_M, min(most_examples(trained.config), 2 * len(labels_M) // 3), seed)
    test = np.setdiff1d(np.arange(len(labels_M)), train)
    return Split(x_MF[train], labels_M[train], x_MF[test], labels_M[test])


def methods_of(trained: "TrainedLearner", votes: int, seed: int) -> dict[str, Callable[[Split], np.ndarray]]:
    """The three: each from a split to the labels of its test rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    from models.in_context.tabular import classify, standardised

    def ours(split: Split) -> np.ndarray:
        found = classify(trained, split.train_x, split.train_labels, split.test_x, votes=votes, seed=seed)
        return found.argmax(axis=1)

    def peer(make: Callable[[], Any]) -> Callable[[Split], np.ndarray]:
        def one(split: Split) -> np.ndarray:
            train, test = standardised(split.train_x, split.test_x)
            return make().fit(train, split.train_labels).predict(test)

        return one

    nearest = lambda: KNeighborsClassifier(n_neighbors=1)  # noqa: E731
    logistic = lambda: LogisticRegression(max_iter=10_000)  # noqa: E731
    return {OURS: ours, NEAREST: peer(nearest), LOGISTIC: peer(logistic)}


def _measured(classify: Callable[[Split], np.ndarray], split: Split) -> Measured:
    begun = time.perf_counter()
    labels = classify(split)
    return Measured(float(np.mean(labels == split.test_labels)), time.perf_counter() - begun)


def trained_on(trained: "TrainedLearner") -> set[str]:
    """The data sets that a learner's file says it was meta-trained on; none where it does not say."""
    run = trained.made_with.get("run") or {}
    return {one["data"] for one in run.get("mixture", {}).get("distributions", [])}


def table(
    shapes: Mapping[str, Sequence[int]],
    measured: Mapping[str, Mapping[str, Sequence[Measured]]],
    seen: set[str],
    learner: str,
    votes: int,
) -> Table:
    """The result.

    Args:
        shapes: of each table: rows, features, classes, labelled rows of a split.
        measured: by table and method, split by split.
        seen: the data sets that the learner was meta-trained on.
        learner: what it is.
        votes: of the learner.
    """
    rows: list[list[Any]] = []
    best = {NEAREST: 0, LOGISTIC: 0}
    for name, by_method in measured.items():
        accuracy = {method: [one.accuracy for one in found] for method, found in by_method.items()}
        mean = {method: statistics.fmean(values) for method, values in accuracy.items()}
        seconds = {method: statistics.median(one.seconds for one in found) for method, found in by_method.items()}
        cells = [f"{mean[method]:.3f} ({min(values):.2f}-{max(values):.2f})" for method, values in accuracy.items()]
        for other in best:
            best[other] += mean[OURS] > mean[other]
        rows.append(
            [
                name + ("*" if name in seen else ""),
                " x ".join(map(str, shapes[name][:2])),
                shapes[name][2],
                shapes[name][3],
                *cells,
                *(wins(accuracy[OURS], accuracy[other]) for other in best),
                f"{seconds[OURS]:.2f} / {max(seconds[other] for other in best):.3f}",
            ]
        )
    starred = [name for name in measured if name in seen]
    notes = [
        f"learner: {learner}; votes: {votes}; the same parameters for all tables",
        "accuracy on all rows of a table that are not read: mean of splits (least-most)",
        "wins: splits where the learner is better - equal - worse",
        "s: median seconds of a split, of the learner (compiled) and of the slower of the others",
        f"better on average than 1-NN on {best[NEAREST]} and than logistic regression on {best[LOGISTIC]} "
        f"of {len(measured)} tables",
    ]
    if {*GENERATED} & {*measured}:
        notes.append(
            "moons, circles, clusters are generated; the size of the random waves that the learner reads beside "
            "features was chosen on others of their kind"
        )
    if starred:
        notes.append(f"* {', '.join(starred)}: four of five of its rows are in the learner's own meta-training")
    if set(DIGITS) <= set(measured):
        notes.append("held-out digits: those rows of digits alone that are in no meta-training")
    return Table(
        title="Small tables, classified from some labelled rows",
        columns=[
            "table",
            "size",
            "classes",
            "read",
            *next(iter(measured.values())),
            "wins, 1-NN",
            "wins, logistic",
            "s",
        ],
        rows=rows,
        notes=notes,
    )


def wins(ours: Sequence[float], other: Sequence[float]) -> str:
    """How many splits were better, equal and worse."""
    pairs = list(zip(ours, other, strict=True))
    return f"{sum(a > b for a, b in pairs)} - {sum(a == b for a, b in pairs)} - {sum(a < b for a, b in pairs)}"


def _sklearn(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    found: Any = getattr(datasets, f"load_{name}")()
    return found.data, found.target


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Whether the disease went on more than the median."""
    x_MF, progress_M = _sklearn("diabetes")
    return x_MF, (progress_M > np.median(progress_M)).astype(np.int64)


def _held_out_digits() -> tuple[np.ndarray, np.ndarray]:
    from seqio_tasks.image_data import digits_test_ids

    x_MF, labels_M = _sklearn("digits")
    return x_MF[digits_test_ids()], labels_M[digits_test_ids()]


def _generated(name: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    return getattr(datasets, f"make_{name}")(GENERATED_ROWS, random_state=0, **options)


TABLES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "iris": lambda: _sklearn("iris"),
    "wine": lambda: _sklearn("wine"),
    "breast_cancer": lambda: _sklearn("breast_cancer"),
    "diabetes": _diabetes,
    "digits": lambda: _sklearn("digits"),
    "held-out digits": _held_out_digits,
    "moons": lambda: _generated("moons", noise=0.25),
    "circles": lambda: _generated("circles", noise=0.1, factor=0.5),
    "clusters": lambda: _generated("classification", n_features=20, n_informative=6, n_classes=3),
}
"""Each table by name: float64 [M, F] and the classes int64 [M], from 0."""
