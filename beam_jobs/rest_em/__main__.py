"""The E-step on its own, on any runner: python -m beam_jobs.rest_em problems | sample | grade | select [flags].

problems --format gsm8k --input train.jsonl --output problems.jsonl
sample   --problems problems.jsonl --model lm.bin --codec codec.bin --output samples
sample   --problems problems.jsonl --endpoint http://host:8000/v1 --endpoint_model NAME --output samples
grade    --problems problems.jsonl --samples samples --output graded
select   --problems problems.jsonl --graded graded --codec codec.bin --output pairs
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from models.rest_em.records import Problem, write_records
from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people
from shammie.files import is_local, read_bytes

PROGRAM = "beam_jobs.rest_em"


def parser() -> Parser:
    """The jobs' own flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="The E-step of ReST-EM (arXiv:2312.06585): problems, samples, verdicts, selection.",
        epilog="All other flags of sample and grade go to Beam, such as --runner=FlinkRunner or --direct_num_workers=4."
        " The same command resumes a job that was stopped.",
        allow_abbrev=False,
    )
    jobs = flags.add_subparsers(dest="job", required=True, metavar="problems|sample|grade|select")
    for add_job in (_problems, _sample, _grade, _select):
        one = jobs.add_parser(add_job.__name__[1:], allow_abbrev=False, description=add_job.__doc__)
        add_job(one)
        one.add_argument("--debug", action="store_true", help="show stack traces")
    return flags


def _problems(job: argparse.ArgumentParser) -> None:
    """Released files as problems: one JSON object a line."""
    add = job.add_argument
    add("--input", nargs="+", required=True, help="the released files or folders")
    add("--format", required=True, help="math, gsm8k, apps, humaneval, mbpp or jsonl")
    add("--output", required=True, help="file of problems to write")
    add(
        "--check",
        action="store_true",
        help="also judge each problem's own solution, programs in the sandbox (see shammie doctor): how many pass, and"
        " in OUTPUT.failed.jsonl which do not, and why",
    )
    add("--timeout_s", type=float, default=4.0, help="of each verdict of --check (default: 4)")


def _sample(job: argparse.ArgumentParser) -> None:
    """N samples of each problem, by a model of ours or a server that speaks OpenAI's protocol."""
    add = job.add_argument
    add("--problems", required=True, help="file of problems")
    add("--output", required=True, help="folder for the samples")
    add("--model", default="", help="file of a trained model (lm.bin)")
    add("--codec", default="", help="file of its codec, or default, or bytes")
    add("--endpoint", default="", help="instead: where a server's protocol begins, such as http://host:8000/v1")
    add("--endpoint_model", default="", help="the model's name there")
    add("--api", default="completions", help="completions or chat (default: completions)")
    add("--system_prompt", default="", help="what a chat begins with")
    add("--stop", nargs="*", default=[], help="texts that end an answer of a server")
    add("--concurrency", type=int, default=8, help="requests at a time, of each worker process (default: 8)")
    add("--requests_per_s", type=float, default=0.0, help="most requests begun in a second (default: no limit)")
    add("--attempts", type=int, default=6, help="how often a request is sent (default: 6)")
    add(
        "--cache",
        help="folder, on a disk of this host, that keeps a server's answers, so that none is asked for twice, not even"
        " after the server died (default: OUTPUT.answers where the output is local; '' for none). It goes by the"
        " model's name: for other weights of one name give another, or remove it",
    )
    add("--no_cache", action="store_true", help="the same as --cache ''")
    add("--no_top_k", action="store_true", help="do not send top_k, which OpenAI's own servers reject")
    add("--samples", type=int, default=32, help="of each problem (default: 32)")
    add("--first_sample", type=int, default=0, help="number of the first, where others were drawn before (default: 0)")
    add("--temperature", type=float, default=0.7, help="0 takes the most probable token (default: 0.7)")
    add("--top_k", type=int, default=40, help="0 for all tokens (default: 40)")
    add("--top_p", type=float, default=1.0, help="nucleus (default: 1, all tokens)")
    add("--new_tokens", type=int, default=512, help="the most tokens of a sample (default: 512)")
    add("--seed", type=int, default=0, help="of all draws (default: 0)")
    add("--iteration", type=int, default=1, help="of the loop; others draw otherwise (default: 1)")
    add("--group_samples", type=int, default=512, help="samples that are answered together (default: 512)")
    add("--prompt_file", default="", help="file whose text stands before each prompt, such as worked examples")
    add("--max_bad_share", type=float, default=0.01, help="share of failed requests that stops the job (default: 0.01)")
    add("--overwrite", action="store_true", help="start over")


def _grade(job: argparse.ArgumentParser) -> None:
    """The verdict of each sample; generated programs run in a sandbox (see shammie doctor)."""
    add = job.add_argument
    add("--problems", required=True, help="the file of problems that were sampled")
    add("--samples", required=True, help="folder of the samples")
    add("--output", required=True, help="folder for the verdicts")
    add("--timeout_s", type=float, default=4.0, help="processor seconds of each program (default: 4)")
    add("--second_opinion", action="store_true", help="ask both judges of boxed answers, and count where they differ")
    add("--threads", type=int, default=0, help="verdicts at a time in each worker process (default: its processors)")
    add("--overwrite", action="store_true", help="start over")


def _select(job: argparse.ArgumentParser) -> None:
    """What to fine-tune on: distinct right solutions, at most so many of a problem; a folder of pairs."""
    add = job.add_argument
    add("--problems", required=True, help="the file of problems that were sampled")
    add("--graded", nargs="+", required=True, help="folders of the verdicts; of samples of other numbers each")
    add("--codec", required=True, help="file of the codec of the model that will be tuned, or default, or bytes")
    add("--output", required=True, help="folder for pairs, kept.jsonl and dropped.jsonl")
    add("--cap", type=int, default=10, help="most solutions of a problem (default: 10)")
    add("--seed", type=int, default=0, help="of the choice among more (default: 0)")
    add("--distinct", default="text", help="what makes two the same: text or equations (default: text)")
    add("--with_human", action="store_true", help="add the problems' own solutions")
    add("--max_tokens", type=int, default=0, help="leave out longer pairs (default: none)")
    add("--prompt_file", default="", help="what stood before each prompt in sampling: it is trained with")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; what it counted goes to stdout as one JSON object."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        arguments, beam_flags = parser().parse_with_flags(words)
        if beam_flags and arguments.job in ("problems", "select"):
            raise UserError(f"unexpected argument {beam_flags[0]!r}", f"see {PROGRAM} {arguments.job} --help")
        print(json.dumps(_JOBS[arguments.job](arguments, beam_flags), indent=2))

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


def convert(arguments: argparse.Namespace, _: Sequence[str]) -> dict[str, Any]:
    """`problems`."""
    from beam_jobs.rest_em.datasets import load_all, ungradable

    found = load_all(arguments.input, arguments.format)
    told = {"problems": len(found), "without_reference": len(ungradable(found))}
    write_records(arguments.output, found)
    return told | (_checked(found, arguments) if arguments.check else {})


def _checked(problems: Sequence[Problem], arguments: argparse.Namespace) -> dict[str, Any]:
    """What `problems --check` adds; which solutions fail goes beside the output."""
    from beam_jobs.rest_em.datasets import failing_solutions
    from beam_jobs.rest_em.verifiers import Verifiers
    from shammie.files import canonical_json, write_bytes
    from shammie.processors import processors

    if not arguments.timeout_s > 0:
        raise UserError(f"timeout_s={arguments.timeout_s} is not above 0", "give seconds")
    with Verifiers(processors(), timeout_s=arguments.timeout_s) as verifiers:
        failed = failing_solutions(problems, verifiers)
    lines = [canonical_json({"id": one, "reason": reason}) + "\n" for one, reason in failed.items()]
    write_bytes(f"{arguments.output}.failed.jsonl", "".join(lines).encode())
    solutions = sum(bool(one.solution) for one in problems)
    return {
        "without_solution": len(problems) - solutions,
        "solutions_passed": solutions - len(failed),
        **{f"solutions_failed/{reason}": count for reason, count in sorted(Counter(failed.values()).items())},
    }


def sample(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> dict[str, Any]:
    """`sample`."""
    from beam_jobs.inference.endpoint import EndpointConfig
    from beam_jobs.inference.requests import Generation
    from beam_jobs.rest_em.sample import LocalModel, SampleConfig, run
    from models.lm.decoding import Sampling

    a = arguments
    if bool(a.model) == bool(a.endpoint):
        raise UserError("give either --model or --endpoint", "one of them answers")
    if a.model and not a.codec:
        raise UserError("--model needs --codec", "give the codec that its ids are made with")
    if a.endpoint and not a.endpoint_model:
        raise UserError("--endpoint needs --endpoint_model", "give the name that the server lists under /models")
    local = LocalModel(a.model, a.codec)
    served = a.endpoint and EndpointConfig(
        url=a.endpoint,
        model=a.endpoint_model,
        api=a.api,
        system_prompt=a.system_prompt,
        stop=tuple(a.stop),
        concurrency=a.concurrency,
        requests_per_s=a.requests_per_s,
        attempts=a.attempts,
        cache=_cache_of(a),
        send_top_k=not a.no_top_k,
    )
    try:
        sampling = Sampling(temperature=a.temperature, top_k=a.top_k, top_p=a.top_p)
    except ValueError as error:
        raise UserError(str(error), "change that flag") from error
    config = SampleConfig(
        problems=a.problems,
        output=a.output,
        model=served or local,
        generation=Generation(sampling, a.new_tokens),
        samples=a.samples,
        first_sample=a.first_sample,
        seed=a.seed,
        iteration=a.iteration,
        group_samples=a.group_samples,
        prompt_prefix=_text_of(a.prompt_file),
        max_bad_share=a.max_bad_share,
        overwrite=a.overwrite,
    )
    return run(config, beam_flags)["counters"]


def _cache_of(arguments: argparse.Namespace) -> str:
    """The folder of a server's answers; "" for none."""
    a = arguments
    if a.no_cache and a.cache:
        raise UserError(f"--no_cache and --cache {a.cache!r} contradict each other", "give one of them")
    if a.no_cache or not is_local(a.output):
        return a.cache or ""
    return a.output.rstrip("/") + ".answers" if a.cache is None else a.cache


def _text_of(path: str) -> str:
    """The text of a prompt file; "" without one."""
    try:
        return read_bytes(path).decode() if path else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8", "convert the file") from error


def grade(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> dict[str, Any]:
    """`grade`."""
    from beam_jobs.rest_em.grade import GradeConfig, run

    names = ("problems", "samples", "output", "timeout_s", "threads", "second_opinion", "overwrite")
    return run(GradeConfig(**{name: getattr(arguments, name) for name in names}), beam_flags)["counters"]


def select(arguments: argparse.Namespace, _: Sequence[str]) -> dict[str, Any]:
    """`select`."""
    from beam_jobs.rest_em.selecting import write_selection

    a = arguments
    return write_selection(
        problems=a.problems,
        graded=a.graded,
        codec=a.codec,
        output=a.output,
        cap=a.cap,
        seed=a.seed,
        distinct=a.distinct,
        with_human=a.with_human,
        max_tokens=a.max_tokens,
        prompt_prefix=_text_of(a.prompt_file),
    )


_JOBS = {"problems": convert, "sample": sample, "grade": grade, "select": select}

if __name__ == "__main__":
    sys.exit(main())
