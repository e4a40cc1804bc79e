"""From verdicts to what is trained on: a folder of pairs, and what was left out, with reasons.

kept.jsonl      the chosen samples (`Graded`)
dropped.jsonl   all others, each with its reason
*.pairs.*       prompts and solutions of the chosen ones, as `seqio_tasks.pairs` has them: what training reads
"""

from collections.abc import Sequence
from typing import Any, Literal

from beam_jobs.rest_em.sample import problems_of
from beam_jobs.sharded import read_all
from models.equal_info.load import load_codec
from models.rest_em.records import Graded, write_records
from models.rest_em.selection import select
from seqio_tasks.pairs import Pair, write_pairs_text
from shammie.errors import UserError
from shammie.files import join, make_directory, write_json

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
) -> dict[str, Any]:
    """Chooses the solutions to fine-tune on.

    Args:
        problems: file of the problems that were sampled.
        graded: folders of their samples' verdicts.
        codec: file or word of the codec of the model that is tuned.
        output: folder to write into.
        cap: the most solutions of a problem.
        seed: of the choice among more.
        distinct: see `models.rest_em.selection`.
        with_human: add the problems' own solutions.
        max_tokens: longer pairs are left out; 0 for no limit.

    Returns:
        What was counted.

    Raises:
        UserError: nothing was chosen.
    """
    known = {one.id: one for one in problems_of(problems)}
    chosen = select([one for folder in graded for one in read_all(folder, Graded)], cap=cap, seed=seed, key=distinct)
    pairs = [(known[one.problem].prompt, one.text) for one in chosen.kept]
    if with_human:
        pairs += [(one.prompt, one.solution) for one in known.values() if one.solution]
    make_directory(output)
    write_records(join(output, "kept.jsonl"), chosen.kept)
    write_records(join(output, "dropped.jsonl"), chosen.dropped)
    left_out = write_pairs(output, pairs, codec, max_tokens=max_tokens)
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
        UserError: there are none.
    """
    if not pairs:
        raise UserError("no solution was selected", "sample more, or begin with easier problems or a better base")
    return write_pairs_text(output, SPLIT, pairs, load_codec(codec), max_tokens=max_tokens).left_out
