"""How each rule of the corpus makes a prompt and its answer (`models.adversarial_arithmetic.corpus` lists them).

A maker draws one text from random choices; "digits" is the most digits of an operand. The question "What is 3 + 4?" is
worded as the attacks' template has it most often, and statements stand before it or behind.
"""

import string
from collections.abc import Sequence
from random import Random
from typing import Any

from models.adversarial_arithmetic import corpus_text as text

Made = tuple[str, int]
Slots = dict[str, Any]  # what fills the braces of sentences, drawn once for a text
SIGNS = "+-*"
SHARES = 8, 2, 1  # of the signs


def calculated(x: int, sign: str, y: int) -> int:
    """The result of x + y, x - y or x * y."""
    return {"+": x + y, "-": x - y, "*": x * y}[sign]


def _value(random: Random) -> int:
    return random.randrange(random.choice((10, 20, 20, 100, 1000)))


def _operand(random: Random, digits: int) -> int:
    return random.randrange(10 ** random.randint(1, digits))


def _slots(random: Random, digits: int) -> Slots:
    name, other = random.sample(text.NAMES, 2)
    x, y, sign = _operand(random, digits), _operand(random, digits), random.choices(SIGNS, SHARES)[0]
    if sign == "*":
        x, y = x % 10, y % 10
    return Slots(
        x=x, y=y, sign=sign, z=calculated(x, sign, y), v=_value(random), u=_operand(random, digits), name=name,
        other=other, thing=random.choice(text.THINGS), place=random.choice(text.PLACES),
        word=random.choice(text.WORDS), n=random.choice((1, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 20, 50, 100, 100)),
        made=random.choice(text.MADE_UP_SIGNS),
    )  # fmt: skip


def _irrelevant(random: Random, most: int, told: str = "") -> list[str]:
    """Sentences that change nothing: none shares a name, a thing or a place with what is told elsewhere."""
    found: list[str] = []
    for _ in range(random.randint(0, most)):
        slots = _slots(random, 1)
        while any(str(slots[one]) in told for one in ("name", "other", "thing", "place")):
            slots = _slots(random, 1)
        found.append(random.choice(text.IRRELEVANT).format_map(slots))
    return found


def _asked(random: Random, slots: Slots, *, literal: bool = False) -> str:
    """The calculation as a question; most often as the attacks' template has it, and always if `literal`."""
    template = literal or random.random() < 0.7
    wording = "What is {x} {sign} {y}?" if template else random.choice(text.ASKED[slots["sign"]])
    return wording.format_map(slots)


def _prompt(random: Random, question: str, statements: Sequence[str], *, after: float = 0.5, noise: int = 1) -> str:
    """A question with statements before or after it, in their order, among irrelevant sentences.

    Args:
        random: where the choices come from.
        question: what is asked.
        statements: what matters.
        after: how often the statements follow the question.
        noise: the most irrelevant sentences on either side.
    """
    told = " ".join([question, *statements])
    sides: list[list[str]] = [[], []]
    side = int(random.random() < after)
    sides[side] = [*(_irrelevant(random, noise, told) if random.random() < 0.4 else []), *statements]
    sides[side] += _irrelevant(random, noise, told) if random.random() < 0.4 else []
    if random.random() < 0.15:
        sides[1 - side] = _irrelevant(random, noise, told)
    return " ".join([*sides[0], f"Question: {question}", *sides[1], "Answer:"])


def plain(random: Random, digits: int) -> Made:
    """The calculation alone."""
    slots = _slots(random, digits)
    return f"Question: {_asked(random, slots)} Answer:", slots["z"]


def story(random: Random, digits: int) -> Made:
    """A story whose question is the calculation; more is never taken from less."""
    slots = _slots(random, digits)
    if slots["sign"] == "-" and slots["x"] < slots["y"]:
        slots.update(x=slots["y"], y=slots["x"], z=-slots["z"])
    told = random.choice(text.STORIES[slots["sign"]]).format_map(slots)
    return _prompt(random, told, []), slots["z"]


def with_irrelevant(random: Random, digits: int) -> Made:
    """The calculation among sentences that change nothing."""
    slots = _slots(random, digits)
    sentences = _irrelevant(random, 3) or ["Thank you."]
    return _prompt(random, _asked(random, slots), sentences, after=0.6), slots["z"]


def with_code(random: Random, digits: int) -> Made:
    """The calculation beside an order number, a link, a password or garbled text."""
    slots = _slots(random, digits)
    signs = string.ascii_letters + string.digits + random.choice(("", "-_./", string.punctuation, string.punctuation))
    parts = random.choice((1, 1, 2, 3, 4, 6))
    code = " ".join("".join(random.choice(signs) for _ in range(random.randint(1, 12))) for _ in range(parts))
    wording = random.choice(text.CODES)
    return _prompt(random, _asked(random, slots), [wording.replace("{code}", code)], after=0.7), slots["z"]


def reading(random: Random, digits: int) -> Made:
    """What a sentence states, asked for."""
    slots = _slots(random, digits)
    statement, question = random.choice(text.READING)
    return _prompt(random, question.format_map(slots), [statement.format_map(slots)]), slots["v"]


def variables(random: Random, digits: int) -> Made:
    """The calculation with letters for one or both of its numbers."""
    slots = _slots(random, digits)
    one, two = random.sample(text.LETTERS, 2)
    form = random.randrange(3)
    if form == 0:
        said, question = [f"{one} is {slots['x']}."], "What is {one} {sign} {y}?"
    elif form == 1:
        said, question = [f"{one} is {slots['y']}."], "What is {x} {sign} {one}?"
    else:
        said, question = [f"{one} is {slots['x']}.", f"{two} is {slots['y']}."], "What is {one} {sign} {two}?"
    return _prompt(random, question.format_map({**slots, "one": one, "two": two}), said), slots["z"]


def stated(random: Random, digits: int) -> Made:
    """The calculation, often of larger numbers, with its result stated."""
    slots = _slots(random, max(digits, 3))
    said = random.choice(text.STATED).format_map(slots)
    return _prompt(random, _asked(random, slots), [said], after=0.6), slots["z"]


def table(random: Random, digits: int) -> Made:
    """A made-up sign's result, looked up."""
    slots = _slots(random, digits)
    entry = random.choice(text.TABLES).format_map(slots)
    return _prompt(random, "What is {x} {made} {y}?".format_map(slots), [entry]), slots["v"]


def convention(random: Random, digits: int) -> Made:
    """The calculation under a convention, or with a step after it."""
    slots = _slots(random, digits)
    said, way = random.choice(text.CONVENTIONS)
    x, y, z, n = (slots[name] for name in "xyzn")
    if way == "x*y":
        x, y = x % 10, y % 10
        slots.update(x=x, y=y)
    answer = {"x-y": x - y, "x*y": x * y, "x+y": x + y, "z+n": z + n, "z-n": z - n, "z+z": z + z}[way]
    question = _asked(random, slots, literal="{sign}" in said)
    return _prompt(random, question, [said.format_map(slots)]), answer


def correction(random: Random, digits: int) -> Made:
    """The calculation with one of its numbers corrected after it."""
    slots = _slots(random, digits)
    said, way = random.choice(text.CORRECTIONS)
    x, y, u = (slots[name] for name in "xyu")
    if slots["sign"] == "*":
        u %= 10
        slots.update(u=u)
    if x == y:  # which of the two is meant must be told
        slots.update(y=(y := (y + 1) % 10))
    if u in (x, y):  # and it must change something
        slots.update(u=(u := next(one for one in range(10) if one not in (x, y))))
    answer = calculated(u, slots["sign"], y) if way == "u?y" else calculated(x, slots["sign"], u)
    return _prompt(random, _asked(random, slots), [said.format_map(slots)], after=1.0), answer


def denied(random: Random, digits: int) -> Made:
    """The calculation and a result that is called wrong."""
    slots = _slots(random, digits)
    if slots["v"] == slots["z"]:
        slots.update(v=slots["v"] + 1)
    said = random.choice(text.DENIED).format_map(slots)
    return _prompt(random, _asked(random, slots), [said]), slots["z"]
