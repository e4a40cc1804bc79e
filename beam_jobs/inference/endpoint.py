"""An OpenAI-compatible endpoint, and how it is asked for samples.

Servers, each giving `url` http://HOST:8000/v1 and, for `model`, the name that GET url/models shows:

    vllm serve MODEL --generation-config vllm        # without it, the model's own defaults cut the distribution
    llama-server -m MODEL.gguf --port 8000 -np 8     # llama.cpp; -np is how many requests it decodes at once
    text-generation-launcher --model-id MODEL --port 8000    # TGI; it takes no top_k here

One request is one sample with its own seed. Whether equal seeds give equal text is up to the server: its batches change
from run to run, and with them the last bits of its logits. The cache makes a rerun exact: what was answered once is
never asked again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from beam_jobs.inference.protocol import OURS, PATHS, Api
from shammie.errors import UserError, unknown
from shammie.files import canonical_json
from shammie.secrets import looks_like_one, without_secrets


@dataclass(frozen=True)
class EndpointConfig:
    """An endpoint and how it is asked. All numbers are for each worker process.

    Attributes:
        url: where the protocol begins, such as http://host:8000/v1.
        model: its name on the server. The cache goes by it: give other weights another name, or another cache.
        api: "completions" continues a prompt as it is; in "chat" it is what the user says.
        system_prompt: what a chat begins with.
        stop: texts that end an answer, which does not hold them.
        api_key_env: the environment variable that holds the key, on the workers; an empty or missing one is no key.
        concurrency: most requests at once.
        requests_per_s: most requests begun in a second; 0 for no limit.
        timeout_s: for a whole answer, in seconds.
        attempts: how often a request is sent before it is a dead letter.
        backoff_s: the longest wait before the second attempt; it doubles with every further one. The wait is drawn
            uniformly from 0 up to that ("full jitter").
        most_backoff_s: no wait is longer, the server's own Retry-After included.
        max_bad_share: of requests may stay without an answer, or the job stops (see `Failures`).
        cache: folder of the request cache on the worker's disk; "" for none.
        budget: folder, likewise, in which what is spent is kept; "" for the cache's.
        most_requests: sent by all who share that folder, retries among them; 0 for no limit. What comes after it is not
            asked (`budget.SPENT`).
        most_tokens: likewise, that answers take.
        log_probabilities: ask for those of the tokens.
        send_top_k: send `top_k` and `min_p`; False for OpenAI's own servers, which reject them.
        extra: more fields of the body.

    Raises:
        UserError: a value cannot be.
    """

    url: str
    model: str
    api: Api = "completions"
    system_prompt: str = ""
    stop: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    requests_per_s: float = 0.0
    timeout_s: float = 600.0
    attempts: int = 6
    backoff_s: float = 1.0
    most_backoff_s: float = 60.0
    max_bad_share: float = 0.01
    cache: str = ""
    budget: str = ""
    most_requests: int = 0
    most_tokens: int = 0
    log_probabilities: bool = False
    send_top_k: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise UserError(f"endpoint url: {error}", "write it as http://host:8000/v1") from error
        if "@" in self.url:  # not shown: there may be a password in it
            raise UserError("the endpoint's url holds a user or password", "give a key by the environment instead")
        if without_secrets(self.url) != self.url:
            raise UserError("the endpoint's url seems to hold a key", "give a key by the environment instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UserError(f"endpoint url {self.url!r} cannot be", "write it as http://host:8000/v1")
        # a name that is the key itself would be written to configs and records
        name = self.api_key_env
        if name and (not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) or without_secrets(name) != name):
            raise UserError("api_key_env is no name of an environment variable", "name the variable that holds the key")
        if self.api not in PATHS:
            raise unknown("api", self.api, PATHS)
        if self.system_prompt and self.api != "chat":
            raise UserError("system_prompt needs api 'chat'", "put it into the prompts instead")
        if taken := sorted(OURS & set(self.extra)):
            raise UserError(f"extra holds {taken[0]!r}, which is set by other options", "leave it out")
        try:
            told = canonical_json(dict(self.extra))
        except (TypeError, ValueError) as error:
            raise UserError(f"extra is no JSON object: {error}") from error
        if any(map(looks_like_one, _names(self.extra))) or without_secrets(told) != told:
            raise UserError("extra seems to hold a key, and would be recorded", "give a key by the environment instead")
        for name in ("concurrency", "timeout_s", "attempts"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("requests_per_s", "backoff_s", "most_backoff_s", "most_requests", "most_tokens"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.max_bad_share <= 1:
            raise UserError(f"max_bad_share must be from 0 to 1, got {self.max_bad_share}")


def _names(value: Any) -> Iterator[str]:
    """The names of all fields in a JSON value."""
    if isinstance(value, Mapping):
        yield from map(str, value)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
