"""Released records as problems: the formats of MATH, GSM8K, HumanEval and MBPP, and our own.

Each function takes a record and gives the problem, without its prompt, and the fields of the prompt's template.
"""

import re
from dataclasses import fields
from typing import Any

from beam_jobs.rest_em.dataset_rows import BadRecordError, Row
from models.rest_em.boxed import last_boxed
from models.rest_em.records import Problem

Made = tuple[Problem, dict[str, str]]

MATH_TEMPLATE = "Problem:\n{problem}\n\nSolution:\n"
GSM8K_TEMPLATE = "Question: {question}\nSolution:\n"
HUMANEVAL_TEMPLATE = "{prompt}"
MBPP_TEMPLATE = "Task: {task}\nTests:\n{tests}\n\nProgram:\n"
OWN_TEMPLATE = "{prompt}"

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_LEVEL = re.compile(r"Level ([1-5])")


def math(row: Row) -> Made:
    """MATH (arXiv:2103.03874): problem, level, type, solution; the answer is the solution's last box.

    The lines of MATH-500 have the type as `subject`, and `unique_id`, which becomes the id; where the solution has no
    box, its `answer` is taken.
    """
    solution, kind = row.text("solution"), row.text("subject" if "subject" in row.values else "type")
    level = _LEVEL.fullmatch(_level_of(row))
    boxed = last_boxed(solution)
    made = Problem(
        id=f"MATH/{row.identifier('unique_id').removesuffix('.json') or row.name}",
        prompt="",
        verifier="boxed",
        family=f"MATH/{kind}",
        level=int(level[1]) if level else 0,
        answer=row.text("answer", "") if boxed is None else boxed,
        solution=solution,
    )
    return made, {"problem": row.text("problem")}


def _level_of(row: Row) -> str:
    level = row.value("level")
    # MATH-500 has the number alone
    return f"Level {level}" if isinstance(level, int) else row.text("level")


def gsm8k(row: Row) -> Made:
    """GSM8K (arXiv:2110.14168): question, answer; what follows "####" is the answer, and <<6*2=12>> goes."""
    solution = _ANNOTATION.sub("", row.text("answer"))
    answer = solution.rpartition("####")[2].strip() if "####" in solution else ""
    made = Problem(
        id=f"gsm8k/{row.name}", prompt="", verifier="number", family="gsm8k", answer=answer, solution=solution
    )
    return made, {"question": row.text("question")}


def humaneval(row: Row) -> Made:
    """HumanEval (arXiv:2107.03374): task_id, prompt, canonical_solution, test, entry_point."""
    prompt, name, test = row.text("prompt"), row.text("entry_point"), row.text("test")
    if not name.isidentifier():
        raise BadRecordError(f"field 'entry_point' is {name!r:.60}, not a name")
    made = Problem(
        id=row.text("task_id"),
        prompt="",
        verifier="python",
        family="HumanEval",
        tests=(test, f"check({name})") if test.strip() else (),
        prefix=prompt,
        solution=row.text("canonical_solution"),
    )
    return made, {"prompt": prompt}


def mbpp(row: Row) -> Made:
    """MBPP (arXiv:2108.07732): task_id, text, code, test_list, test_setup_code; sanitized: prompt, test_imports.

    The harder tests of `challenge_test_list` are left out: the paper keeps them apart.
    """
    tests = row.texts("test_list")
    before = (row.text("test_setup_code", ""), "\n".join(row.texts("test_imports", ())))
    own = row.identifier("task_id")
    made = Problem(
        id=f"mbpp/{own}" if own else f"mbpp/{row.name}",
        prompt="",
        verifier="python",
        family="mbpp",
        tests=(*(one for one in before if one.strip()), *tests) if tests else (),
        solution=row.text("code"),
    )
    return made, {"task": row.text("prompt" if "prompt" in row.values else "text"), "tests": "\n".join(tests)}


def own(row: Row) -> Made:
    """Our own: `Problem` as JSON, its prompt as it is."""
    for one in fields(Problem):
        if one.name in row.values:
            _check(one.name, one.type, row)
    try:
        made = Problem.from_json({**row.values, "id": row.text("id"), "prompt": row.text("prompt")})
    except ValueError as error:
        raise BadRecordError(str(error)) from error
    return made, {"prompt": made.prompt}


def _check(name: str, kind: Any, row: Row) -> None:
    if name == "level":
        level = row.value(name)
        if not isinstance(level, int) or isinstance(level, bool):
            raise BadRecordError(f"field 'level' is {level!r:.60}, not a whole number")
    elif name == "tests":
        row.texts(name)
    elif name == "cases":
        cases = row.value(name)
        pairs = isinstance(cases, list) and all(isinstance(one, list) and len(one) == 2 for one in cases)
        if not pairs or not all(isinstance(text, str) for one in cases for text in one):
            raise BadRecordError("field 'cases' is not a list of pairs of strings")
    else:
        row.text(name)
