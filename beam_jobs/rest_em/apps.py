"""The APPS format (Hendrycks et al., arXiv:2105.09938): a folder for each problem, or lines of JSON of the same parts.

Programs read stdin ("cases"), or define a function that is called ("tests", where `fn_name` names it). Their harness
is imitated where it decides what is right: a call's result may be the expected value or, where that is a list of one,
its element, and tuples count as lists. It isn't where that lets wrong programs pass: a longer list's first element is
not enough, and printed words must be in order.
"""

import json
import keyword
from collections.abc import Iterator
from typing import Any

from beam_jobs.rest_em.dataset_rows import BadRecordError, Row, file_rows, need, parsed, read_text, stem
from models.rest_em.records import Problem
from shammie.errors import UserError
from shammie.files import file_sizes, is_directory, join

LEVELS = {"introductory": 1, "interview": 2, "competition": 3}
MAX_INTEGER_DIGITS = 100_000
TEMPLATE = "Question:\n{question}\n\n{starter}{how}\n\nProgram:\n"
HOW_STDIN = "Read from standard input and print to standard output."
HOW_CALLED = "Define {name}."

_PARTS = ("question.txt", "input_output.json", "solutions.json", "metadata.json", "starter_code.py")
_CHUNK = 4000  # digits that int() reads at once; its limit is 4300
_ADAPTER = """from typing import Dict, List, Optional, Set, Tuple

def {name}(*arguments):
    return Solution().{name}(*arguments)
"""
_PLAIN = """def _plain(value):
    if type(value) in (list, tuple):
        return [_plain(one) for one in value]
    if type(value) is dict:
        return {key: _plain(one) for key, one in value.items()}
    return value"""


def rows(path: str) -> Iterator[Row]:
    """The records below a folder that has a folder for each problem, or of a file of lines.

    Raises:
        UserError: there is none.
    """
    need(path)
    if not is_directory(path):
        yield from file_rows(path)
        return
    parts: dict[str, set[str]] = {}
    for name in file_sizes(path):
        folder, _, part = name.rpartition("/")
        if part in _PARTS:
            parts.setdefault(folder, set()).add(part)
    if not parts:
        raise UserError(f"{path} has no question.txt in any folder below it", "name APPS's train or test folder")
    for folder, there in sorted(parts.items()):
        yield _of_folder(join(path, folder) if folder else path, f"{stem(path)}/{folder}".rstrip("/"), there)


def _of_folder(where: str, name: str, there: set[str]) -> Row:
    def text(part: str) -> str:
        return read_text(join(where, part)) if part in there else ""

    if "question.txt" not in there:
        return Row(name, where, error="question.txt is missing")
    values: dict[str, Any] = {
        "question": text("question.txt"),
        "input_output": text("input_output.json"),
        "solutions": text("solutions.json"),
        "starter_code": text("starter_code.py"),
    }
    try:
        about = parsed(text("metadata.json") or "{}")
    except BadRecordError as error:
        return Row(name, where, error=f"metadata.json: {error}")
    values["difficulty"] = about.get("difficulty", "") if isinstance(about, dict) else ""
    return Row(name, where, values)


def problem(row: Row) -> tuple[Problem, dict[str, str]]:
    """The problem of a record, without its prompt, and the fields of the prompt's template."""
    own = row.identifier("problem_id", "id")
    difficulty = row.text("difficulty", "")
    starter = row.text("starter_code", "").strip("\n")
    question = row.text("question").strip()
    name, tests, cases = tests_of(row.text("input_output"))
    prompt = {
        "question": question,
        "starter": f"{starter}\n\n" if starter else "",
        "how": HOW_CALLED.format(name=name) if name else HOW_STDIN,
    }
    made = Problem(
        id=f"APPS/{row.name.split('/')[0]}/{own}" if own else f"APPS/{row.name}",
        prompt="",
        verifier="python" if name else "stdin",
        family=f"APPS/{difficulty}" if difficulty else "APPS",
        level=LEVELS.get(difficulty, 0),
        tests=tests,
        cases=cases,
        prefix=_ADAPTER.format(name=name) if name else "",
        solution=_first(row.text("solutions", "")),
    )
    return made, prompt


def _first(solutions: str) -> str:
    found = parsed(solutions) if solutions.strip() else []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadRecordError("field 'solutions' is not a list of programs")
    return found[0] if found else ""


def tests_of(text: str) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What `input_output` says: the called function's name or "", its tests, and the cases of a program that is run.

    Raises:
        BadRecordError: it is not as released.
    """
    if not text.strip():
        return "", (), ()
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadRecordError("field 'input_output' is nested too deeply") from error
    except ValueError as error:
        raise BadRecordError(f"field 'input_output': {error}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(one), list) for one in ("inputs", "outputs")):
        raise BadRecordError("field 'input_output' has no lists 'inputs' and 'outputs'")
    inputs, outputs, name = found["inputs"], found["outputs"], found.get("fn_name")
    if len(inputs) != len(outputs):
        raise BadRecordError(f"field 'input_output' has {len(inputs)} inputs and {len(outputs)} outputs")
    if name is None:
        return "", (), tuple((_lines(one), _lines(other)) for one, other in zip(inputs, outputs, strict=True))
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise BadRecordError(f"field 'input_output': fn_name {name!r:.60} is no name")
    tests = [_call(name, arguments, expected) for arguments, expected in zip(inputs, outputs, strict=True)]
    return name, (_PLAIN, *tests) if tests else (), ()


def _integer(digits: str) -> int:
    if len(digits) <= _CHUNK:
        return int(digits)
    if len(digits) > MAX_INTEGER_DIGITS:
        raise BadRecordError(f"an integer of {len(digits)} digits")
    value, bare = 0, digits.removeprefix("-")
    for at in range(0, len(bare), _CHUNK):
        chunk = bare[at : at + _CHUNK]
        value = value * 10 ** len(chunk) + int(chunk)
    return -value if digits.startswith("-") else value


def _no_constant(name: str) -> float:
    raise BadRecordError(f"the number {name}")


def _lines(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise BadRecordError(f"field 'input_output': {value!r:.60} is neither text nor lines of text")
    return value


def _call(name: str, arguments: Any, expected: Any) -> str:
    if not isinstance(arguments, list):
        raise BadRecordError(f"field 'input_output': {arguments!r:.60} is no list of arguments")
    values = [literal(_with_integer_keys(expected))]
    if isinstance(expected, list) and len(expected) == 1:
        values.append(literal(_with_integer_keys(expected[0])))
    call = f"{name}({', '.join(literal(_with_integer_keys(one)) for one in arguments)})"
    return f"assert _plain({call}) " + (f"== {values[0]}" if len(values) == 1 else f"in ({', '.join(values)})")


def _with_integer_keys(value: Any) -> Any:
    """JSON has only text for keys; where all of a dictionary's are whole numbers, APPS means the numbers."""
    if isinstance(value, dict) and value and all(key.removeprefix("-").isdecimal() for key in value):
        return {_integer(key): one for key, one in value.items()}
    return value


def literal(value: Any) -> str:
    """Python source of a JSON value; integers that Python would not read from decimal digits are hexadecimal."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 3 * _CHUNK:
        return hex(value)
    return repr(value)
