"""The commands of `python -m beam_jobs.rest_em`, one after the other as in the README, and their flags."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.rest_em import sample as sample_job
from beam_jobs.rest_em.__main__ import main
from beam_jobs.rest_em.sample import SampleConfig
from beam_jobs.sharded import Shards, read_all
from models.rest_em.records import Graded, Problem, Sample, read_records, write_records
from seqio_tasks.pairs import read_pairs
from shammie.files import write_bytes

Command = Callable[..., dict[str, Any]]
local = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "inference" / "server.py")))

# Problems of our own in the layouts of the released files; of each format one whose solution is right, then wrong ones.
GSM8K = [
    {"question": "Ann has 6 boxes of 12 pens. How many pens?", "answer": "6*12=<<6*12=72>>72 pens.\n#### 72"},
    {"question": "What is half of 8?", "answer": "8/2=<<8/2=4>>4.\n#### 4"},
]
MATH = [
    {"problem": "Half of 1?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{\\frac12}$."},
    {"problem": "Why?", "level": "Level 1", "type": "Algebra", "solution": "It is so."},
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": 'def twice(x):\n    """Doubles x."""\n',
        "canonical_solution": solution,
        "test": "\n\ndef check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n",
        "entry_point": "twice",
    }
    for number, solution in enumerate(("    return 2 * x\n", "    return x * x\n"))
]
MBPP = [
    {"task_id": number, "text": "Double a number.", "code": code, "test_list": ["assert twice(2) == 4"]}
    for number, code in enumerate(
        ("def twice(x):\n    return 2 * x", "def twice(x):\n    return", "def twyce(x): pass")
    )
]
APPS = [
    {
        "id": number,
        "question": "Double the number.",
        "input_output": json.dumps({"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}),
        "solutions": solutions,
        "difficulty": "introductory",
        "url": "",
        "starter_code": "",
    }
    for number, solutions in enumerate((json.dumps(["print(2 * int(input()))"]), json.dumps(["print(2)"]), ""))
]
EXPECTED = {
    "gsm8k": (GSM8K, 2, {}),
    "math": (MATH, 1, {"MATH/train/000002": "no reference answer"}),
    "humaneval": (HUMANEVAL, 1, {"HumanEval/1": "failed test"}),
    "mbpp": (MBPP, 1, {"mbpp/1": "failed test", "mbpp/2": "error: NameError"}),
    "apps": (APPS, 1, {"APPS/train/1": "wrong output"}),
}


def released(path: Path, records: list[dict[str, Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, b"".join(json.dumps(one).encode() + b"\n" for one in records))
    return str(path)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one that must succeed, or with `fails` must not and say that; gives what it counted."""

    def run(*words: str, fails: str = "") -> dict[str, Any]:
        code, (out, error) = main(words), capsys.readouterr()
        assert (code, out == "") == ((2, True) if fails else (0, False)), error
        assert not fails or fails in error.splitlines()[-1]
        return {} if fails else json.loads(out)

    return run


def by_hand(folder: Path, samples: list[Sample]) -> str:
    shards = Shards(str(folder), "samples", 1)
    shards.start({"by": "hand"})
    shards.write(0, samples, {})
    shards.finish({"by": "hand"})
    return str(folder)


def test_the_chain_of_the_readme(command: Command, tmp_path: Path, lm_path: str) -> None:
    def at(name: str) -> str:
        return str(tmp_path / name)

    source, prefix = released(tmp_path / "train.jsonl", GSM8K), "Question: 1+1?\nSolution:\n#### 2\n\n"
    write_bytes(at("few_shot.txt"), prefix.encode())
    problems, few_shot = f"--problems={at('problems.jsonl')}", f"--prompt_file={at('few_shot.txt')}"
    told = command("problems", "--format=gsm8k", f"--input={source}", f"--output={at('problems.jsonl')}")
    assert told == {"problems": 2, "without_reference": 0}

    small = ["--samples=3", "--new_tokens=6", few_shot]
    told = command("sample", problems, f"--model={lm_path}", "--codec=bytes", f"--output={at('samples')}", *small)
    samples = read_all(at("samples"), Sample)
    assert sorted((one.problem[-1], one.sample) for one in samples) == [(p, s) for p in "12" for s in range(3)]
    assert told["records"] == 6
    assert len({one.text for one in samples}) > 1
    told = command("grade", problems, f"--samples={at('samples')}", f"--output={at('graded')}")
    assert (told["records"], told["failed/no answer"]) == (6, 6)  # noise marks no answer
    assert not any(one.passed for one in read_all(at("graded"), Graded))

    select = ["select", problems, "--codec=bytes", f"--output={at('pairs')}", "--graded", at("graded")]
    command(*select, fails="no solution was selected (")
    assert not list(Path(at("pairs")).glob("train.*"))
    texts = [("1", "12*6=72\n#### 72"), ("1", "#### 71"), ("1", "12*6=72\n#### 72"), ("2", "#### 4.0")]
    own = [Sample(f"gsm8k/train/00000{p}", 3 + n, text, 9, True) for n, (p, text) in enumerate(texts)]
    by_hand(tmp_path / "more", own)
    told = command("grade", problems, f"--samples={at('more')}", f"--output={at('more_graded')}")
    assert (told["passed"], told["failed/wrong answer"], told["judged"]) == (3, 1, 3)

    told = command(*select, at("more_graded"), few_shot)
    unfinished = sum(not one.finished for one in samples)
    assert unfinished > 0
    assert (told["problems"], told["covered"], told["kept"], told["pairs"]) == (2, 2, 2, 2)
    assert told["dropped/duplicate"] == told["dropped/wrong answer"] == 1
    assert (told["dropped/not finished"], told.get("dropped/no answer", 0)) == (unfinished, 6 - unfinished)
    first, second = read_records(at("problems.jsonl"), Problem)
    expected = [(prefix + first.prompt, texts[0][1]), (prefix + second.prompt, texts[3][1])]
    assert read_pairs(at("pairs"), "train") == expected
    told = command(*select, at("more_graded"), few_shot, "--with_human")
    human = [(prefix + first.prompt, "6*12=72 pens.\n#### 72"), (prefix + second.prompt, "8/2=4.\n#### 4")]
    assert read_pairs(at("pairs"), "train") == expected + human
    assert (told["kept"], told["pairs"]) == (2, 4)

    long = len((prefix + second.prompt + texts[3][1]).encode()) + 1  # bytes, and the end
    assert command(*select, at("more_graded"), few_shot, f"--max_tokens={long}")["left_out/pair too long"] == 1
    assert read_pairs(at("pairs"), "train") == expected[1:]
    command(
        *select, at("more_graded"), few_shot, f"--max_tokens={long - 1}", fails="2 pair too long); raise max_tokens"
    )
    assert not list(Path(at("pairs")).glob("train.*"))  # nor those of the command before
    command(*select, at("graded"), fails="is there twice; grade each sample once")
    write_records(at("others.jsonl"), [first])
    select[1] = f"--problems={at('others.jsonl')}"
    command(*select, fails="a sample is of the problem 'gsm8k/train/000002', which is not given; check --problems")


def test_further_samples_have_other_numbers(
    command: Command, job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[SampleConfig] = []
    monkeypatch.setattr(sample_job, "run", lambda config, _: configs.append(config) or {"counters": {"records": 1}})
    config = job()
    flags = ["sample", f"--problems={config.problems}", f"--model={config.model.model}", "--codec=bytes"]
    for more in ([], ["--first_sample=32"]):
        command(*flags, f"--output={config.output}", *more)
    assert [(one.first_sample, one.samples) for one in configs] == [(0, 32), (32, 32)]


def test_one_id_in_two_inputs(command: Command, tmp_path: Path) -> None:
    paths = [released(tmp_path / folder / "train.jsonl", GSM8K[:1]) for folder in ("a", "b")]
    out = tmp_path / "problems.jsonl"
    told = f"{paths[0]} and {paths[1]} both have a problem of the id 'gsm8k/train/000001'; give each file once"
    command("problems", "--format=gsm8k", f"--output={out}", "--input", *paths, fails=told)
    assert not out.exists()
    other = released(tmp_path / "b" / "test.jsonl", GSM8K)
    assert command("problems", "--format=gsm8k", f"--output={out}", "--input", paths[0], other)["problems"] == 3
    ids = [one.id.removeprefix("gsm8k/") for one in read_records(str(out), Problem)]
    assert ids == ["train/000001", "test/000001", "test/000002"]


@pytest.mark.parametrize("format", EXPECTED)
def test_reference_solutions_are_checked(command: Command, tmp_path: Path, format: str) -> None:
    records, passed, failed = EXPECTED[format]
    out = tmp_path / "problems.jsonl"
    source = released(tmp_path / "train.jsonl", records)
    told = command("problems", f"--format={format}", f"--input={source}", f"--output={out}", "--check")
    assert len(read_records(str(out), Problem)) == told["problems"] == len(records)
    without = 1 if format == "apps" else 0
    assert (told["solutions_passed"], told["without_solution"]) == (passed, without)
    lines = Path(f"{out}.failed.jsonl").read_text().splitlines()
    found = {one["id"]: one["reason"] for one in map(json.loads, lines)}
    assert found == failed
    assert sum(told.get(f"solutions_failed/{reason}", 0) for reason in set(failed.values())) == len(failed)
    assert passed + len(failed) + without == len(records)


def test_checks_need_time(command: Command, tmp_path: Path) -> None:
    given = [f"--input={released(tmp_path / 'train.jsonl', GSM8K)}", f"--output={tmp_path / 'p.jsonl'}"]
    command("problems", "--format=gsm8k", *given, "--check", "--timeout_s=0", fails="timeout_s=0.0 is not above 0")


def test_a_servers_answers_are_kept_beside_the_samples(
    command: Command, problems_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with local.LocalServer() as server:
        flags = ["sample", f"--problems={problems_path}", f"--endpoint={server.url}", "--endpoint_model=small"]
        flags += ["--samples=2", "--new_tokens=6", "--attempts=1", "--max_bad_share=0"]
        server.always = {"0003 + 0 =": local.says(422, {"error": "no such words"})}
        command(*flags, f"--output={tmp_path / 'samples'}", fails="of 40 samples failed")
        asked = len(server.bodies)
        server.always = {}
        assert command(*flags, f"--output={tmp_path / 'samples'}/")["records"] == 40
        assert asked <= 40 < len(server.bodies) < 40 + asked  # what was answered is not asked again
        assert [one.name for one in tmp_path.glob("samples.answers/*.sqlite")] == ["answers.0.sqlite"]
        for name, more in (("a", ["--cache="]), ("b", ["--no_cache"])):
            asked = len(server.bodies)
            assert command(*flags, f"--output={tmp_path / name}", *more)["records"] == 40
            assert len(server.bodies) == asked + 40
        command(*flags, f"--output={tmp_path / 'c'}", f"--cache={tmp_path / 'mine'}")
        command(*flags, f"--output={tmp_path / 'd'}", "--no_cache", "--cache=x", fails="contradict each other")
        assert {one.name for one in tmp_path.iterdir() if one.is_dir()} == {
            *("samples", "samples.answers", "a", "b", "c", "mine")
        }


def test_bucket_outputs_have_no_cache_unless_one_is_named() -> None:
    from beam_jobs.rest_em.__main__ import _cache_of, parser

    def cache(output: str, *more: str) -> str:
        flags = ["sample", "--problems=p", f"--output={output}", "--endpoint=http://h/v1", *more]
        return _cache_of(parser().parse_args(flags))

    assert cache("gs://bucket/samples") == ""
    assert cache("gs://bucket/samples", "--cache=here") == "here"
    assert cache("samples/") == "samples.answers"


def test_a_prompt_file_that_is_no_text(command: Command, tmp_path: Path) -> None:
    write_bytes(tmp_path / "prompt", b"\xff")
    given = ["--problems=p", "--graded", "g", "--codec=bytes", "--output=o", f"--prompt_file={tmp_path / 'prompt'}"]
    command("select", *given, fails="byte 0 is not UTF-8; convert the file")
