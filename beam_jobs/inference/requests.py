"""What a model is asked, and what it answers, whoever serves it."""

import hashlib
from dataclasses import dataclass

from models.lm.decoding import Sampling
from shammie.files import canonical_json


@dataclass(frozen=True)
class Request:
    """A prompt to continue once.

    Attributes:
        id: names it among all requests.
        prompt: what the model reads.
        seed: of its draws, 0 to 2^63 - 1: equal seeds and prompts give equal answers.
    """

    id: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """What came of a request.

    Attributes:
        id: the request's.
        text: what the model wrote, without the prompt.
        tokens: that it took, the end included.
        finished: whether the model ended it, rather than the limit of tokens.
        log_probability: of the tokens under the model itself, in nats; None where the server does not tell.
        error: why there is no text; "" where there is.
    """

    id: str
    text: str = ""
    tokens: int = 0
    finished: bool = False
    log_probability: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Group:
    """Requests that are answered together, on one worker; what it holds does not depend on the workers' number."""

    number: int
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Answered:
    """A group's completions, in the order of its requests.

    Attributes:
        number: the group's.
        completions: one for each request.
        counters: what is counted of the work, such as decode steps and slots that were in use.
    """

    number: int
    completions: tuple[Completion, ...]
    counters: dict[str, int]


@dataclass(frozen=True)
class Generation:
    """How all requests of a job are answered.

    Attributes:
        sampling: how tokens are drawn.
        new_tokens: the most that a completion has.
    """

    sampling: Sampling
    new_tokens: int


def seed_of(*parts: str | int) -> int:
    """A seed from whatever names a request, such as (seed, iteration, problem, sample): 0 to 2^63 - 1."""
    return int.from_bytes(hashlib.sha256(canonical_json(list(parts)).encode()).digest()[:8], "big") >> 1
