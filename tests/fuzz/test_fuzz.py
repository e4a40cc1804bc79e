"""Every parser of outside bytes under fire for some seconds; what once was found; and that faults would be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = os.environ.get("SHAMMIE_FUZZ_SECONDS", "20")
ROOT = Path(__file__).parents[2]
FOUND = Path(__file__).parent / "found"
# inputs of seed 0 that were seen to pass, some 12 s of an idle core each: a faster machine is not to meet new ones here
INPUTS = {
    "artefacts": 10_000,
    "codes": 82_000,
    "weights": 25_000,
    "checkpoints": 1_200,
    "texts": 12_000,
    "parquet": 40_000,
    "tfrecords": 57_000,
    "array_records": 12_000,
    "tfds_infos": 18_000,
    "images": 50_000,
    "endpoints": 33_000,
    "http": 10_000,
    "answers": 7_000,
    "sandboxes": 203_000,
    "problems": 5_000,
    "records": 46_000,
}
GROUPS = tuple(INPUTS)


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=here())


def here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_breaks_a_parser(group: str, tmp_path: Path) -> None:
    done = fuzz(group, "--seconds", SECONDS, "--inputs", str(INPUTS[group]), "--keep", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


def test_every_group_is_here() -> None:
    done = fuzz("--help")
    assert f"of: {', '.join(GROUPS)} (default: all)" in " ".join(done.stdout.split())


@pytest.mark.parametrize("group", sorted(folder.name for folder in FOUND.iterdir()))
def test_what_was_found_once(group: str) -> None:
    """In a process of its own: some of these inputs ended theirs."""
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, group, str(FOUND / group)], cwd=ROOT, capture_output=True, text=True, env=here()
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


REPLAY = """
import sys
from pathlib import Path
from tests.fuzz.loop import Report, judged
from tests.fuzz.targets import cases_of
report, cases = Report(), {one.name: one for one in cases_of(sys.argv[1])}
inputs = sorted(Path(sys.argv[2]).glob("*.bin"))
for name in {path.stem.rpartition("-")[0] for path in inputs}:
    cases[name].parse(cases[name].seeds()[0])  # compiles what it needs
for path in inputs:
    judged(cases[path.stem.rpartition("-")[0]], path.read_bytes(), report)
print(*report.findings, sep="\\n")
sys.exit(bool(report.findings) or report.executions != len(inputs) or not inputs)
"""


def test_faults_are_found_and_kept(tmp_path: Path) -> None:
    done = [fuzz("tests.fuzz.planted:faults", "--seconds", "4", "--keep", str(tmp_path / name)) for name in "ab"]
    assert [one.returncode for one in done] == [1, 1]
    kept = [sorted(path.name for path in (tmp_path / name).rglob("*.bin")) for name in "ab"]
    assert {name.partition("-")[0] for name in kept[0]} == {"faulty", "loud", "greedy"}
    faulty = next((tmp_path / "a").rglob("faulty-*.bin"))
    assert faulty.read_bytes()[3] > 200
    assert "IndexError" in faulty.with_suffix(".txt").read_text()


@pytest.mark.parametrize(("group", "told"), [("crash", "ends: crash -11"), ("hang", "never_ends: hang")])
def test_an_input_that_ends_the_process_or_never_ends(group: str, told: str, tmp_path: Path) -> None:
    done = fuzz(f"tests.fuzz.planted:{group}", "--seconds", "6", "--hang", "2", "--keep", str(tmp_path))
    assert done.returncode == 1
    assert told in done.stdout
    kept = next(tmp_path.rglob("*.bin")).read_bytes()
    assert kept[:1] == b"\xff" if group == "crash" else len(kept) > 20


def test_a_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    again = [
        subprocess.run(
            [sys.executable, "-c", SAME], cwd=ROOT, capture_output=True, text=True, check=True, env=here()
        ).stdout
        for _ in range(2)
    ]
    assert again[0] == again[1] != ""


SAME = """
import hashlib
from itertools import islice
from random import Random
from tests.fuzz.loop import _Corpus
from tests.fuzz.targets import cases_of
for case in cases_of("sandboxes") + cases_of("endpoints"):
    corpus = _Corpus(case, Random(f"0/0/{case.name}"))
    inputs = [*islice(corpus.by_mutation(), 500), *(corpus.by_hypothesis("0") if case.strategy is not None else [])]
    print(case.name, len(set(inputs)) > 100, hashlib.sha256(b"/".join(inputs)).hexdigest())
"""
