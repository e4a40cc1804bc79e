"""What a run would do, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shammie.files import canonical_json
from workflows import dag_store
from workflows.dag_step import Source, Step, in_order
from workflows.provenance import source_hash

State = Literal["cached", "stale", "missing"]


@dataclass(frozen=True)
class Row:
    """One step of a plan.

    Args:
        step: the step.
        state: cached (finished and whole), stale (only other configs or inputs of it are there) or missing.
        will_run: whether a run would run it.
        why: what makes it stale, missing or suspicious.
        warning: a cached step whose code or input bytes differ from those that made it; `--strict` reruns it.
        outlook: how far a step that will run is, in its own words (`Step.outlook`).
    """

    step: Step
    state: State
    will_run: bool
    why: str = ""
    warning: str = ""
    outlook: str = ""


def plan(targets: Iterable[Step], out: str, *, strict: bool = False) -> list[Row]:
    """What a run of the targets would do, inputs first. Reads only.

    Args:
        targets: the steps wanted.
        out: the output directory; it need not exist.
        strict: as in `run`.
    """
    targets = list(targets)
    steps = in_order(targets)
    records = dag_store.load_records(out)
    own = {step.identity: dag_store.record_of(out, step) for step in steps}
    warnings: dict[str, str] = {}
    rerun: set[str] = set()
    for step in steps:
        record = own[step.identity]
        if record is None:
            continue
        warnings[step.identity] = doubt(step, record, own)
        remade = any(given.identity in rerun for given in step.inputs.values())
        if strict and (warnings[step.identity] or remade):
            rerun.add(step.identity)
    wanted = _wanted(targets, {identity for identity, record in own.items() if record and identity not in rerun})
    rows = []
    for step in steps:
        will_run = step.identity in wanted
        if own[step.identity]:
            warning = warnings[step.identity]
            rows.append(Row(step, "cached", will_run, "--strict" if will_run else "", warning))
            continue
        outlook = step.outlook(out) if will_run and step.outlook else ""
        broken = dag_store.damage(out, step)
        others = [record for record in records if record["name"] == step.name and record["identity"] != step.identity]
        if broken or not others:
            rows.append(Row(step, "missing", will_run, broken or "never finished here", outlook=outlook))
        else:
            rows.append(Row(step, "stale", will_run, difference(step, others), outlook=outlook))
    return rows


def _wanted(targets: Iterable[Step], done: set[str]) -> set[str]:
    wanted: set[str] = set()

    def want(step: Step) -> None:
        if step.identity in done or step.identity in wanted:
            return
        wanted.add(step.identity)
        for given in step.inputs.values():
            if isinstance(given, Step):
                want(given)

    for target in targets:
        want(target)
    return wanted


def doubt(step: Step, record: Mapping[str, Any], records: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Why a cached step may not be what its code and inputs would make now; "" if nothing speaks for that.

    Args:
        step: the step.
        record: its own record.
        records: identity to record, None where not finished, for its input steps.
    """
    reasons = []
    if record.get("source") != source_hash(step.run, step.code):
        reasons.append("its source code changed since")
    for word, given in step.inputs.items():
        made = records.get(given.identity)
        then = record["inputs"].get(word, {}).get("outputs")
        if isinstance(given, Step) and made and then != dag_store.digest_of_outputs(dict(made)):
            reasons.append(f"its input {word} was made again with other bytes")
    return "; ".join(reasons)


def difference(step: Step, others: Iterable[Mapping[str, Any]]) -> str:
    """How a step differs from the nearest record of the same name, field by field."""
    return "; ".join(min((_fields(step, record) for record in others), key=len))


def _fields(step: Step, record: Mapping[str, Any]) -> list[str]:
    found = []
    if record["version"] != step.version:
        found.append(f"version {record['version']} → {step.version}")
    before, now = dict(record["config"]), dict(step.config)
    found += [
        f"{key} {_show(before, key)} → {_show(now, key)}"
        for key in sorted({*before, *now})
        if _show(before, key) != _show(now, key)
    ]
    for word in sorted({*record["inputs"], *step.inputs}):
        then, given = record["inputs"].get(word), step.inputs.get(word)
        if given is None or then is None:
            found.append(f"input {word} {'gone' if given is None else 'new'}")
        elif then["identity"] != given.identity:
            found.append(f"input {word} changed{_files(then, given) if isinstance(given, Source) else ''}")
    return found


def _files(then: Mapping[str, Any], given: Source) -> str:
    before, now = then.get("manifest", {}), given.manifest
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if not changed:
        return ""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f" ({changed[0]}{more})"


def _show(config: Mapping[str, Any], key: str) -> str:
    if key not in config:
        return "absent"
    text = canonical_json(config[key])
    return text if len(text) <= 40 else f"{text[:37]}…"
