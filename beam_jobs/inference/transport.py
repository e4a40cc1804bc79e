"""One POST of JSON: kept connections, one deadline for the whole answer, and errors in plain words."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from shammie.inflate import gunzip

_PIECE_BYTES = 1 << 16
MOST_BYTES = 64 << 20
_LARGE = f"the answer is larger than {MOST_BYTES >> 20} MiB"


class Lost(Exception):
    """No whole answer came; its text says why."""


@dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        status: of HTTP.
        body: as it was sent, unpacked.
        retry_after_s: how long the server asks to wait, in seconds; 0 where it does not.
        location: where it redirects to; "" where it does not.
    """

    status: int
    body: bytes
    retry_after_s: float = 0.0
    location: str = ""


class _Key(AuthBase):
    """Sends the key and nothing else: without an own object, requests would send what ~/.netrc has for the host."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            r.headers["Authorization"] = f"Bearer {self._key}"
        return r


class Transport:
    """A pool of connections; threads may share it. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY, …).

    Args:
        connections: how many are kept open.
        timeout_s: for a connection, and again for the whole answer, in seconds.
        key: is sent as `Authorization: Bearer`; "" for none.
        clock: seconds that only grow.
    """

    def __init__(
        self, connections: int, timeout_s: float, key: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.timeout_s, self._clock, self._key = timeout_s, clock, _Key(key)
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=connections, max_retries=0)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    def post(self, url: str, body: bytes) -> Reply:
        """Sends a JSON body.

        Raises:
            Lost: nothing listens there, the connection broke off, or there was no whole answer in time.
        """
        end = self._clock() + self.timeout_s
        try:
            with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json", "Accept-Encoding": "gzip"},
                auth=self._key,
                timeout=self.timeout_s,
                allow_redirects=False,  # a POST would become a GET
                stream=True,
            ) as response:
                packing = response.headers.get("Content-Encoding", "").strip().lower()
                return Reply(
                    status=response.status_code,
                    body=_unpacked(self._read(response.raw, end), packing),
                    retry_after_s=seconds_of(response.headers.get("Retry-After", "")),
                    location=response.headers.get("Location", "") if response.is_redirect else "",
                )
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise Lost(self._late()) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Lost(_reason(error)) from None  # the library's own text may hold headers and bodies
        # headers that are no HTTP, chunks that claim more than there is, redirections to nowhere: let through so far
        except (ValueError, OverflowError, MemoryError, RuntimeError):
            raise Lost("the answer is no HTTP") from None

    def _read(self, raw: Any, end: float) -> bytes:
        # the library's timeout is for each read: a server that sends a byte now and then would never meet it
        pieces, size = [], 0
        while piece := raw.read1(_PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise Lost(_LARGE)
            if self._clock() > end:
                raise Lost(self._late())
        return b"".join(pieces)

    def _late(self) -> str:
        return f"no answer within {self.timeout_s:g} s"


def _unpacked(body: bytes, packing: str) -> bytes:
    """A body as it was before it was packed; libraries unpack without a limit, and packings within packings."""
    if packing in ("", "identity"):
        return body
    if packing not in ("gzip", "x-gzip"):
        raise Lost("the answer is packed in a way that was not asked for")
    try:
        return gunzip(body, MOST_BYTES)
    except ValueError as error:
        raise Lost(_LARGE if "unpacks" in str(error) else "the answer is damaged gzip") from None


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        inner = getattr(cause, "reason", None) or next((one for one in cause.args if isinstance(one, Exception)), None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return f"no connection ({type(error).__name__})"
    return "the connection broke off"


def seconds_of(retry_after: str, now: Callable[[], float] = time.time) -> float:
    """What a Retry-After header asks for, in seconds from now; 0 where it cannot be read.

    Args:
        retry_after: a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
        now: seconds since 1970.
    """
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - now()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
