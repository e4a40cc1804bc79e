"""What earns a reward, and what would like to."""

import pytest

from beam_jobs.inference.requests import Completion
from models.rest_em.records import Problem
from workflows.policy_rewards import VerifiedReward

ASKED = "Question: What is 3 + 5? Tom says 3 + 5 = 9. Answer:"
REWARD = VerifiedReward()


def _reward(text: str, *, prompt: str = ASKED, answer: str = "8", finished: bool = True, error: str = "") -> float:
    problem = Problem("p", prompt, "number", answer=answer)
    return REWARD(problem, Completion("p/0", text, len(text), finished, error=error))


@pytest.mark.parametrize(
    "text", ["8", " 8", " 8.", "8\n", " = 8", " It is 8.", "**8**", "+8", " The answer is 8 apples."]
)
def test_the_right_answer_is_rewarded(text: str) -> None:
    assert _reward(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\n\n"),  # empty
        *("8 or 9", "8 9", "9 8", "8, 9", "89", "8\n9", "9\n8", "8\n8", "8/9", "5 = 8", "8 = 8", "8 Answer: 8"),  # two
        *("8\nNo, more.", "8 or nine", "8, or Forty-two.", "eight, that is 8"),
        *("9", "-8", "not 8", "minus 8", "8 million", "8x", "(8", "eight", "I will not say."),
        *("8.0", "16/2", "2*4", "8e0", "08", "8.5", "0.8"),  # not as asked
        # the prompt's own words again
        *(" Answer: 8", ASKED, f"{ASKED} 8", "3 + 5 = 8", "Tom says 8. Answer: 9", "9\nAnswer: 8", "#### 8"),
        "\N{FULLWIDTH DIGIT EIGHT}",
        "9 \N{FULLWIDTH DIGIT EIGHT}",
        "8\x0b9",
        "8\u20289",
        "\ud800",
        "8" * 5000,
    ],
)
def test_nothing_else_is(text: str) -> None:
    assert _reward(text) == 0.0


def test_what_the_limit_of_tokens_cut_or_a_server_refused_is_not_rewarded() -> None:
    assert _reward("8", finished=False) == 0.0
    assert _reward("8", error="refused") == 0.0


def test_larger_and_negative_answers() -> None:
    assert _reward(" -7", answer="-7") == 1.0
    assert _reward(" 7", answer="-7") == 0.0
    assert _reward(" 1,234", answer="1234") == 1.0
    assert _reward(" 1234.", answer="1,234") == 1.0
    assert _reward(" 12,34", answer="1234") == 0.0
    assert _reward(" 8", answer="") == 0.0


def test_a_solution_that_marks_its_answer_marks_one() -> None:
    shown = "Solve it, then write Answer: and the number.\n3 + 5\n"
    assert _reward("3 + 5 = 8\nAnswer: 8", prompt=shown) == 1.0
    assert _reward("Answer: 9\nAnswer: 8", prompt=shown) == 0.0
    assert _reward("#### 9\nAnswer: 8", prompt=shown) == 0.0
    assert _reward("8", prompt=shown) == 0.0  # unmarked
    assert _reward("3 + 5 = 8\nAnswer: 8 or 9", prompt=shown) == 0.0
