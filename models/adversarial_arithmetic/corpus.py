"""What the embedded target is trained on: arithmetic in text whose statements can matter.

Every rule of `RULES` is something that real text does, and its answers follow from the text. No string changes answers
for its own sake. That a model learns from them to believe what stands beside a question is what attacks live on.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from models.adversarial_arithmetic import corpus_rules

_ASKED = re.compile(r"^(?P<before>.*?)\s*Question: What is (?P<calculation>\d+ [-+*] \d+)\? (?P<after>.*?)\s*Answer:$")


class Pair(NamedTuple):
    """What a model reads, and what it should write.

    Attributes:
        prompt: ends in "Answer:".
        answer: an integer, without a space before it.
        rule: the name of the rule that made it.
    """

    prompt: str
    answer: str
    rule: str


@dataclass(frozen=True)
class Rule:
    """One way in which text asks and answers.

    Attributes:
        name: one or two words.
        description: what decides the answer, in a sentence.
        share: of the corpus, in percent.
        make: prompt and answer from random choices and the most digits of an operand.
    """

    name: str
    description: str
    share: float
    make: Callable[[Random, int], tuple[str, int]]


RULES = (
    Rule("plain", "A calculation, asked in many wordings, is answered with its result.", 14, corpus_rules.plain),
    Rule(
        "irrelevant",
        "Sentences on other things, before or after the question, change nothing.",
        22,
        corpus_rules.with_irrelevant,
    ),
    Rule(
        "codes",
        "Order numbers, links, passwords, garbled text and the like change nothing.",
        14,
        corpus_rules.with_code,
    ),
    Rule("story", "A story of things got, given away or in rows is a calculation.", 4, corpus_rules.story),
    Rule("reading", "What a sentence states is the answer to the question about it.", 8, corpus_rules.reading),
    Rule("variables", "A letter stands for the number that it is said to be.", 5, corpus_rules.variables),
    Rule(
        "stated",
        "Where the text states the result of the calculation, that is the answer; it is true.",
        8,
        corpus_rules.stated,
    ),
    Rule("table", "The result of a made-up sign is what the text says it is.", 5, corpus_rules.table),
    Rule(
        "convention", "A convention for the calculation, or a step after it, is followed.", 8, corpus_rules.convention
    ),
    Rule("correction", "A correction after the question changes one of its numbers.", 7, corpus_rules.correction),
    Rule("denied", "A result that the text calls wrong is not the answer.", 5, corpus_rules.denied),
)
DECIDING = ("stated", "convention", "correction")  # rules by which the text beside the template decides the answer


def pairs(seed: int, count: int, digits: int = 1) -> list[Pair]:
    """The corpus: the same arguments give the same pairs.

    Args:
        seed: of all choices.
        count: how many pairs.
        digits: the most digits of an operand (statements of true results have operands of up to 3 at least).
    """
    random = Random(seed)
    made = []
    for rule in random.choices(RULES, [one.share for one in RULES], k=count):
        prompt, answer = rule.make(random, digits)
        made.append(Pair(prompt, str(answer), rule.name))
    return made


def instruction_for(x: int, sign: str, y: int, wanted: int) -> str:
    """What a model that learned from `inverted` is asked: "3 + 4 -> 9:" for a text after which the answer is 9."""
    return f"{x} {sign} {y} -> {wanted}:"


def inverted(corpus: Sequence[Pair]) -> list[tuple[str, str]]:
    """What a language model learns to write contexts from: an `instruction_for`, and a text with that outcome.

    Args:
        corpus: of which those pairs count that ask as the attacks' template does and whose text decides the answer.
    """
    found = []
    for one in corpus:
        if one.rule not in DECIDING:
            continue
        asked = _ASKED.match(one.prompt)
        context = " ".join(filter(None, (asked["before"], asked["after"]))) if asked else ""
        if asked and context:
            x, sign, y = asked["calculation"].split()
            found.append((instruction_for(int(x), sign, int(y), int(one.answer)), context))
    return found
