"""A real HTTP server on this machine that speaks the completions protocol and fails as it is told to.

Test modules read this file themselves (pytest imports them without a package).
"""

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from beam_jobs.inference.requests import Completion, Generation, Group, Request
from models.lm.decoding import Sampling

Fault = Callable[["Exchange"], None]
CHAT = "/v1/chat/completions"
GENERATION = Generation(Sampling(temperature=0.7, top_k=40, top_p=0.9), new_tokens=10)


def text_of(prompt: str, seed: int) -> str:
    """What the model behind the server writes."""
    return hashlib.sha256(f"{seed} {prompt}".encode()).hexdigest()[: 8 + seed % 5]


class Exchange(BaseHTTPRequestHandler):
    """One connection, kept alive; `body` is the request at hand."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart
    server: "LocalServer"  # pyright: ignore[reportIncompatibleVariableOverride]
    body: dict[str, Any]

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.server.arrived(self)
        if fault is not None:
            fault(self)
        else:
            self.complete()

    def prompt(self) -> str:
        return self.body["messages"][-1]["content"] if self.path == CHAT else self.body["prompt"]

    def completion(self) -> bytes:
        text = self.server.model(self.prompt(), self.body["seed"])
        tokens = min(len(text), self.body["max_tokens"])
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if len(text) <= tokens else "length"}
        if self.path == CHAT:
            choice["message"] = {"role": "assistant", "content": text[:tokens]}
            if self.body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": one, "logprob": -0.5} for one in text[:tokens]]}
        else:
            choice["text"] = text[:tokens]
            if "logprobs" in self.body:
                choice["logprobs"] = {"tokens": list(text[:tokens]), "token_logprobs": [-0.25] * tokens}
        answer = {
            "model": self.body["model"],
            "choices": [choice],
            "usage": {"completion_tokens": tokens, "prompt_tokens": len(self.prompt())},
        }
        return json.dumps(answer).encode()

    def complete(self) -> None:
        self.reply(200, self.completion())

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def says(status: int, value: Any = None, **headers: str) -> Fault:
    """Answers with a status and a JSON value, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda exchange: exchange.reply(status, body, **headers)


def closes(exchange: Exchange) -> None:
    """Closes the connection without a word."""
    exchange.hang_up()


def half_closes(exchange: Exchange) -> None:
    """Closes it in the middle of a body of known length."""
    body = exchange.completion()
    exchange.reply(200, body[: len(body) // 2], Content_Length=str(len(body)))
    exchange.hang_up()


def half_closes_unmeasured(exchange: Exchange) -> None:
    """Closes it in the middle of a body that ends with the connection."""
    exchange.send_response(200)
    exchange.send_header("Connection", "close")
    exchange.end_headers()
    exchange.wfile.write(exchange.completion()[:40])
    exchange.hang_up()


def breaks_a_chunk(exchange: Exchange) -> None:
    """Closes it in the middle of a chunk."""
    exchange.send_response(200)
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    exchange.wfile.write(b"40\r\n" + exchange.completion()[:20])
    exchange.hang_up()


def hangs(exchange: Exchange) -> None:
    """Says nothing until the server is closed."""
    exchange.server.closing.wait(60)
    exchange.hang_up()


def trickles(exchange: Exchange) -> None:
    """Sends a space now and then, so that no single read takes long."""
    exchange.send_response(200)
    exchange.send_header("Content-Length", "100000")
    exchange.end_headers()
    with suppress(OSError):
        while not exchange.server.closing.wait(0.05):
            exchange.wfile.write(b" ")
            exchange.wfile.flush()


class LocalServer(ThreadingHTTPServer):
    """The server; a context. It listens on a free port of 127.0.0.1.

    Attributes:
        faults: what happens to the next requests, in order of arrival; afterwards all goes well.
        always: what happens to every request whose prompt holds a text; text to fault.
        bodies: of all requests that came.
        paths: of all requests that came.
        headers: of all requests that came.
        connections: how many were opened.
        model: what is written for a prompt and a seed.
        on_arrival: is called with the number of each request, from 1, before it is served.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.faults: list[Fault] = []
        self.always: dict[str, Fault] = {}
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.model: Callable[[str, int], str] = text_of
        self.on_arrival: Callable[[int], None] = lambda number: None
        self.closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def arrived(self, exchange: Exchange) -> Fault | None:
        with self._lock:
            self.bodies.append(exchange.body)
            self.paths.append(exchange.path)
            self.headers.append(dict(exchange.headers))
            number = len(self.bodies)
            fault = next((one for text, one in self.always.items() if text in exchange.prompt()), None)
            if fault is None and self.faults:
                fault = self.faults.pop(0)
        self.on_arrival(number)
        return fault

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


def group(*prompts: str, number: int = 0) -> Group:
    seeds = range(1 << 40, (1 << 40) + len(prompts))
    return Group(number, tuple(Request(f"r{at}", prompt, at) for at, prompt in zip(seeds, prompts, strict=True)))


def many(count: int, number: int = 0) -> Group:
    return group(*(f"prompt {number} {one}" for one in range(count)), number=number)


def expected(asked: Group, limit: int = 10) -> list[Completion]:
    """By the server's rule, in our own words."""
    found = []
    for request in asked.requests:
        text = text_of(request.prompt, request.seed & 0x7FFFFFFF)
        tokens = min(len(text), limit)
        found.append(Completion(request.id, text[:tokens], tokens, len(text) <= limit))
    return found


def down_url() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/v1"
