"""A fault and what came of it: one row of the table, judged against the job's clean run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workflows.bench.table import Table
from workflows.chaos.processes import Ended
from workflows.chaos.subject import Clean, Subject, files_of

PASSED, FAILED, SKIPPED = "pass", "FAIL", "skip"


@dataclass(frozen=True)
class Row:
    """What a fault did.

    Attributes:
        fault: what was done.
        job: to which.
        point: when.
        exits: how each process of the job ended until one ended well.
        told: the last line of the first.
        resume_s: seconds of all runs after the first.
        clean_s: seconds of an undisturbed run.
        redone: the most work, as a share of the whole, that was done again.
        equal: whether every output has the bytes of a clean run.
        orphans: files that a clean run does not leave.
        lost: records of a clean run that are missing.
        doubled: records that are there more often than in a clean run.
        verdict: pass, FAIL or skip.
        why: of a failure or skip.
    """

    fault: str
    job: str
    point: str
    exits: str = ""
    told: str = ""
    resume_s: float = 0.0
    clean_s: float = 0.0
    redone: float = 0.0
    equal: bool = False
    orphans: int = 0
    lost: int = 0
    doubled: int = 0
    verdict: str = PASSED
    why: str = ""


@dataclass(frozen=True)
class Fault:
    """What a scenario did, before its job ran again.

    Attributes:
        what: in words.
        point: when, in words.
        ends: how the processes that the fault met ended.
        wrong: what is wrong with that already, such as an error that does not say what to do; "" for nothing.
        redone: the share of the work that must be done again; None where nothing was in work.
        leaves: what the names of files begin with that are there because of it, on purpose.
    """

    what: str
    point: str
    ends: Sequence[Ended]
    wrong: str = ""
    redone: float = 0.0
    leaves: tuple[str, ...] = ()


def judged(subject: Subject, clean: Clean, out: Path, fault: Fault, resumed: Sequence[Ended]) -> Row:
    """The row of a fault whose job was resumed to its end, or to no end."""
    row = {
        "fault": fault.what,
        "job": subject.name,
        "point": fault.point,
        "exits": ", ".join(one.exit for one in (*fault.ends, *resumed)),
        "told": fault.ends[0].told if fault.ends else "",
        "resume_s": round(sum(one.seconds for one in resumed), 2),
        "clean_s": round(clean.seconds, 2),
        "redone": round(fault.redone, 4),
    }
    if resumed[-1].code != 0:
        return Row(**row, verdict=FAILED, why=f"the job does not resume: {resumed[-1].told}")
    try:
        outputs, records = subject.outputs(out), subject.records(out)
    except Exception as error:  # whatever is wrong with the files, it is this row's failure
        return Row(**row, verdict=FAILED, why=f"its output cannot be read: {error}")
    orphans = sorted(name for name in files_of(out) - clean.files if not name.startswith(fault.leaves))
    differing = sorted(n for n in {*outputs, *clean.outputs} if outputs.get(n) != clean.outputs.get(n))
    lost, doubled = (clean.records - records).total(), (records - clean.records).total()
    wrong = [
        fault.wrong,
        f"differs: {', '.join(differing[:3])}" if differing else "",
        f"orphans: {', '.join(orphans[:3])}" if orphans else "",
        f"{lost} records lost, {doubled} doubled" if lost or doubled else "",
    ]
    why = "; ".join(filter(None, wrong))
    return Row(
        **row,
        equal=not differing,
        orphans=len(orphans),
        lost=lost,
        doubled=doubled,
        verdict=FAILED if why else PASSED,
        why=why,
    )


def table_of(rows: Sequence[Row], notes: Sequence[str]) -> Table:
    """The table for a terminal."""
    columns = ["job", "fault", "at", "exits", "resume s", "clean s", "redone", "equal"]
    columns += ["orphans / lost / doubled", "verdict"]
    shown = [
        [
            row.job,
            row.fault,
            row.point,
            row.exits,
            row.resume_s,
            row.clean_s,
            f"{row.redone:.1%}",
            "yes" if row.equal else "-" if row.verdict == SKIPPED else "NO",
            f"{row.orphans} / {row.lost} / {row.doubled}",
            row.verdict,
        ]
        for row in rows
    ]
    whys = [why_of(row) for row in rows if row.why]
    return Table("faults, and what came of them", columns, shown, notes=[*notes, *whys])


def why_of(row: Row) -> str:
    """Why a row failed or was skipped, in a line."""
    return f"{row.verdict}: {row.job}, {row.fault}, {row.point}: {row.why}"


def to_json(rows: Sequence[Row], **about: Any) -> dict[str, Any]:
    """The table as plain JSON."""
    return {**about, "failed": sum(row.verdict == FAILED for row in rows), "rows": [asdict(row) for row in rows]}
