"""Verdicts on samples: is the final answer the reference, does the program pass its tests.

Each verifier has a name and a version, which change whenever a verdict could; both stand in every graded sample. What
may hang or do harm runs in processes that can be killed: algebra in `math_process`, programs in `beam_jobs.sandbox`.

A function's results are compared with their types kept exactly, as plain data. So a solution that gives a Counter,
defaultdict, OrderedDict, frozenset, deque, range, iterator or an instance of its own does not pass, even where Python
would call it equal to what is asked: its reason is "forbidden value", which is counted like any other, so that a look
at the counters of a dataset tells whether its problems ask for such things. A result that is plain is right or wrong.
"""

import functools
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from beam_jobs.rest_em.math_process import MathProcesses, Opinion, math_verify_name
from models.rest_em.answers import NO_ANSWER, final_number, is_marked, number_of
from models.rest_em.boxed import last_boxed, normal_form, settled
from models.rest_em.program_text import code_of, helpers_of, program_of
from models.rest_em.records import Graded, Problem, Sample

NUMBER = "number@1"
NORMAL_FORM = "boxed@2"
PYTHON = "python@2"
STDIN = "stdin@2"
WRONG = "wrong answer"
NO_REFERENCE = "no reference answer"
NO_TESTS = "no tests"

_REASONS: dict[Opinion, str] = {
    "equal": "",
    "unequal": WRONG,
    "unreadable": "unreadable answer",
    "bad reference": "unreadable reference answer",
    "timeout": "grader timeout",
    "crashed": "grader crashed",
}


class Verdict(Protocol):
    """What a sandbox says of a program."""

    @property
    def passed(self) -> bool:
        """Whether it passed all of its tests."""
        ...

    @property
    def reason(self) -> str:
        """Why not; "" where it passed."""
        ...


class Tools(Protocol):
    """What the verifiers call for: `Verifiers`, or a stand-in in tests."""

    @property
    def second_opinion(self) -> bool:
        """Whether the algebra is asked even where the writing settles a boxed answer."""
        ...

    def compare(self, gold: str, answer: str) -> Opinion:
        """See `MathProcesses.compare`."""
        ...

    def run_python(self, program: str, tests: Sequence[str]) -> Verdict:
        """See `beam_jobs.sandbox.run_python`."""
        ...

    def run_stdin(self, program: str, cases: Sequence[tuple[str, str]]) -> Verdict:
        """See `beam_jobs.sandbox.run_stdin`."""
        ...


@dataclass(frozen=True)
class Judged:
    """A verdict.

    Attributes:
        passed: the binary reward.
        reason: why it did not pass, in a word or two that can be counted; "" where it passed.
        answer: the final answer in normal form, for majority votes, or the code of a program; "" where there is none.
        verifier: name and version of all that may have a say, such as "boxed@2+math_verify@0.9.0".
        votes: of a boxed answer, what each source said that was asked, such as (("boxed@2", False),
            ("math_verify@0.9.0", True)). Only where `passed` follows from the first is it not the last one's.
    """

    passed: bool
    reason: str
    answer: str
    verifier: str
    votes: tuple[tuple[str, bool], ...] = ()

    @property
    def disagreement(self) -> bool:
        """Whether two sources were asked and differ."""
        return len({vote for _, vote in self.votes}) > 1

    def graded(self, sample: Sample) -> Graded:
        """The sample with this verdict."""
        return Graded(
            problem=sample.problem,
            sample=sample.sample,
            text=sample.text,
            tokens=sample.tokens,
            finished=sample.finished,
            passed=self.passed,
            reason=self.reason,
            answer=self.answer,
            verifier=self.verifier,
        )


def verify(problem: Problem, text: str, *, tools: Tools) -> Judged:
    """The verdict on a solution, also on one that is not finished: whether that counts is the caller's choice.

    Args:
        problem: names its verifier; without a reference answer, or tests, nothing passes.
        text: the solution, without the prompt.
        tools: what compares and runs.
    """
    text = text.encode(errors="replace").decode()  # lone surrogates: no process could be told of them
    return _VERIFIERS[problem.verifier](problem, text, tools)


def _number(problem: Problem, text: str, tools: Tools) -> Judged:
    found = final_number(text, marked=is_marked(problem.solution) or is_marked(problem.prompt))
    reference = number_of(problem.answer)
    if reference is None:
        reason = "unreadable reference answer" if problem.answer.strip() else NO_REFERENCE
    else:
        reason = found.reason or ("" if found.value == reference else WRONG)
    return Judged(not reason, reason, found.text, NUMBER)


def _boxed(problem: Problem, text: str, tools: Tools) -> Judged:
    library = math_verify_name()
    name = f"{NORMAL_FORM}+{library}"
    reference, boxed = normal_form(problem.answer), last_boxed(text)
    answer = normal_form(boxed or "")
    if not reference:
        return Judged(False, NO_REFERENCE, answer, name)
    if boxed is None or not answer:
        return Judged(False, "answer too long" if boxed and boxed.strip() else NO_ANSWER, "", name)
    same = settled(reference, answer)
    votes = ((NORMAL_FORM, bool(same)),)
    reason = "" if same else WRONG
    if same is None or tools.second_opinion:
        opinion = tools.compare(problem.answer, boxed)
        votes += ((library, opinion == "equal"),)
        reason = _REASONS[opinion] if same is None else reason
    return Judged(not reason, reason, answer, name, votes)


def _python(problem: Problem, text: str, tools: Tools) -> Judged:
    if refused := _no_run(PYTHON, problem.tests, text):
        return refused
    helpers = helpers_of(problem)  # the tests have these from the problem, not from what the sample says they are
    tests = (helpers, *problem.tests) if helpers else problem.tests
    return _of_run(PYTHON, text, tools.run_python(program_of(problem, text), tests))


def _stdin(problem: Problem, text: str, tools: Tools) -> Judged:
    if refused := _no_run(STDIN, problem.cases, text):
        return refused
    return _of_run(STDIN, text, tools.run_stdin(program_of(problem, text), problem.cases))


def _no_run(name: str, tests: Sequence[object], text: str) -> Judged | None:
    code = code_of(text)
    if tests and code.strip():
        return None
    return Judged(False, NO_ANSWER if tests else NO_TESTS, code, name)


def _of_run(name: str, text: str, verdict: Verdict) -> Judged:
    return Judged(verdict.passed, "" if verdict.passed else verdict.reason or "failed", code_of(text), name)


_VERIFIERS = {"number": _number, "boxed": _boxed, "python": _python, "stdin": _stdin}


class Sandbox(Protocol):
    """What runs programs: `beam_jobs.sandbox.Sandbox`, or a stand-in in tests."""

    def run_python(self, program: str, tests: Sequence[str], timeout_s: float) -> Verdict:
        """See `beam_jobs.sandbox.run_python`."""
        ...

    def run_stdin(self, program: str, cases: Sequence[tuple[str, str]], timeout_s: float) -> Verdict:
        """See `beam_jobs.sandbox.run_stdin`."""
        ...


class Verifiers:
    """The tools of `verify`, with the processes that they need; each starts when it is first called for.

        with Verifiers(workers=2) as verifiers:
            judged = verifiers.verify(problem, text)

    A context manager, which ends the processes; any number of threads may share it, and `workers` of them find a
    process at once.

    Args:
        workers: processes for algebra, and as many for programs.
        timeout_s: of processor time, for a program with all of its tests, or for one of its cases; `run_python` of the
            sandbox tells how long it may sleep or wait.
        second_opinion: whether to ask the algebra also where the writing settles a boxed answer, which tells how often
            the two differ; verdicts stay as they are.
        sandbox: runs the programs, and is not closed here; without one, a `beam_jobs.sandbox.Sandbox`.
        math: compares answers, and is not closed here; without one, a `MathProcesses`.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        timeout_s: float = 4.0,
        second_opinion: bool = False,
        sandbox: Sandbox | None = None,
        math: MathProcesses | None = None,
    ) -> None:
        self.workers, self.timeout_s, self.second_opinion = workers, timeout_s, second_opinion
        self._given_sandbox, self._given_math = sandbox, math
        self._stack, self._lock = ExitStack(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes that were started here."""
        self._stack.close()

    def verify(self, problem: Problem, text: str) -> Judged:
        """See `verify`."""
        return verify(problem, text, tools=self)

    def compare(self, gold: str, answer: str) -> Opinion:
        """See `MathProcesses.compare`."""
        with self._lock:
            math = self._math
        return math.compare(gold, answer)

    def run_python(self, program: str, tests: Sequence[str]) -> Verdict:
        """See `beam_jobs.sandbox.run_python`."""
        with self._lock:
            sandbox = self._sandbox
        return sandbox.run_python(program, tests, self.timeout_s)

    def run_stdin(self, program: str, cases: Sequence[tuple[str, str]]) -> Verdict:
        """See `beam_jobs.sandbox.run_stdin`."""
        with self._lock:
            sandbox = self._sandbox
        return sandbox.run_stdin(program, cases, self.timeout_s)

    @functools.cached_property
    def _math(self) -> MathProcesses:
        return self._given_math or self._stack.enter_context(MathProcesses(self.workers))

    @functools.cached_property
    def _sandbox(self) -> Sandbox:
        if self._given_sandbox:
            return self._given_sandbox
        import beam_jobs.sandbox as sandbox  # imported late: it looks at what isolates programs here

        return self._stack.enter_context(sandbox.Sandbox(workers=self.workers))
