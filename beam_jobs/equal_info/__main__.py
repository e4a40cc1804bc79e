"""The command: python -m beam_jobs.equal_info --input 'TEXT/*.jsonl' --output FOLDER [flags] [Beam's flags]."""

import json
import sys
from collections.abc import Sequence

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people

PROGRAM = "beam_jobs.equal_info"


def parser() -> Parser:
    """The job's own flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="Text to SeqIO-readable shards of model ids, by an Equal-Info codec.",
        epilog="All other flags go to Beam, such as --runner=FlinkRunner or --direct_num_workers=4. "
        "The same command resumes a job that was stopped. Text that TFDS has prepared is "
        "tfds:NAME[/CONFIG][:VERSION[/SPLIT[/FEATURE]]][@FOLDER], such as tfds:c4/en:3.1.0/validation; FOLDER is "
        "TFDS_DATA_DIR or ~/tensorflow_datasets where none is given.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--input", nargs="+", required=True, help="files, folders, globs, tfds:…; text, JSONL, Parquet, records; .gz")
    add("--output", required=True, help="folder for the dataset; its splits share it")
    add("--codec", default="default", help="a codec's file, or bytes (default: the one that ships with shammie)")
    add("--split", default="train", help="name of the split (default: train)")
    add("--num_shards", type=int, default=0, help="files to write (default: one per 64 MB of input)")
    add("--seed", type=int, default=0, help="of the shuffle (default: 0)")
    add("--format", default="auto", help="text, jsonl, parquet, tfrecord or array_record (default: by the ending)")
    add("--documents", default="line", help="what a text document is: line or file (default: line)")
    add("--text_field", default="text", help="JSONL field, Parquet column or TFRecord feature (default: text)")
    add("--output_format", default="tfrecord", help="tfrecord or array_record (default: tfrecord)")
    add("--example_bytes", type=int, help="cut joined documents into examples of this size; the paper's is 10240")
    add("--group_documents", type=int, default=128, help="documents that are joined for that (default: 128)")
    add("--max_example_bytes", type=int, default=64 << 20, help="longer documents are continued (default: 64 MB)")
    add("--unit_bytes", type=int, default=32 << 20, help="size of a work unit (default: 32 MB)")
    add("--max_bad_share", type=float, default=0.01, help="share of bad records that stops the job (default: 0.01)")
    add("--max_bad_sources", type=int, default=0, help="damaged files that are tolerated (default: 0)")
    add("--threads", type=int, default=1, help="of the codec, in each worker (default: 1)")
    add("--overwrite", action="store_true", help="remove this split's files and start over")
    add(
        "--dry_run", action="store_true", help="estimate documents, tokens, bytes and time from a sample; write nothing"
    )
    add("--scale", type=float, default=1.0, help="for --dry_run: take the input as so many times as large (default: 1)")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the summary goes to stdout as one JSON object."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        flags = parser()
        arguments, beam_flags = flags.parse_known_args(words)
        from beam_jobs.equal_info.config import JobConfig
        from beam_jobs.units import ReadConfig

        stray = [flag for flag in beam_flags if not flag.startswith(("-", "@"))]
        if stray and beam_flags[0] == stray[0]:
            raise UserError(f"unexpected argument {stray[0]!r}", "quote globs, and name inputs after --input")
        config = JobConfig(
            input=tuple(arguments.input),
            output=arguments.output,
            codec=arguments.codec,
            split=arguments.split,
            num_shards=arguments.num_shards,
            seed=arguments.seed,
            output_format=arguments.output_format,
            example_bytes=arguments.example_bytes,
            group_documents=arguments.group_documents,
            read=ReadConfig(
                format=arguments.format,
                documents=arguments.documents,
                text_field=arguments.text_field,
                unit_bytes=arguments.unit_bytes,
                max_example_bytes=arguments.max_example_bytes,
            ),
            max_bad_share=arguments.max_bad_share,
            max_bad_sources=arguments.max_bad_sources,
            threads=arguments.threads,
            overwrite=arguments.overwrite,
        )
        from beam_jobs.runner import pipeline_options

        own = [option for action in flags._actions for option in action.option_strings]
        pipeline_options(beam_flags, own)
        if arguments.dry_run:
            from beam_jobs.equal_info.estimate import estimate, workers_of

            shown = estimate(config, scale=arguments.scale, workers=workers_of(beam_flags))
        else:
            from beam_jobs.equal_info.job import run, summary

            shown = summary(run(config, beam_flags))
        print(json.dumps(shown, indent=2))

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
