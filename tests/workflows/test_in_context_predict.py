"""`shammie in-context predict`: from two CSV files to labels, and what is wrong with them."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from models.in_context import tabular
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.tabular import classify, subsample
from models.in_context.trained import TrainedLearner
from workflows import in_context_predict, in_context_tables
from workflows.cli import main

TINY = LearnerConfig(features=4, classes=3, examples=9, width=8, layers=1, heads=1, head_width=8, mlp_width=8)
ROWS = [
    ("1.5", "10", "ab"),
    ("-2", "1e1", "b, c"),
    (" 0.5", "30", "ab"),
    ("4", "2", "ab"),
    ("7.25", "-8", "b, c"),
    ("9", "11", "007"),
]
QUESTIONS = [("10", "2"), ("30", "0.5"), ("0", "-1")]  # columns y and x


def csv_text(*lines: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue()


@pytest.fixture(scope="module")
def trained() -> TrainedLearner:
    return TrainedLearner(TINY, first_params(network_of(TINY), jax.random.key(1)), {})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, trained: TrainedLearner, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a learner, labelled rows, and rows to classify with their columns in another order."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.bin").write_bytes(trained.to_bytes())
    Path("train.csv").write_text(csv_text(("x", "y", "kind"), *ROWS))
    Path("test.csv").write_text(csv_text(("y", "x"), *QUESTIONS))
    return tmp_path


PREDICT = ["in-context", "predict", "--train", "train.csv", "--test", "test.csv", "--learner", "tiny.bin"]
X_MF = np.array([row[:2] for row in ROWS]).astype(float)
LABELS = ["007", "ab", "b, c"]  # sorted
LABELS_M = np.array([LABELS.index(row[2]) for row in ROWS])
X_QF = np.array(QUESTIONS).astype(float)[:, ::-1]


def expected(log_QK: np.ndarray) -> str:
    rows = [(LABELS[k], f"{np.exp(log_QK[row, k]):.4f}") for row, k in enumerate(log_QK.argmax(axis=1))]
    return csv_text(("label", "probability"), *rows).replace("\r\n", "\n")


def test_labels_and_probabilities_to_stdout_and_the_rest_to_stderr(
    capsys: pytest.CaptureFixture[str], trained: TrainedLearner
) -> None:
    assert main([*PREDICT, "--votes", "3", "--seed", "5"]) == 0
    shown = capsys.readouterr()
    assert shown.out == expected(classify(trained, X_MF, LABELS_M, X_QF, votes=3, seed=5))
    said = shown.err.splitlines()
    assert said[0] == "learner: tiny.bin (transformer); at most 4 features, 3 classes, 8 labelled rows"
    assert said[1] == "read: 6 labelled rows of 3 classes, 2 features"
    assert said[2].startswith("predicted: 3 rows in ")
    assert len(said) == 3


def test_a_file_of_the_same_bytes_each_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.csv", "b.csv"):
        assert main([*PREDICT, "--out", name]) == 0
        assert capsys.readouterr().out == ""
    assert main(PREDICT) == 0
    assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes() == capsys.readouterr().out.encode()


def test_the_label_column_by_name_and_a_file_from_another_program(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(PREDICT) == 0
    first = capsys.readouterr().out
    lines = [("kind", "x", "y"), *((kind, x, y) for x, y, kind in ROWS)]
    (folder / "train.csv").write_bytes(b"\xef\xbb\xbf" + csv_text(*lines).encode() + b"\r\n\r\n")
    assert main([*PREDICT, "--label", "kind"]) == 0
    assert capsys.readouterr().out == first


def test_accuracy_where_the_test_file_has_labels(
    folder: Path, capsys: pytest.CaptureFixture[str], trained: TrainedLearner
) -> None:
    x_QF = np.random.default_rng(0).uniform(-9, 40, (30, 2))
    own = [LABELS[k] for k in classify(trained, X_MF, LABELS_M, x_QF).argmax(axis=1)]
    assert sum(a != b for a, b in zip(own, own[::-1], strict=True)) > 3
    # rows 25 to 27 never can be right, the last two are not known
    labels = own[:25] + ["new", "new", "3"] + ["", ""]
    lines = [(repr(y), label, repr(x)) for (x, y), label in zip(x_QF.tolist(), labels, strict=True)]
    (folder / "test.csv").write_text(csv_text(("y", "kind", "x"), *lines))
    assert main(PREDICT) == 0
    assert capsys.readouterr().err.splitlines()[3:] == [
        "accuracy: 0.8929, 25 of 28 rows with a label",
        "never right: 3 rows of '3', 'new', not among the labelled rows",
    ]


def test_a_subsample_is_read_and_said(
    folder: Path, capsys: pytest.CaptureFixture[str], trained: TrainedLearner
) -> None:
    random = np.random.default_rng(0)
    x_MF, labels_M = random.integers(-9, 9, (30, 2)), np.repeat([1, 2, 0], [20, 9, 1])
    lines = [(*map(str, x), LABELS[k]) for x, k in zip(x_MF.tolist(), labels_M, strict=True)]
    (folder / "train.csv").write_text(csv_text(("x", "y", "kind"), *lines))
    assert main(PREDICT) == 2
    assert capsys.readouterr().err == (
        "shammie: train.csv has 30 labelled rows, but the learner reads at most 8; "
        "add --subsample, which reads a random part with every class in it, or give fewer\n"
    )
    assert main([*PREDICT, "--subsample", "--seed", "2"]) == 0
    shown = capsys.readouterr()
    rows = subsample(labels_M, 8, 2)
    assert shown.out == expected(classify(trained, x_MF[rows], labels_M[rows], X_QF, seed=2))
    assert "read: 8 of 30 (a random part with every class in its share, seed 2) labelled rows" in shown.err


def test_constant_features_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train.csv").write_text(csv_text(("x", "y", "kind"), *((x, "1", kind) for x, _, kind in ROWS)))
    assert main(PREDICT) == 0
    assert "2 features; the same in all of them: 'y'\n" in capsys.readouterr().err


def test_classes_are_sorted_by_value_where_all_are_whole_numbers() -> None:
    assert in_context_tables.classes_of(["10", "9", "-1", "9", "09"]) == ["-1", "09", "9", "10"]
    assert in_context_tables.classes_of(["10", "9", "a"]) == ["10", "9", "a"]


TRAIN, TEST = csv_text(("x", "y", "kind"), *ROWS), csv_text(("y", "x"), *QUESTIONS)
SAME = "give both files the same feature columns; their order does not matter"
OTHER = "test.csv has other columns than --train:"
FINITE = "features are finite numbers: fill it in, or take the row or the column out of both files"


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("", TEST, "train.csv is empty; give a line with the columns' names"),
        ("\n \n", TEST, "train.csv is empty; "),
        ("x,y,kind\n", TEST, "train.csv has one line, the header, and no rows; give one line a row below it"),
        (TRAIN, "", "test.csv is empty; "),
        (TRAIN, "y,x\n", "test.csv has one line, the header, and no rows; "),
        ("1.5,2,a\n3,4,b\n", TEST, "train.csv has no header: its first line is '1.5', '2', 'a'; put a line with"),
        (TRAIN, "3,2.5\n1,2\n", "test.csv has no header: its first line is '3', '2.5'; put a line with"),
        ("x,x,kind\n1,2,a\n", TEST, "train.csv has more than one column 'x'; give each column a name of its own"),
        (TRAIN, "y,x,y\n1,2,3\n", "test.csv has more than one column 'y'; "),
        ("x,,kind\n1,2,a\n", TEST, "train.csv: column 2 has no name; "),
        ("x;y;kind\n1;2;a\n", TEST, "train.csv has one column, 'x;y;kind'; give features and a label, with commas"),
        ("x,y,kind\n1,2,a\n1,2\n", TEST, "train.csv, row 2 (line 3) has 2 cells, the header 3; give each row one"),
        ('x,y,kind\n1,2,"a\n', TEST, "train.csv, line 2: unexpected end of data; save it as a CSV file"),
        ("x,y,kind\n1,2,a\n1,2,\n", TEST, "train.csv, row 2 (line 3) has no label in column 'kind', and a class"),
        ("x,y,kind\n1,two,a\n", TEST, f"train.csv, row 1 (line 2), column 'y': 'two' is not a number; {FINITE}"),
        ("x,y,kind\n1,1_0,a\n", TEST, "train.csv, row 1 (line 2), column 'y': '1_0' is not a number; "),
        ("x,y,kind\n1,2,a\n\n,2,b\n", TEST, "train.csv, row 2 (line 4), column 'x': is missing; "),
        ("x,y,kind\n-inf,2,a\n", TEST, "train.csv, row 1 (line 2), column 'x': '-inf' is not finite; "),
        (TRAIN, "y,x\n1,2\n3,NaN\n", "test.csv, row 2 (line 3), column 'x': 'NaN' is not finite; "),
        (TRAIN, "y,x\n1,1e999\n", "test.csv, row 1 (line 2), column 'x': '1e999' is not finite; "),
        (TRAIN, "y,z\n1,2\n", f"{OTHER} only --train has 'x', only test.csv has 'z'; {SAME}"),
        (TRAIN, "y\n1\n", f"{OTHER} only --train has 'x'; {SAME}"),
        (TRAIN, "y,x,id\n1,2,3\n", f"{OTHER} only test.csv has 'id'; {SAME}"),
        ("x,y,kind\n1,2,a\n2,2,a\n", TEST, "1 class: there is nothing to tell apart; give rows of two classes or more"),
        ("x,kind\n1,a\n2,b\n3,c\n4,d\n", "x\n1\n", "4 classes, but the learner tells at most 3 apart; merge some, or"),
        ("a,b,c,d,e,kind\n1,2,3,4,5,u\n2,3,4,5,6,v\n", "a,b,c,d,e\n1,2,3,4,5\n", "5 features, but the learner reads"),
        ("x,y,kind\n1,2,a\n1,2,b\n", TEST, "no feature of train.csv varies; give rows that differ"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], train: str, test: str, said: str
) -> None:
    (folder / "train.csv").write_text(train)
    (folder / "test.csv").write_text(test)
    assert main([*PREDICT, "--out", "out.csv"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"shammie: {said}"), shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "knd"], "unknown column of train.csv 'knd'; did you mean kind? (--label)"),
        (["--votes", "0"], "--votes is 0; give 1 or more"),
        (["--seed", "-1"], "--seed is -1; give a whole number of 0 or more"),
        (["--out", "./train.csv"], "--out is train.csv, which is read; name another file"),
        (["--learner", "gone.bin"], "gone.bin: it does not exist: check the path"),
        (["--learner", "train.csv"], "train.csv is not a meta-trained learner"),
        (["--test", "gone.csv"], "gone.csv: it does not exist: check the path"),
        (["--test", "tiny.bin"], "tiny.bin is not text in UTF-8: byte "),
        (["--vote", "3"], "unrecognized arguments: --vote 3"),
    ],
)
def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main([*PREDICT, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"shammie: {said}"), error
    assert error.count("\n") == 1


def test_a_blank_line_is_a_cell_in_a_table_of_one_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train.csv").write_text("x,kind\n1,a\n2,b\n")
    (folder / "test.csv").write_text("x\n1\n\n2\n\n")
    assert main(PREDICT) == 2
    assert "test.csv, row 2 (line 3), column 'x': is missing" in capsys.readouterr().err


def test_columns_that_are_numbered_are_a_header(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train.csv").write_text("0,1,kind\n1,2,a\n2,5,b\n")
    (folder / "test.csv").write_text("1,0\n5,2\n")
    assert main(PREDICT) == 0


def test_help_tells_the_limits_and_loads_nothing_heavy(repository: Path) -> None:
    code = (
        "import sys\nfrom models.in_context import shipped\nfrom workflows.cli import main\n"
        "shipped.shipped_limits = lambda: shipped.Limits(64, 10, 127)\n"
        "code = main(['in-context', 'predict', '--help'])\n"
        "print(code, [name for name in ('jax', 'flax', 'tensorflow', 'apache_beam', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert "64 features, 10 classes, 127 labelled rows" in " ".join(done.stdout.split())
    assert done.stdout.endswith("0 []\n")


def test_without_a_shipped_learner_help_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.in_context.shipped.FOLDER", "nowhere")
    assert main(["in-context", "predict", "--help"]) == 0
    assert "No learner ships here: this package has no nowhere/learner.bin" in " ".join(capsys.readouterr().out.split())
    assert main(PREDICT[:-2]) == 2
    assert "shammie: this package has no nowhere/learner.bin" in capsys.readouterr().err


def test_votes_are_by_default_as_many_as_in_the_library() -> None:
    assert in_context_predict.VOTES == tabular.VOTES
