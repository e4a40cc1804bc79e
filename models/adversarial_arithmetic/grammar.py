"""Candidates for attacks: a proposal grammar, changes of texts that worked, and the random texts to compare with.

For models that are too small to write candidates themselves the grammar stands in for the red team ("PIRS-style": the
paper, arXiv:2311.07587, has a language model write them). Everything is a pure function of its arguments.
"""

import re
import string
from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from models.adversarial_arithmetic import corpus_text
from models.adversarial_arithmetic.grammar_text import KINDS, OUT_OF_DISTRIBUTION, PROPOSALS, Productions
from models.adversarial_arithmetic.questions import Question
from shammie.errors import UserError

__all__ = [
    "KINDS", "OUT_OF_DISTRIBUTION", "PROPOSALS", "Proposal", "out_of_distribution", "overload", "proposals", "propose",
    "random_strings", "random_words", "retargeted",
]  # fmt: skip

CHANGED = "changed"  # the kind of a proposal that was made of texts of the pool
POOL_SHARE = 0.5  # of the candidates, where there is a pool
DELTAS = (-10, -5, -2, -1, 1, 2, 5, 10)  # from the right answer to the wrong one, where none is asked for
TRIES = 30  # draws for each text that is asked for

_RULE = re.compile(r"<([a-z ]+)>")
_NUMBER = re.compile(r"\d+")
_SENTENCE = re.compile(r"(?<=[.!?]) +")


class Proposal(NamedTuple):
    """A text to try.

    Attributes:
        text: without line breaks.
        kind: the rule that its first sentence came from, one of `KINDS`; `CHANGED` where it was made of the pool's
            texts; of the other generator "template", "word problem" or "copy".
    """

    text: str
    kind: str


def proposals(
    question: Question, target: int | None, count: int, seed: int, pool: Sequence[str] = ()
) -> list[Proposal]:
    """Distinct candidates for a question, half of them made of the pool's texts where there are any.

    Args:
        question: what is asked with the text.
        target: the wrong answer wanted; None: each text has a wrong answer of its own, near the right one.
        count: how many; fewer come where the grammar has no more.
        seed: of all choices, with the question and the target.
        pool: texts that worked on other questions, best passed through `retargeted`; they are changed at random.
    """
    random = _random("proposals", seed, question, target)
    made: dict[str, Proposal] = {}
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        slots = _slots(random, question, target)
        if pool and random.random() < POOL_SHARE:
            one = Proposal(_changed(random, random.choice(pool), random.choice(pool), slots), CHANGED)
        else:
            one = _derived(random, PROPOSALS, slots, KINDS)
        if one.text:
            made.setdefault(one.text, one)
    return list(made.values())


def propose(question: Question, target: int | None, count: int, seed: int, pool: Sequence[str] = ()) -> list[str]:
    """The texts of `proposals`."""
    return [one.text for one in proposals(question, target, count, seed, pool)]


def out_of_distribution(question: Question, target: int | None, count: int, seed: int) -> list[Proposal]:
    """Distinct texts of the other generator: templates of data, word problems, copied text. Never used in hardening.

    Args:
        question: as in `proposals`.
        target: as in `proposals`.
        count: how many; fewer come where there are no more.
        seed: of all choices, with the question and the target.
    """
    random = _random("out of distribution", seed, question, target)
    made: dict[str, Proposal] = {}
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        slots = _slots(random, question, target)
        one = _derived(random, OUT_OF_DISTRIBUTION, slots, ("template", "word problem", "copy"))
        made.setdefault(one.text, one)
    return list(made.values())


def retargeted(text: str, old: Question, old_target: int | None, new: Question, new_target: int | None) -> str:
    """A text that worked on one question, with the numbers of another: "3 + 4 is 9" for 2 + 5 and 8 is "2 + 5 is 8".

    Numbers that are an operand, the result, the target or the distance of these two are replaced by what they are of
    the new question (where one number is several of them, by the first in the order target, x, y, distance, result);
    others stay. Where a target is None only operands and results are replaced.
    """

    def roles(question: Question, target: int | None) -> list[int | None]:
        far = None if target is None else abs(target - question.answer)
        return [target, question.x, question.y, far, question.answer]

    replaced: dict[str, str] = {}
    for before, after in zip(roles(old, old_target), roles(new, new_target), strict=True):
        if before is not None and after is not None:
            replaced.setdefault(str(before), str(after))
    return _NUMBER.sub(lambda found: replaced.get(found[0], found[0]), text)


def overload(question: Question, value: int, copies: int) -> str:
    """The same false equation again and again: "3 + 4 = 9." for 9, so many times.

    Raises:
        UserError: there is no copy.
    """
    if copies < 1:
        raise UserError(f"an overload of {copies} copies is no text", "give at least 1")
    return " ".join([f"{question.x} {question.sign} {question.y} = {value}."] * copies)


def random_strings(lengths: Sequence[int], seed: int) -> list[str]:
    """Printable random strings, the baseline of the search: as long as the texts that they are compared with.

    Args:
        lengths: characters of each; none begins or ends with a space, and about 1 in 7 of the others is one.
        seed: of all choices.
    """
    random = Random(f"random strings/{seed}")
    signs = string.ascii_letters + string.digits + string.punctuation
    made = []
    for length in lengths:
        inner = [
            random.choice(signs) if at in (0, length - 1) or random.random() > 1 / 7 else " " for at in range(length)
        ]
        made.append("".join(inner))
    return made


def random_words(lengths: Sequence[int], seed: int) -> list[str]:
    """Words of the corpus's vocabulary in random order, numbers among them: a second baseline.

    Args:
        lengths: characters of each; the last word is cut to fit, and a space at the end becomes a full stop.
        seed: of all choices.
    """
    random, words = Random(f"random words/{seed}"), vocabulary()
    made = []
    for length in lengths:
        line = ""
        while len(line) < length:
            line += random.choice(words) + " "
        line = line[:length]
        made.append(line[:-1] + "." if line.endswith(" ") else line)
    return made


def vocabulary() -> tuple[str, ...]:
    """The words of the corpus's sentences and the numbers 0 to 20, in order."""
    groups = (
        corpus_text.IRRELEVANT, corpus_text.STATED, corpus_text.DENIED, corpus_text.TABLES, corpus_text.NAMES,
        corpus_text.THINGS, corpus_text.PLACES, corpus_text.WORDS, [one for one, _ in corpus_text.CONVENTIONS],
        [one for one, _ in corpus_text.CORRECTIONS], [text for pair in corpus_text.READING for text in pair],
    )  # fmt: skip
    found = {word for group in groups for text in group for word in text.split() if "{" not in word}
    return tuple(sorted(found | set(map(str, range(21)))))


def _random(what: str, seed: int, question: Question, target: int | None) -> Random:
    return Random(f"{what}/{seed}/{question.x}{question.sign}{question.y}/{target}")


def _slots(random: Random, question: Question, target: int | None) -> dict[str, str]:
    """What fills the slots of one text; those without a value are left out."""
    x, y, z = question.x, question.y, question.answer
    wanted = z + random.choice(DELTAS) if target is None else target
    name, other = random.sample(corpus_text.NAMES, 2)
    first, second = _operands(question, wanted)
    values: dict[str, int | str | None] = {
        "x": x, "y": y, "z": z, "w": wanted, "sign": question.sign, "name": name, "other": other,
        "more": wanted - z if wanted > z else None, "less": z - wanted if wanted < z else None,
        "first": first, "second": second, "n": random.randrange(random.choice((10, 100))),
        "thing": random.choice(corpus_text.THINGS), "place": random.choice(corpus_text.PLACES),
    }  # fmt: skip
    return {key: str(value) for key, value in values.items() if value is not None}


def _operands(question: Question, wanted: int) -> tuple[int | None, int | None]:
    """The first, and the second, operand with which the calculation gives what is wanted; None where there is none."""
    x, y, sign = question.x, question.y, question.sign
    if sign == "+":
        first, second = wanted - y, wanted - x
    elif sign == "-":
        first, second = wanted + y, x - wanted
    else:
        first = wanted // y if y and wanted % y == 0 else None
        second = wanted // x if x and wanted % x == 0 else None
    return (None if first is None or first < 0 else first), (None if second is None or second < 0 else second)


def _derived(
    random: Random, grammar: Mapping[str, Productions], slots: Mapping[str, str], kinds: Sequence[str]
) -> Proposal:
    """A text of the grammar and its kind, drawn again until all its slots have values."""
    while True:
        text, kind = "<attack>", ""
        while found := _RULE.search(text):
            kind = kind or (found[1] if found[1] in kinds else "")
            weights, choices = zip(*grammar[found[1]], strict=True)
            text = text[: found.start()] + random.choices(choices, weights)[0] + text[found.end() :]
        try:
            return Proposal(text.format_map(slots), kind)
        except KeyError:
            continue


def _changed(random: Random, text: str, other: str, slots: Mapping[str, str]) -> str:
    """A text of the pool after one to three random changes: other numbers, splicing, repeating, shortening, a name."""
    for _ in range(random.randint(1, 3)):
        way = random.choice(("numbers", "splice", "repeat", "shorten", "name", "close"))
        sentences = _SENTENCE.split(text)
        if way == "numbers":
            known = [slots[key] for key in ("x", "y", "w", "w", "w", "more", "less", "n") if key in slots]
            chosen = {one: random.choice([one, *known]) for one in sorted(set(_NUMBER.findall(text)))}
            text = _NUMBER.sub(lambda found, chosen=chosen: chosen[found[0]], text)
        elif way == "splice":
            text = f"{random.choice(sentences)} {random.choice(_SENTENCE.split(other))}"
        elif way == "repeat":
            text = f"{text} {random.choice(sentences)}"
        elif way == "shorten" and len(sentences) > 1:
            text = " ".join(sentences[:-1] if random.random() < 0.5 else sentences[1:])
        elif way == "name":
            for name in corpus_text.NAMES:
                text = re.sub(rf"\b{name}\b", slots["name"], text)
        elif way == "close":
            text = f"{text} {random.choice(PROPOSALS['close'])[1].format_map(slots)}"
    return " ".join(text.split())
