"""The part of OpenAI's completions protocol that servers share: what is sent for one sample, and what comes back.

As served by vLLM, llama.cpp, TGI and OpenAI. Fields that not all of them know are sent only where that is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from beam_jobs.inference.requests import Generation, Request
from shammie.errors import shown
from shammie.files import json_of

Api = Literal["completions", "chat"]
PATHS: dict[Api, str] = {"completions": "/completions", "chat": "/chat/completions"}
OURS = frozenset(
    "model prompt messages n best_of echo stream max_tokens temperature top_p top_k seed stop logprobs".split()
)
_ENDED = {"stop": True, "eos_token": True, "stop_sequence": True, "length": False}  # two are TGI's own words
_NOT_ENDED = ("content_filter", "tool_calls", "function_call", "error", "abort")  # others are not repeated
_MOST_TOKENS = 1 << 40
_LEAST_LIKELY = 1e6  # nats
_SEED_BITS = 31  # signed 32-bit where a server stores it so; llama.cpp takes -1 for a random one
_MESSAGE_CHARACTERS = 200
_SECRET_CHARACTERS = 6  # shorter ones are in any message


class BadAnswer(ValueError):
    """A server's answer is none of the protocol's; its text says why, without what the server wrote."""


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        text: without the prompt; characters that UTF-8 cannot hold are replaced.
        tokens: that it took, as the server counts them; 0 where it does not tell.
        finished: whether the model ended it, rather than the limit of tokens.
        log_probability: of the tokens, in nats; None where the server does not tell.
        prompt_tokens: of the prompt, as the server counts them; 0 where it does not tell.
    """

    text: str
    tokens: int
    finished: bool
    log_probability: float | None
    prompt_tokens: int = 0


def payload_of(
    request: Request,
    generation: Generation,
    *,
    model: str,
    api: Api = "completions",
    system_prompt: str = "",
    stop: Sequence[str] = (),
    log_probabilities: bool = False,
    send_top_k: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON body that asks for one sample; whatever may change an answer is in it.

    Args:
        request: the prompt and its seed, of which servers take the low 31 bits.
        generation: how tokens are drawn, and the most of them.
        model: the name that the server gives the model.
        api: whether the prompt is continued as it is, or is what a user says in a chat.
        system_prompt: what a chat begins with; "" for nothing.
        stop: texts that end an answer, which does not hold them.
        log_probabilities: ask for those of the tokens.
        send_top_k: send `top_k` and `min_p`, which OpenAI's own servers reject and others know. They are sent even
            where they leave all tokens: llama.cpp has other values of its own (40 and 0.05).
        extra: more fields; they come last.
    """
    body: dict[str, Any] = {"model": model}
    if api == "chat":
        system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        body["messages"] = [*system, {"role": "user", "content": request.prompt}]
    else:
        body["prompt"] = request.prompt
    sampling = generation.sampling
    body |= {
        "max_tokens": generation.new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n": 1,
        "seed": request.seed & ((1 << _SEED_BITS) - 1),
    }
    if send_top_k:
        body |= {"top_k": sampling.top_k or -1, "min_p": 0.0}  # -1 is "all" for old and new vLLM and for llama.cpp
    if stop:
        body["stop"] = list(stop)
    if log_probabilities:
        body["logprobs"] = True if api == "chat" else 1
    return body | dict(extra or {})


def answer_of(body: bytes, api: Api = "completions") -> Answer:
    """Reads a server's answer.

    Raises:
        BadAnswer: it is no JSON, or holds no completion that ended by itself or at the limit of tokens.
    """
    try:
        value = json_of(body)
    except ValueError:
        raise BadAnswer("the answer is no JSON") from None
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise BadAnswer("the answer holds no choices")
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in _ENDED:
        told = reason if reason in _NOT_ENDED else "something else" if reason else "missing"
        raise BadAnswer(f"the answer did not end: finish_reason is {told}")
    if api == "chat":
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else 0
        text = "" if text is None else text  # what was left of the tokens after hidden reasoning
    else:
        text = choice.get("text")
    if not isinstance(text, str):
        raise BadAnswer("the answer holds no text")
    log_probabilities = _log_probabilities(choice.get("logprobs"))
    tokens = _counted(value, "completion_tokens")
    return Answer(
        text=text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"),
        tokens=len(log_probabilities or ()) if tokens is None else tokens,
        prompt_tokens=_counted(value, "prompt_tokens") or 0,
        finished=_ENDED[reason],
        log_probability=None if log_probabilities is None else round(math.fsum(log_probabilities), 4),
    )


def _counted(value: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens in an answer's usage; None where there is none."""
    usage = value.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= _MOST_TOKENS else None


def _log_probabilities(value: Any) -> list[float] | None:
    """Each token's, from either of the protocol's two forms; None where there are none, or not for every token."""
    if not isinstance(value, dict):
        return None
    if isinstance(content := value.get("content"), list):
        found = [one.get("logprob") if isinstance(one, dict) else None for one in content]
    else:
        found = value.get("token_logprobs")
    if not isinstance(found, list) or not found:
        return None
    # of a token: beyond that it is none, and what a float cannot hold would be an error
    numbers = [float(one) for one in found if isinstance(one, int | float) and abs(one) <= _LEAST_LIKELY]
    return numbers if len(numbers) == len(found) else None


def message_of(body: bytes, *, hide: Sequence[str] = ()) -> str:
    """What a server says of an error, as one short line; "" where its body is not of the protocol.

    Args:
        body: of the answer.
        hide: texts that must not be shown, such as the key and the prompt, in case that the server repeats them.
    """
    try:
        value = json_of(body)
    except ValueError:
        return ""
    text = _line(_words(value))
    for secret in hide:
        if len(secret := _line(secret)) >= _SECRET_CHARACTERS:
            text = text.replace(secret, "[…]")
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _line(text: str) -> str:
    return shown(" ".join(text.split()), len(text) + 1)


def _words(value: Any, depth: int = 8) -> str:
    """The message in the forms of OpenAI and vLLM (error.message, message), TGI (error) and FastAPI (detail[].msg)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return ", ".join(filter(None, (_words(one, depth - 1) for one in value[:3])))
    if isinstance(value, dict) and depth:
        for name in ("error", "message", "msg", "detail"):
            if found := _words(value.get(name), depth - 1):
                return found
    return ""
