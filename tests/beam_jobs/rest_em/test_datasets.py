import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.rest_em.datasets import FORMATS, filled, load_problems, ungradable
from beam_jobs.rest_em.verifiers import Verifiers
from models.rest_em.records import Problem, to_lines
from shammie.errors import UserError
from shammie.files import write_bytes

# Problems of our own in the layouts of the released files.
MATH = {
    "problem": "What is $1+1$, halved twice?",
    "level": "Level 3",
    "type": "Prealgebra",
    "solution": "Half of $\\boxed{2}$ is 1, so it is $\\boxed{\\frac{1}{2}}$.",
}
GSM8K = {
    "question": "Ann has 6 boxes of 12 pens. How many pens?",
    "answer": "She has 6*12=<<6*12=72>>72 pens.\n#### 72",
}
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\n\ndef twice(x):\n    """Doubles x."""\n',
    "canonical_solution": "    return 2 * x\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 4\n",
    "entry_point": "twice",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def twice(x):\n    return 2 * x",
    "test_list": ["assert twice(1) == 2", "assert twice(2) == 4"],
    "test_setup_code": "",
    "challenge_test_list": ["assert twice(10**9) == 2 * 10**9"],
}
SANITIZED = {
    "source_file": "Ours",
    "task_id": 12,
    "prompt": "Write a function to halve a number.",
    "code": "def half(x):\n    return x / 2",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(half(1), 0.5)"],
}
APPS_STDIN = {
    "id": 3,
    "question": "\n\nDouble the number.\n\n",
    "input_output": json.dumps({"inputs": ["1\n", ["2", ""]], "outputs": ["2\n", ["4"]]}),
    "solutions": json.dumps(["print(2 * int(input()))", "other"]),
    "difficulty": "interview",
    "url": "",
    "starter_code": "",
}
APPS_CALLED = {
    "id": 4,
    "question": "Double the number.",
    "input_output": json.dumps({"fn_name": "twice", "inputs": [[1], [[2, "a"]]], "outputs": [[2], [4, 5]]}),
    "solutions": "",
    "difficulty": "introductory",
    "url": "",
    "starter_code": "\nclass Solution:\n    def twice(self, x: int) -> int:\n        ",
}


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


def place(tmp_path: Path, kind: str) -> str:
    return str(tmp_path) if kind == "local" else f"memory://{uuid.uuid4().hex}"


def load(tmp_path: Path, format: str, *records: Any, **options: Any) -> list[Problem]:
    write_bytes(tmp_path / "train.jsonl", lines(*records))
    return load_problems(str(tmp_path / "train.jsonl"), format, **options)


def files(folder: str, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        path = f"{folder}/{name}"
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_math_folder(tmp_path: Path, kind: str) -> None:
    folder = f"{place(tmp_path, kind)}/train"
    unknown = {**MATH, "level": "Level ?", "type": "Geometry", "solution": "It is 3."}
    files(folder, {"prealgebra/2.json": json.dumps(MATH), "geometry/10.json": json.dumps(unknown), "README": "no"})
    first, second = load_problems(folder, "math")
    assert second == Problem(
        id="MATH/train/prealgebra/2",
        prompt="Problem:\nWhat is $1+1$, halved twice?\n\nSolution:\n",
        verifier="boxed",
        family="MATH/Prealgebra",
        level=3,
        answer="\\frac{1}{2}",
        solution=MATH["solution"],
    )
    assert (first.id, first.level, first.answer) == ("MATH/train/geometry/10", 0, "")
    assert ungradable([first, second]) == {"MATH/train/geometry/10": "reference answer"}


def test_math_lines(tmp_path: Path) -> None:
    of_500 = {"problem": "p", "solution": "s", "answer": "7", "subject": "Algebra", "level": 5}
    found = load(tmp_path, "math", MATH, {**of_500, "unique_id": "test/algebra/9.json"})
    assert [one.id for one in found] == ["MATH/train/000001", "MATH/test/algebra/9"]
    assert (found[1].answer, found[1].level, found[1].family) == ("7", 5, "MATH/Algebra")


@pytest.mark.parametrize("kind", ["local", "memory"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_gsm8k(tmp_path: Path, kind: str, ending: str) -> None:
    data = lines(GSM8K) + b"\n" + lines({**GSM8K, "answer": "no mark"})
    path = f"{place(tmp_path, kind)}/train.jsonl{ending}"
    write_bytes(path, gzip.compress(data) if ending else data)
    first, second = load_problems(path, "gsm8k")
    assert first == Problem(
        id="gsm8k/train/000001",
        prompt="Question: Ann has 6 boxes of 12 pens. How many pens?\nSolution:\n",
        verifier="number",
        family="gsm8k",
        answer="72",
        solution="She has 6*12=72 pens.\n#### 72",
    )
    assert (second.id, second.answer) == ("gsm8k/train/000003", "")
    with Verifiers() as verifiers:
        assert verifiers.verify(first, first.solution).passed
        assert verifiers.verify(first, "#### 72.0").passed
        assert verifiers.verify(first, "so 72").reason == "no answer"  # this format marks its answers
        assert verifiers.verify(second, "#### 72").reason == "no reference answer"


def test_humaneval(tmp_path: Path) -> None:
    (found,) = load(tmp_path, "humaneval", HUMANEVAL)
    assert found == Problem(
        id="HumanEval/900",
        prompt=HUMANEVAL["prompt"],
        verifier="python",
        family="HumanEval",
        tests=(HUMANEVAL["test"], "check(twice)"),
        prefix=HUMANEVAL["prompt"],
        solution="    return 2 * x\n",
    )


def test_mbpp_lines_and_the_sanitized_list(tmp_path: Path) -> None:
    setup = {**MBPP, "task_id": 13, "test_setup_code": "root = 1"}
    first, second = load(tmp_path, "mbpp", MBPP, setup)
    assert first == Problem(
        id="mbpp/11",
        prompt=(
            "Task: Write a function to double a number.\n"
            "Tests:\nassert twice(1) == 2\nassert twice(2) == 4\n\nProgram:\n"
        ),
        verifier="python",
        family="mbpp",
        tests=("assert twice(1) == 2", "assert twice(2) == 4"),
        solution=MBPP["code"],
    )
    assert second.tests == ("root = 1", *first.tests)
    write_bytes(tmp_path / "sanitized-mbpp.json", json.dumps([SANITIZED], indent=1).encode())
    (third,) = load_problems(str(tmp_path / "sanitized-mbpp.json"), "mbpp")
    assert third.id == "mbpp/12"
    assert third.prompt.startswith("Task: Write a function to halve a number.\n")
    assert third.tests == ("import math", "assert math.isclose(half(1), 0.5)")


def test_apps_programs_that_read(tmp_path: Path) -> None:
    (found,) = load(tmp_path, "apps", APPS_STDIN)
    assert found == Problem(
        id="APPS/train/3",
        prompt="Question:\nDouble the number.\n\nRead from standard input and print to standard output.\n\nProgram:\n",
        verifier="stdin",
        family="APPS/interview",
        level=2,
        cases=(("1\n", "2\n"), ("2\n", "4")),
        solution="print(2 * int(input()))",
    )


def run(problem: Problem, program: str) -> bool:
    """Whether the tests hold; in this process, for what is run here is ours."""
    names: dict[str, Any] = {}
    exec(problem.prefix + program, names)
    try:
        for test in problem.tests:
            exec(test, names)
    except AssertionError:
        return False
    return True


def test_apps_functions_that_are_called(tmp_path: Path) -> None:
    (found,) = load(tmp_path, "apps", APPS_CALLED)
    assert (found.id, found.verifier, found.level, found.solution) == ("APPS/train/4", "python", 1, "")
    starter = "class Solution:\n    def twice(self, x: int) -> int:\n        "
    assert found.prompt == f"Question:\nDouble the number.\n\n{starter}\n\nDefine twice.\n\nProgram:\n"
    assert found.tests[1:] == ("assert _plain(twice(1)) in ([2], 2)", "assert _plain(twice([2, 'a'])) == [4, 5]")
    right = "2 if x == 1 else (4, 5)"
    assert run(found, f"def twice(x):\n    return {right}\n")
    assert run(found, f"class Solution:\n    def twice(self, x: Optional[int]):\n        return {right}\n")
    assert not run(found, "def twice(x):\n    return 2 if x == 1 else 4\n")  # APPS itself would let this pass
    assert not run(found, "def twice(x):\n    return [[2]]\n")


def test_apps_numbers_and_keys_that_json_bends(tmp_path: Path) -> None:
    big = 7 * 10**5000 + 3
    digits = "7" + "0" * 4999 + "3"
    inputs = f'[[{digits}], [-{digits}], [{{"1": 2}}]]'
    text = f'{{"fn_name": "f", "inputs": {inputs}, "outputs": [{digits}, 1.5, {{"-2": "x"}}]}}'
    (found,) = load(tmp_path, "apps", {**APPS_CALLED, "input_output": text})
    program = f"def f(x):\n    return {hex(big)} if x == {hex(big)} else 1.5 if x == -{hex(big)} else {{-2: 'x'}}\n"
    assert run(found, program)
    assert not run(found, program.replace(hex(big), hex(big + 1)))
    assert "f({1: 2})) == {-2: 'x'}" in found.tests[3]


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_apps_folder(tmp_path: Path, kind: str) -> None:
    folder = f"{place(tmp_path, kind)}/test"
    for number, record in (("0003", APPS_STDIN), ("0004", APPS_CALLED)):
        files(
            f"{folder}/{number}",
            {
                "question.txt": record["question"],
                "input_output.json": record["input_output"],
                "solutions.json": record["solutions"] or "[]",
                "metadata.json": json.dumps({"difficulty": record["difficulty"], "url": ""}),
                "starter_code.py": record["starter_code"],
            },
        )
    files(f"{folder}/0005", {"question.txt": "No tests.", "metadata.json": "{}"})
    files(f"{folder}/0006", {"metadata.json": "{}"})
    bad: list[tuple[str, str]] = []
    found = load_problems(folder, "apps", on_bad=lambda *one: bad.append(one))
    assert bad == [("test/0006", "question.txt is missing")]
    lines_of = load(tmp_path, "apps", APPS_STDIN, APPS_CALLED)
    for one, other in zip(found, lines_of, strict=False):
        assert {**one.to_json(), "id": ""} == {**other.to_json(), "id": ""}
    assert [one.id for one in found] == ["APPS/test/0003", "APPS/test/0004", "APPS/test/0005"]
    assert (found[2].verifier, found[2].family, found[2].level) == ("stdin", "APPS", 0)
    assert ungradable(found) == {"APPS/test/0005": "tests"}
    with Verifiers() as verifiers:
        assert verifiers.verify(found[2], "print(1)").reason == "no tests"


def test_our_own_lines(tmp_path: Path) -> None:
    problems = [
        Problem(id="a", prompt="{prompt} stays", verifier="number", answer="1", level=2),
        Problem(id="b", prompt="p", verifier="stdin", cases=(("1", "2"),)),
        Problem(id="c", prompt="p", verifier="python", tests=()),
    ]
    write_bytes(tmp_path / "own.jsonl", to_lines(problems))
    assert load_problems(str(tmp_path / "own.jsonl"), "jsonl") == problems
    assert ungradable(problems) == {"c": "tests"}


SAMPLES = {"math": MATH, "gsm8k": GSM8K, "humaneval": HUMANEVAL, "mbpp": MBPP, "apps": APPS_CALLED}
NEEDED = {
    "math": ("problem", "level", "type", "solution"),
    "gsm8k": ("question", "answer"),
    "humaneval": ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
    "mbpp": ("text", "code", "test_list"),
    "apps": ("question", "input_output"),
}


def test_every_format_is_sampled_here() -> None:
    assert {*SAMPLES, "jsonl"} == set(FORMATS)


@pytest.mark.parametrize(("format", "name"), [(one, name) for one, names in NEEDED.items() for name in names])
def test_a_missing_field_or_one_of_another_type(tmp_path: Path, format: str, name: str) -> None:
    good = SAMPLES[format]
    missing = {key: value for key, value in good.items() if key != name}
    with pytest.raises(
        UserError, match=rf"train\.jsonl line 2: field '{name}' is missing; format {format} is"
    ) as caught:
        load(tmp_path, format, good, missing)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"line 1: field '{name}' is 1\.5, not a"):
        load(tmp_path, format, {**good, name: 1.5})
    bad: list[tuple[str, str]] = []
    assert len(load(tmp_path, format, good, missing, on_bad=lambda *one: bad.append(one))) == 1
    assert bad == [("train/000002", f"field '{name}' is missing")]


@pytest.mark.parametrize(
    ("format", "record", "reason"),
    [
        ("mbpp", {**MBPP, "test_list": [1]}, r"field 'test_list' is \[1\], not a list of strings"),
        ("mbpp", {**MBPP, "task_id": True}, "field 'task_id' is True"),
        ("humaneval", {**HUMANEVAL, "entry_point": "f); import os"}, "field 'entry_point' is"),
        ("apps", {**APPS_STDIN, "input_output": "{"}, "field 'input_output': "),
        ("apps", {**APPS_STDIN, "input_output": "[" * 100_000}, "field 'input_output'"),
        ("apps", {**APPS_STDIN, "input_output": '{"inputs": []}'}, "no lists 'inputs' and 'outputs'"),
        ("apps", {**APPS_STDIN, "input_output": '{"inputs": ["1"], "outputs": []}'}, "1 inputs and 0 outputs"),
        ("apps", {**APPS_STDIN, "input_output": '{"inputs": [1], "outputs": ["1"]}'}, "1 is neither text nor lines"),
        ("apps", {**APPS_STDIN, "input_output": '{"fn_name": "f()", "inputs": [], "outputs": []}'}, "is no name"),
        ("apps", {**APPS_STDIN, "input_output": '{"fn_name": "f", "inputs": [1], "outputs": [1]}'}, "no list of arg"),
        ("apps", {**APPS_STDIN, "input_output": '{"inputs": [NaN], "outputs": [1]}'}, "the number NaN"),
        (
            "apps",
            {**APPS_STDIN, "input_output": '{"inputs": [' + "9" * 100_001 + '], "outputs": [1]}'},
            "100001 digits",
        ),
        ("apps", {**APPS_STDIN, "solutions": "{}"}, "'solutions' is not a list"),
        ("jsonl", {"prompt": "p", "verifier": "number"}, "field 'id' is missing"),
        ("jsonl", {"id": "a", "prompt": "p", "verifier": "oracle"}, "verifier 'oracle' is none of"),
        ("jsonl", {"id": "a", "prompt": "p"}, "verifier"),
        ("jsonl", {"id": "a", "prompt": "p", "verifier": "number", "answr": "1"}, "no field 'answr'"),
        ("jsonl", {"id": "a", "prompt": "p", "verifier": "number", "level": "1"}, "field 'level' is '1'"),
        ("jsonl", {"id": "a", "prompt": "p", "verifier": "stdin", "cases": [["1"]]}, "'cases' is not a list of pairs"),
        ("gsm8k", "text", "'text' is no JSON object"),
    ],
)
def test_other_bad_records(tmp_path: Path, format: str, record: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load(tmp_path, format, record)
    bad: list[tuple[str, str]] = []
    good = SAMPLES.get(format, {"id": "x", "prompt": "p", "verifier": "number"})
    text = lines(good) + lines(record)
    write_bytes(tmp_path / "bad.jsonl", text)
    assert len(load_problems(str(tmp_path / "bad.jsonl"), format, on_bad=lambda *one: bad.append(one))) == 1
    assert len(bad) == 1


def test_bad_json_and_what_is_no_number_for_python(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_bytes(path, lines(GSM8K) + b'{"question": \n' + b'{"question": ' + b"9" * 5000 + b"}\n" + lines(GSM8K))
    with pytest.raises(UserError, match=r"train\.jsonl line 2: not JSON"):
        load_problems(str(path), "gsm8k")
    bad: list[str] = []
    found = load_problems(str(path), "gsm8k", on_bad=lambda name, _: bad.append(name))
    assert [one.id for one in found] == ["gsm8k/train/000001", "gsm8k/train/000004"]
    assert bad == ["train/000002", "train/000003"]


def test_two_problems_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: the id 'mbpp/11' is another record's too"):
        load(tmp_path, "mbpp", MBPP, {**MBPP, "text": "Another."})
    bad: list[tuple[str, str]] = []
    (kept,) = load(tmp_path, "mbpp", MBPP, {**MBPP, "text": "Another."}, on_bad=lambda *one: bad.append(one))
    assert kept.prompt.startswith("Task: Write")
    assert [name for name, _ in bad] == ["mbpp/11"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    whole = gzip.compress(lines(GSM8K) * 100)
    for name, data, said in (
        ("cut.jsonl.gz", whole[:-20], "damaged gzip"),
        ("flipped.jsonl.gz", whole[:40] + b"\0\0\0\0" + whole[44:], "damaged gzip"),
        ("latin.jsonl", '{"question": "\xe9"}\n'.encode("latin-1"), "byte 14 is not UTF-8"),
        ("list.json", b"[1, 2", "not JSON"),
        ("empty.jsonl", b"\n\n", "holds no problem"),
    ):
        write_bytes(tmp_path / name, data)
        with pytest.raises(UserError, match=f"{name}.*{said}"):
            load_problems(str(tmp_path / name), "gsm8k", on_bad=lambda *one: None)
    for format in FORMATS:
        with pytest.raises(UserError, match="nowhere does not exist"):
            load_problems(str(tmp_path / "nowhere"), format)
    with pytest.raises(UserError, match="is a folder"):
        load_problems(str(tmp_path), "gsm8k")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match=r"no question\.txt"):
        load_problems(str(tmp_path / "hollow"), "apps")
    with pytest.raises(UserError, match="holds no problem"):
        load_problems(str(tmp_path / "hollow"), "math")
    with pytest.raises(UserError, match="unknown format 'gsm8'; did you mean gsm8k"):
        load_problems(str(tmp_path), "gsm8")


def test_prompts_of_another_template(tmp_path: Path) -> None:
    record = {**GSM8K, "question": "Is {question} {x}?"}
    (found,) = load(tmp_path, "gsm8k", record, template="Q: {question}\n{} {1} A:")
    assert found.prompt == "Q: Is {question} {x}?\n{} {1} A:"
    with pytest.raises(UserError, match=r"unknown field of the prompt's template 'questoin'; did you mean question"):
        load(tmp_path, "gsm8k", record, template="{questoin}")
    assert filled("", {}) == ""
