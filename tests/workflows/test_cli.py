import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

import workflows
from workflows import systems
from workflows.cli import main

TOY = """
import json
from pathlib import Path
from shammie.errors import UserError
from workflows.dag import Running, Step, source_of_files

def count(running: Running):
    texts = [Path(path).read_text() for path in running.source("text").paths.values()]
    Path(running.path("count.txt")).write_text(str(sum(map(len, texts)) * running.config["times"]))

def report(running: Running):
    count = int(Path(running.input("count"), "count.txt").read_text())
    if count == 0:
        raise UserError("nothing to count", "give a longer text")
    Path(running.path("result.json")).write_text(json.dumps({"letters": count, "share": 0.25}))
    Path(running.path("report.html")).write_text(f"<p>{count}</p>")

def steps(times: int = 1, input=(), beam_flags=()):
    text = source_of_files("text", input)
    counted = Step("count", count, config={"times": times}, inputs={"text": text}, lasts="1 second")
    return [counted, Step("report", report, config={"flags": list(beam_flags)}, inputs={"count": counted})]
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy system's module; it is imported once, as gin never forgets what it has seen."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "letters.py").write_text(TOY)
    return folder


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, code: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy system `letters`; the working directory is an empty folder with its gin file and a text."""
    (tmp_path / "toy.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom workflows import letters\n"
        "TIMES = 1\nletters.steps.times = %TIMES\n"
    )
    (tmp_path / "text.txt").write_text("letters")
    monkeypatch.setattr(workflows, "__path__", [*workflows.__path__, str(code)])
    experiment = systems.Experiment("main", str(tmp_path / "toy.gin"), "letters", "0")
    monkeypatch.setitem(
        systems.SYSTEMS, "letters", systems.System("letters", "no paper", "counts letters", (experiment,))
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gin.clear_config()


RUN = ["run", "letters", "--input", "text.txt"]


def test_run_writes_prints_and_caches(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    shown = capsys.readouterr()
    assert json.loads((toy / "out/letters/result.json").read_text()) == {"letters": 7, "share": 0.25}
    assert (toy / "out/letters/report.html").read_text() == "<p>7</p>"
    assert "letters.steps.times = %TIMES" in (toy / "out/letters/config.gin").read_text()
    assert "letters" in shown.out
    assert "report: out/letters/report.html" in shown.out
    assert [line.split(": ")[1].split()[0] for line in shown.err.splitlines()] == ["running", "done"] * 2
    assert "(about 1 second)" in shown.err
    assert main(RUN) == 0
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["cached", "cached"]


def test_gin_bindings_and_beam_flags_reach_the_steps(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--gin.TIMES=3", "--out", "o", "--", "--runner=X", "--debug"]) == 0
    assert json.loads((toy / "o/result.json").read_text())["letters"] == 21
    (record,) = (toy / "o").glob("report-*/step.json")
    assert json.loads(record.read_text())["config"] == {"flags": ["--runner=X", "--debug"]}
    assert "TIMES = 3" in (toy / "o/config.gin").read_text()
    # with Beam's flags, steps are told whole paths: workers elsewhere have another folder than this process
    assert f"report: {toy}/o/report.html" in capsys.readouterr().out
    assert main(["plan", "letters", "--input", "text.txt", "--gin.TIMES=4", "--out", "o"]) == 0
    shown = capsys.readouterr().out
    assert "times 3 → 4" in shown
    assert "stale" in shown


def test_a_gin_file_replaces_the_experiment_or_goes_on_top_of_a_size(toy: Path) -> None:
    (toy / "mine.gin").write_text("TIMES = 5\n")
    assert main([*RUN, "--size", "main", "--gin_file", "mine.gin"]) == 0
    assert json.loads((toy / "out/letters/result.json").read_text())["letters"] == 35
    assert main([*RUN, "--gin_file", "mine.gin", "--out", "other"]) == 2


def test_only(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--only", "count"]) == 0
    assert not (toy / "out/letters/result.json").exists()
    capsys.readouterr()
    assert main(["report", "out/letters"]) == 2
    assert capsys.readouterr().err == (
        "shammie: out/letters has no report yet; shammie run letters --out out/letters finishes it\n"
    )


def test_report_finds_and_restores(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    (toy / "out/letters/report.html").unlink()
    capsys.readouterr()
    assert main(["report", "out/letters/"]) == 0
    assert capsys.readouterr().out == "out/letters/report.html\n"
    assert (toy / "out/letters/report.html").read_text() == "<p>7</p>"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean run? (shammie --help)"),
        (["run", "leters"], "unknown system 'leters'; did you mean letters? (shammie list shows them)"),
        (["run"], "the following arguments are required: SYSTEM; shammie run --help shows how"),
        (["run", "letters", "--size", "mian"], "unknown size of letters 'mian'; did you mean main?"),
        (["run", "letters", "--gin.TIMS=2"], "unknown gin macro 'TIMS'; did you mean TIMES?"),
        (["run", "letters", "--gin_file", "no.gin"], "unknown gin file 'no.gin'"),
        (["run", "letters", "--onyl", "x"], "unknown option '--onyl'"),
        ([*RUN, "--only", "cuont"], "unknown step 'cuont'; did you mean count?"),
        (["run", "letters", "--input", "gone.txt"], "gone.txt: no such file; check the path"),
        (["run", "letters", "--input", "empty.txt"], "nothing to count; give a longer text"),
        ([*RUN, "--out", "foreign"], "foreign holds files that are not shammie's, such as x"),
        ([*RUN, "--out", "text.txt"], "text.txt is a file; choose another --out"),
        (["report", "foreign"], "foreign holds no run"),
        (["report", "nowhere"], "nowhere holds no run"),
        (["bench", "codeck"], "unknown benchmark 'codeck'"),
        (["list", "--", "x"], "shammie list takes nothing after --"),
    ],
)
def test_mistakes_are_one_line(toy: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    (toy / "foreign").mkdir()
    (toy / "foreign/x").write_text("")
    (toy / "empty.txt").write_text("")
    assert main(words) == 2
    last = [text for text in capsys.readouterr().err.splitlines() if text.startswith("shammie: ")]
    assert len(last) == 1
    assert last[0].startswith(f"shammie: {line}")
    assert (toy / "foreign/x").exists()


def test_debug_shows_where(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "letters", "--debug", "--size", "mian"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_bench_prints_and_writes_its_table(
    toy: Path, code: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import workflows.bench

    (code / "words.py").write_text(
        '"""Counts."""\nfrom workflows.bench.table import Table, Target\n'
        "def add_arguments(parser):\n    parser.add_argument('--n', type=int, default=1)\n"
        "def run(arguments):\n"
        "    return Table('words', ['n'], [[arguments.n]], targets=[Target('n', arguments.n, 2)])\n"
    )
    monkeypatch.setattr(workflows.bench, "__path__", [*workflows.bench.__path__, str(code)])
    assert main(["bench", "words", "--n", "1", "--json", "table.json"]) == 0
    assert "NOT REACHED" in capsys.readouterr().out
    assert json.loads((toy / "table.json").read_text())["targets"][0]["reached"] is False
    assert main(["bench", "words", "--m", "1"]) == 2
    assert main(["bench", "words", "--help"]) == 0
    sys.modules.pop("workflows.bench.words", None)


def test_list_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "gin/equal_info/main.gin" in capsys.readouterr().out
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out
    assert main(["run", "--help"]) == 0
    assert "--take-over" in capsys.readouterr().out
