"""PIRS-style search as a job: rounds of writing, trying and keeping, with the provenance of every text.

Each round has a folder: candidates.jsonl (what is tried), dropped.jsonl (what is not, with reasons), the trials, and
attacks.jsonl (what worked). A killed search goes on where it was: rounds are pure functions of those before them, and
what was sampled lies there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from beam_jobs.adversarial_arithmetic.trials import COUNTED, NAME, try_candidates
from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.requests import Generation
from beam_jobs.rest_em import sample
from beam_jobs.sharded import read_all
from models.adversarial_arithmetic.corpus import instruction_for
from models.adversarial_arithmetic.grammar import proposals, retargeted
from models.adversarial_arithmetic.pirs import (
    PirsConfig,
    accepted,
    pool_after,
    screened,
    seed_candidates,
    shown,
    target_for,
)
from models.adversarial_arithmetic.questions import Question
from models.adversarial_arithmetic.records import Attack, Candidate, Trial, candidate_of
from models.adversarial_arithmetic.writing import examples_of, instruction_of, texts_in
from models.lm.decoding import Sampling
from models.rest_em.records import Problem, Sample, write_records
from shammie.errors import UserError, unknown
from shammie.files import join, make_directory

CANDIDATES, DROPPED, ATTACKS, POOL = "candidates.jsonl", "dropped.jsonl", "attacks.jsonl", "pool.jsonl"
WRITERS = ("grammar", "inverted", "instructed")
WRITER_ROUND = 1 << 20  # apart from the iterations of victims' samples


@dataclass(frozen=True)
class Writer:
    """Who writes candidates.

    Attributes:
        kind: "grammar": the proposal grammar, for models too small to write; a language model that is "instructed" in
            words with examples (`writing.instruction_of`), or was trained on "inverted" texts
            (`corpus.instruction_for`).
        model: the language model.
        generation: how it writes.
    """

    kind: Literal["grammar", "inverted", "instructed"] = "grammar"
    model: sample.LocalModel | EndpointConfig | None = None
    generation: Generation = field(default_factory=lambda: Generation(Sampling(temperature=1.0), 64))

    def __post_init__(self) -> None:
        if self.kind not in WRITERS:
            raise unknown("kind of writer", self.kind, WRITERS)
        if (self.model is None) != (self.kind == "grammar"):
            raise UserError(
                f"a writer of the kind {self.kind!r} has the model {self.model}", "give models to all others"
            )


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        candidates: all that were tried.
        trials: how they fared.
        attacks: those that worked, the surest first.
        pool: the diverse best of them.
        counts: what was asked of victim and writer (`trials.COUNTED`); "dropped" and "written" candidates.
    """

    candidates: list[Candidate]
    trials: list[Trial]
    attacks: list[Attack]
    pool: list[Attack]
    counts: dict[str, int]


def search(
    questions: Sequence[Question],
    victim: Victim,
    writer: Writer,
    config: PirsConfig,
    folder: str,
    *,
    max_bad_share: float = 0.0,
    beam_flags: Sequence[str] = (),
) -> Found:
    """Runs the rounds, or what is left of them.

    Args:
        questions: with distinct ids.
        victim: the target.
        writer: of candidates.
        config: the search.
        folder: a folder for each round, and attacks.jsonl and pool.jsonl of all.
        max_bad_share: of requests may stay without an answer.
        beam_flags: go to Beam as they are.
    """
    by_id = {one.id: one for one in questions}
    candidates: list[Candidate] = []
    trials: list[Trial] = []
    pool: list[Attack] = []
    counts: dict[str, int] = dict.fromkeys((*COUNTED, "untried", "written", "dropped"), 0)
    for round in range(config.rounds):
        here = join(folder, f"round_{round}")
        written = [one for question in questions for one in seed_candidates(question, config)] if round == 0 else []
        if writer.kind == "grammar":
            written += by_grammar(questions, by_id, pool, config, round)
        else:
            made, asked = _by_model(questions, by_id, pool, writer, config, round, join(here, "writer"), beam_flags)
            written += made
            for name in COUNTED:
                counts[name] += int(asked.get(name, 0))
        kept, dropped = screened(written, config, by_id, earlier=candidates)
        make_directory(here)
        write_records(join(here, CANDIDATES), kept)
        write_records(join(here, DROPPED), dropped)
        tried, told = try_candidates(
            kept, by_id, victim, here,
            samples=config.samples, seed=config.seed, max_bad_share=max_bad_share, beam_flags=beam_flags,
        )  # fmt: skip
        worked = accepted(kept, tried, config, by_id)
        write_records(join(here, ATTACKS), worked)
        pool = pool_after(pool, worked, config)
        candidates += kept
        trials += tried
        for name in told:
            counts[name] += told[name]
        counts["written"] += len(written)
        counts["dropped"] += len(dropped)
    attacks = accepted(candidates, trials, config, by_id)
    write_records(join(folder, ATTACKS), attacks)
    write_records(join(folder, POOL), pool)
    return Found(candidates, trials, attacks, pool, counts)


def by_grammar(
    questions: Sequence[Question],
    by_id: Mapping[str, Question],
    pool: Sequence[Attack],
    config: PirsConfig,
    round: int,
) -> list[Candidate]:
    """A round's candidates of the grammar, K of each question, some of them made of the pool's texts."""
    made = []
    for question in questions:
        for number in range(config.candidates):
            target = target_for(question, config, round, number)
            chosen = shown(pool, question, config, round, number)
            texts = [retargeted(one.text, by_id[one.question], one.target, question, target) for one in chosen]
            seed = (config.seed << 32) + (round << 16) + number
            for one in proposals(question, target, 1, seed, texts):
                changed = [attack.id for attack in chosen] if one.kind == "changed" else []
                source = f"grammar: {one.kind}"
                made.append(candidate_of(question, target, one.text, round=round, source=source, parents=changed))
    return made


def _by_model(
    questions: Sequence[Question],
    by_id: Mapping[str, Question],
    pool: Sequence[Attack],
    writer: Writer,
    config: PirsConfig,
    round: int,
    folder: str,
    beam_flags: Sequence[str],
) -> tuple[list[Candidate], dict[str, int]]:
    """A round's candidates of a language model, K of each question, each with its target; and what was asked."""
    asked: dict[str, tuple[Question, int, list[Attack]]] = {}
    problems = []
    for question in questions:
        for number in range(config.candidates):
            target = target_for(question, config, round, number)
            chosen = shown(pool, question, config, round, number) if writer.kind == "instructed" else []
            prompt = (
                instruction_of(examples_of(chosen, by_id), question, target)
                if writer.kind == "instructed"
                else instruction_for(question.x, question.sign, question.y, target)
            )
            name = f"{question.id}.{number}"
            asked[name] = (question, target, chosen)
            problems.append(Problem(id=name, prompt=prompt, verifier="number", family=NAME))
    assert writer.model is not None
    make_directory(folder)
    write_records(join(folder, "prompts.jsonl"), problems)
    told = sample.run(
        sample.SampleConfig(
            problems=join(folder, "prompts.jsonl"),
            output=join(folder, "samples"),
            model=writer.model,
            generation=writer.generation,
            samples=1,
            seed=config.seed,
            iteration=WRITER_ROUND + round,
        ),
        beam_flags,
        what=NAME,
    )
    made = []
    for one in read_all(join(folder, "samples"), Sample):
        question, target, chosen = asked[one.problem]
        parents = [attack.id for attack in chosen]
        for text in texts_in(one.text)[:1]:
            made.append(candidate_of(question, target, text, round=round, source="lm", parents=parents))
    return made, told["counters"]
