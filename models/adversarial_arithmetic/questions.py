"""Arithmetic questions, the prompt that an attack becomes part of, and the split of questions by their operands."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, get_args

from models.rest_em.records import Record
from shammie.errors import UserError, unknown
from shammie.files import canonical_json

Sign = Literal["+", "-", "*"]
Split = Literal["train", "test"]
SIGNS: tuple[Sign, ...] = get_args(Sign)
TEMPLATE = "Question: What is {x} {sign} {y}? {attack} Answer:"
TEST_PARTS, PARTS = 3, 10  # 3 of 10 pairs of operands are held out
ENUMERATED = 10_000  # up to so many pairs all are listed and put in order; of more, single ones are drawn

_FIELDS = ("x", "sign", "y", "attack")
_FIELD = re.compile("{(" + "|".join(_FIELDS) + ")}")
_NO_ATTACK = re.compile(r"\s?\{attack\}")


@dataclass(frozen=True)
class Question(Record):
    """What is x sign y?

    Attributes:
        id: unique; `question_of` makes it "3+4".
        x: the first operand, not negative.
        sign: "+", "-" or "*".
        y: the second operand, not negative.
    """

    id: str
    x: int
    sign: Sign
    y: int

    def __post_init__(self) -> None:
        if self.sign not in SIGNS:
            raise ValueError(f"the sign {self.sign!r} is none of {', '.join(SIGNS)}")
        for name, value in (("x", self.x), ("y", self.y)):
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {value!r}, not a whole number from 0")

    @cached_property
    def answer(self) -> int:
        """The right answer."""
        if self.sign == "+":
            return self.x + self.y
        return self.x - self.y if self.sign == "-" else self.x * self.y

    @property
    def digits(self) -> int:
        """Decimal digits of the longer operand."""
        return len(str(max(self.x, self.y)))

    @property
    def commutes(self) -> bool:
        """Whether the operands may change places."""
        return self.sign != "-"


def question_of(x: int, sign: Sign, y: int) -> Question:
    """The question of two operands, with the id that is made of them: "3+4".

    Raises:
        ValueError: the sign is not known, or an operand is negative.
    """
    return Question(f"{x}{sign}{y}", x, sign, y)


def questions(digits: int, count: int, seed: int, sign: Sign = "+") -> tuple[Question, ...]:
    """Distinct questions of one size, in an order that a hash of the seed and of each decides.

    Fewer of the same seed are the first of more. There are 100 questions of one digit (0 to 9) and 8100 of two (10 to
    99): of these a larger count gives all.

    Args:
        digits: of each of both operands; where it is 1 they are 0 to 9.
        count: how many questions.
        seed: of the order.
        sign: of all.

    Raises:
        shammie.errors.UserError: digits or count is below 1, or there is no such sign.
    """
    if digits < 1:
        raise UserError(f"numbers of {digits} digits do not exist", "give at least 1")
    if count < 1:
        raise UserError(f"{count} questions are none to ask", "give at least 1")
    if sign not in SIGNS:
        raise unknown("sign", sign, SIGNS)
    least, end = (0, 10) if digits == 1 else (10 ** (digits - 1), 10**digits)
    width = end - least
    numbers = _all_in_order if width**2 <= ENUMERATED else _drawn
    taken = islice(numbers(width**2, (seed, digits, sign)), min(count, width**2))
    return tuple(question_of(least + one // width, sign, least + one % width) for one in taken)


def split_of(question: Question) -> Split:
    """The split by operands, whatever their order and the sign: 3+4, 4+3 and 3*4 are in one split."""
    return "test" if _hash("held out", *sorted((question.x, question.y))) % PARTS < TEST_PARTS else "train"


def prompt_of(question: Question, attack: str = "", template: str = TEMPLATE) -> str:
    """What the model reads: the template with the question and the attack in it.

    The attack is put in as it is, braces and all. Without one (nothing, or spaces only) the white space before its
    place goes too, so that a clean prompt has no double space.

    Args:
        question: what is asked.
        attack: the text that stands with the question.
        template: with {x}, {sign}, {y} and {attack}; other braces in it stay as they are.

    Raises:
        shammie.errors.UserError: the template lacks a field.
    """
    there = set(_FIELD.findall(template))
    if lacking := [f"{{{name}}}" for name in _FIELDS if name not in there]:
        raise UserError(f"the template {template!r} has no {lacking[0]}", f"write one such as {TEMPLATE!r}")
    if not attack.strip():
        template = _NO_ATTACK.sub("", template)
        template = template.lstrip() if template[:1].isspace() else template
    values = {"x": str(question.x), "sign": question.sign, "y": str(question.y), "attack": attack}
    return _FIELD.sub(lambda found: values[found[1]], template)


def _hash(*key: object) -> int:
    return int.from_bytes(hashlib.sha256(canonical_json(list(key)).encode()).digest())


def _all_in_order(pairs: int, key: tuple[object, ...]) -> Iterator[int]:
    yield from sorted(range(pairs), key=lambda one: _hash(*key, one))


def _drawn(pairs: int, key: tuple[object, ...]) -> Iterator[int]:
    seen: set[int] = set()
    draw = 0
    while True:
        one = _hash(*key, draw) % pairs
        draw += 1
        if one not in seen:
            seen.add(one)
            yield one
