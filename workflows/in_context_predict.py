"""`shammie in-context predict`: classifies a table's rows from labelled ones, with a meta-trained learner as it is.

Predictions go to stdout or to --out; what is told about them goes to stderr. M = rows, K = classes.
"""

import argparse
import csv
import io
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shammie import files
from shammie.errors import UserError

if TYPE_CHECKING:  # a command's help must not wait for JAX
    from models.in_context.trained import TrainedLearner
    from workflows.in_context_tables import LabelledTable

VOTES = 8  # as models.in_context.tabular's
COLUMNS = ("label", "probability")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `shammie in-context` and what it can do."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    about = f"Predicts the labels of a table's rows from labelled rows, without training. {limits_text()}"
    predict = actions.add_parser(
        "predict", help="labels of new rows from labelled ones", description=about, allow_abbrev=False
    )
    add = predict.add_argument
    add("--train", required=True, metavar="FILE", help="labelled rows: CSV with a header, numbers, a label column")
    add("--test", required=True, metavar="FILE", help="rows to classify: the same feature columns, in any order; if it "
        "has the label column too, the accuracy is told")  # fmt: skip
    add("--label", metavar="COLUMN", help="the label column: words or whole numbers (default: the last of --train)")
    add("--learner", metavar="FILE", help="a learner.bin of a run of in_context (default: the one that ships)")
    add("--out", metavar="FILE", help="where the predictions go, as CSV: label, probability (default: stdout)")
    add("--votes", type=int, default=VOTES, help="readings that are averaged; time grows with them (default: 8)")
    add("--subsample", action="store_true", help="of too many labelled rows read a random part, all classes in it")
    add("--seed", type=int, default=0, help="of all that is random; the same seed gives the same bytes (default: 0)")


def limits_text() -> str:
    """The limits of the learner that ships, as a sentence."""
    from models.in_context.shipped import shipped_limits

    try:
        limits = shipped_limits()
    except UserError as error:
        return f"No learner ships here: {error.problem}; --learner names another."
    return (
        f"Limits of the learner that ships: {limits.features} features, {limits.classes} classes, "
        f"{limits.examples} labelled rows; features are finite numbers."
    )


def run(args: argparse.Namespace) -> int:
    """Predicts, and says what was done.

    Args:
        args: what `add_arguments` declares.

    Raises:
        UserError: files that are not such tables, or that do not fit together or the learner.
    """
    from models.in_context.tabular import check_sizes, classify, most_examples, subsample
    from workflows.in_context_tables import classes_of, read_examples, read_rows

    if args.votes < 1:
        raise UserError(f"--votes is {args.votes}", "give 1 or more")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed is {args.seed}", "give a whole number of 0 or more")
    for path in (args.train, args.test):
        if args.out and os.path.realpath(args.out) == os.path.realpath(path):
            raise UserError(f"--out is {path}, which is read", "name another file for the predictions")
    trained = load_learner(args.learner)
    train = read_examples(args.train, args.label)
    assert train.label_name is not None
    test = read_rows(args.test, train.features, train.label_name)
    classes = classes_of(train.labels)
    number = {name: place for place, name in enumerate(classes)}
    labels_M = np.array([number[label] for label in train.labels])
    most = most_examples(trained.config)
    sizes = {"examples": min(len(labels_M), most), "features": len(train.features), "classes": len(classes)}
    check_sizes(trained.config, **sizes)
    rows = subsample(labels_M, most, args.seed) if args.subsample else np.arange(len(labels_M))
    if len(rows) > most:
        raise UserError(
            f"{args.train} has {len(rows)} labelled rows, but the learner reads at most {most}",
            "add --subsample, which reads a random part with every class in it, or give fewer",
        )
    x_MF = train.x_MF[rows]
    constant = [name for name, column in zip(train.features, x_MF.T, strict=True) if column.min() == column.max()]
    if len(constant) == len(train.features):
        raise UserError(f"no feature of {args.train} varies", "give rows that differ")
    begun = time.perf_counter()
    log_QK = classify(trained, x_MF, labels_M[rows], test.x_MF, votes=args.votes, seed=args.seed)
    seconds = time.perf_counter() - begun
    data = predictions(log_QK, classes)
    said = [
        f"learner: {learner_text(trained, args.learner)}",
        f"read: {len(rows)} {_part(len(rows), train, args.seed)}labelled rows of {len(classes)} classes, "
        f"{len(train.features)} features{_constant(constant)}",
        f"predicted: {len(test.x_MF)} rows in {seconds:.1f} s, {args.votes} {'votes' if args.votes > 1 else 'vote'}",
    ]
    if any(test.labels):
        said += accuracy_text(test.labels, [classes[place] for place in log_QK.argmax(axis=1)], classes)
    print("\n".join(said), file=sys.stderr)
    if args.out:
        files.write_bytes(args.out, data)
    else:
        sys.stdout.write(data.decode())
        sys.stdout.flush()
    return 0


def load_learner(path: str | None) -> "TrainedLearner":
    """The learner of a file, or the one that ships.

    Raises:
        UserError: it is none.
    """
    from models.in_context.shipped import shipped_learner
    from models.in_context.trained import TrainedLearner

    return shipped_learner() if path is None else TrainedLearner.from_bytes(files.read_bytes(path), path)


def predictions(log_QK: np.ndarray, classes: Sequence[str]) -> bytes:
    """The likeliest label of each row and its probability, as CSV with a header.

    Args:
        log_QK: log probabilities.
        classes: the labels, K.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, log in zip(log_QK.argmax(axis=1), log_QK.max(axis=1), strict=True):
        writer.writerow([classes[place], f"{np.exp(log):.4f}"])
    return text.getvalue().encode()


def accuracy_text(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> list[str]:
    """How many rows are right, and which labels could not be; of rows whose label is known.

    Args:
        labels: of the rows; "" where it is not known.
        predicted: the same rows'.
        classes: the labels that could be predicted.
    """
    from workflows.in_context_tables import classes_of

    known = [(label, guess) for label, guess in zip(labels, predicted, strict=True) if label]
    right = sum(label == guess for label, guess in known)
    said = [f"accuracy: {right / len(known):.4f}, {right} of {len(known)} rows with a label"]
    strange = classes_of([label for label, _ in known if label not in classes])
    if strange:
        rows = sum(label not in classes for label, _ in known)
        said.append(f"never right: {rows} rows of {', '.join(map(repr, strange[:5]))}, not among the labelled rows")
    return said


def learner_text(trained: "TrainedLearner", path: str | None) -> str:
    """A learner's name and limits."""
    from models.in_context.tabular import most_examples

    sizes = trained.config
    limits = f"{sizes.features} features, {sizes.classes} classes, {most_examples(sizes)} labelled rows"
    return f"{path or 'the one that ships'} ({sizes.kind}); at most {limits}"


def _part(read: int, train: "LabelledTable", seed: int) -> str:
    if read == len(train.labels):
        return ""
    return f"of {len(train.labels)} (a random part with every class in its share, seed {seed}) "


def _constant(names: Sequence[str]) -> str:
    return f"; the same in all of them: {', '.join(map(repr, names[:5]))}{' …' * (len(names) > 5)}" if names else ""
