"""What the functions of `models.rest_em.programs` do: operations in words, in Python, and as a function."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

VARIABLES = {"int": "x", "list": "xs", "str": "s", "words": "ws"}  # how a value of each kind is called
RANGES = {"n": (1, 30), "f": (2, 9), "i": (1, 4), "r": (2, 20)}  # of the constants that are numbers
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Operation(NamedTuple):
    """One step.

    Attributes:
        takes: the kind of value it is given: int, list (of int), str or words (a list of str).
        gives: the kind it makes; also bool, of which nothing is made.
        text: in words, with {a}, {b} and {c} for constants.
        code: as a Python expression of the variable.
        apply: from the value and the constants to the result.
        constants: a letter for each, see `constant`.
        only_last: whether nothing may follow.
    """

    takes: str
    gives: str
    text: str
    code: str
    apply: Callable[..., Any]
    constants: str = ""
    only_last: bool = False


def constant(random: Random, need: str, before: Sequence[Any]) -> Any:
    """A constant: n a number, f a factor, i a small index, r a number above the last, c a letter, w two letters."""
    if need == "w":
        return random.choice(LETTERS) + random.choice(LETTERS)
    if need == "c":
        return random.choice([letter for letter in LETTERS if letter not in before])
    least, most = RANGES[need]
    return random.randint(least, most) + (before[-1] if need == "r" else 0)


def higher(value: Any) -> Any:
    """A constant that is wrong by one: the next number; of letters, the last one's successor."""
    return value + 1 if isinstance(value, int) else value[:-1] + LETTERS[(LETTERS.index(value[-1]) + 1) % 26]


def lower(value: Any) -> Any:
    """The number before; of letters, the first one's predecessor."""
    return value - 1 if isinstance(value, int) else LETTERS[LETTERS.index(value[0]) - 1] + value[1:]


MAIN = (
    Operation("int", "int", "add {a}", "x + {a}", lambda x, a: x + a, "n"),
    Operation("int", "int", "subtract {a}", "x - {a}", lambda x, a: x - a, "n"),
    Operation("int", "int", "multiply by {a}", "x * {a}", lambda x, a: x * a, "f"),
    Operation("int", "int", "divide by {a} and round down", "x // {a}", lambda x, a: x // a, "f"),
    Operation("int", "int", "take the remainder by {a}", "x % {a}", lambda x, a: x % a, "f"),
    Operation("int", "int", "square", "x * x", lambda x: x * x),
    Operation("int", "int", "negate", "-x", lambda x: -x),
    Operation("int", "int", "take the absolute value", "abs(x)", abs),
    Operation("int", "int", "limit to at least {a}", "max(x, {a})", max, "n"),
    Operation("int", "int", "limit to at most {a}", "min(x, {a})", min, "n"),
    Operation("int", "int", "limit to {a} up to {b}", "max({a}, min(x, {b}))", lambda x, a, b: max(a, min(x, b)), "nr"),
    Operation("int", "int", "add {a} if over {b}", "x + {a} if x > {b} else x",
              lambda x, a, b: x + a if x > b else x, "nn"),
    Operation("int", "int", "add {a} if even, else subtract {b}", "x + {a} if x % 2 == 0 else x - {b}",
              lambda x, a, b: x + a if x % 2 == 0 else x - b, "nn"),
    Operation("int", "int", "give {a} if over {b}, else {c}", "{a} if x > {b} else {c}",
              lambda x, a, b, c: a if x > b else c, "nnn", only_last=True),
    Operation("int", "bool", "tell if over {a}", "x > {a}", lambda x, a: x > a, "n"),
    Operation("int", "bool", "tell if a multiple of {a}", "x % {a} == 0", lambda x, a: x % a == 0, "f"),
    Operation("int", "bool", "tell if from {a} to {b}", "{a} <= x <= {b}", lambda x, a, b: a <= x <= b, "nr"),
    Operation("list", "list", "keep those over {a}", "[x for x in xs if x > {a}]",
              lambda xs, a: [x for x in xs if x > a], "n"),
    Operation("list", "list", "keep those under {a}", "[x for x in xs if x < {a}]",
              lambda xs, a: [x for x in xs if x < a], "n"),
    Operation("list", "list", "keep those from {a} to {b}", "[x for x in xs if {a} <= x <= {b}]",
              lambda xs, a, b: [x for x in xs if a <= x <= b], "nr"),
    Operation("list", "list", "keep the even ones", "[x for x in xs if x % 2 == 0]",
              lambda xs: [x for x in xs if x % 2 == 0]),
    Operation("list", "list", "keep multiples of {a}", "[x for x in xs if x % {a} == 0]",
              lambda xs, a: [x for x in xs if x % a == 0], "f"),
    Operation("list", "list", "add {a} to each", "[x + {a} for x in xs]", lambda xs, a: [x + a for x in xs], "n"),
    Operation("list", "list", "multiply each by {a}", "[x * {a} for x in xs]", lambda xs, a: [x * a for x in xs], "f"),
    Operation("list", "list", "add {a} to each over {b}", "[x + {a} if x > {b} else x for x in xs]",
              lambda xs, a, b: [x + a if x > b else x for x in xs], "nn"),
    Operation("list", "list", "square each", "[x * x for x in xs]", lambda xs: [x * x for x in xs]),
    Operation("list", "list", "sort", "sorted(xs)", sorted),
    Operation("list", "list", "reverse", "xs[::-1]", lambda xs: xs[::-1]),
    Operation("list", "list", "take the first {a}", "xs[:{a}]", lambda xs, a: xs[:a], "i"),
    Operation("list", "list", "drop the first {a}", "xs[{a}:]", lambda xs, a: xs[a:], "i"),
    Operation("list", "list", "put {a} at the end", "xs + [{a}]", lambda xs, a: [*xs, a], "n"),
    Operation("list", "list", "put {a} at the start", "[{a}] + xs", lambda xs, a: [a, *xs], "n"),
    Operation("list", "int", "take the sum", "sum(xs)", sum),
    Operation("list", "int", "take the count", "len(xs)", len),
    Operation("list", "int", "take the largest, or {a} if none", "max(xs, default={a})",
              lambda xs, a: max(xs, default=a), "n"),
    Operation("list", "int", "count each {a}", "xs.count({a})", lambda xs, a: xs.count(a), "n"),
    Operation("list", "bool", "tell if {a} is in it", "{a} in xs", lambda xs, a: a in xs, "n"),
    Operation("str", "str", "make upper case", "s.upper()", str.upper),
    Operation("str", "str", "reverse", "s[::-1]", lambda s: s[::-1]),
    Operation("str", "str", "take the first {a}", "s[:{a}]", lambda s, a: s[:a], "i"),
    Operation("str", "str", "drop the first {a}", "s[{a}:]", lambda s, a: s[a:], "i"),
    Operation("str", "str", "put {a} at the end", "s + {a}", lambda s, a: s + a, "w"),
    Operation("str", "str", "replace {a} by {b}", "s.replace({a}, {b})", str.replace, "cc"),
    Operation("str", "str", "repeat {a} times", "s * {a}", lambda s, a: s * a, "i"),
    Operation("str", "int", "take the count", "len(s)", len),
    Operation("str", "int", "count each {a}", "s.count({a})", str.count, "c"),
    Operation("str", "bool", "tell if it starts with {a}", "s.startswith({a})", str.startswith, "w"),
    Operation("str", "bool", "tell if {a} is in it", "{a} in s", lambda s, a: a in s, "c"),
    Operation("str", "words", "split into words", "s.split()", str.split),
    Operation("words", "words", "sort", "sorted(ws)", sorted),
    Operation("words", "words", "reverse", "ws[::-1]", lambda ws: ws[::-1]),
    Operation("words", "words", "put {a} at the end", "ws + [{a}]", lambda ws, a: [*ws, a], "w"),
    Operation("words", "str", "join with {a}", "{a}.join(ws)", lambda ws, a: a.join(ws), "c"),
    Operation("words", "int", "take the count", "len(ws)", len),
)  # fmt: skip
TRANSFER = (  # made of the words and the code of the others
    Operation("int", "int", "subtract {a} if under {b}", "x - {a} if x < {b} else x",
              lambda x, a, b: x - a if x < b else x, "nn"),
    Operation("int", "int", "give {a} if under {b}, else {c}", "{a} if x < {b} else {c}",
              lambda x, a, b, c: a if x < b else c, "nnn", only_last=True),
    Operation("int", "bool", "tell if under {a}", "x < {a}", lambda x, a: x < a, "n"),
    Operation("list", "list", "subtract {a} from each", "[x - {a} for x in xs]",
              lambda xs, a: [x - a for x in xs], "n"),
    Operation("list", "list", "multiply each over {b} by {a}", "[x * {a} if x > {b} else x for x in xs]",
              lambda xs, a, b: [x * a if x > b else x for x in xs], "fn"),
    Operation("list", "list", "drop the last {a}", "xs[:-{a}]", lambda xs, a: xs[:-a], "i"),
    Operation("list", "int", "take the smallest, or {a} if none", "min(xs, default={a})",
              lambda xs, a: min(xs, default=a), "n"),
    Operation("list", "int", "count those over {a}", "len([x for x in xs if x > {a}])",
              lambda xs, a: len([x for x in xs if x > a]), "n"),
    Operation("str", "str", "put {a} at the start", "{a} + s", lambda s, a: a + s, "w"),
    Operation("str", "str", "take the last {a}", "s[-{a}:]", lambda s, a: s[-a:], "i"),
    Operation("str", "bool", "tell if it ends with {a}", "s.endswith({a})", str.endswith, "w"),
    Operation("words", "words", "take the first {a}", "ws[:{a}]", lambda ws, a: ws[:a], "i"),
)  # fmt: skip
