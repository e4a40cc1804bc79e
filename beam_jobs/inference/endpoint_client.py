"""Asks an endpoint for samples: retries, a rate limit, a request cache, and a limit to failures."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from typing import Any

from beam_jobs.inference.budget import SPENT, Budget
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.protocol import PATHS, Answer, BadAnswer, answer_of, message_of, payload_of
from beam_jobs.inference.rate import Failures, Rate
from beam_jobs.inference.request_cache import RequestCache, key_of
from beam_jobs.inference.requests import Answered, Completion, Generation, Group, Request
from beam_jobs.inference.transport import Lost, Reply, Transport
from shammie.errors import UserError
from shammie.files import canonical_json
from shammie.secrets import HIDDEN, LEAST_CHARACTERS

COUNTERS = ("requests", "retries", "cache_hits", "dead")
BUDGETED = ("unasked", "prompt_tokens")  # counted where there is a budget: left for want of it, and what prompts took
_BUSY = (429, 503)
_AGAIN = (408, 425)
_WRONG = {
    401: "the key is missing or wrong: set the environment variable {key}",
    402: "the account has no credit",
    403: "the key in the environment variable {key} may not do this",
    404: "check the url, which mostly ends in /v1, and that GET url/models shows the model",
    405: "check the url, which mostly ends in /v1",
    410: "check the url and the model",
}


class _Refused(Exception):
    """The server will never answer this request; its text says why."""


class _Unasked(Exception):
    """There is no budget for this request."""


class EndpointClient:
    """Answers groups by an endpoint. One is enough for a process: threads may share it, and with it all limits.

    Args:
        config: the endpoint.
        generation: how tokens are drawn, and the most of them.
        clock: seconds that only grow.
        sleep: waits for some seconds; by default, until the job is stopped at the latest.
        chance: 0 to 1, for the jitter.

    Raises:
        UserError: the key cannot be one, the cache cannot be used, or a budget has none.
    """

    def __init__(
        self,
        config: EndpointConfig,
        generation: Generation,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.config, self.generation = config, generation
        self._key = os.environ.get(config.api_key_env, "").strip() if config.api_key_env else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(f"the key in {config.api_key_env} holds characters that no key has", "set it anew")
        self._url = config.url.rstrip("/") + PATHS[config.api]
        self._failures = Failures(config.max_bad_share)
        self._sleep, self._chance = sleep or self._failures.sleep, chance
        self._rate = Rate(config.requests_per_s, clock, self._pause)
        self._transport = Transport(config.concurrency, config.timeout_s, self._key, clock)
        self._cache = RequestCache(config.cache) if config.cache else None
        budgeted = config.most_requests or config.most_tokens
        spent = config.budget or config.cache
        if budgeted and not spent:
            raise UserError("a budget needs a folder in which what is spent is kept", "set budget, or cache")
        if 0 < config.most_tokens < generation.new_tokens:
            problem = f"a budget of {config.most_tokens} tokens allows no answer of up to {generation.new_tokens}"
            raise UserError(problem, "raise most_tokens, or lower the most tokens of an answer")
        self._budget = Budget(spent, config.most_requests, config.most_tokens) if budgeted else None
        self._pool = ThreadPoolExecutor(config.concurrency, thread_name_prefix="endpoint")

    def answer(self, group: Group) -> Answered:
        """Asks for a group's completions, several at once.

        Returns:
            One completion for each request, in their order. Those without an answer say so in `error`. The counters:
            requests; retries, which were sent beside these; cache_hits, which were not sent; dead, without an answer;
            with a budget also unasked, for which there was none left, and prompt_tokens of those that were sent.

        Raises:
            UserError: the endpoint refuses us, or too many requests failed, here or in another thread. Answers so far
                are in the cache, and every later call raises it too.
        """
        counts: Counter[str] = Counter(dict.fromkeys((*COUNTERS, *(BUDGETED if self._budget else ())), 0))
        tasks: list[Future[tuple[Completion, Counter[str]]]] = []
        pending: set[Future[Any]] = set()
        try:
            for request in group.requests:
                if len(pending) >= self.config.concurrency:  # no queue: what is not begun need not be called back
                    _, pending = wait(pending, return_when=FIRST_COMPLETED)
                self._failures.check()
                tasks.append(self._pool.submit(self._complete, request))
                pending.add(tasks[-1])
            done = [task.result() for task in tasks]
        except BaseException as error:
            self._failures.stop(error)
            raise
        finally:
            wait(pending)  # their answers go to the cache
        for _, counted in done:
            counts.update(counted)
        if self._failures.down():
            self._stop()
        self._failures.check()
        return Answered(group.number, tuple(completion for completion, _ in done), dict(counts))

    def close(self) -> None:
        """Ends the threads and closes the cache."""
        self._pool.shutdown()
        for kept in (self._cache, self._budget):
            if kept is not None:
                kept.close()

    def _complete(self, request: Request) -> tuple[Completion, Counter[str]]:
        try:
            return self._ask_or_remember(request)
        except BaseException as error:
            self._failures.stop(error)  # now, not when this one's turn comes to be looked at
            raise

    def _ask_or_remember(self, request: Request) -> tuple[Completion, Counter[str]]:
        counts: Counter[str] = Counter(requests=1)
        body = payload_of(
            request,
            self.generation,
            model=self.config.model,
            api=self.config.api,
            system_prompt=self.config.system_prompt,
            stop=self.config.stop,
            log_probabilities=self.config.log_probabilities,
            send_top_k=self.config.send_top_k,
            extra=self.config.extra,
        )
        key = key_of({"api": self.config.api, "body": body})
        if answer := self._kept(key):
            counts["cache_hits"] += 1
            self._failures.answer(kept=True)
            return _completion(request, answer), counts
        try:
            answer = self._ask(request, canonical_json(body).encode(), counts)
        except _Unasked:
            counts["unasked"] += 1
            return Completion(request.id, error=SPENT), counts
        except (_Refused, Lost, BadAnswer) as error:
            counts["dead"] += 1
            if self._failures.failure(str(error), attempts_ended=not isinstance(error, _Refused)):
                self._stop()
            return Completion(request.id, error=str(error)), counts
        if self._cache is not None:
            self._cache.put(key, asdict(answer))
        if self._budget is not None:
            counts["prompt_tokens"] += answer.prompt_tokens
        self._failures.answer()
        return _completion(request, answer), counts

    def _kept(self, key: str) -> Answer | None:
        kept = self._cache.get(key) if self._cache is not None else None
        return Answer(**kept) if kept else None

    def _ask(self, request: Request, body: bytes, counts: Counter[str]) -> Answer:
        """Sends a request until it is answered, or as often as is allowed."""
        attempt = 0
        while True:
            self._failures.check()
            if self._budget is not None and not self._budget.reserve(self.generation.new_tokens):
                raise _Unasked
            self._rate.wait()
            counts["retries"] += attempt > 0
            attempt += 1
            try:
                answer = self._answer(self._transport.post(self._url, body), request)
                if self._budget is not None and answer.tokens:  # 0 where the server does not tell
                    self._budget.give_back(self.generation.new_tokens - answer.tokens)
                return answer
            except (Lost, BadAnswer):
                if attempt >= self.config.attempts:
                    raise
            # full jitter: requests that failed together do not come back together
            most = min(self.config.backoff_s * 2.0 ** (attempt - 1), self.config.most_backoff_s)
            self._pause(self._chance() * most)

    def _answer(self, reply: Reply, request: Request) -> Answer:
        status = reply.status
        if status == 200:
            answer = answer_of(reply.body, self.config.api)
            return replace(answer, text=self._without_key(answer.text))
        hide = (self._key, request.prompt, self.config.system_prompt)
        said = message_of(reply.body, hide=hide)
        told = f"HTTP {status}{': ' if said else ''}{said}"
        if status in _BUSY:
            self._rate.hold(min(reply.retry_after_s, self.config.most_backoff_s))
        if status >= 500 or status in _BUSY or status in _AGAIN:
            raise Lost(told)
        if 300 <= status < 400:
            location = self._without_key(reply.location)
            raise UserError(f"endpoint {self._url} redirects to {location!r:.200}", "give that url")
        if status in _WRONG:
            cure = _WRONG[status].format(key=self.config.api_key_env or "that api_key_env names")
            raise UserError(f"endpoint {self._url} with model {self.config.model!r} answers {told}", cure)
        raise _Refused(told)

    def _without_key(self, text: str) -> str:
        """What a server wrote, in case that it repeats the key; short ones, such as EMPTY, are no secrets."""
        return text.replace(self._key, HIDDEN) if len(self._key) >= LEAST_CHARACTERS else text

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)
        self._failures.check()

    def _stop(self) -> None:
        """Stops the job because too many requests failed."""
        of = self._failures
        cache = self.config.cache
        kept = f"what is answered is kept in {cache}" if cache else "a request cache would keep what is answered"
        problem = (
            f"endpoint {self._url} is failing: {of.dead} of {of.dead + of.answered} requests have no answer,"
            f" the last: {of.last}"
        )
        of.stop(UserError(problem, f"see to the server and run the same again ({kept})"))


def _completion(request: Request, answer: Answer) -> Completion:
    return Completion(request.id, answer.text, answer.tokens, answer.finished, answer.log_probability)
