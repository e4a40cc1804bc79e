"""The E-step's second job: each sample's verdict, in processes of their own that can be killed.

It reads the shards of `beam_jobs.rest_em.sample` and writes as many, in the same order. It needs no accelerator.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection

from beam_jobs.artefacts import ship
from beam_jobs.rest_em.math_process import math_verify_name
from beam_jobs.rest_em.sample import NAMESPACE, problems_of
from beam_jobs.rest_em.verifiers import NORMAL_FORM, NUMBER, PYTHON, STDIN, Judged, Verifiers
from beam_jobs.runner import for_the_driver, one_worker
from beam_jobs.sharded import Shards, read_manifest, read_shard
from beam_jobs.sharded_job import run_sharded
from models.rest_em.records import Graded, Problem, Sample, VerifierName
from shammie.errors import UserError
from shammie.files import digest, sha256_of
from shammie.processors import processors

NAME = "graded"


@dataclass(frozen=True)
class GradeConfig:
    """A grading job.

    Attributes:
        problems: file of `Problem` records, those that were sampled.
        samples: folder of the samples.
        output: folder of the verdicts.
        timeout_s: of processor time for each program, see `Verifiers`.
        threads: verdicts at a time in each worker process; 0 for one for each processor that it may use.
        second_opinion: ask the second judge of boxed answers even where the first is sure; verdicts stay as they are,
            and the manifest's `disagreements` tell how often the two differ.
        overwrite: start over.
    """

    problems: str
    samples: str
    output: str
    timeout_s: float = 4.0
    threads: int = 0
    second_opinion: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise UserError(f"timeout_s={self.timeout_s} is not above 0", "give seconds")


def run(config: GradeConfig, beam_flags: Sequence[str] = ()) -> dict[str, Any]:
    """Runs the job, or what is left of it.

    Returns:
        The manifest of the output; its counters tell how many passed, and of the others by reason.

    Raises:
        UserError: the samples are not finished, or are of other problems.
    """
    manifest = read_manifest(config.samples)
    identity = {
        "problems": sha256_of(config.problems),
        "samples": digest([shard["sha256"] for shard in manifest["shards"]]),
        "verifiers": sorted({_version(problem.verifier) for problem in problems_of(config.problems)}),
        "timeout_s": config.timeout_s,
        "second_opinion": config.second_opinion,
    }

    shards = Shards(config.output, NAME, len(manifest["shards"]))

    def build(numbers: PCollection[int]) -> object:
        sent = config if one_worker(beam_flags) else replace(config, problems=ship(config.problems, shards.work))
        return numbers | "Grade" >> beam.ParDo(GradeShard(sent, manifest))

    return run_sharded(shards, identity, build, beam_flags, overwrite=config.overwrite, what="rest_em: samples graded")


def _version(verifier: VerifierName) -> str:
    """The name and version of what judges."""
    versions: dict[VerifierName, str] = {"number": NUMBER, "python": PYTHON, "stdin": STDIN}
    return versions[verifier] if verifier in versions else f"{NORMAL_FORM}+{math_verify_name()}"


class GradeShard(beam.DoFn):
    """A shard's number in and out; the verdicts go into its shard of the output."""

    def __init__(self, config: GradeConfig, manifest: dict[str, Any]) -> None:
        self.config, self.manifest = config, manifest
        self.verifiers: Verifiers | None = None

    def setup(self) -> None:
        """Reads the problems and starts the judging processes."""
        with for_the_driver(self.config.output):
            self.problems = {problem.id: problem for problem in problems_of(self.config.problems)}
            self.threads = self.config.threads or processors()
            self.verifiers = Verifiers(
                self.threads, timeout_s=self.config.timeout_s, second_opinion=self.config.second_opinion
            )

    def teardown(self) -> None:
        """Ends the judging processes."""
        if self.verifiers:
            self.verifiers.close()

    def process(self, number: int) -> Iterator[int]:
        """Grades the shard."""
        with for_the_driver(self.config.output):
            assert self.verifiers is not None
            samples = read_shard(self.config.samples, self.manifest, number, Sample)
            shards = Shards(self.config.output, NAME, len(self.manifest["shards"]))
            graded, counters = grade(samples, self.problems, self.verifiers, threads=self.threads)
            shards.write(number, graded, counters)
        Metrics.counter(NAMESPACE, "graded").inc(len(graded))
        yield number


def grade(
    samples: Sequence[Sample], problems: dict[str, Problem], verifiers: Verifiers, *, threads: int = 1
) -> tuple[list[Graded], Counter[str]]:
    """Verdicts in the samples' order, and what is counted: passed, failed by reason, disagreements of two judges.

    Equal texts of a problem are judged once.

    Raises:
        UserError: a sample's problem is not among the problems.
    """
    for sample in samples:
        if sample.problem not in problems:
            raise UserError(f"a sample is of the problem {sample.problem!r}, which is not given", "check --problems")
    distinct = list(dict.fromkeys((sample.problem, sample.text) for sample in samples))

    def judge(one: tuple[str, str]) -> Judged:
        return verifiers.verify(problems[one[0]], one[1])

    with ThreadPoolExecutor(threads) as pool:
        found = dict(zip(distinct, pool.map(judge, distinct), strict=True))
    graded, counters = [], Counter({"judged": len(distinct)})
    for sample in samples:
        judged = found[sample.problem, sample.text]
        counters["passed" if judged.passed else f"failed/{judged.reason}"] += 1
        counters["disagreements"] += judged.disagreement
        graded.append(judged.graded(sample))
    return graded, counters
