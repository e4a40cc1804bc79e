"""Problems from the released files of known datasets, from a local path or a bucket: `load_problems`, `FORMATS`.

Also what is wrong with them: `ungradable` problems, and reference solutions that fail (`failing_solutions`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from beam_jobs.rest_em import apps, dataset_formats
from beam_jobs.rest_em.dataset_formats import Made
from beam_jobs.rest_em.dataset_rows import BadRecordError, Row, file_rows, folder_rows, need
from beam_jobs.rest_em.verifiers import Verifiers
from models.rest_em.records import Problem
from shammie.errors import UserError, unknown
from shammie.files import is_directory

OnBad = Callable[[str, str], object]


@dataclass(frozen=True)
class Format:
    """A dataset's format.

    Attributes:
        about: what is released, in a line.
        rows: the records at a path.
        problem: a record's problem, and the fields of its prompt.
        template: the prompt, with the fields' names in braces, unless another one is given.
    """

    about: str
    rows: Callable[[str], Iterator[Row]]
    problem: Callable[[Row], Made]
    template: str


def _files_or_folder(path: str) -> Iterator[Row]:
    need(path)
    return folder_rows(path) if is_directory(path) else file_rows(path)


FORMATS: Mapping[str, Format] = {
    "math": Format(
        "a folder of SUBJECT/NUMBER.json, or lines of JSON, with problem, level, type, solution",
        _files_or_folder,
        dataset_formats.math,
        dataset_formats.MATH_TEMPLATE,
    ),
    "gsm8k": Format(
        "lines of JSON with question, answer",
        file_rows,
        dataset_formats.gsm8k,
        dataset_formats.GSM8K_TEMPLATE,
    ),
    "apps": Format(
        "a folder of NUMBER/question.txt and its like, or lines of JSON with question, input_output, solutions",
        apps.rows,
        apps.problem,
        apps.TEMPLATE,
    ),
    "humaneval": Format(
        "lines of JSON with task_id, prompt, canonical_solution, test, entry_point",
        file_rows,
        dataset_formats.humaneval,
        dataset_formats.HUMANEVAL_TEMPLATE,
    ),
    "mbpp": Format(
        "lines of JSON with task_id, text, code, test_list, or the sanitized list with prompt for text",
        file_rows,
        dataset_formats.mbpp,
        dataset_formats.MBPP_TEMPLATE,
    ),
    "jsonl": Format(
        "lines of JSON with the fields of models.rest_em.records.Problem",
        file_rows,
        dataset_formats.own,
        dataset_formats.OWN_TEMPLATE,
    ),
}


def load_problems(path: str, format: str, *, on_bad: OnBad | None = None, template: str | None = None) -> list[Problem]:
    """The problems of a dataset, in the order of its records; files may be gzipped, paths local or of fsspec.

    Args:
        path: the file or folder, as it is released.
        format: one of `FORMATS`.
        on_bad: called with the id and the reason of each record that is no problem, which is then left out; without
            it the first one is an error. A problem without tests or answer is none of these: see `ungradable`.
        template: the prompt in place of the format's own, with the fields' names in braces.

    Raises:
        UserError: the format is not known; a record is bad, named by file, record and field, or has another one's id;
            a file cannot be read; there is no problem at all.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    chosen = FORMATS[format]
    template = chosen.template if template is None else template
    found: dict[str, Problem] = {}
    bad = 0
    for row in chosen.rows(path):
        name = row.name
        try:
            made, values = chosen.problem(row)
            name = made.id
            if name in found:
                raise BadRecordError(f"the id {name!r} is another record's too")
            found[name] = replace(made, prompt=filled(template, values))
        except BadRecordError as error:
            if on_bad is None:
                raise UserError(f"{row.where}: {error}", f"format {format} is {chosen.about}") from error
            on_bad(name, str(error))
            bad += 1
    if not found:
        raise UserError(f"{path} holds no problem ({bad} bad records)", f"format {format} is {chosen.about}")
    return list(found.values())


def load_all(paths: Iterable[str], format: str) -> list[Problem]:
    """The problems of several files or folders, in their order.

    Raises:
        UserError: as `load_problems`; or a problem of one has the id of another one's.
    """
    where: dict[str, str] = {}
    found = []
    for path in paths:
        for problem in load_problems(path, format):
            if problem.id in where:
                raise UserError(
                    f"{where[problem.id]} and {path} both have a problem of the id {problem.id!r}",
                    "give each file once; where ids come from files' names, give them other names",
                )
            found.append(problem)
        where |= {problem.id: path for problem in found[len(where) :]}
    return found


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with the fields in; what they hold is not searched for further ones.

    Raises:
        UserError: it names a field that is not there.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise unknown("field of the prompt's template", found[1], values)
        return values[found[1]]

    return re.sub(r"\{([A-Za-z_]+)\}", value, template)


def ungradable(problems: Iterable[Problem]) -> dict[str, str]:
    """The problems that nothing can pass: id to what they lack, "reference answer" or "tests"."""
    lacks = {}
    for one in problems:
        if one.verifier in ("number", "boxed"):
            if not one.answer.strip():
                lacks[one.id] = "reference answer"
        elif not (one.tests if one.verifier == "python" else one.cases):
            lacks[one.id] = "tests"
    return lacks


def failing_solutions(problems: Iterable[Problem], verifiers: Verifiers) -> dict[str, str]:
    """The problems whose own solution does not pass: id to the verdict's reason. Those without one are skipped.

    Args:
        problems: with ids of their own each.
        verifiers: what judges; as many solutions are judged at a time as it has workers.
    """
    solved = [one for one in problems if one.solution]
    with ThreadPoolExecutor(verifiers.workers) as pool:
        judged = pool.map(lambda one: verifiers.verify(one, one.solution), solved)
        return {one.id: verdict.reason for one, verdict in zip(solved, judged, strict=True) if not verdict.passed}
