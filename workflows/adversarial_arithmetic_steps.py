"""What the steps of `adversarial_arithmetic` run: corpus, target, writer, attack, controls, transfer, harden, measure.

A step that makes a model writes lm.bin; one that asks a model writes candidates.jsonl, trials.jsonl and counts.json.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from beam_jobs.adversarial_arithmetic.search import ATTACKS, CANDIDATES, Writer, search
from beam_jobs.adversarial_arithmetic.trials import TRIALS, try_candidates
from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.requests import Generation
from beam_jobs.rest_em.sample import LocalModel
from models.adversarial_arithmetic import corpus as corpora
from models.adversarial_arithmetic.grammar import out_of_distribution, overload, random_strings, random_words
from models.adversarial_arithmetic.pirs import PirsConfig, target_for
from models.adversarial_arithmetic.questions import Question, prompt_of, questions, split_of
from models.adversarial_arithmetic.records import Attack, Candidate, Trial, candidate_of
from models.equal_info.ids import SPECIAL_IDS
from models.equal_info.load import AnyCodec, load_codec
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.rest_em.records import Problem, read_records, write_records
from seqio_tasks.pairs import write_pairs_text
from shammie import files
from shammie.files import join
from workflows import rest_em_tuning
from workflows.adversarial_arithmetic_answers import Answers
from workflows.dag import Running
from workflows.policy_rewards import VerifiedReward
from workflows.policy_settings import PolicyTraining
from workflows.policy_training import train_policy
from workflows.rest_em_data import path_of
from workflows.rest_em_settings import Tuning

CODEC, LM, PAIRS, INVERTED, QUESTIONS, COUNTS = (
    "codec.bin", "lm.bin", "pairs", "inverted", "questions.jsonl", "counts.json",
)  # fmt: skip
VALIDATION = "validation.jsonl"
VALIDATED = 600  # pairs of the corpus that no model is trained on
CODEC_PAIRS = 6000  # whose text the codec is made of
CLEAN, RANDOM, RANDOM_WORDS, OVERLOAD = "clean", "random", "random words", "overload"
ATTACKED, CONTEXT = "attacked", "context"  # families of problems, beside CLEAN
SECOND_ASKING = 1 << 16  # added to seeds where prompts are asked again, so that what was chosen does not flatter itself


def write_questions(running: Running) -> Mapping[str, Any]:
    """The questions of all sizes."""
    c = running.config
    made = [one for digits in c["digits"] for one in questions(digits, c["questions"], c["seed"])]
    write_records(running.path(QUESTIONS), made)
    return {"questions": len(made)}


def questions_in(folder: str) -> dict[str, Question]:
    """The questions of a step, by id."""
    return {one.id: one for one in read_records(join(folder, QUESTIONS), Question)}


def write_corpus(running: Running) -> Mapping[str, Any]:
    """The corpus as pairs, its codec, its inverted pairs, and held-out pairs as problems of a family for each rule."""
    c = running.config
    made = corpora.pairs(c["seed"], c["pairs"], c["digits"])
    codec = (
        load_codec(path_of(running, "codec")) if "codec" in running.step.inputs else _codec_of(made, c["vocab_size"])
    )
    codec.save(running.path(CODEC))
    told = write_pairs_text(
        running.path(PAIRS), "train", [(one.prompt, one.answer) for one in made], codec, max_tokens=c["length"]
    )
    inverted = corpora.inverted(made)
    write_pairs_text(running.path(INVERTED), "train", inverted, codec, max_tokens=c["length"])
    held_out = corpora.pairs(c["seed"] + 1, VALIDATED, c["digits"])
    problems = [
        Problem(f"{one.rule}/{number}", one.prompt, "number", family=one.rule, answer=one.answer)
        for number, one in enumerate(held_out)
    ]
    write_records(running.path(VALIDATION), problems)
    files.write_json(running.path("rules.json"), [[one.name, one.share, one.description] for one in corpora.RULES])
    files.write_json(running.path("examples.json"), [list(one) for one in made[:40]])
    return {"pairs": told.pairs, "inverted": len(inverted)}


def _codec_of(made: Sequence[corpora.Pair], vocab_size: int) -> AnyCodec:
    from models.equal_info.sentencepieces import SentencePieceCodec, train_sentencepiece

    words = [one for one in made[:CODEC_PAIRS] if one.rule != "codes"]  # pieces are of words, not of garbled text
    text = [part.encode() for one in words for part in (one.prompt, one.answer)]
    model = train_sentencepiece("bpe", text, vocab_size, split_digits=True)
    return SentencePieceCodec(model, scheme="sentencepiece", notes={"text": "corpus of adversarial_arithmetic"})


def take_target(running: Running) -> None:
    """Takes a model of the user's as target.

    Raises:
        UserError: it is no model, or reads the ids of another codec.
    """
    path, codec = path_of(running, "target_file"), load_codec(join(running.input("corpus"), CODEC))
    TrainedLM.from_bytes(files.read_bytes(path), made_with=codec.fingerprint)
    files.copy(path, running.path(LM))


def train_target(running: Running) -> Mapping[str, Any]:
    """Trains a target on the corpus; the parameters with the best answers to held-out pairs are kept."""
    held_out = read_records(join(running.input("corpus"), VALIDATION), Problem)
    return _trained(running, PAIRS, reward_on=held_out)


def train_writer(running: Running) -> Mapping[str, Any]:
    """Trains a language model that writes a text after which the answer is w, on the corpus's inverted pairs."""
    return _trained(running, INVERTED, reward_on=[])


def _trained(
    running: Running, pairs: str, *, reward_on: Sequence[Problem], start: str = "", folder: str = ""
) -> dict[str, Any]:
    c, corpus = running.config, running.input("corpus")
    codec = load_codec(join(corpus, CODEC))
    if start:
        model = TrainedLM.from_bytes(files.read_bytes(start), made_with=codec.fingerprint).config
    else:
        model = LMConfig(**{**c["model"], "vocab_size": codec.vocab_size + SPECIAL_IDS})
    told = rest_em_tuning.tune(
        model,
        Tuning.from_json(c["tuning"]),
        pairs=join(folder or corpus, pairs),
        made_with=codec.fingerprint,
        start=start,
        seed=c["seed"],
        reward=Answers(reward_on, model, codec) if reward_on else None,
        out=running.directory,
        what=f"adversarial_arithmetic: {running.step.name}",
    )
    files.write_json(running.path("training.json"), told)
    return {"steps": told["steps"], "best_step": told["best_step"]}


def attack(
    running: Running,
    endpoint: EndpointConfig | None,
    beam_flags: Sequence[str],
    max_bad_share: float,
    writer_endpoint: EndpointConfig | None = None,
) -> Mapping[str, Any]:
    """Searches for attacks on a victim; an endpoint writes for itself where no other does."""
    c = running.config
    victim = _victim(running, endpoint)
    asked = [
        one for one in questions_in(running.input("questions")).values() if c.get("split") in (None, split_of(one))
    ]
    writer = Writer()
    if c["writer"] == "inverted":
        model = LocalModel(join(running.input("writer"), LM), join(running.input("corpus"), CODEC))
        writer = Writer("inverted", model)
    elif c["writer"] == "instructed":
        assert endpoint is not None
        # what the victim is told beforehand ("reply with one number") is not for a writer
        writer = Writer("instructed", writer_endpoint or replace(endpoint, system_prompt="", stop=()))
    config = _pirs(c)
    found = search(
        asked, victim, writer, config, running.path("search"), max_bad_share=max_bad_share, beam_flags=beam_flags
    )
    _write(running, asked, found.candidates, found.trials, found.counts)
    write_records(running.path(ATTACKS), found.attacks)
    write_records(running.path("pool.jsonl"), found.pool)
    return {"candidates": len(found.candidates), "attacks": len(found.attacks)}


def controls(
    running: Running, endpoint: EndpointConfig | None, beam_flags: Sequence[str], max_bad_share: float
) -> Mapping[str, Any]:
    """Asks without an attack, and with texts that no search chose: random ones, repeated equations, others'."""
    c = running.config
    asked = list(questions_in(running.input("questions")).values())
    lengths: dict[str, list[int]] = defaultdict(list)
    if "attack" in running.step.inputs:
        for one in read_records(join(running.input("attack"), CANDIDATES), Candidate):
            lengths[one.question].append(len(one.text))
    config = _pirs(c)
    made: dict[str, Candidate] = {}
    for number, question in enumerate(asked):
        made |= {one.id: one for one in control_candidates(question, number, config, lengths[question.id], c)}
    return _asked(running, endpoint, asked, list(made.values()), beam_flags, max_bad_share, c["pirs"]["samples"])


def control_candidates(
    question: Question, number: int, config: PirsConfig, lengths: Sequence[int], told: Mapping[str, Any]
) -> list[Candidate]:
    """The controls of a question: nothing, random texts as long as the search's, repeated equations, others' texts.

    Args:
        question: what is asked.
        number: of the question; the first `copied` get repeated equations.
        config: of the search, for the targets.
        lengths: characters of the texts that the search tried on it.
        told: "attempts" (0: as many as there are lengths), "copies", "copied", "others" and "seed".
    """
    made = [candidate_of(question, None, "", round=0, source=CLEAN)]
    lengths = list(lengths)[: told["attempts"] or None]
    seed = told["seed"] * 1_000_003 + number
    for source, texts in ((RANDOM, random_strings(lengths, seed)), (RANDOM_WORDS, random_words(lengths, seed))):
        for at, text in enumerate(texts):
            made.append(candidate_of(question, target_for(question, config, 0, at), text, round=0, source=source))
    for copies in told["copies"] if number < told["copied"] else ():
        target = target_for(question, config, 0, 0)
        made.append(candidate_of(question, target, overload(question, target, copies), round=copies, source=OVERLOAD))
    for at in range(told["others"]):
        target = target_for(question, config, 0, at)
        for one in out_of_distribution(question, target, 1, told["seed"] * 1000 + at):
            made.append(candidate_of(question, target, one.text, round=0, source=one.kind))
    return made


def surest_again(
    running: Running, endpoint: EndpointConfig | None, beam_flags: Sequence[str], max_bad_share: float
) -> Mapping[str, Any]:
    """Asks a victim anew with the surest attack of each question and model: the replies that chose it flatter it."""
    asked = list(questions_in(running.input("questions")).values())
    best: dict[tuple[str, str], Attack] = {}
    for word in sorted(running.step.inputs):
        if word.startswith("attack"):
            for one in read_records(join(running.input(word), ATTACKS), Attack):
                best.setdefault((one.victim, one.question), one)
    write_records(running.path("sources.jsonl"), best.values())
    distinct = list({one.id: _again(one) for one in best.values()}.values())
    return _asked(running, endpoint, asked, distinct, beam_flags, max_bad_share, running.config["samples"])


def _again(attack: Attack) -> Candidate:
    values = attack.to_json()
    for name in ("victim", "p_any", "p_target", "said"):
        values.pop(name)
    return Candidate.from_json(values)


def lessons(running: Running) -> tuple[list[tuple[str, str]], list[Problem]]:
    """What hardening trains on: attacks that worked, of questions of the split "train", with the right answers.

    Returns:
        Pairs of prompts and right answers, corpus mixed in; and problems of the families ATTACKED, CLEAN and CONTEXT.
    """
    c = running.config
    asked = questions_in(running.input("questions"))
    taken: dict[str, int] = defaultdict(int)
    attacked: list[Problem] = []
    for one in read_records(join(running.input("attack"), ATTACKS), Attack):
        question = asked[one.question]
        if split_of(question) == "train" and taken[question.id] < c["attacks"]:
            taken[question.id] += 1
            prompt = prompt_of(question, one.text)
            attacked.append(Problem(one.id, prompt, "number", family=ATTACKED, answer=str(question.answer)))
    count = int(c["mixed"] * len(attacked)) or 1
    mixed = corpora.pairs(c["seed"] + 2, count, max(one.digits for one in asked.values()))
    context = [
        Problem(f"corpus/{number}", one.prompt, "number", family=CONTEXT, answer=one.answer)
        for number, one in enumerate(mixed)
    ]
    clean = [
        Problem(f"clean/{one.id}", prompt_of(one), "number", family=CLEAN, answer=str(one.answer))
        for one in asked.values()
        if split_of(one) == "train"
    ]
    problems = [*attacked, *clean, *context]
    return [(one.prompt, one.answer) for one in problems], problems


def harden(running: Running) -> Mapping[str, Any]:
    """Trains a model further on what misled it."""
    c, corpus = running.config, running.input("corpus")
    pairs, problems = lessons(running)
    codec = load_codec(join(corpus, CODEC))
    held_out = [one for one in problems if one.family != ATTACKED or int(one.id[:8], 16) % 10 == 0]
    kept = {one.id for one in held_out if one.family == ATTACKED}
    start = join(running.input("model"), LM)
    if c["kind"] == "tuning":
        write_pairs_text(running.path(PAIRS), "train", pairs, codec, max_tokens=c["tuning"]["length"])
        return _trained(running, PAIRS, reward_on=held_out, start=start, folder=running.directory)
    told = train_policy(
        PolicyTraining.from_json(c["policy"]),
        start=start,
        codec=codec,
        problems=[one for one in problems if one.id not in kept],
        held_out=held_out,
        reward=VerifiedReward(),
        seed=c["seed"],
        out=running.directory,
        what=f"adversarial_arithmetic: {running.step.name}",
    )
    files.write_json(running.path("training.json"), told)
    return {"iterations": told["iterations"], "best_iteration": told["best_iteration"]}


def measure(running: Running, beam_flags: Sequence[str], max_bad_share: float) -> Mapping[str, Any]:
    """Asks a model, hardened or not, without attacks, with held-out ones that misled the start, and with others'."""
    c = running.config
    asked = questions_in(running.input("questions"))
    config = _pirs(c)
    told = {**c, "attempts": 0, "copies": (), "copied": 0}
    made: dict[str, Candidate] = {}
    for number, question in enumerate(asked.values()):
        if split_of(question) == "test":
            made |= {one.id: one for one in control_candidates(question, number, config, (), told)}
        else:
            clean = candidate_of(question, None, "", round=0, source=CLEAN)
            made[clean.id] = clean
    for one in read_records(join(running.input("attack"), ATTACKS), Attack):
        if split_of(asked[one.question]) == "test":
            made[one.id] = replace(_again(one), source=ATTACKED)
    counts = _asked(
        running, None, list(asked.values()), list(made.values()), beam_flags, max_bad_share, c["pirs"]["samples"]
    )
    codec = load_codec(join(running.input("corpus"), CODEC))
    model = TrainedLM.from_bytes(files.read_bytes(join(running.input("model"), LM)), made_with=codec.fingerprint)
    held_out = read_records(join(running.input("corpus"), VALIDATION), Problem)
    # a revising victim's weights are the start's: how it reads the corpus is not measured
    rules = {} if c.get("revisions") else Answers(held_out, model.config, codec).by_family(model)
    files.write_json(running.path("rules.json"), rules)
    return counts


def _victim(running: Running, endpoint: EndpointConfig | None) -> Victim:
    c = running.config
    generation = Generation(Sampling(temperature=c["temperature"]), c["new_tokens"])
    if endpoint is not None:
        return Victim(c["victim"], endpoint, generation)
    model = LocalModel(join(running.input("model"), LM), join(running.input("corpus"), CODEC))
    return Victim(c["victim"], model, generation, revisions=c.get("revisions", 0))


def _pirs(config: Mapping[str, Any]) -> PirsConfig:
    values = config["pirs"]
    return PirsConfig(**{**values, "seeds": tuple(values["seeds"]), "targets": tuple(values["targets"])})


def _asked(
    running: Running,
    endpoint: EndpointConfig | None,
    asked: Sequence[Question],
    candidates: Sequence[Candidate],
    beam_flags: Sequence[str],
    max_bad_share: float,
    samples: int,
) -> dict[str, int]:
    trials, counts = try_candidates(
        candidates,
        {one.id: one for one in asked},
        _victim(running, endpoint),
        running.path("asked"),
        samples=samples,
        seed=running.config["seed"] + SECOND_ASKING,
        max_bad_share=max_bad_share,
        beam_flags=beam_flags,
    )
    _write(running, asked, candidates, trials, counts)
    return counts


def _write(
    running: Running,
    asked: Sequence[Question],
    candidates: Sequence[Candidate],
    trials: Sequence[Trial],
    counts: Mapping[str, int],
) -> None:
    write_records(running.path(QUESTIONS), asked)
    write_records(running.path(CANDIDATES), candidates)
    write_records(running.path(TRIALS), trials)
    files.write_bytes(running.path(COUNTS), (json.dumps(dict(counts), indent=2) + "\n").encode())
