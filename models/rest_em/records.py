"""What travels through the loop: problems, samples of their solutions, and verdicts on these; a line of JSON each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from shammie.errors import UserError
from shammie.files import canonical_json, json_of, read_bytes, write_bytes

VerifierName = Literal["number", "boxed", "python", "stdin"]
R = TypeVar("R", bound="Record")
VERIFIERS: tuple[VerifierName, ...] = ("number", "boxed", "python", "stdin")


@dataclass(frozen=True)
class Record:
    """Base of the records: plain values as a JSON object, whose fields without a default must be there."""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; lists become tuples.

        Raises:
            ValueError: a field is missing, or one is not known.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"a {cls.__name__.lower()} is a JSON object, not {value!r:.80}")
        kinds = _kinds(cls)
        for name, one in value.items():
            if name not in kinds:
                raise ValueError(f"{cls.__name__} has no field {name!r:.80}")
            if type(one) not in kinds[name]:
                wanted = " or ".join(sorted(kind.__name__ for kind in kinds[name]))
                raise ValueError(f"{cls.__name__}.{name} is {one!r:.80}, not of type {wanted}")
        try:
            return cls(**{name: _frozen(one) for name, one in value.items()})
        except OverflowError as error:
            raise ValueError("a number in it is too large") from error
        except TypeError as error:
            raise ValueError(str(error).replace(f"{cls.__name__}.__init__() ", "")) from error


@cache
def _kinds(record: type[Record]) -> dict[str, frozenset[type]]:
    """The types that JSON may have for each field of a record."""
    hints = get_type_hints(record)
    return {one.name: frozenset(_types(hints[one.name])) for one in fields(record)}


def _types(hint: Any) -> Iterator[type]:
    origin = get_origin(hint) or hint
    if origin is Literal:
        yield from {type(one) for one in get_args(hint)}
    elif origin in (Union, UnionType):
        for one in get_args(hint):
            yield from _types(one)
    else:
        yield from {tuple: (list, tuple), float: (float, int)}.get(origin, (origin,))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Problem(Record):
    """A problem and how its solutions are verified.

    Attributes:
        id: unique within its dataset, such as "arithmetic/train/000012".
        prompt: what the model reads, to its last byte.
        verifier: "number" and "boxed" compare a final answer with `answer`; "python" runs `tests` against the
            functions that a solution defines; "stdin" runs it as a program for each of `cases`.
        family: the kind of task, such as "arithmetic" or "MATH/Algebra".
        level: how hard it is said to be, from 1; 0 where that is not known.
        answer: the reference answer, as text.
        tests: Python statements, none of which may raise.
        cases: pairs of what a program reads from stdin and what it must print.
        prefix: Python that stands before a solution to make it a program, such as the head of the asked function.
        solution: one that a human, or the problem's maker, wrote; "" where there is none.
    """

    id: str
    prompt: str
    verifier: VerifierName
    family: str = ""
    level: int = 0
    answer: str = ""
    tests: tuple[str, ...] = ()
    cases: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    solution: str = ""

    def __post_init__(self) -> None:
        if self.verifier not in VERIFIERS:
            raise ValueError(f"verifier {self.verifier!r} is none of {', '.join(VERIFIERS)}")


@dataclass(frozen=True)
class Sample(Record):
    """A solution that a model wrote.

    Attributes:
        problem: the problem's id.
        sample: its number among the problem's samples, from 0.
        text: the solution, without the prompt.
        tokens: that it took, its end included.
        finished: whether the model ended it, rather than the limit of tokens.
        log_probability: of the tokens under the model itself (temperature 1), in nats; None where it is not known.
    """

    problem: str
    sample: int
    text: str
    tokens: int
    finished: bool
    log_probability: float | None = None


@dataclass(frozen=True)
class Graded(Record):
    """A sample with its verdict.

    Attributes:
        problem: as in `Sample`.
        sample: as in `Sample`.
        text: as in `Sample`.
        tokens: as in `Sample`.
        finished: as in `Sample`.
        passed: the binary reward.
        reason: why it did not pass, in a word or two that can be counted, such as "wrong answer"; "" where it passed.
        answer: the final answer that was found in it, in normal form, for majority votes; "" where there is none.
        verifier: name and version of what judged, such as "number@1".
    """

    problem: str
    sample: int
    text: str
    tokens: int
    finished: bool
    passed: bool
    reason: str
    answer: str
    verifier: str


def to_lines(records: Iterable[Record]) -> bytes:
    """Records as lines of canonical JSON: the same records give the same bytes."""
    return b"".join(canonical_json(one.to_json()).encode() + b"\n" for one in records)


def write_records(path: str, records: Iterable[Record]) -> None:
    """Writes a file of them, whole or not at all."""
    write_bytes(path, to_lines(records))


def read_records(path: str, kind: type[R]) -> list[R]:
    """The records of a file.

    Raises:
        UserError: a line is no such record; names the line.
    """
    found = []
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            found.append(kind.from_json(json_of(line)))
        except ValueError as error:
            raise UserError(f"{path} line {number}: {error}", f"each line is a {kind.__name__} as JSON") from error
    return found
