"""The grading job, and the selection that follows it."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from beam_jobs.rest_em import grade as grade_job
from beam_jobs.rest_em.__main__ import main
from beam_jobs.rest_em.grade import GradeConfig, grade, run
from beam_jobs.rest_em.selecting import write_selection
from beam_jobs.rest_em.verifiers import Verifiers
from beam_jobs.sharded import MANIFEST, Shards, read_all
from models.rest_em.records import Graded, Problem, Sample, read_records, write_records
from seqio_tasks.pairs import read_pairs
from shammie.errors import UserError

FOUR = ["--direct_num_workers=4", "--direct_running_mode=multi_processing", "--runner=DirectRunner"]
PROBLEMS = [
    Problem(id="sum", prompt="2 + 2 =", verifier="number", answer="4", solution="2+2=4. Answer: 4"),
    Problem(id="twice", prompt="def f(x):\n", prefix="def f(x):\n", verifier="python", tests=("assert f(3) == 6",)),
    Problem(id="echo", prompt="echo", verifier="stdin", cases=(("a\n", "a\n"),)),
    Problem(id="untested", prompt="def g():\n", verifier="python"),
    Problem(id="unanswered", prompt="?", verifier="number"),
]
TEXTS = {
    "sum": ["2+2=4. Answer: 4", "Answer: 5", "2+2=4. Answer: 4", "4. Answer: 4"],
    "twice": ["    return 2 * x\n", "    return x\n", "    while True: pass\n", "    return x + x\n"],
    "echo": ["print(input())", "print('b')", "raise SystemExit", "print(input(), end='')"],
    "untested": ["    return 1\n"] * 4,
    "unanswered": ["Answer: 1"] * 4,
}
PASSED = {"sum": [1, 0, 1, 1], "twice": [1, 0, 0, 1], "echo": [1, 0, 0, 1], "untested": [0] * 4, "unanswered": [0] * 4}


def _sample(problem: str, number: int, text: str) -> Sample:
    return Sample(problem, number, text, tokens=9, finished=True)


@pytest.fixture
def sampled(tmp_path: Path) -> GradeConfig:
    """Five shards of samples by hand."""
    write_records(str(tmp_path / "problems.jsonl"), PROBLEMS)
    shards = Shards(str(tmp_path / "samples"), "samples", len(TEXTS))
    shards.start({"by": "hand"})
    for number, (problem, texts) in enumerate(TEXTS.items()):
        shards.write(number, [_sample(problem, n, text) for n, text in enumerate(texts)], {})
    shards.finish({"by": "hand"})
    paths = [str(tmp_path / name) for name in ("samples", "output")]
    return GradeConfig(str(tmp_path / "problems.jsonl"), *paths, timeout_s=2.0, threads=2)


def test_verdicts_reasons_and_counters(sampled: GradeConfig) -> None:
    counters = run(sampled)["counters"]
    graded = read_all(sampled.output, Graded)
    found = {name: [int(one.passed) for one in graded if one.problem == name] for name in PASSED}
    assert found == PASSED
    assert counters["passed"] == 7
    assert counters["records"] == 20
    reasons = Counter(one.reason for one in graded if not one.passed)
    assert {name: counters[f"failed/{name}"] for name in reasons} == reasons
    assert {"wrong answer", "timeout", "no tests", "no reference answer"} <= set(reasons)
    assert counters["judged"] == 20 - 1 - 3 - 3  # equal texts of a problem are judged once
    assert {one.verifier for one in graded if one.problem == "sum"} == {"number@1"}
    assert next(one.answer for one in graded if one.problem == "sum") == "4"


def test_workers_and_a_resumption_give_the_same_bytes(
    sampled: GradeConfig, tmp_path: Path, monkeypatch, hashes
) -> None:
    run(sampled)
    again = replace(sampled, output=str(tmp_path / "again"))
    real = Shards.write

    def fail_at_3(self, number, *given):
        if number == 3:
            raise RuntimeError("killed")
        real(self, number, *given)

    monkeypatch.setattr(Shards, "write", fail_at_3)
    with pytest.raises(RuntimeError, match="killed"):
        run(again)
    monkeypatch.undo()
    assert not os.path.exists(os.path.join(again.output, MANIFEST))
    run(again, FOUR)
    assert hashes(again.output) == hashes(sampled.output)


def test_samples_of_unknown_problems_and_unfinished_samples_are_refused(sampled: GradeConfig, tmp_path: Path) -> None:
    write_records(sampled.problems, PROBLEMS[:2])
    with pytest.raises(UserError, match="a sample is of the problem 'echo', which is not given"):
        run(sampled)
    with pytest.raises(UserError, match="holds no finished job"):
        run(replace(sampled, samples=str(tmp_path), output=str(tmp_path / "other")))
    with pytest.raises(UserError, match="timeout_s=0 is not above 0"):
        replace(sampled, timeout_s=0)


def test_threads_are_as_many_as_the_processors_that_it_may_use(sampled: GradeConfig, monkeypatch) -> None:
    monkeypatch.setattr(grade_job, "processors", lambda: 3)
    for threads, expected in ((0, 3), (5, 5)):
        shard = grade_job.GradeShard(replace(sampled, threads=threads), {})
        shard.setup()
        assert shard.verifiers is not None
        assert (shard.threads, shard.verifiers.workers) == (expected, expected)
        shard.teardown()


def test_another_timeout_is_another_job(sampled: GradeConfig) -> None:
    run(sampled)
    with pytest.raises(UserError, match="another timeout s"):
        run(replace(sampled, timeout_s=3.0))


def test_equal_texts_of_different_problems_are_judged_apart() -> None:
    problems = {one.id: one for one in (PROBLEMS[0], replace(PROBLEMS[0], id="other", answer="5"))}
    samples = [_sample("sum", 0, "Answer: 4"), _sample("other", 0, "Answer: 4")]
    with Verifiers(workers=1) as verifiers:
        graded, counters = grade(samples, problems, verifiers, threads=2)
    assert [one.passed for one in graded] == [True, False]
    assert counters["judged"] == 2


def test_selection_by_the_command(sampled: GradeConfig, tmp_path: Path, capsys) -> None:
    run(sampled)
    out = tmp_path / "pairs"
    flags = [f"--problems={sampled.problems}", f"--graded={sampled.output}", "--codec=bytes", f"--output={out}"]
    assert main(["select", *flags, "--cap=1"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted == json.loads((out / "selection.json").read_text())
    assert (counted["problems"], counted["covered"], counted["kept"], counted["pairs"]) == (5, 3, 3, 3)
    assert counted["dropped/duplicate"] == 1
    assert counted["dropped/over the cap"] == 3
    kept, dropped = read_records(str(out / "kept.jsonl"), Graded), (out / "dropped.jsonl").read_text().splitlines()
    assert len(kept) + len(dropped) == 20
    prompts = {one.id: one.prompt for one in PROBLEMS}
    assert read_pairs(str(out), "train") == [(prompts[one.problem], one.text) for one in kept]


def test_human_solutions_are_mixed_in_where_asked(sampled: GradeConfig, tmp_path: Path) -> None:
    run(sampled)
    given = {"problems": sampled.problems, "graded": [sampled.output], "codec": "bytes"}
    own = write_selection(**given, output=str(tmp_path / "own"))
    both = write_selection(**given, output=str(tmp_path / "both"), with_human=True)
    assert both["pairs"] == own["pairs"] + 1
    assert read_pairs(str(tmp_path / "both"), "train")[-1] == (PROBLEMS[0].prompt, PROBLEMS[0].solution)


def test_nothing_to_train_on_is_an_error(sampled: GradeConfig, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grade_job, "grade", lambda samples, *_, **__: (_failed(samples), Counter()))
    run(sampled)
    with pytest.raises(UserError, match="no solution was selected"):
        write_selection(problems=sampled.problems, graded=[sampled.output], codec="bytes", output=str(tmp_path / "x"))


def _failed(samples: list[Sample]) -> list[Graded]:
    return [
        Graded(one.problem, one.sample, one.text, one.tokens, one.finished, False, "wrong answer", "", "number@1")
        for one in samples
    ]
