"""Candidates tried on a victim: a Beam job over prompts and samples, and what its replies come to.

A trial asks each prompt M times; what a killed run had asked is not asked again (`beam_jobs.rest_em.sample`: shards,
and of endpoints the request cache).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.rest_em import sample
from beam_jobs.sharded import read_all
from models.adversarial_arithmetic.questions import Question, prompt_of
from models.adversarial_arithmetic.records import Candidate, Trial, trial_of
from models.rest_em.records import Problem, Sample, write_records
from shammie.files import join, make_directory

NAME = "adversarial_arithmetic"
PROMPTS, SAMPLES, TRIALS = "prompts.jsonl", "samples", "trials.jsonl"
COUNTED = ("requests", "retries", "cache_hits", "dead", "unasked", "records", "tokens", "prompt_tokens")


def try_candidates(
    candidates: Sequence[Candidate],
    questions: Mapping[str, Question],
    victim: Victim,
    folder: str,
    *,
    samples: int,
    seed: int,
    max_bad_share: float = 0.0,
    beam_flags: Sequence[str] = (),
) -> tuple[list[Trial], dict[str, int]]:
    """Asks a victim with each candidate in the prompt, and again to revise what it said where it does that.

    Args:
        candidates: with distinct ids.
        questions: by id.
        victim: who is asked.
        folder: of prompts, samples and trials.jsonl; what lies there is gone on with.
        samples: M.
        seed: of the replies.
        max_bad_share: of requests may stay without an answer.
        beam_flags: go to Beam as they are.

    Returns:
        The trials of the candidates that got a reply at all, in order; and what was asked: COUNTED, with "untried",
        the candidates without a reply.

    Raises:
        UserError: too many requests failed, or the folder holds another job's output.
    """
    counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
    trials: list[Trial] = []
    if candidates:
        of = {one.id: questions[one.question] for one in candidates}
        asked = {one.id: prompt_of(of[one.id], one.text, victim.template) for one in candidates}
        ask: Any = {"seed": seed, "max_bad_share": max_bad_share, "beam_flags": beam_flags, "counts": counts}
        first = [_problem(name, prompt) for name, prompt in asked.items()]
        replies = _replies(first, victim, folder, samples=samples, round=0, **ask)
        for revision in range(1, victim.revisions + 1):
            again = {}
            for name, texts in replies.items():
                for number, text in texts.items():
                    again[f"{name}.{number}"] = victim.revised(of[name], asked[name], text)
            made = [_problem(name, prompt) for name, prompt in again.items()]
            revised = _replies(made, victim, join(folder, f"revision_{revision}"), samples=1, round=revision, **ask)
            replies = defaultdict(dict)
            for name, texts in revised.items():
                candidate, _, number = name.rpartition(".")
                replies[candidate][int(number)] = texts[0]
        for one in candidates:
            if texts := replies.get(one.id):
                in_order = [texts[number] for number in sorted(texts)]
                trials.append(trial_of(one, of[one.id], victim.name, in_order))
    make_directory(folder)
    write_records(join(folder, TRIALS), trials)
    return trials, {**counts, "untried": len(candidates) - len(trials)}


def _problem(name: str, prompt: str) -> Problem:
    return Problem(id=name, prompt=prompt, verifier="number", family=NAME)


def _replies(
    problems: Sequence[Problem],
    victim: Victim,
    folder: str,
    *,
    samples: int,
    round: int,
    seed: int,
    max_bad_share: float,
    beam_flags: Sequence[str],
    counts: dict[str, int],
) -> dict[str, dict[int, str]]:
    """Replies by problem and number of the sample."""
    if not problems:
        return {}
    make_directory(folder)
    write_records(join(folder, PROMPTS), problems)
    config = sample.SampleConfig(
        problems=join(folder, PROMPTS),
        output=join(folder, SAMPLES),
        model=victim.model,
        generation=victim.generation,
        samples=samples,
        seed=seed,
        iteration=round,
        slots=victim.slots,
        max_bad_share=max_bad_share,
    )
    told = sample.run(config, beam_flags, what=NAME)["counters"]
    for name in COUNTED:
        counts[name] += int(told.get(name, 0))
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for one in read_all(join(folder, SAMPLES), Sample):
        found[one.problem][one.sample] = one.text
    return found
