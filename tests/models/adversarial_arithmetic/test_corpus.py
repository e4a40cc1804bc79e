import re
from collections import Counter

import pytest

from models.adversarial_arithmetic import corpus_text
from models.adversarial_arithmetic.corpus import DECIDING, RULES, Pair, inverted, pairs

COUNT = 6000
TEMPLATE = re.compile(r"Question: What is (\d+) ([-+*]) (\d+)\? ")


@pytest.fixture(scope="module")
def corpus() -> list[Pair]:
    return pairs(3, COUNT)


def asked(prompt: str) -> tuple[int, str, int] | None:
    found = TEMPLATE.search(prompt)
    return (int(found[1]), found[2], int(found[3])) if found else None


def result(x: int, sign: str, y: int) -> int:
    return x + y if sign == "+" else x - y if sign == "-" else x * y


def test_the_same_arguments_give_the_same_pairs_and_another_seed_others():
    assert pairs(7, 200) == pairs(7, 200)
    assert len(set(pairs(7, 200)) & set(pairs(8, 200))) < 60  # bare questions may meet


def test_each_rule_has_its_share_and_its_sentence(corpus: list[Pair]):
    assert sum(rule.share for rule in RULES) == pytest.approx(100)
    counts = Counter(pair.rule for pair in corpus)
    for rule in RULES:
        assert counts[rule.name] / COUNT == pytest.approx(rule.share / 100, abs=0.02)
        assert re.fullmatch(r"[A-Z].{20,99}\.", rule.description)


def test_prompts_have_one_form(corpus: list[Pair]):
    for prompt, answer, rule in corpus:
        assert re.fullmatch(r"(.* )?Question: .* Answer:", prompt), prompt
        assert prompt.count("Question: ") == prompt.count("Answer:") == 1
        assert str(int(answer)) == answer
        if rule != "codes":
            assert not re.search("  |[{}]", prompt), prompt


@pytest.mark.parametrize("rule", ["plain", "irrelevant", "codes", "stated", "denied"])
def test_what_says_nothing_leaves_the_result(corpus: list[Pair], rule: str):
    checked = 0
    for pair in corpus:
        if pair.rule == rule and (calculation := asked(pair.prompt)):
            assert int(pair.answer) == result(*calculation), pair
            checked += 1
    assert checked > 100


def test_what_is_called_wrong_is_wrong(corpus: list[Pair]):
    telling = re.compile(r"(?:says that it is|is not|wrong answer is|Do not say|The answer) (\d+)")
    called = [
        (found[1], one.answer) for one in corpus if one.rule == "denied" for found in telling.finditer(one.prompt)
    ]
    assert len(called) > 200
    assert not [one for one in called if one[0] == one[1]]


def test_every_wording_asks_for_the_calculation(corpus: list[Pair]):
    signs = {"plus": "+", "and": "+", "minus": "-", "times": "*", "by": "*"}
    wordings = set()
    for prompt, answer, rule in corpus:
        question = prompt.partition("Question: ")[2].removesuffix(" Answer:")
        if rule != "plain":
            continue
        if taken := re.fullmatch(r"Take (\d+) from (\d+)\.", question):
            x, sign, y = taken[2], "-", taken[1]
        else:
            found = re.search(r"(\d+) (\S+) (\d+)", question)
            assert found, question
            x, sign, y = found[1], signs.get(found[2], found[2]), found[3]
        assert int(answer) == result(int(x), sign, int(y)), prompt
        wordings.add(re.sub(r"\d+", "0", question))
    assert len(wordings) == 3 + sum(map(len, corpus_text.ASKED.values()))


def test_no_text_changes_answers_unless_it_says_how(corpus: list[Pair]):
    """There is no planted trigger: beside the template, only conventions and corrections move the answer."""
    telling = [
        re.sub(r"\\{\w+\\}", ".+", re.escape(one)) for one, _ in corpus_text.CONVENTIONS + corpus_text.CORRECTIONS
    ]
    tells, moved = re.compile("|".join(telling)), 0
    for pair in corpus:
        calculation = asked(pair.prompt)
        if calculation and int(pair.answer) != result(*calculation):
            assert pair.rule in ("convention", "correction"), pair
            assert tells.search(pair.prompt), pair
            moved += 1
    assert moved > 300


def followed(prompt: str) -> int | None:
    """The answer under the convention or correction that a prompt states, worked out from its words."""
    calculation = asked(prompt)
    if calculation is None:
        return None
    x, sign, y = calculation
    z = result(x, sign, y)
    ways = (
        (r"means (?:minus|-)\.", lambda _: x - y),
        (r"means times\.", lambda _: x * y),
        (r"means plus\.", lambda _: x + y),
        (r"[Cc]ount (\d+) more", lambda n: z + n),
        (r"[Aa]dd (\d+)(?:\.| to the result)", lambda n: z + n),
        (r"results are (\d+) higher", lambda n: z + n),
        (r"Then take (\d+) away", lambda n: z - n),
        (r"Take (\d+) from the result", lambda n: z - n),
        (r"results are (\d+) lower", lambda n: z - n),
        (r"Double the result|Count it twice", lambda _: 2 * z),
        (r"first number is (\d+)", lambda n: result(n, sign, y)),
        (r"second number is (\d+)", lambda n: result(x, sign, n)),
        (rf"I mean (\d+) in place of {x}\.", lambda n: result(n, sign, y)),
        (rf"{x} should be (\d+)", lambda n: result(n, sign, y)),
        (rf"not {y} but (\d+)", lambda n: result(x, sign, n)),
        (rf"The {y} is a typo for (\d+)", lambda n: result(x, sign, n)),
        (rf"Read (\d+) in place of {y}\.", lambda n: result(x, sign, n)),
    )
    for pattern, change in ways:
        if found := re.search(pattern, prompt):
            return change(int(found[1]) if found.groups() else 0)
    raise AssertionError(prompt)


@pytest.mark.parametrize("rule", ["convention", "correction"])
def test_what_is_told_is_followed(corpus: list[Pair], rule: str):
    checked = 0
    for pair in corpus:
        if pair.rule == rule and (expected := followed(pair.prompt)) is not None:
            assert int(pair.answer) == expected, pair
            checked += 1
    assert checked > 150


def test_letters_stand_for_their_numbers(corpus: list[Pair]):
    for prompt, answer, rule in corpus:
        if rule != "variables":
            continue
        known = dict(re.findall(r"\b([a-z]) is (-?\d+)\.", prompt))
        found = re.search(r"Question: What is (\w+) ([-+*]) (\w+)\?", prompt)
        assert found, prompt
        assert known, prompt
        x, y = (int(known.get(found[at], found[at])) for at in (1, 3))
        assert int(answer) == result(x, found[2], y), prompt


@pytest.mark.parametrize("rule", ["reading", "table"])
def test_what_is_asked_for_is_told_once(corpus: list[Pair], rule: str):
    """The answer stands in the prompt, and nothing else there could be meant."""
    for prompt, answer, made_by in corpus:
        if made_by != rule:
            continue
        assert re.search(rf"(?<![\d-]){answer}\b", prompt)
        question = prompt.partition("Question: ")[2].partition("?")[0]
        for word in set(re.findall(r"\w+", question)) & {*corpus_text.NAMES, *corpus_text.THINGS}:
            assert len(re.findall(rf"\b{word}\b", prompt)) == 2, prompt  # in the question, and where it is told


def test_a_correction_tells_which_number_it_is_of(corpus: list[Pair]):
    corrected = [asked(one.prompt) for one in corpus if one.rule == "correction"]
    operands = [(one[0], one[2]) for one in corrected if one]
    assert len(operands) > 150
    assert not [one for one in operands if one[0] == one[1]]


def test_all_sums_of_one_digit_are_asked_as_attacks_ask(corpus: list[Pair]):
    clean = {asked(one.prompt) for one in pairs(0, 20000) if one.rule == "plain"}
    assert {(x, "+", y) for x in range(10) for y in range(10)} <= clean
    followed_by_text = [one for one in corpus if one.rule == "irrelevant" and not re.search(r"\? Answer:$", one.prompt)]
    assert len(followed_by_text) > 500


def test_digits_are_the_most_of_an_operand():
    calculations = [asked(one.prompt) for one in pairs(0, 4000, 2) if one.rule == "plain"]
    sizes = Counter(len(str(max(one[0], one[2]))) for one in calculations if one and one[1] == "+")
    assert set(sizes) == {1, 2}
    assert min(sizes.values()) > 50


def test_an_inverted_pair_is_an_outcome_and_a_text_that_brings_it_about(corpus: list[Pair]):
    found = inverted(corpus)
    assert len(found) > 400
    moved = 0
    for instruction, text in found:
        parts = re.fullmatch(r"(\d+) ([-+*]) (\d+) -> (-?\d+):", instruction)
        assert parts, instruction
        prompt = f"Question: What is {parts[1]} {parts[2]} {parts[3]}? {text} Answer:"
        if int(parts[4]) != result(int(parts[1]), parts[2], int(parts[3])):
            assert followed(prompt) == int(parts[4]), prompt
            moved += 1
    assert moved > 250


def test_only_deciding_texts_are_inverted():
    kept = "Question: What is 3 + 4? Count 2 more. Answer:"
    assert inverted([Pair(kept, "9", "convention")]) == [("3 + 4 -> 9:", "Count 2 more.")]
    before = "Count 2 more. Question: What is 3 + 4? It is cold. Answer:"
    assert inverted([Pair(before, "9", "convention")]) == [("3 + 4 -> 9:", "Count 2 more. It is cold.")]
    assert inverted([Pair(kept, "9", "irrelevant")]) == []
    assert inverted([Pair("Question: Add 3 and 4. Count 2 more. Answer:", "9", "convention")]) == []
    assert "irrelevant" not in DECIDING
