"""What travels through the search: candidate texts, trials of them on a model, and the attacks that worked."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.adversarial_arithmetic.questions import Question
from models.adversarial_arithmetic.replies import SIGN_WORDS, grouped, outcome_of, plain_digits, value_in
from models.rest_em.records import Record
from shammie.errors import UserError
from shammie.files import canonical_json

Goal = Literal["any", "targeted"]
_IS = r"(?:={1,3}|is|equals?|(?:is|are)\s+equal\s+to|makes?|gives?)"


@dataclass(frozen=True)
class Candidate(Record):
    """A text that may make a model answer wrongly.

    Attributes:
        id: `candidate_of` makes it from question, target and text.
        question: the question's id.
        target: the wrong answer that is wanted; None for any.
        text: what stands at the template's {attack}.
        round: of the search, from 0.
        source: who wrote it: "grammar", "lm", "random", "seed", "template", "copy", "word problem" and the like.
        parents: ids of the candidates or attacks it was made from or that its writer was shown.
        leak: whether it states the question's own equation (see `leaks`).
    """

    id: str
    question: str
    target: int | None
    text: str
    round: int
    source: str
    parents: tuple[str, ...] = ()
    leak: bool = False


@dataclass(frozen=True)
class Trial(Record):
    """How a model answered a prompt with a candidate in it.

    Attributes:
        candidate: the candidate's id.
        victim: the model's name.
        right: samples with the right answer.
        targeted: samples with the target.
        other: samples with another wrong answer.
        none: samples without an answer; they count as samples, never as fooled.
        values: (value, samples) of every answer that was given, by rising value.
    """

    candidate: str
    victim: str
    right: int
    targeted: int
    other: int
    none: int
    values: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        counts = (self.right, self.targeted, self.other, self.none)
        if min(counts) < 0 or not sum(counts):
            raise ValueError(f"a trial of {counts} right, targeted, other and no answers is none")
        if (told := sum(count for _, count in self.values)) != self.samples - self.none:
            raise ValueError(f"{told} values of {self.samples - self.none} answers")
        if list(self.values) != sorted(dict(self.values).items()) or any(count < 1 for _, count in self.values):
            raise ValueError(f"the values {self.values} do not rise, or one was never given")

    @property
    def samples(self) -> int:
        """How many replies there are."""
        return self.right + self.targeted + self.other + self.none

    @property
    def p_any(self) -> float:
        """The share of samples with a wrong answer."""
        return (self.targeted + self.other) / self.samples

    @property
    def p_target(self) -> float:
        """The share of samples with the target."""
        return self.targeted / self.samples

    def p(self, goal: Goal) -> float:
        """The share of samples that reach the goal."""
        return self.p_target if goal == "targeted" else self.p_any


@dataclass(frozen=True, kw_only=True)
class Attack(Candidate):
    """A candidate that worked on a model.

    Attributes:
        id: and the fields below as in `Candidate`.
        question: as there.
        target: as there.
        text: as there.
        round: as there.
        source: as there.
        parents: as there.
        leak: as there.
        victim: the model's name.
        p_any: the share of samples with a wrong answer.
        p_target: the share of samples with the target.
        said: the wrong answer that the model gave most often, of equally frequent ones the smallest; None where the
            values of the trial do not tell.
    """

    victim: str
    p_any: float
    p_target: float
    said: int | None = None


def candidate_of(
    question: Question, target: int | None, text: str, *, round: int, source: str, parents: Sequence[str] = ()
) -> Candidate:
    """A candidate with its id, a hash of question, target and text, and its leak flag."""
    name = hashlib.sha256(canonical_json([question.to_json(), target, text]).encode()).hexdigest()[:16]
    return Candidate(name, question.id, target, text, round, source, tuple(parents), leaks(question, text))


def trial_of(candidate: Candidate, question: Question, victim: str, replies: Sequence[str]) -> Trial:
    """The trial that a model's replies to the candidate's prompt make.

    Raises:
        shammie.errors.UserError: there is no reply, the question is another, or its right answer is the target.
    """
    if candidate.question != question.id:
        raise UserError(f"candidate {candidate.id!r} is for question {candidate.question!r}, not {question.id!r}")
    if not replies:
        raise UserError(f"candidate {candidate.id!r} has no reply", "ask the model at least once")
    counts = Counter(outcome_of(question, text, candidate.target) for text in replies)
    values = Counter(value for text in replies if (value := value_in(question, text)) is not None)
    return Trial(
        candidate=candidate.id,
        victim=victim,
        right=counts["right"],
        targeted=counts["targeted"],
        other=counts["other"],
        none=counts["none"],
        values=tuple(sorted(values.items())),
    )


def leaks(question: Question, text: str) -> bool:
    """Whether a text states the question's own equation, as in "2+2=5", whatever the spaces.

    That is x, the sign (or its word), y, then "=", "is", "equals", "makes" or "gives", then a number in digits. Where
    the operands may change places, so may they here.
    """
    text = plain_digits(text)
    orders = [(question.x, question.y)] + ([(question.y, question.x)] if question.commutes else [])
    return any(
        re.search(
            rf"(?<![\d.,]){grouped(x)}\s*{SIGN_WORDS[question.sign]}\s*{grouped(y)}\s*{_IS}\W*\d", text, re.IGNORECASE
        )
        for x, y in orders
    )
