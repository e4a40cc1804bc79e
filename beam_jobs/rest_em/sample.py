"""The E-step's first job: problems in, N samples of each out, by RunInference on a model of ours or a server's.

Samples are planned into groups by length and hash; a group is answered as a whole on one worker, and all samples of a
problem lie in one group, so that its prompt is read once. A sample's seed comes from (seed, iteration, problem, sample)
alone, and a group's work from the group alone: the number of workers, a kill and a resumption change no sample.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import PCollection

from beam_jobs.artefacts import check_shipped, ship
from beam_jobs.inference.budget import SPENT
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_handler import EndpointHandler
from beam_jobs.inference.lm_handler import LMHandler
from beam_jobs.inference.requests import Answered, Generation, Group, Request, seed_of
from beam_jobs.runner import for_the_driver, one_worker
from beam_jobs.sharded import Shards
from beam_jobs.sharded_job import run_sharded
from models.equal_info.load import artefact_of_word, load_codec
from models.lm.artefact import TrainedLM
from models.lm.sampler import Slots
from models.rest_em.records import Problem, Sample, read_records
from shammie.errors import UserError
from shammie.files import read_bytes, sha256_of

NAMESPACE = "rest_em"
NAME = "samples"


@dataclass(frozen=True)
class LocalModel:
    """A model of ours: the file of `models.lm.artefact.TrainedLM`, and its codec's file or word."""

    model: str
    codec: str


@dataclass(frozen=True)
class SampleConfig:
    """A sampling job.

    Attributes:
        problems: file of `Problem` records.
        output: folder of the samples.
        model: what answers.
        generation: how, and the most tokens of a sample; the paper's is top-k 40 at temperature 0.7.
        samples: N of each problem.
        first_sample: the number of the first of them, where others were drawn before.
        seed: of all draws.
        iteration: of the loop; other iterations draw otherwise.
        group_samples: about how many samples are answered together.
        slots: how many of them are decoded at a time, by a model of ours.
        prompt_prefix: stands before each prompt, such as worked examples.
        max_bad_share: the share of failed requests that is tolerated.
        overwrite: start over.
    """

    problems: str
    output: str
    model: LocalModel | EndpointConfig
    generation: Generation
    samples: int = 32
    first_sample: int = 0
    seed: int = 0
    iteration: int = 1
    group_samples: int = 512
    slots: Slots = field(default_factory=Slots)
    prompt_prefix: str = ""
    max_bad_share: float = 0.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("samples", "group_samples"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is below 1", "give a whole number of 1 or more")
        if not 0 <= self.max_bad_share <= 1:
            raise UserError(f"max_bad_share={self.max_bad_share} is no share", "give a number from 0 to 1")


def run(config: SampleConfig, beam_flags: Sequence[str] = (), *, what: str = NAMESPACE) -> dict[str, Any]:
    """Runs the job, or what is left of it.

    Args:
        config: the job.
        beam_flags: go to Beam as they are.
        what: names it in its progress line.

    Returns:
        The manifest of the output; its counters tell of samples, tokens, decode steps and the slots in use.

    Raises:
        UserError: problems, model or output do not fit; or too many requests failed.
    """
    problems = problems_of(config.problems)
    groups = plan(problems, config.samples, config.group_samples)
    shards = Shards(config.output, NAME, len(groups))

    def build(numbers: PCollection[int]) -> object:
        sent = config if one_worker(beam_flags) else shipped(config, shards.work)
        asked = numbers | "Plan groups" >> beam.ParDo(MakeGroup(sent))
        answered = asked | "Answer" >> RunInference(handler_of(sent))
        return answered | "Write samples" >> beam.ParDo(WriteSamples(sent))

    return run_sharded(
        shards,
        identity(config),
        build,
        beam_flags,
        overwrite=config.overwrite,
        max_bad_share=config.max_bad_share,
        what=f"{what}: samples of {len(problems)} problems, {config.samples} each",
    )


def identity(config: SampleConfig) -> dict[str, Any]:
    """All that decides the samples; a model of ours by its content, a server's by its name.

    Raises:
        UserError: the model reads the ids of another codec.
    """
    if isinstance(config.model, LocalModel):
        codec = load_codec(config.model.codec)
        TrainedLM.from_bytes(read_bytes(config.model.model), made_with=codec.fingerprint)
        model: dict[str, Any] = {"lm": sha256_of(config.model.model), "codec": codec.fingerprint}
        model |= {"slots": asdict(config.slots)}
    else:
        asked = asdict(config.model)
        model = {
            "endpoint": {name: asked[name] for name in ("model", "api", "system_prompt", "stop", "send_top_k", "extra")}
        }
    return {
        "problems": sha256_of(config.problems),
        "model": model,
        "generation": asdict(config.generation),
        "samples": config.samples,
        "first_sample": config.first_sample,
        "seed": config.seed,
        "iteration": config.iteration,
        "group_samples": config.group_samples,
        "prompt_prefix": config.prompt_prefix,
    }


def shipped(config: SampleConfig, work: str) -> SampleConfig:
    """The same job for workers elsewhere: what they read lies in the job's work folder (`beam_jobs.artefacts`)."""
    sent = replace(config, problems=ship(config.problems, work))
    if not isinstance(config.model, LocalModel):
        return sent
    codec = config.model.codec
    if artefact_of_word(codec) is None:
        codec = ship(codec, work)
    return replace(sent, model=LocalModel(ship(config.model.model, work), codec))


def handler_of(config: SampleConfig) -> ModelHandler[Group, Answered, Any]:
    """The handler that answers a config's groups."""
    if isinstance(config.model, LocalModel):
        return LMHandler(config.model.model, config.model.codec, config.generation, config.slots, folder=config.output)
    return EndpointHandler(
        replace(config.model, max_bad_share=config.max_bad_share), config.generation, folder=config.output
    )


@lru_cache(2)
def problems_of(path: str) -> tuple[Problem, ...]:
    """The problems of a file; read once in each process.

    Raises:
        UserError: there are none, or two have one id.
    """
    check_shipped(path)
    found = tuple(read_records(path, Problem))
    if not found:
        raise UserError(f"{path} holds no problem", "give a file of problems, one JSON object a line")
    seen: set[str] = set()
    for problem in found:
        if problem.id in seen:
            raise UserError(f"{path} has two problems of the id {problem.id!r}", "give each an id of its own")
        seen.add(problem.id)
    return found


def plan(problems: Sequence[Problem], samples: int, group_samples: int) -> list[tuple[int, ...]]:
    """Which problems each group holds, as their places in the file.

    Prompts of like length come together (powers of two of their bytes), in an order by hash within; so what a group
    holds depends on the problems alone.
    """
    order = sorted(range(len(problems)), key=lambda place: _place(problems[place]))
    size = max(1, group_samples // samples)
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def _place(problem: Problem) -> tuple[int, bytes]:
    return len(problem.prompt.encode()).bit_length(), hashlib.sha256(problem.id.encode()).digest()


class MakeGroup(beam.DoFn):
    """A group's number in, the group out."""

    def __init__(self, config: SampleConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Reads the problems and plans the groups."""
        with for_the_driver(self.config.output):
            self.problems = problems_of(self.config.problems)
            self.groups = plan(self.problems, self.config.samples, self.config.group_samples)

    def process(self, number: int) -> Iterator[Group]:
        """Makes the requests."""
        yield Group(number, tuple(requests_of([self.problems[place] for place in self.groups[number]], self.config)))


def requests_of(problems: Sequence[Problem], config: SampleConfig) -> Iterator[Request]:
    """All samples' requests, problem by problem."""
    for problem in problems:
        for sample in range(config.first_sample, config.first_sample + config.samples):
            seed = seed_of(config.seed, config.iteration, problem.id, sample)
            yield Request(f"{problem.id}#{sample}", config.prompt_prefix + problem.prompt, seed)


class WriteSamples(beam.DoFn):
    """A group's answers in, its number out; the samples go into the group's shard."""

    def __init__(self, config: SampleConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Counts the groups."""
        with for_the_driver(self.config.output):
            groups = plan(problems_of(self.config.problems), self.config.samples, self.config.group_samples)
            self.shards = Shards(self.config.output, NAME, len(groups))

    def process(self, answered: Answered) -> Iterator[int]:
        """Writes the shard."""
        samples, letters = [], []
        for completion in answered.completions:
            if completion.error == SPENT:
                continue  # counted as unasked
            if completion.error:
                letters.append((completion.id, completion.error))
                continue
            problem, _, number = completion.id.rpartition("#")
            samples.append(
                Sample(
                    problem=problem,
                    sample=int(number),
                    text=completion.text,
                    tokens=completion.tokens,
                    finished=completion.finished,
                    log_probability=completion.log_probability,
                )
            )
        tokens = sum(sample.tokens for sample in samples)
        with for_the_driver(self.config.output):
            self.shards.write(answered.number, samples, {**answered.counters, "tokens": tokens}, letters)
        Metrics.counter(NAMESPACE, "samples").inc(len(samples))
        Metrics.counter(NAMESPACE, "tokens").inc(tokens)
        yield answered.number
