"""Word problems of several steps over small whole numbers, with worked solutions.

"Tom has 12 apples. Tom buys 3 bags of 5 apples each. How many apples does Tom have?" is solved by
"3*5=15. 12+15=27. Answer: 27". The level is the number of calculations. A story is a list of sentences, each of which
changes one quantity; every value on the way is a whole number from 1 to 999.
"""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from models.rest_em.records import Problem

LEVELS = (1, 2, 3, 4, 5)
LIMIT = 1000  # no value on the way reaches it
HARDER = 3  # from this level on there are divisions and distractors
NAMES = ("Tom", "Ann", "Ben", "Eva", "Max", "Lea", "Sam", "Mia", "Leo", "Zoe", "Jim", "Kim")
DISTRACTORS = ("{name} is {n} years old.", "{name} has {n} old pencils.", "It is day {n} of the month.")


class Sentence(NamedTuple):
    """What happens to the quantity.

    Attributes:
        sign: "=" sets it, "+", "-", "*" and "/" change it.
        text: with {n}, the number, {name} and {things}; where it has {g} as well, the number is g * n.
    """

    sign: str
    text: str

    @property
    def calculations(self) -> int:
        """How many the sentence takes."""
        return ("{g}" in self.text) + (self.sign != "=")


@dataclass(frozen=True)
class Story:
    """Sentences that fit together.

    Attributes:
        title: names it.
        starts: the first sentences.
        events: the sentences that may follow.
        question: what is asked after any of these.
        ends: last sentences that have a question of their own.
        things: what {things} may be.
    """

    title: str
    starts: tuple[Sentence, ...]
    events: tuple[Sentence, ...]
    question: str
    ends: tuple[Sentence, ...] = ()
    things: tuple[str, ...] = ("",)


def _story(title: str, question: str, things: str, *sentences: str) -> Story:
    """A story from sentences that begin with their sign; a question mark makes one an end."""
    parts = [Sentence(one[0], one[2:]) for one in sentences]
    return Story(
        title,
        starts=tuple(one for one in parts if one.sign == "="),
        events=tuple(one for one in parts if one.sign != "=" and not one.text.endswith("?")),
        question=question,
        ends=tuple(one for one in parts if one.text.endswith("?")),
        things=tuple(things.split()) or ("",),
    )


STORIES = (
    _story(
        "shop", "How many {things} does {name} have?", "apples pears eggs nuts",
        "= {name} has {n} {things}.",
        "= {name} has {g} bags of {n} {things} each.",
        "+ {name} buys {n} more.",
        "+ {name} buys {g} bags of {n} {things} each.",
        "- {name} gives {n} away.",
        "- {name} gives {n} to each of {g} friends.",
        "* {name} sells all for {n} dollars each. How many dollars does {name} get?",
        "/ {name} puts all in {n} equal bags. How many {things} are in each bag?",
    ),
    _story(
        "bus", "How many people are on the bus?", "",
        "= A bus has {n} people.",
        "+ {n} people get on.",
        "+ {g} groups of {n} people get on.",
        "- {n} people get off.",
        "- {n} people get off at each of {g} stops.",
        "* All pay {n} dollars each. How many dollars do they pay?",
    ),
    _story(
        "reading", "How many pages are left?", "",
        "= {name} has a book of {n} pages.",
        "= {name} has {g} books of {n} pages each.",
        "- {name} reads {n} pages.",
        "- {name} reads {n} pages on each of {g} days.",
        "+ {name} gets {n} more pages.",
        "/ {name} reads all in {n} equal days. How many pages does {name} read each day?",
    ),
    _story(
        "money", "How many dollars does {name} have?", "hats cups pens toys",
        "= {name} has {n} dollars.",
        "= {name} works {g} hours for {n} dollars each.",
        "+ {name} gets {n} more dollars.",
        "+ {name} works {g} hours for {n} dollars each.",
        "- {name} spends {n} dollars.",
        "- {name} buys {g} {things} for {n} dollars each.",
        "/ {name} gives all to {n} friends. How many dollars does each friend get?",
    ),
    _story(
        "farm", "How many {things} are on the farm?", "cows hens pigs goats",
        "= A farm has {n} {things}.",
        "= A farm has {g} barns of {n} {things} each.",
        "+ {n} more are born.",
        "+ {g} trucks bring {n} {things} each.",
        "- {n} are sold.",
        "- {g} trucks take {n} {things} each.",
        "* All eat {n} bags each. How many bags do they eat?",
    ),
    _story(
        "baking", "How many {things} are left?", "cakes rolls pies buns",
        "= {name} bakes {n} {things}.",
        "= {name} bakes {g} trays of {n} {things} each.",
        "+ {name} bakes {n} more.",
        "+ {name} bakes {g} trays of {n} {things} each.",
        "- {name} eats {n}.",
        "- {g} friends eat {n} {things} each.",
        "* {name} sells all for {n} dollars each. How many dollars does {name} get?",
        "/ {name} puts all on {n} equal trays. How many {things} are on each tray?",
    ),
    _story(
        "shelf", "How many {things} are on the shelf?", "books boxes cans jars",
        "= A shelf has {n} {things}.",
        "= A shelf has {g} rows of {n} {things} each.",
        "+ {name} adds {n} more.",
        "+ {name} adds {g} rows of {n} {things} each.",
        "- {name} takes {n} away.",
        "- {g} people take {n} {things} each.",
        "/ {name} puts all in {n} equal rows. How many {things} are in each row?",
    ),
    _story(
        "game", "How many points does {name} have?", "",
        "= {name} has {n} points.",
        "= {name} wins {g} games of {n} points each.",
        "+ {name} wins {n} points.",
        "+ {name} wins {g} games of {n} points each.",
        "- {name} loses {n} points.",
        "- {name} loses {g} games of {n} points each.",
        "* A bonus gives {name} {n} times the points.",
    ),
    _story(
        "garden", "How many {things} are in the garden?", "roses trees plants herbs",
        "= A garden has {n} {things}.",
        "= A garden has {g} rows of {n} {things} each.",
        "+ {name} plants {n} more.",
        "+ {name} plants {g} rows of {n} {things} each.",
        "- {name} cuts {n}.",
        "- {name} cuts {n} on each of {g} days.",
        "* All need {n} cups each. How many cups do they need?",
    ),
)  # fmt: skip
TRANSFER_STORIES = (
    _story(
        "tank", "How many liters are in the tank?", "",
        "= A tank has {n} liters of water.",
        "+ Rain adds {n} liters.",
        "+ A pump adds {n} liters in each of {g} hours.",
        "- {name} drinks {n} liters.",
        "- A hole loses {n} liters in each of {g} hours.",
        "/ {name} puts all in {n} equal cans. How many liters are in each can?",
    ),
    _story(
        "rope", "How many meters long is the rope?", "",
        "= A rope is {n} meters long.",
        "= {name} makes a rope of {g} parts of {n} meters each.",
        "+ {name} adds {n} meters.",
        "+ {name} adds {g} parts of {n} meters each.",
        "- {name} cuts off {n} meters.",
        "- {name} cuts off {g} parts of {n} meters each.",
        "/ {name} cuts all in {n} equal parts. How many meters long is each part?",
    ),
    _story(
        "garage", "How many {things} are in the garage?", "cars bikes vans",
        "= A garage has {g} floors of {n} {things} each.",
        "= A garage has {n} {things}.",
        "+ {n} {things} come in.",
        "+ {n} {things} come in on each of {g} days.",
        "- {n} {things} go out.",
        "- {n} {things} go out on each of {g} days.",
        "* All hold {n} people each. How many people do they hold?",
    ),
    _story(
        "school", "How many {things} are in the school?", "girls boys teachers",
        "= A school has {g} rooms of {n} {things} each.",
        "= A school has {n} {things}.",
        "+ {n} new {things} come.",
        "+ {g} groups of {n} new {things} come.",
        "- {n} {things} go home.",
        "- {g} groups of {n} {things} go home.",
        "* All read {n} books each. How many books do they read?",
    ),
)  # fmt: skip


class Told(NamedTuple):
    """A sentence with its numbers; g is 0 where it has none."""

    sentence: Sentence
    g: int
    n: int


@dataclass(frozen=True)
class Exercise:
    """A story with its numbers.

    Attributes:
        story: what it is about.
        level: its number of calculations.
        told: its sentences, in order.
        name: of the person.
        things: what is counted.
        distractor: a sentence that has no part in the answer; "" for none.
    """

    story: Story
    level: int
    told: tuple[Told, ...]
    name: str
    things: str
    distractor: str = ""

    @property
    def content(self) -> str:
        """Story, sentences and numbers: what decides the split. Names, things and distractors change nothing in it."""
        return "|".join([self.story.title, *(f"{one.sentence.sign}{one.g},{one.n}" for one in self.told)])

    def problem(self, identity: str) -> Problem:
        """The exercise as text."""
        *equations, answer = calculations(self.told)
        lines = [one.sentence.text.format(g=one.g, n=one.n, name=self.name, things=self.things) for one in self.told]
        if not lines[-1].endswith("?"):
            lines.append(self.story.question.format(name=self.name, things=self.things))
        if self.distractor:
            lines.insert(1, self.distractor)
        return Problem(
            id=identity,
            prompt=" ".join(lines) + "\n",
            verifier="number",
            family="arithmetic",
            level=self.level,
            answer=answer,
            solution=" ".join([f"{one}." for one in equations] + [f"Answer: {answer}"]),
        )


def calculations(told: tuple[Told, ...]) -> list[str]:
    """The equations that solve it, such as "3*5=15", in order; then the answer."""
    equations, have = [], 0
    for sentence, g, n in told:
        number = g * n if g else n
        if g:
            equations.append(f"{g}*{n}={number}")
        if sentence.sign != "=":
            equations.append(f"{have}{sentence.sign}{number}={apply(sentence.sign, have, number)}")
        have = apply(sentence.sign, have, number)
    return [*equations, str(have)]


def apply(sign: str, have: int, number: int) -> int:
    """The quantity after a sentence; a division is exact."""
    return {"=": number, "+": have + number, "-": have - number, "*": have * number, "/": have // number}[sign]


def draw(random: Random, level: int, *, transfer: bool = False) -> Exercise | None:
    """A random exercise; None where the numbers drawn do not fit.

    Args:
        random: where the draws come from.
        level: the number of calculations, one of LEVELS.
        transfer: takes TRANSFER_STORIES in place of STORIES.
    """
    story = random.choice(TRANSFER_STORIES if transfer else STORIES)
    sentences = [random.choice([one for one in story.starts if one.calculations <= level])]
    left = level - sentences[0].calculations
    while left:
        ends = [one for one in story.ends if left == 1 and (one.sign == "*" or level >= HARDER)]
        if ends and random.random() < 0.3:
            sentences.append(random.choice(ends))
        else:
            sentences.append(random.choice([one for one in story.events if one.calculations <= left]))
        left -= sentences[-1].calculations
    told, have = [], 0
    for sentence in sentences:
        numbers = _numbers(random, sentence, level, have)
        if numbers is None:
            return None
        told.append(Told(sentence, *numbers))
        have = apply(sentence.sign, have, (numbers[0] or 1) * numbers[1])
        if not 0 < have < LIMIT:
            return None
    distractor, name = "", random.choice(NAMES)
    if level >= HARDER and random.random() < 0.5:
        distractor = random.choice(DISTRACTORS).format(name=name, n=random.randint(5, 30))
    return Exercise(story, level, tuple(told), name, random.choice(story.things), distractor)


def _numbers(random: Random, sentence: Sentence, level: int, have: int) -> tuple[int, int] | None:
    """Numbers g and n for a sentence after which there is something left; they grow with the level."""
    most, factor = 10 + 15 * level, 4 + level
    if "{g}" in sentence.text:
        return random.randint(2, factor), random.randint(2, factor + 1)
    if sentence.sign == "/":
        divisors = [one for one in range(2, 10) if have % one == 0 and have > one]
        return (0, random.choice(divisors)) if divisors else None
    if sentence.sign == "*":
        return 0, random.randint(2, 3 if not sentence.text.endswith("?") else factor)
    if sentence.sign == "-":
        most = min(most, have - 1)
    least = 5 if sentence.sign == "=" else 2
    return (0, random.randint(least, most)) if most >= least else None
