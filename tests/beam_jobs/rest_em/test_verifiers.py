import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.rest_em import verifiers
from beam_jobs.rest_em.math_process import MathProcesses, Opinion, math_verify_name
from beam_jobs.rest_em.verifiers import Judged, Verifiers, verify
from models.rest_em.records import Graded, Problem, Sample

ARITHMETIC = Problem(id="a", prompt="Tom ...\n", verifier="number", answer="23", solution="3*5=15. Answer: 23")
UNMARKED = Problem(id="u", prompt="How many?", verifier="number", answer="1,234.50")
BOXED = Problem(id="b", prompt="Find x.", verifier="boxed", answer="\\frac{1}{2}")
PROGRAM = Problem(id="p", prompt="def f(x):\n", verifier="python", prefix="def f(x):\n", tests=("assert f(1) == 2",))
STDIN = Problem(id="s", prompt="Double it.", verifier="stdin", cases=(("2", "4"), ("3", "6")))


@dataclass
class FakeTools:
    """Tells what it was asked, and answers what it was told to."""

    opinion: Opinion = "equal"
    passed: bool = True
    reason: str = ""
    second_opinion: bool = False
    asked: list[Any] = field(default_factory=list)

    def compare(self, gold: str, answer: str) -> Opinion:
        self.asked.append((gold, answer))
        return self.opinion

    def run_python(self, program: str, tests: Sequence[str]) -> Any:
        self.asked.append((program, tests))
        return SimpleNamespace(passed=self.passed, reason=self.reason)

    def run_stdin(self, program: str, cases: Sequence[tuple[str, str]]) -> Any:
        self.asked.append((program, cases))
        return SimpleNamespace(passed=self.passed, reason=self.reason)


@pytest.mark.parametrize(
    ("problem", "text", "passed", "reason", "answer"),
    [
        (ARITHMETIC, "3*5=15. 15+8=23. Answer: 23", True, "", "23"),
        (ARITHMETIC, "Answer: 23.0 apples", True, "", "23"),
        (ARITHMETIC, "Answer: 46/2", True, "", "23"),
        (ARITHMETIC, "Answer: 24", False, "wrong answer", "24"),
        (ARITHMETIC, "Answer: 23 or 24", False, "unreadable answer", ""),
        (ARITHMETIC, "Answer: 22.99999999999999999999999", False, "wrong answer", f"{23 * 10**23 - 1}/{10**23}"),
        (ARITHMETIC, "It is 23", False, "no answer", ""),
        (ARITHMETIC, "", False, "no answer", ""),
        (UNMARKED, "So it is $1,234.50.", True, "", "2469/2"),
        (UNMARKED, "First 1234.5, no: 7", False, "wrong answer", "7"),
        (replace(UNMARKED, prompt="End in Answer: N"), "So it is 1234.5", False, "no answer", ""),
        (replace(ARITHMETIC, answer=""), "Answer: 23", False, "no reference answer", "23"),
        (replace(ARITHMETIC, answer="many"), "Answer: many", False, "unreadable reference answer", ""),
    ],
)
def test_number(problem: Problem, text: str, passed: bool, reason: str, answer: str) -> None:
    assert verify(problem, text, tools=FakeTools()) == Judged(passed, reason, answer, "number@1")


@pytest.mark.parametrize(
    ("problem", "text", "passed", "reason", "answer"),
    [
        (BOXED, "so $\\boxed{0.5}$", True, "", "1/2"),
        (BOXED, "\\boxed{\\dfrac12}", True, "", "1/2"),
        (BOXED, "\\boxed{x = \\frac{2}{4}}", True, "", "1/2"),
        (BOXED, "\\boxed{1/2}, or rather \\boxed{1/3}", False, "wrong answer", "1/3"),
        (BOXED, "the answer is 1/2", False, "no answer", ""),
        (BOXED, "\\boxed{}", False, "no answer", ""),
        (BOXED, "\\boxed{1/2", False, "no answer", ""),
        (BOXED, "\\boxed{" + "9" * 3000 + "}", False, "answer too long", ""),
        (replace(BOXED, answer=""), "\\boxed{}", False, "no reference answer", ""),
        (replace(BOXED, answer=""), "\\boxed{1}", False, "no reference answer", "1"),
        (replace(BOXED, answer="\\{1,2\\}"), "\\boxed{(1,2)}", False, "wrong answer", "(1,2)"),
        (replace(BOXED, answer="1/3"), "\\boxed{0.3333333}", False, "wrong answer", "3333333/10000000"),
    ],
)
def test_boxed_where_writing_settles_it(problem: Problem, text: str, passed: bool, reason: str, answer: str) -> None:
    tools = FakeTools("crashed")
    judged = verify(problem, text, tools=tools)
    name = f"boxed@2+{math_verify_name()}"
    assert judged == Judged(passed, reason, answer, name, judged.votes)
    assert tools.asked == []
    assert not judged.disagreement


def test_boxed_asks_the_algebra_for_the_rest() -> None:
    problem = replace(BOXED, answer="2\\sqrt{2}")
    library = math_verify_name()
    expected: dict[Opinion, str] = {
        "equal": "",
        "unequal": "wrong answer",
        "unreadable": "unreadable answer",
        "bad reference": "unreadable reference answer",
        "timeout": "grader timeout",
        "crashed": "grader crashed",
    }
    for opinion, reason in expected.items():
        tools = FakeTools(opinion)
        judged = verify(problem, "\\boxed{\\sqrt{8}}", tools=tools)
        assert tools.asked == [("2\\sqrt{2}", "\\sqrt{8}")]  # the reference first
        assert (judged.passed, judged.reason) == (opinion == "equal", reason)
        assert judged.votes == (("boxed@2", False), (library, opinion == "equal"))
        assert judged.disagreement == (opinion == "equal")


def test_a_second_opinion_is_counted_and_changes_nothing() -> None:
    tools = FakeTools("unequal", second_opinion=True)
    judged = verify(BOXED, "\\boxed{0.5}", tools=tools)
    assert judged.passed
    assert judged.disagreement
    assert tools.asked == [("\\frac{1}{2}", "0.5")]
    tools = FakeTools("equal", second_opinion=True)
    judged = verify(replace(BOXED, answer="1/3"), "\\boxed{0.3333333}", tools=tools)
    assert (judged.passed, judged.reason, judged.disagreement) == (False, "wrong answer", True)


def test_programs() -> None:
    tools = FakeTools()
    judged = verify(PROGRAM, "    return 2 * x\n\n", tools=tools)
    assert judged == Judged(True, "", "    return 2 * x", "python@2")
    assert tools.asked == [("def f(x):\n    return 2 * x\n", PROGRAM.tests)]
    tools = FakeTools(passed=False, reason="failed test")
    assert verify(PROGRAM, "    return x", tools=tools).reason == "failed test"
    tools = FakeTools(passed=False)
    assert verify(STDIN, "```python\nprint(1)\n```", tools=tools) == Judged(False, "failed", "print(1)", "stdin@2")
    assert tools.asked == [("print(1)\n", STDIN.cases)]


def test_nothing_to_test_by_or_to_run_fails_without_a_run() -> None:
    tools = FakeTools()
    assert verify(replace(PROGRAM, tests=()), "    return x", tools=tools).reason == "no tests"
    assert verify(replace(STDIN, cases=()), "print(1)", tools=tools).reason == "no tests"
    for problem in (PROGRAM, STDIN):
        assert verify(problem, " \n```python\n```", tools=tools) == Judged(
            False, "no answer", "", f"{problem.verifier}@2"
        )
    assert tools.asked == []


def test_text_that_no_process_could_be_told() -> None:
    judged = verify(PROGRAM, "    return '\ud800'", tools=FakeTools())
    assert judged.answer == "    return '?'"
    json.dumps(judged.answer).encode()
    judged = verify(replace(BOXED, answer="y"), "\\boxed{x\ud800\x00}", tools=FakeTools("unreadable"))
    assert judged.reason == "unreadable answer"


def test_the_graded_sample_keeps_the_sample() -> None:
    sample = Sample("b", 3, "\\boxed{0.5}", 7, finished=False, log_probability=-1.5)
    judged = verify(BOXED, sample.text, tools=FakeTools())
    name = f"boxed@2+{math_verify_name()}"
    assert judged.graded(sample) == Graded("b", 3, "\\boxed{0.5}", 7, False, True, "", "1/2", name)


@pytest.mark.parametrize(
    "text", ["\\boxed{" * 140_000, "Answer: 5" * 110_000, "```python\n" * 100_000, "{" * 1_000_000]
)
def test_a_megabyte_is_judged_without_help(text: str) -> None:
    for problem in (ARITHMETIC, UNMARKED, BOXED):
        tools = FakeTools()
        assert not verify(problem, text, tools=tools).passed
        assert tools.asked == []
    verify(PROGRAM, text, tools=FakeTools())


def test_verifiers_start_what_is_asked_for_and_end_it() -> None:
    with Verifiers(workers=2) as both:
        assert both.verify(ARITHMETIC, "Answer: 23").passed
        assert both.verify(BOXED, "\\boxed{0.5}").passed
        assert "_math" not in vars(both)  # nothing had to be started
        problem = replace(BOXED, answer="2\\sqrt{2}")
        with ThreadPoolExecutor(3) as threads:
            answers = ["\\sqrt{8}", "\\sqrt{9}", "8^{1/2}", "2^{3/2}", "2 \\sqrt{3}", "\\frac{4}{\\sqrt{2}}"]
            passed = list(threads.map(lambda one: both.verify(problem, f"\\boxed{{{one}}}").passed, answers))
        assert passed == [True, False, True, True, False, True]
        math = both._math
    with pytest.raises(RuntimeError, match="closed"):
        math.compare("1", "x")


def test_verifiers_pass_the_time_on_and_leave_open_what_they_were_given() -> None:
    asked = []

    class Box:
        def run_python(self, program: str, tests: Sequence[str], timeout_s: float) -> Any:
            asked.append((program, tests, timeout_s))
            return SimpleNamespace(passed=True, reason="")

        def run_stdin(self, program: str, cases: Sequence[tuple[str, str]], timeout_s: float) -> Any:
            asked.append((program, cases, timeout_s))
            return SimpleNamespace(passed=False, reason="wrong output")

    with MathProcesses(workers=1) as math:
        with Verifiers(timeout_s=1.5, sandbox=Box(), math=math) as given:
            assert given.verify(PROGRAM, "    return 2").passed
            assert given.verify(STDIN, "print(1)").reason == "wrong output"
        assert asked == [("def f(x):\n    return 2\n", PROGRAM.tests, 1.5), ("print(1)\n", STDIN.cases, 1.5)]
        assert not math._closed


def test_the_real_sandbox() -> None:
    halves = replace(
        PROGRAM, prefix="import math\n\ndef f(x):\n", tests=("def check(f):\n    assert f(5) == 2", "check(f)")
    )
    with Verifiers(workers=1, timeout_s=20) as real:
        assert real.verify(halves, "    return x // 2\n").passed
        assert real.verify(halves, "```python\ndef f(x):\n    return math.floor(x / 2)\n```").passed
        assert real.verify(halves, "    return x / 2\n").reason == "failed test"
        assert real.verify(STDIN, "print(2 * int(input()))").passed
        assert real.verify(STDIN, "print(4)").reason == "wrong output"


# in the manner of HumanEval/32: the test judges a result by a helper that the prompt defines
ROOT = Problem(
    id="r",
    prompt="",
    verifier="python",
    prefix="import math\n\n\ndef poly(xs: list, x: float):\n"
    '    """Evaluates."""\n    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n\n'
    'def find_zero(xs: list):\n    """ find_zero([1, 2]) gives -0.5"""\n',
    tests=(
        "def check(candidate):\n    for xs in ([1, 2], [-6, 11, -6, 1]):\n"
        "        assert math.fabs(poly(xs, candidate(list(xs)))) < 1e-4",
        "check(find_zero)",
    ),
)
NEWTON = """    x = 0.5
    for _ in range(200):
        slope = sum(i * c * x ** (i - 1) for i, c in enumerate(xs) if i)
        x -= poly(xs, x) / slope
    return x
"""


def test_a_helper_of_the_problem_is_not_what_the_sample_says_it_is() -> None:
    forged = "    return 0.0\n\n\ndef poly(xs, x):\n    return 0.0\n"
    other_math = "    return 0.0\n\n\nclass math:\n    fabs = lambda x: 0.0\n"
    with Verifiers(workers=1, timeout_s=20) as real:
        assert real.verify(ROOT, NEWTON) == Judged(True, "", NEWTON.strip("\n"), "python@2")
        assert real.verify(ROOT, f"```python\ndef find_zero(xs):\n{NEWTON}```").passed
        for forgery in (forged, other_math, "def find_zero(xs):\n" + forged):
            assert real.verify(ROOT, forgery).reason == "failed test"
        # without the helper among the tests, as the first of them, the forgery would pass
        assert real.run_python(ROOT.prefix + forged, ROOT.tests).passed


def test_results_that_are_no_plain_data_are_counted_as_such() -> None:
    wants = replace(PROGRAM, tests=("assert f('aab') == {'a': 2, 'b': 1}",))
    with Verifiers(workers=1, timeout_s=20) as real:
        assert (
            real.verify(wants, "    from collections import Counter\n    return Counter(x)").reason == "forbidden value"
        )
        assert real.verify(wants, "    from collections import Counter\n    return dict(Counter(x))").passed


def test_every_verifier_of_a_problem_is_known() -> None:
    from models.rest_em.records import VERIFIERS

    assert set(verifiers._VERIFIERS) == set(VERIFIERS)
