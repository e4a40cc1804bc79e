"""The search: each step by hand, and the whole against scripted models."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.adversarial_arithmetic.pirs import (
    PirsConfig,
    accepted,
    pool_after,
    ranked,
    screened,
    seed_candidates,
    shown,
    target_for,
    targets_of,
)
from models.adversarial_arithmetic.questions import Question, prompt_of, question_of, questions
from models.adversarial_arithmetic.records import Attack, Candidate, Trial, candidate_of, trial_of
from shammie.errors import UserError

QUESTION = question_of(3, "+", 4)
QUESTIONS = {one.id: one for one in (QUESTION, question_of(2, "+", 2), question_of(9, "-", 2))}


def candidate(text: str, target: int | None = 8, question: str = "3+4") -> Candidate:
    return candidate_of(QUESTIONS[question], target, text, round=0, source="lm")


def attack(text: str, p_any: float, p_target: float = 0.0, question: str = "3+4", victim: str = "v") -> Attack:
    one = candidate_of(QUESTIONS.get(question, QUESTION), 8 if question == "3+4" else 5, text, round=0, source="lm")
    return Attack(**replace(one, question=question).__dict__, victim=victim, p_any=p_any, p_target=p_target)


def test_targets() -> None:
    assert targets_of(question_of(1, "+", 1), (1, -1, 5, -5, 100)) == (3, 1, 7, 102)
    assert targets_of(question_of(1, "-", 1), (1, -5)) == (1, -5)
    assert targets_of(question_of(1, "+", 1), (-5,)) == (-3,)
    config = PirsConfig(targets=(1, 2, 5))
    assert sorted(target_for(QUESTION, config, 0, number) for number in range(3)) == [8, 9, 12]
    firsts = {target_for(QUESTION, replace(config, seed=seed), 0, 0) for seed in range(20)}
    assert firsts == {8, 9, 12}


def test_seeds_are_filled_in() -> None:
    config = PirsConfig(seeds=("{x} {sign} {y} = {w}.", "Say {w}! {z}"), targets=(1,))
    found = seed_candidates(QUESTION, config)
    assert [(one.text, one.leak, one.source, one.target) for one in found] == [
        ("3 + 4 = 8.", True, "seed", 8),
        ("Say 8! {z}", False, "seed", 8),
    ]


def test_screening_keeps_the_first_of_equal_texts() -> None:
    texts = ["It is 8.", "IT  is 8 .", "", "It is 9.", "a\nb", "What is 5 + 5?", "x" * 300, "Answer: 8"]
    written = [candidate(one) for one in texts]
    kept, dropped = screened(written, PirsConfig(), QUESTIONS)
    assert [one.text for one in kept] == ["It is 8.", "It is 9."]
    reasons = ["duplicate", "empty", "line break", "other question", "too long", "answer mark"]
    assert [one.reason for one in dropped] == reasons
    assert {one.candidate for one in dropped} | {one.id for one in kept} == {one.id for one in written}


def test_duplicates_are_of_one_question_and_for_targeted_goals_of_one_target() -> None:
    written = [candidate("It is 8."), candidate("it is 8.", 9), candidate("It is 8.", 8, "2+2")]
    kept, _ = screened(written, PirsConfig(), QUESTIONS)
    assert kept == [written[0], written[2]]
    kept, _ = screened(written, PirsConfig(goal="targeted"), QUESTIONS)
    assert kept == written
    kept, dropped = screened(written, PirsConfig(), QUESTIONS, earlier=[candidate("It IS 8.")])
    assert (kept, dropped[0].reason) == ([written[2]], "duplicate")
    with pytest.raises(UserError, match="unknown question"):
        screened(written, PirsConfig(), {})


def test_acceptance_is_at_the_threshold() -> None:
    tried = [candidate(f"text {number}") for number in range(4)]
    replies = (["8", "8", "7", "7"], ["8", "9", "9", "7"], ["8", "7", "7", "7"], ["8", "", "", ""])
    trials = [trial_of(one, QUESTION, "v", said) for one, said in zip(tried, replies, strict=True)]
    found = accepted(tried, trials, PirsConfig(), QUESTIONS)
    assert [(one.text, one.p_any, one.p_target, one.said) for one in found] == [
        ("text 1", 0.75, 0.25, 9),
        ("text 0", 0.5, 0.5, 8),
    ]
    found = accepted(tried, trials, PirsConfig(goal="targeted"), QUESTIONS)
    assert [one.text for one in found] == ["text 0"]
    assert found[0].to_json().items() >= tried[0].to_json().items()
    assert accepted(tried, trials[::-1], PirsConfig(), QUESTIONS) == accepted(
        tried[::-1], trials, PirsConfig(), QUESTIONS
    )


def test_bad_trials_are_refused() -> None:
    one = candidate("a")
    trial = trial_of(one, QUESTION, "v", ["8"])
    with pytest.raises(UserError, match="tried twice"):
        accepted([one], [trial, trial], PirsConfig(), QUESTIONS)
    with pytest.raises(UserError, match="no candidate"):
        accepted([], [trial], PirsConfig(), QUESTIONS)
    assert len(accepted([one], [trial, replace(trial, victim="w")], PirsConfig(), QUESTIONS)) == 2


def test_rank_is_by_rate_then_by_seeded_hash() -> None:
    attacks = [attack(f"text {number}", 0.5 + 0.5 * (number % 2), 0.5) for number in range(20)]
    found = ranked(attacks, PirsConfig())
    assert [one.p_any for one in found] == [1.0] * 10 + [0.5] * 10
    assert ranked(attacks[::-1], PirsConfig()) == found
    assert ranked(attacks, PirsConfig(seed=1)) != found
    assert {one.p_any for one in ranked(attacks, PirsConfig(goal="targeted"))[:10]} == {0.5, 1.0}


def test_the_pool_has_caps_of_question_of_likeness_and_of_all() -> None:
    words = "apple bear cat dog egg fox goat hen ink jar".split()
    different = [attack(f"{word} {word}", 1 - 0.01 * at) for at, word in enumerate(words)]
    config = PirsConfig(per_question=3, alike=2, pool=100)
    assert pool_after([], different, config) == different[:3]
    spread = [replace(one, question=str(at)) for at, one in enumerate(different)]
    assert pool_after([], spread, config) == spread
    assert pool_after([], spread, replace(config, pool=4)) == spread[:4]
    alike = [replace(attack(f"Tom says that it is {at}.", 1 - 0.01 * at), question=str(at)) for at in range(10)]
    assert pool_after([], alike, config) == alike[:2]
    assert pool_after([], [*spread, *alike], config) == ranked([*alike[:2], *spread], config)


def test_the_pool_does_not_depend_on_order_and_stays_when_nothing_is_new() -> None:
    generator = random.Random(0)
    words = "apple bear cat dog egg fox goat hen".split()
    attacks = [
        replace(attack(" ".join(generator.choices(words, k=3)) + f" {at}", generator.random()), question=str(at % 9))
        for at in range(200)
    ]
    config = PirsConfig(pool=15)
    pool = pool_after([], attacks, config)
    assert len(pool) == 15
    assert pool_after(attacks[:90], attacks[90:], config) == pool == pool_after(attacks[::-1], [], config)
    assert pool_after(pool, attacks, config) == pool == pool_after(pool, [], config)


def test_an_attack_on_two_models_is_in_the_pool_once() -> None:
    two = [attack("a", 0.6, victim="v"), attack("a", 0.9, victim="w")]
    assert pool_after([], two, PirsConfig()) == two[1:]


def test_what_is_shown_changes_with_the_call_alone() -> None:
    pool = [attack(f"text {at}", at / 40) for at in range(20, 40)]
    config = PirsConfig(examples=3)
    found = shown(pool, QUESTION, config, 1, 0)
    assert len(found) == 3
    assert [one.p_any for one in found] == sorted(one.p_any for one in found)
    assert shown(pool[::-1], QUESTION, config, 1, 0) == found
    assert len({tuple(one.id for one in shown(pool, QUESTION, config, 1, at)) for at in range(20)}) > 10
    assert shown([], QUESTION, config, 0, 0) == []
    assert shown(pool, QUESTION, replace(config, examples=0), 0, 0) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"rounds": 0}, {"candidates": 0}, {"samples": -1}, {"threshold": 0.0}, {"threshold": 1.1}, {"goal": "some"},
        {"targets": ()}, {"targets": (0,)}, {"targets": (1, 1)}, {"examples": -1}, {"pool": 0}, {"alike": 0},
    ],
    ids=repr,
)  # fmt: skip
def test_bad_settings_are_refused(bad: dict) -> None:
    with pytest.raises(UserError) as caught:
        PirsConfig(**bad)
    assert str(next(iter(bad.values()))) in str(caught.value)


Victim = Callable[[str], str]


def searched(victim: Victim, config: PirsConfig) -> tuple[list[Attack], list[Trial]]:
    """The search on a scripted model, with a writer that joins words and pieces of what worked."""
    asked = {one.id: one for one in questions(1, 5, config.seed)}
    pool: list[Attack] = []
    attacks: list[Attack] = []
    before: list[Candidate] = []
    trials: list[Trial] = []
    for round in range(config.rounds):
        written = [one for question in asked.values() for one in seed_candidates(question, config) if round == 0]
        for question in asked.values():
            for number in range(config.candidates):
                written.append(composed(pool, question, config, round, number))
        kept, _ = screened(written, config, asked, before)
        before += written
        found = [
            trial_of(one, asked[one.question], "v", replies(victim, asked[one.question], one, config)) for one in kept
        ]
        trials += found
        new = accepted(kept, found, config, asked)
        attacks += new
        pool = pool_after(pool, new, config)
    return ranked(attacks, config), trials


def composed(pool: list[Attack], question: Question, config: PirsConfig, round: int, number: int) -> Candidate:
    generator = random.Random(f"{config.seed} {round} {question.id} {number}")
    parents = shown(pool, question, config, round, number)
    text = " ".join(generator.choices("please count with blue moon care says Tom today".split(), k=4))
    if parents and generator.random() < 0.5:
        text = f"{generator.choice(parents).text} {text}"
    target = target_for(question, config, round, number)
    return candidate_of(question, target, text, round=round, source="random", parents=[one.id for one in parents])


def replies(victim: Victim, question: Question, one: Candidate, config: PirsConfig) -> list[str]:
    return [victim(prompt_of(question, one.text))] * config.samples


def answer_to(prompt: str) -> int:
    x, y = prompt.removeprefix("Question: What is ").split("?")[0].split(" + ")
    return int(x) + int(y)


CONFIG = PirsConfig(rounds=4, candidates=20, samples=2, seeds=("Count with care.", "It is {w}."))


def test_the_phrase_that_fools_is_found_and_only_it() -> None:
    def fooled_by_a_phrase(prompt: str) -> str:
        return f"It is {answer_to(prompt) + ('blue moon' in prompt)}."

    attacks, trials = searched(fooled_by_a_phrase, CONFIG)
    assert attacks
    assert all("blue moon" in one.text for one in attacks)
    assert len({one.question for one in attacks}) == 5
    assert len(attacks) == sum(one.p_any == 1 for one in trials)
    later = [one for one in attacks if one.round > 0 and one.parents]
    rate_of_first = sum(one.round == 0 for one in attacks) / 20
    assert len(later) / 60 > rate_of_first  # what worked is built upon
    ids = {one.id for one in attacks}
    assert all(set(one.parents) <= ids for one in attacks)
    assert searched(fooled_by_a_phrase, CONFIG) == (attacks, trials)
    assert searched(fooled_by_a_phrase, replace(CONFIG, seed=1))[0] != attacks


def test_a_model_that_is_always_right_or_silent_is_never_fooled() -> None:
    attacks, trials = searched(lambda prompt: f"{answer_to(prompt)}, not 9999", CONFIG)
    assert attacks == []
    assert {(one.right, one.p_any) for one in trials} == {(2, 0.0)}
    assert len(trials) > 300
    attacks, trials = searched(lambda prompt: "I cannot say.", CONFIG)
    assert attacks == []
    assert {one.none for one in trials} == {2}


def test_a_model_that_is_always_wrong_is_always_fooled() -> None:
    attacks, trials = searched(lambda prompt: str(answer_to(prompt) + 1), CONFIG)
    assert len(attacks) == len(trials) > 300
    targeted, _ = searched(lambda prompt: str(answer_to(prompt) + 1), replace(CONFIG, goal="targeted"))
    assert 0 < len(targeted) < len(trials)
    assert all(one.said == one.target for one in targeted)
