import json

import pytest

from beam_jobs.inference.protocol import Answer, BadAnswer, answer_of, message_of
from beam_jobs.inference.transport import seconds_of


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"text": "a", "finish_reason": "eos_token"}, Answer("a", 0, True, None)),
        ({"text": "a\ud800b\U0001f600", "finish_reason": "stop"}, Answer("a\ufffdb\U0001f600", 0, True, None)),
        (
            {"text": "ab", "finish_reason": "length", "logprobs": {"token_logprobs": [-1, -0.5]}},
            Answer("ab", 2, False, -1.5),
        ),
        (
            {"text": "ab", "finish_reason": "stop", "logprobs": {"content": [{"logprob": -1.0}, {"logprob": -2.0}]}},
            Answer("ab", 2, True, -3.0),
        ),
        (
            {"text": "ab", "finish_reason": "stop", "logprobs": {"token_logprobs": [None, -2.0]}},
            Answer("ab", 0, True, None),
        ),
        (
            {"text": "ab", "finish_reason": "stop", "logprobs": {"token_logprobs": [float("nan")]}},
            Answer("ab", 0, True, None),
        ),
    ],
)
def test_answers_of_other_servers(choice, found):
    assert answer_of(json.dumps({"choices": [choice]}).encode()) == found


def test_a_chat_that_thought_to_its_end_says_nothing():
    choice = {"message": {"content": None}, "finish_reason": "length"}
    assert answer_of(json.dumps({"choices": [choice]}).encode(), "chat") == Answer("", 0, False, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>log in</html>",
        b"\xff\xfe\xff",
        b"[" * 200_000,
        b"[]",
        b"3",
        b'{"choices": []}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [null]}',
        b'{"choices": [{"text": "a"}]}',
        b'{"choices": [{"text": "a", "finish_reason": null}]}',
        b'{"choices": [{"text": "a", "finish_reason": "abort"}]}',
        b'{"choices": [{"text": "a", "finish_reason": ["stop"]}]}',
        b'{"choices": [{"text": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}',
    ],
)
def test_no_answer_is_made_of_anything_else(body):
    with pytest.raises(BadAnswer):
        answer_of(body)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"error": {"message": "too\n long", "code": 1}}, "too long"),
        ({"object": "error", "message": "no model"}, "no model"),
        ({"error": "busy", "error_type": "overloaded"}, "busy"),
        ({"detail": [{"loc": ["body", "n"], "msg": "not an int", "input": "x"}]}, "not an int"),
        ({"error": "k" * 300}, "k" * 199 + "…"),
        ({"error": "the key sk-1234 asked what is\n\n2 + 2"}, "the key […] asked […]"),
        ([1], ""),
    ],
)
def test_what_servers_say(value, said):
    assert message_of(json.dumps(value).encode(), hide=["sk-1234", "what is 2 + 2", ""]) == said


def test_retry_after():
    assert seconds_of("12") == 12
    assert seconds_of("Sun, 06 Nov 1994 08:49:37 GMT", now=lambda: 784111767.0) == 10
    assert [seconds_of(text) for text in ("", "x", "nan", "inf", "-3", "Sun, 06 Nov 1994 08:49:37 GMT")] == [0] * 6
