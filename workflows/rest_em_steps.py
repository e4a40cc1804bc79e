"""What the steps of `rest_em` run: base, sample, grade, select, tune, evaluate.

A step that makes a model writes lm.bin (`models.lm.artefact.TrainedLM`) and training.json (curve and choice); sampling
and grading are the Beam jobs of `beam_jobs.rest_em`, in the folders `samples` and `graded` of their steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from beam_jobs.inference.requests import Generation
from beam_jobs.rest_em import grade as grade_job
from beam_jobs.rest_em import sample as sample_job
from beam_jobs.rest_em.selecting import write_pairs, write_selection
from beam_jobs.sharded import manifest_or_none, read_all
from models.equal_info.load import load_codec
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.rest_em.records import Graded, Problem, write_records
from models.rest_em.selection import select as select_samples
from seqio_tasks.pairs import splits_of
from shammie.files import copy, join, make_directory, read_bytes, write_json
from workflows import rest_em_tuning
from workflows.dag import Running
from workflows.rest_em_data import MEASURED, codec_in, path_of, problems_in, test_sets
from workflows.rest_em_measures import measure
from workflows.rest_em_settings import Tuning

LM, PAIRS, SAMPLES, GRADED = "lm.bin", "pairs", "samples", "graded"
GREEDY = Sampling(temperature=0.0)


def take_base(running: Running) -> None:
    """Takes a model of the user's as base.

    Raises:
        UserError: it is no model, or reads the ids of another codec.
    """
    path = path_of(running, "base_file")
    codec = load_codec(codec_in(running.input("codec")))
    TrainedLM.from_bytes(read_bytes(path), made_with=codec.fingerprint)
    copy(path, running.path(LM))


def train_base(running: Running) -> Mapping[str, Any]:
    """Trains the base on the solutions that come with the problems of the split `base`."""
    solved = problems_in(running.input("problems"), "base")
    left_out = _write_solutions(running, solved, running.config["tuning"]["length"])
    return {**_tuned(running, start=""), "left_out": sum(left_out.values())}


def sample(running: Running, beam_flags: Sequence[str]) -> Mapping[str, Any]:
    """N samples of each problem of the split `train`; with a hint, of those without a right sample so far."""
    c = running.config
    path = join(running.input("problems"), "train.jsonl")
    if c.get("hint"):
        path, hinted = running.path("hinted.jsonl"), _hinted(running, c["hint"])
        if not hinted:
            return {"records": 0}
        write_records(path, hinted)
    config = sample_job.SampleConfig(
        problems=path,
        output=running.path(SAMPLES),
        model=sample_job.LocalModel(join(running.input("model"), LM), codec_in(running.input("codec"))),
        generation=Generation(Sampling(**c["sampling"]), c["new_tokens"]),
        samples=c["samples"],
        first_sample=c["samples"] if c.get("hint") else 0,
        seed=c["seed"],
        iteration=c["iteration"],
    )
    return sample_job.run(config, beam_flags)["counters"]


def _hinted(running: Running, hint: str) -> list[Problem]:
    """The problems of which no sample passed, with the answer in the prompt."""
    passed = {one.problem for one in read_all(join(running.input("failed"), GRADED), Graded) if one.passed}
    failed = [one for one in problems_in(running.input("problems"), "train") if one.id not in passed and one.answer]
    return [replace(one, prompt=hint.replace("{answer}", one.answer) + one.prompt) for one in failed]


def grade(running: Running, beam_flags: Sequence[str]) -> Mapping[str, Any]:
    """The verdict of each sample; of none where every problem was solved without a hint."""
    if manifest_or_none(join(running.input("sample"), SAMPLES)) is None:
        return {"records": 0}
    config = grade_job.GradeConfig(
        problems=join(running.input("problems"), "train.jsonl"),
        samples=join(running.input("sample"), SAMPLES),
        output=running.path(GRADED),
    )
    return grade_job.run(config, beam_flags)["counters"]


def select(running: Running) -> Mapping[str, Any]:
    """Chooses the solutions that are trained on; what is left out is listed in dropped.jsonl, with its reason."""
    c = running.config
    words = [word for word in ("grade", "grade_hinted") if word in running.step.inputs]
    folders = [join(running.input(word), GRADED) for word in words]
    graded = [folder for folder in folders if manifest_or_none(folder)]
    samples = [one for folder in graded for one in read_all(folder, Graded)]
    if not c["with_human"] and not any(one.passed and one.finished for one in samples):
        # the next model is the one before (see `tune`); why each sample is left out is told all the same
        make_directory(running.path(PAIRS))
        write_records(running.path(PAIRS, "kept.jsonl"), [])
        write_records(running.path(PAIRS, "dropped.jsonl"), select_samples(samples).dropped)
        return {"kept": 0}
    return write_selection(
        problems=join(running.input("problems"), "train.jsonl"),
        graded=graded,
        codec=codec_in(running.input("codec")),
        output=running.path(PAIRS),
        cap=c["cap"],
        seed=c["seed"],
        distinct=c["distinct"],
        with_human=c["with_human"],
        max_tokens=c["max_tokens"],
    )


def select_human(running: Running) -> Mapping[str, Any]:
    """Takes the solutions that come with the problems that the loop would sample."""
    solved = [one for one in problems_in(running.input("problems"), "train") if one.solution]
    left_out = _write_solutions(running, solved, running.config["max_tokens"])
    return {"kept": len(solved), "problems": len(solved), "left_out": sum(left_out.values())}


def _write_solutions(running: Running, solved: Sequence[Problem], max_tokens: int) -> dict[str, int]:
    """Writes solutions that come with problems as pairs; returns how many were too long."""
    pairs = [(one.prompt, one.solution) for one in solved if one.solution]
    return write_pairs(running.path(PAIRS), pairs, codec_in(running.input("codec")), max_tokens=max_tokens)


def tune(running: Running) -> Mapping[str, Any]:
    """The M-step: trains the base (or the last model) on the selected solutions; without any it stays what it is."""
    start, pairs = join(running.input("start"), LM), join(running.input("select"), PAIRS)
    if not splits_of(pairs):
        copy(start, running.path(LM))
        write_json(running.path("training.json"), {"curve": [], "steps": 0, "best_step": 0, "best_reward": None})
        return {"steps": 0}
    return _tuned(running, start=start, pairs=pairs)


def _tuned(running: Running, *, start: str, pairs: str = "") -> Mapping[str, Any]:
    c = running.config
    codec_path = codec_in(running.input("codec"))
    codec = load_codec(codec_path)
    model = LMConfig(**{**c["model"], "vocab_size": codec.vocab_size + rest_em_tuning.SPECIAL_IDS})
    validation = problems_in(running.input("problems"), "validation")
    with rest_em_tuning.Reward(validation, model, codec, new_tokens=c["new_tokens"]) as reward:
        told = rest_em_tuning.tune(
            model,
            Tuning.from_json(c["tuning"]),
            pairs=pairs or running.path(PAIRS),
            made_with=codec.fingerprint,
            start=start,
            seed=c["seed"],
            reward=reward,
            out=running.directory,
            what=f"rest_em: {running.step.name}",
        )
    write_json(running.path("training.json"), told)
    return {"steps": told["steps"], "best_step": told["best_step"], "validation_pass_at_1": told["best_reward"]}


def evaluate(running: Running, beam_flags: Sequence[str]) -> Mapping[str, Any]:
    """Measures a model on every test set, and greedily on some of the problems that are sampled ("train")."""
    c, folder = running.config, running.input("problems")
    found: dict[str, Any] = {}
    for split in [*test_sets(folder), MEASURED]:
        problems = problems_in(folder, split)
        graded = _graded(running, split, "greedy", beam_flags, sampling=GREEDY, samples=1)
        several: list[Graded] = []
        if c["samples"] and split != MEASURED:
            drawn = Sampling(**c["sampling"])
            several = _graded(running, split, "drawn", beam_flags, sampling=drawn, samples=c["samples"])
        found["train" if split == MEASURED else split] = measure(problems, graded, several)
        write_records(running.path(f"{split}.jsonl"), graded)
    write_json(running.path("measures.json"), found)
    return {f"{split}_pass_at_1": one["pass_at_1"] for split, one in found.items()}


def _graded(
    running: Running, split: str, name: str, beam_flags: Sequence[str], *, sampling: Sampling, samples: int
) -> list[Graded]:
    problems = join(running.input("problems"), f"{split}.jsonl")
    sampled, graded = running.path(f"{split}_{name}", SAMPLES), running.path(f"{split}_{name}", GRADED)
    config = sample_job.SampleConfig(
        problems=problems,
        output=sampled,
        model=sample_job.LocalModel(join(running.input("model"), LM), codec_in(running.input("codec"))),
        generation=Generation(sampling, running.config["new_tokens"]),
        samples=samples,
        seed=running.config["seed"],
        iteration=0,
    )
    sample_job.run(config, beam_flags)
    grade_job.run(grade_job.GradeConfig(problems, sampled, graded), beam_flags)
    return read_all(graded, Graded)
