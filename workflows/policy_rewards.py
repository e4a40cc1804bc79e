"""The verifiable reward of reinforcement learning: strict, for whatever is rewarded is learned.

The verifiers of `beam_jobs.rest_em` say whether an answer is right; what stands here refuses the ways to be right
without answering: two answers, an answer that was begun in the prompt's own words, or one that the limit of tokens cut.
"""

import re
from collections.abc import Callable

from beam_jobs.inference.requests import Completion
from beam_jobs.rest_em.verifiers import Verifiers
from models.rest_em.answers import is_marked
from models.rest_em.records import Problem

Reward = Callable[[Problem, Completion], float]
MARK = "Answer:"

_MARKS = re.compile(r"answer\s*:|####", re.IGNORECASE)
_ASKS = re.compile(r"(?:answer\s*:|####)\s*\Z", re.IGNORECASE)  # a prompt that ends where its answer is to stand
_WORDS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand)\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[0-9]+(?:[.,/][0-9]+)*")


class VerifiedReward:
    """1 for a finished completion whose one answer passes its problem's verifier, else 0.

    Stricter than the verifier where that is "number". A prompt that ends in "Answer:" is answered by what follows: one
    line that states one number, written as the reference is (no "8.0" or "16/2" for 8), and no other in words. To any
    other prompt, a solution marks its answer no more than once.

    Args:
        verifiers: judge; without them, ones of its own (which start processes only for algebra and programs).
    """

    def __init__(self, verifiers: Verifiers | None = None) -> None:
        self._verifiers = verifiers or Verifiers()

    def __call__(self, problem: Problem, completion: Completion) -> float:
        """The reward of a completion of the problem's prompt."""
        text = completion.text
        if completion.error or not completion.finished or not text.strip():
            return 0.0
        if problem.verifier == "number":
            if _ASKS.search(problem.prompt):
                if not _is_one_number(text, like=problem.answer):
                    return 0.0
                text = f"{MARK} {text}"
            elif len(_MARKS.findall(text)) > 1:
                return 0.0
        return float(self._verifiers.verify(problem, text).passed)


def _is_one_number(text: str, *, like: str) -> bool:
    found = _NUMBERS.findall(text)
    if is_marked(text) or _WORDS.search(text) or len(found) != 1 or len(text.strip().splitlines()) != 1:
        return False
    return found[0].replace(",", "") == like.strip().lstrip("+-").replace(",", "")
