"""From verdicts to what is trained on: a folder of pairs, and what was left out, with reasons.

kept.jsonl      the chosen samples (`Graded`)
dropped.jsonl   all others, each with its reason
*.pairs.*       prompts and solutions of the chosen ones, as `seqio_tasks.pairs` has them: what training reads
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from beam_jobs.rest_em.sample import problems_of
from beam_jobs.sharded import read_all
from models.equal_info.load import load_codec
from models.rest_em.records import Graded, write_records
from models.rest_em.selection import select
from seqio_tasks.pairs import Pair, about_name, pairs_name, write_pairs_text
from shammie.errors import UserError
from shammie.files import join, make_directory, remove, write_json

SPLIT, COUNTED = "train", "selection.json"


def write_selection(
    *,
    problems: str,
    graded: Sequence[str],
    codec: str,
    output: str,
    cap: int = 10,
    seed: int = 0,
    distinct: Literal["text", "equations"] = "text",
    with_human: bool = False,
    max_tokens: int = 0,
    prompt_prefix: str = "",
) -> dict[str, Any]:
    """Chooses the solutions to fine-tune on.

    Args:
        problems: file of the problems that were sampled.
        graded: folders of their samples' verdicts; no two may hold samples of one problem and number.
        codec: file or word of the codec of the model that is tuned.
        output: folder to write into.
        cap: the most solutions of a problem.
        seed: of the choice among more.
        distinct: see `models.rest_em.selection`.
        with_human: add the problems' own solutions.
        max_tokens: longer pairs are left out; 0 for no limit.
        prompt_prefix: what stood before each prompt in sampling, such as worked examples: the paper fine-tunes with
            it as well (arXiv:2312.06585).

    Returns:
        What was counted.

    Raises:
        UserError: nothing was chosen; or a sample's problem is not among the problems.
    """
    known = {one.id: one for one in problems_of(problems)}
    samples = [one for folder in graded for one in read_all(folder, Graded)]
    for sample in samples:
        if sample.problem not in known:
            raise UserError(f"a sample is of the problem {sample.problem!r}, which is not given", "check --problems")
    chosen = select(samples, cap=cap, seed=seed, key=distinct)
    pairs = [(prompt_prefix + known[one.problem].prompt, one.text) for one in chosen.kept]
    if with_human:
        pairs += [(prompt_prefix + one.prompt, one.solution) for one in known.values() if one.solution]
    make_directory(output)
    write_records(join(output, "kept.jsonl"), chosen.kept)
    write_records(join(output, "dropped.jsonl"), chosen.dropped)
    left_out = _write(output, pairs, codec, max_tokens, chosen.reasons)
    counted = {
        "problems": chosen.problems,
        "covered": chosen.covered,
        "kept": len(chosen.kept),
        "pairs": len(pairs) - sum(left_out.values()),
        **{f"dropped/{why}": count for why, count in chosen.reasons.items()},
        **{f"left_out/{why}": count for why, count in left_out.items()},
    }
    write_json(join(output, COUNTED), counted)
    return counted


def write_pairs(output: str, pairs: Sequence[Pair], codec: str, *, max_tokens: int = 0) -> dict[str, int]:
    """Writes pairs; returns how many were left out, by reason.

    Raises:
        UserError: there are none, or all were left out.
    """
    return _write(output, pairs, codec, max_tokens, {})


def _write(
    output: str, pairs: Sequence[Pair], codec: str, max_tokens: int, dropped: Mapping[str, int]
) -> dict[str, int]:
    written = write_pairs_text(output, SPLIT, pairs, load_codec(codec), max_tokens=max_tokens)
    if written.pairs:
        return written.left_out
    for name in (about_name(SPLIT), pairs_name(SPLIT)):
        remove(join(output, name))  # a split without pairs would look like a finished one
    told = ", ".join(f"{count} {reason}" for reason, count in {**dropped, **written.left_out}.items())
    cure = "raise max_tokens" if pairs else "sample more, or begin with easier problems or a better base"
    raise UserError(f"no solution was selected{f' ({told})' if told else ''}", cure)
