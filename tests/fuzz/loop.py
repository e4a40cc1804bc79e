"""One group of parsers under fire: inputs by mutation and by Hypothesis, and whatever is no answer of the contract."""

import hashlib
import mmap
import re
import resource
import struct
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from shammie.errors import UserError
from tests.fuzz.mutation import mutated

SLOWEST_S = 5.0  # one input
MOST_GROWTH_BYTES = 512 << 20  # of this process by one input
LONGEST_MESSAGE = 4000
CORPUS = 300
SLOT_BYTES = 4 << 20
_HEAD = struct.Struct("<QdQ64s")  # inputs so far, when the last began, its size, its case's name


@dataclass(frozen=True)
class Case:
    """A parser of outside bytes.

    Attributes:
        name: of the parser.
        seeds: valid inputs.
        parse: reads one; a text that it returns tells what it set aside.
        refuses: the exceptions that its contract names.
        change: changes the inside of an input, where bytes alone would only meet a checksum.
        seal: puts right what a change of bytes has made wrong on purpose-built checks, such as a checksum.
        words: byte strings that mean something to the parser.
        strategy: of Hypothesis, giving bytes.
        batch: inputs before the next parser's turn; fewer where one takes long.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    parse: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = (UserError,)
    change: Callable[[bytes, Random], bytes] | None = None
    seal: Callable[[bytes], bytes] | None = None
    words: tuple[bytes, ...] = ()
    strategy: Any = None
    batch: int = 200


@dataclass
class Report:
    """What a group met."""

    executions: int = 0
    seconds: float = 0.0
    accepted: int = 0
    errors: set[str] = field(default_factory=set)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, case: str, what: str, data: bytes, told: str = "") -> None:
        """Keeps a finding, the shortest input of its kind."""
        key = f"{case}: {what}"
        if key not in self.findings or len(data) < len(self.findings[key]["data"]):
            self.findings[key] = {"case": case, "what": what, "data": data, "told": told}


class Slot:
    """The input that is being parsed, in a file that outlives the process."""

    def __init__(self, path: str | Path) -> None:
        with open(path, "a+b") as file:
            file.truncate(SLOT_BYTES)
            self._map = mmap.mmap(file.fileno(), SLOT_BYTES)

    def put(self, number: int, case: str, data: bytes) -> None:
        """Before an input is parsed."""
        kept = data[: SLOT_BYTES - _HEAD.size]
        self._map[_HEAD.size : _HEAD.size + len(kept)] = kept
        self._map[: _HEAD.size] = _HEAD.pack(number, time.monotonic(), len(kept), case.encode()[:64])

    def get(self) -> tuple[int, float, str, bytes]:
        """Inputs so far, when the last began, its case and itself."""
        number, began, size, case = _HEAD.unpack(self._map[: _HEAD.size])
        return number, began, case.rstrip(b"\0").decode(), self._map[_HEAD.size : _HEAD.size + size]


def judged(case: Case, data: bytes, report: Report) -> str:
    """Parses one input; returns what became of it in a word or so, the same for inputs of one kind."""
    before, began, worked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    outcome = "accepted"
    try:
        result = case.parse(data)
        outcome = f"accepted{': ' + _kind(result) if isinstance(result, str) and result else ''}"
        report.accepted += 1
    except case.refuses as error:
        outcome = _checked(case, data, error, report)
    except Exception as error:
        where = _ours(error)
        outcome = f"{type(error).__name__} at {where}"
        report.add(case.name, outcome, data, "".join(traceback.format_exception(error))[-3000:])
    # on a busy machine the clock runs on while nothing is done, and several threads work faster than the clock
    took = min(time.perf_counter() - began, time.process_time() - worked)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if took > SLOWEST_S:
        report.add(case.name, "slow", data, f"{took:.1f} s")
    if grown > MOST_GROWTH_BYTES:
        report.add(case.name, "memory", data, f"{grown >> 20} MiB")
    report.executions += 1
    return outcome


def _checked(case: Case, data: bytes, error: Exception, report: Report) -> str:
    """Whether a refusal can be shown: it is not long, and moves no terminal."""
    text = str(error)
    if len(text) > LONGEST_MESSAGE:
        report.add(case.name, f"message of over {LONGEST_MESSAGE} characters at {_ours(error)}", data, text[:300])
    if isinstance(error, UserError) and any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        report.add(case.name, f"message with control characters at {_ours(error)}", data, repr(text[:300]))
    return f"{type(error).__name__}: {_kind(text)}"


def _kind(text: str) -> str:
    """A message without what differs from input to input."""
    return re.sub(r"[0-9]+|'.*'", "#", text)[:80]


def _ours(error: BaseException) -> str:
    """The innermost line of ours that an error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    parts = ("/shammie/", "/models/", "/seqio_tasks/", "/beam_jobs/", "/workflows/")
    own = [one for one in frames if any(part in one.filename for part in parts) and "site-packages" not in one.filename]
    last = own[-1] if own else frames[-1]
    return f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno} {last.name}"


def fuzz(
    cases: Sequence[Case], seconds: float, seed: int, slot: Slot, first: int = 0, most: int | None = None
) -> Report:
    """Feeds parsers for some seconds, each in its turn; the same seed gives the same inputs in the same order.

    Args:
        cases: the parsers.
        seconds: all together.
        seed: of all draws.
        slot: holds the input that is being parsed.
        first: inputs before these, by a process that died of one.
        most: inputs after which it ends, if the time has not.
    """
    report, end, began = Report(), time.monotonic() + seconds, time.monotonic()
    corpora = [_Corpus(case, Random(f"{seed}/{first}/{case.name}")) for case in cases]
    for one in corpora:
        for data in one.seeds:
            slot.put(first + report.executions, one.case.name, data)
            if not judged(one.case, data, report).startswith("accepted"):
                report.add(one.case.name, "a seed that is no valid input", data)
    turn = 0
    while time.monotonic() < end:
        one = corpora[turn % len(corpora)]
        by_hypothesis = one.case.strategy is not None and turn // len(corpora) % 3 == 2
        source = one.by_hypothesis(f"{seed}/{first}/{turn}") if by_hypothesis else one.by_mutation()
        for data in islice(source, one.case.batch):  # a count, not a time, so that a seed gives the same inputs
            slot.put(first + report.executions, one.case.name, data)
            one.learn(data, judged(one.case, data, report))
            if time.monotonic() > end or report.executions == most:
                break
        if report.executions == most:
            break
        turn += 1
    report.errors = {f"{one.case.name} {outcome}" for one in corpora for outcome in one.outcomes}
    report.seconds = time.monotonic() - began
    return report


class _Corpus:
    """Inputs that were answered in different ways, which is what new ones are made of."""

    def __init__(self, case: Case, random: Random) -> None:
        self.case, self.random = case, random
        self.seeds = list(case.seeds())
        self.inputs = list(self.seeds)
        self.outcomes: set[str] = set()

    def by_mutation(self) -> Any:
        while True:
            data = self.random.choice(self.inputs if self.random.random() < 0.5 else self.seeds)
            if self.case.change is not None and self.random.random() < 0.6:
                data = self.case.change(data, self.random)
                if self.random.random() < 0.7:
                    yield data
                    continue
            data = mutated(data, self.seeds, self.case.words, self.random)
            if self.case.seal is not None and self.random.random() < 0.7:
                data = self.case.seal(data)
            yield data

    def by_hypothesis(self, seed: str) -> Any:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import seed as seeded

        found: list[bytes] = []

        def keep(data: bytes) -> None:
            found.append(data)

        once = settings(
            max_examples=50,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
        )
        seeded(int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16))(once(given(self.case.strategy)(keep)))()
        return found

    def learn(self, data: bytes, outcome: str) -> None:
        if outcome not in self.outcomes and len(self.inputs) < CORPUS:
            self.outcomes.add(outcome)
            self.inputs.append(data)
