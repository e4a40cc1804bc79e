"""Files of records: released data sets of problems, our own lines of JSON, and what describes runs and datasets."""

import gzip
import json
from collections.abc import Callable
from functools import cache, partial
from random import Random
from typing import Any

from beam_jobs import sharded
from beam_jobs.rest_em.datasets import FORMATS, load_problems
from models.adversarial_arithmetic.records import Trial
from models.rest_em.records import Graded, Problem, Record, read_records, to_lines
from seqio_tasks import pairs, token_files
from shammie import lock
from tests.fuzz.loop import Case
from tests.fuzz.mutation import mutated_json_bytes
from tests.fuzz.shapes import file_of, folder
from workflows import dag_store, in_context_tables
from workflows.dag_step import Step
from workflows.train.metric_log import read_rows

_ROWS: dict[str, dict[str, Any]] = {
    "math": {"problem": "1+1?", "level": "Level 2", "type": "Algebra", "solution": "\\boxed{2}"},
    "gsm8k": {"question": "1+1?", "answer": "It is <<1+1=2>>2.\n#### 2"},
    "apps": {
        "id": 7, "question": "Add.", "solutions": '["print(1)"]', "difficulty": "interview", "starter_code": "",
        "input_output": '{"inputs": [[1, {"2": 3}]], "outputs": [[3]], "fn_name": "add"}',
    },
    "humaneval": {
        "task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n",
        "test": "def check(f):\n    assert f() == 1\n", "entry_point": "f",
    },
    "mbpp": {"task_id": 1, "text": "One.", "code": "def f(): return 1", "test_list": ["assert f() == 1"]},
    "jsonl": {
        "id": "x/1", "prompt": "p", "verifier": "stdin", "family": "f", "level": 1, "cases": [["1", "2"]],
        "solution": "print(2)",
    },
}  # fmt: skip


def _lines(data: bytes, random: Random) -> bytes:
    return b"\n".join(mutated_json_bytes(line, random) for line in data.split(b"\n"))


@cache
def _packed() -> bytes:
    return gzip.compress(bytes(1 << 24), mtime=0)


def _bomb(data: bytes, random: Random) -> bytes:
    if random.randrange(20) == 0:
        return _packed()
    return _lines(data, random)


def problems() -> list[Case]:
    """Released data sets."""

    def parse(format: str, data: bytes) -> None:
        load_problems(file_of(data, "released.jsonl"), format, on_bad=lambda name, why: None)

    found = []
    for name, row in _ROWS.items():
        line = json.dumps(row).encode()
        seeds = [line, b"[" + line + b"]", gzip.compress(line, mtime=0)]
        found.append(Case(name, partial(list, seeds), partial(parse, name), change=_bomb, batch=100))
    assert {one.name for one in found} == set(FORMATS), "a format that is not met"
    return found


def _reader(kind: type[Record]) -> Callable[[bytes], object]:
    return lambda data: read_records(file_of(data, "records.jsonl"), kind)


def _step(_: Any) -> None:
    return None


def records() -> list[Case]:
    """Our own files, as another maker may have left them."""
    step = Step("one", _step)
    run = folder() / "run"
    place = run / step.directory_name
    place.mkdir(parents=True, exist_ok=True)
    (place / "x.json").write_bytes(b"{}")
    record = {
        "name": "one", "version": 1, "identity": step.identity, "config": {}, "inputs": {}, "seconds": 1.0,
        "finished": "2026-01-01T00:00:00Z", "outputs": {"x.json": {"bytes": 2, "sha256": "0" * 64}},
    }  # fmt: skip

    def read_step(data: bytes) -> None:
        (place / "step.json").write_bytes(data)
        found = dag_store.record_of(str(run), step)
        every = dag_store.load_records(str(run))
        for one in [*every, *([found] if found else [])]:
            dag_store.digest_of_outputs(one)

    manifest = {
        "config": {"a": 1}, "digest": "0" * 64, "counters": {"records": 1},
        "shards": [{"name": "part-00000-of-00001.jsonl", "size": 0, "sha256": "0" * 64}],
    }  # fmt: skip
    job = folder() / "job"
    job.mkdir(exist_ok=True)
    (job / "part-00000-of-00001.jsonl").write_bytes(b"")
    secret = json.dumps({"id": "outside"}).encode()
    (folder() / "outside.jsonl").write_bytes(secret)

    def read_manifest(data: bytes) -> None:
        (job / sharded.MANIFEST).write_bytes(data)
        assert not sharded.read_all(str(job), Problem), "records of no shard"

    def read_lock(data: bytes) -> None:
        held = folder() / "held"
        held.mkdir(exist_ok=True)
        (held / lock.LOCK).write_bytes(data)
        with lock.holding(str(held), if_dead="go"):
            pass

    tokens = folder() / "tokens"
    about = token_files.write_tokens(str(tokens), "train", [], vocab_size=9, text_bytes=0, made_with="bytes")

    def read_tokens(data: bytes) -> None:
        (tokens / token_files.about_name("train")).write_bytes(data)
        token_files.open_tokens(str(tokens), "train")

    def read_about(data: bytes) -> None:
        (folder() / "pairs").mkdir(exist_ok=True)
        (folder() / "pairs" / pairs.about_name("train")).write_bytes(data)
        pairs.about(str(folder() / "pairs"), "train")

    told = pairs.PairsInfo(1, 2, 3, 4, 5, 6, 7, 300, "bytes", "0" * 64)
    trial = Trial("c", "v", 1, 0, 1, 0, ((3, 1), (4, 1)))
    graded = Graded("p", 0, "t", 1, True, True, "", "4", "number@1")
    problem = Problem(id="x", prompt="", verifier="number", answer="1")
    paths = (b'"../outside.jsonl"', b'"/etc/passwd"', b'"..\\u0000"')
    json_case = {"change": mutated_json_bytes, "batch": 100}
    table = b"name,size,label\n1.5,2,yes\n0,3,no\n1e3,-4,yes\n"

    def read_table(data: bytes) -> None:
        path = file_of(data, "table.csv")
        found = in_context_tables.read_examples(path, "label")
        in_context_tables.read_rows(path, found.features, "label")
        in_context_tables.classes_of(found.labels)

    words = (b'"', b"\n", b"\r", b"\x00", b",,", b"nan", b"inf", b"1e999", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 9000)
    return [
        Case("table", lambda: [table], read_table, words=words),
        Case("step", lambda: [json.dumps(record).encode()], read_step, (), **json_case),
        Case("manifest", lambda: [json.dumps(manifest).encode()], read_manifest, words=paths, **json_case),
        Case("lock", lambda: [json.dumps({"pid": 999999999, "host": lock.host()}).encode()], read_lock, **json_case),
        Case("tokens", lambda: [json.dumps(about.to_json()).encode()], read_tokens, **json_case),
        Case("pairs", lambda: [json.dumps(vars(told)).encode()], read_about, **json_case),
        Case("problem", lambda: [to_lines([problem])], _reader(Problem), change=_lines),
        Case("trial", lambda: [to_lines([trial])], _reader(Trial), change=_lines),
        Case("graded", lambda: [to_lines([graded])], _reader(Graded), change=_lines),
        Case(
            "metrics",
            lambda: [b'{"step": 1, "loss": 2.0}\n'],
            lambda data: read_rows(file_of(data, "m")),
            change=_lines,
        ),
    ]
