"""What models and their servers say: replies of endpoints, answers in texts, and a sandbox's messages."""

import json
import math
from random import Random
from typing import Any

from hypothesis import strategies as st

from beam_jobs.inference import protocol
from beam_jobs.inference.protocol import BadAnswer, answer_of, message_of
from beam_jobs.inference.transport import seconds_of
from beam_jobs.sandbox import protocol as sandbox
from models.adversarial_arithmetic.questions import question_of
from models.adversarial_arithmetic.replies import number_in, outcome_of
from models.adversarial_arithmetic.screening import asks_another, fault_of
from models.adversarial_arithmetic.writing import texts_in
from models.rest_em.answers import final_number, is_marked, number_of
from models.rest_em.boxed import last_boxed, normal_form, same_answer, settled
from models.rest_em.program_text import code_of, helpers_of, program_of
from models.rest_em.records import Problem
from tests.fuzz.loop import Case
from tests.fuzz.mutation import json_bytes, mutated_json, mutated_json_bytes

_KEY = "sk-a-key-that-nobody-has"


def _completions() -> list[bytes]:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    plain = {"text": "4.", "index": 0, "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5, -1.25]}}
    chat = {
        "message": {"role": "assistant", "content": "4."},
        "finish_reason": "length",
        "logprobs": {"content": [{"token": "4", "logprob": -0.5}]},
    }
    return [json.dumps({"choices": [one], "usage": usage}).encode() for one in (plain, chat)]


def _read_answer(data: bytes) -> None:
    refused = 0
    for api in protocol.PATHS:
        try:
            found = answer_of(data, api)
        except BadAnswer:
            refused += 1
            continue
        found.text.encode()
        assert 0 <= found.tokens < 1 << 53, "no count of tokens"
        assert 0 <= found.prompt_tokens < 1 << 53, "no count of tokens"
        assert found.log_probability is None or math.isfinite(found.log_probability), "no probability"
        json.dumps(vars(found), allow_nan=False)
    if refused == len(protocol.PATHS):
        raise BadAnswer


def _read_message(data: bytes) -> None:
    said = message_of(data, hide=(_KEY,))
    assert len(said) <= 200, "long"
    assert _KEY not in said, "the key"
    assert all(ord(char) >= 32 and not 127 <= ord(char) < 160 for char in said), "control characters"


def _deep_reply(data: bytes, random: Random) -> bytes:
    depth = random.choice((50, 300, 700, 900, 980, 2000, 100_000))
    inner = random.choice((b"[" * depth + b"]" * depth, b'{"error":' * depth + b"1" + b"}" * depth))
    if random.randrange(2):
        return mutated_json_bytes(data, random)
    return random.choice(
        (inner, b'{"choices": [{"text": "x", "finish_reason": ' + inner + b"}]}", b'{"error": ' + inner + b"}")
    )


def endpoints() -> list[Case]:
    """Bodies of answers and errors, and a header."""
    errors = [
        {"error": {"message": f"no such key {_KEY}", "type": "x"}},
        {"detail": [{"msg": "wrong", "loc": ["a"]}]},
        {"error": "busy", "error_type": "x"},
    ]
    words = (b'"finish_reason":', b'"stop"', b'"choices":', b"1e308", b"1e999", b"9" * 400, b'"\\ud800"', _KEY.encode())
    return [
        Case("answer", _completions, _read_answer, (BadAnswer,), _deep_reply, words=words, strategy=_json_strategy()),
        Case(
            "error",
            lambda: [json.dumps(one).encode() for one in errors],
            _read_message,
            (),
            _deep_reply,
            words=(*words, b"\x1b[31m", b"\\u001b[2J", b"\\u0000"),
            strategy=_json_strategy(),
        ),
        Case(
            "retry_after",
            lambda: [b"5", b"Wed, 21 Oct 2015 07:28:00 GMT"],
            lambda data: seconds_of(data.decode("latin-1")),
            (),
            words=(b"1e999", b"nan", b"-1", b"9" * 400, b"GMT", b"99999", b"+9999"),
            strategy=st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
        ),
    ]


def _json_strategy() -> Any:
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10)
    keys = st.sampled_from(
        [
            "choices",
            "text",
            "message",
            "content",
            "finish_reason",
            "logprobs",
            "token_logprobs",
            "usage",
            "error",
            "msg",
        ]
    )
    value = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=12
    )
    return value.map(json_bytes)


_PIECES = (
    "Answer:", "####", "\\boxed{", "}", "\\frac{1}{2}", "\\frac12", "```python\n", "```\n", "def f(x):\n    return x\n",
    "1,234", "3.5e1000", "1e99999", "9" * 600, "9" * 5000, "-", "\N{MINUS SIGN}", "$", "%", "=", "/", "0x", "1/0", "٣",
    "²", "½", "\u0f33", "\x00", "\ud800", "minus ", "forty-two ", "million ", "one hundred and ", "point ", "not ",
    "is wrong", "TEXT: ", "1. ", "<think>", "</think>", "Question: ", "I'm sorry", "\n", "\r\n", "\u2028", " ", "\t",
    "{,}", "\\text{", "\\sqrt2", "\\left(", ", ", "1 234", "x=", "\\$", "\\!", "^\\circ", "(", "[", "\\{", "lambda: ",
    "import x\n", "class A:\n ", "    ", "'''", "\\", "#", "~", "a" * 3000, "1," * 2000, "((" * 500, "\\boxed" * 50,
    "_1" * 500, "-" * 3000, "1 " * 3000, "one " * 1000, "**" * 400, "eight hundred " * 300, "{" * 3000, "def f(" * 50,
    "\\ " * 2000,
)  # fmt: skip


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass") if b"\xed" in data else data.decode("utf-8", "replace")


def _read_text(data: bytes) -> str:
    try:
        return _text_of(data)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _sentences(_: bytes, random: Random) -> bytes:
    pieces = random.choices(_PIECES, k=random.choice((1, 2, 4, 8, 16)))
    return "".join(pieces).encode("utf-8", "surrogatepass")[: 1 << 15]


def _texts() -> list[bytes]:
    return [
        b"First 3 * 5 = 15.\nAnswer: 15", b"#### 1,234", b"So it is \\boxed{\\frac{3}{4}}.", b"x = forty-two, not 41",
        b"```python\ndef f(x):\n    return x + 1\n```", b"TEXT: It is 4.\nTEXT: It is 5.", b"7 is the sum of 3 and 4",
    ]  # fmt: skip


def answers() -> list[Case]:
    """Answers in what a model wrote; a reader finds one or none, and refuses nothing."""
    question = question_of(34, "+", 8)
    strategy = st.lists(st.sampled_from(_PIECES) | st.text(max_size=8), max_size=10).map(
        lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass")
    )

    def numbers(data: bytes) -> None:
        text = _read_text(data)
        for marked in (False, True):
            str(final_number(text, marked=marked).text)
        number_of(text)
        is_marked(text)

    def boxes(data: bytes) -> None:
        text = _read_text(data)
        box = last_boxed(text)
        form = normal_form(text if box is None else box)
        settled(form, "\\frac{1}{2}")
        settled("(1,2)", form)
        same_answer(text, "1")

    def replies(data: bytes) -> None:
        text = _read_text(data)
        number_in(text)
        outcome_of(question, text, 12)
        fault_of(question, text, 200)
        asks_another(question, text)
        texts_in(text)

    def programs(data: bytes) -> None:
        text = _read_text(data)
        problem = Problem(id="x", prompt="", verifier="python", prefix=text[:300])
        code_of(text)
        program_of(problem, text)
        helpers_of(problem)

    made = {"numbers": numbers, "boxes": boxes, "replies": replies, "programs": programs}
    return [Case(name, _texts, parse, (), _sentences, strategy=strategy, batch=100) for name, parse in made.items()]


def sandboxes() -> list[Case]:
    """Messages from a process that runs a model's program."""
    values: list[Any] = [None, 1 << 70, {"a": (1, {2}, b"x")}, [1.5, "x", [True]]]

    def parse(data: bytes) -> None:
        sandbox.dump(sandbox.load(data))

    def change(data: bytes, random: Random) -> bytes:
        try:
            return json_bytes(mutated_json(json.loads(data), random))
        except (ValueError, RecursionError):
            return data

    words = (
        b'{"t":',
        b'{"d":',
        b'{"s":',
        b'{"b":',
        b'{"i":"0x',
        b"[" * 500,
        b'{"t":[' * 200,
        b"9" * 5000,
        b'"0x' + b"f" * 5000,
    )
    return [
        Case(
            "message",
            lambda: [sandbox.dump(one) for one in values],
            parse,
            (sandbox.ForbiddenValue,),
            change,
            words=words,
        )
    ]
