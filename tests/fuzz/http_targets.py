"""What a server sends over the wire: status, headers and body, as bytes of anyone."""

import gzip
import os
import socket
import threading
from random import Random

from beam_jobs.inference.transport import Lost, Transport
from tests.fuzz.loop import Case

_BODY = b'{"choices": [{"text": "4", "finish_reason": "stop"}]}'
_PACKED = gzip.compress(_BODY, mtime=0)


def _reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", *headers, b"", body]
    return b"\r\n".join(lines)


def _replies() -> list[bytes]:
    size, packed = b"Content-Length: %d" % len(_BODY), b"Content-Length: %d" % len(_PACKED)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)
    return [
        _reply(_BODY, size),
        _reply(_PACKED, packed, b"Content-Encoding: gzip"),
        _reply(chunked, b"Transfer-Encoding: chunked"),
        _reply(b"", b"Location: http://elsewhere/v1", b"Content-Length: 0", status=b"307 Moved"),
        _reply(_BODY, size, b"Retry-After: 5", status=b"429 Busy"),
        _reply(_BODY, b"Connection: close"),
    ]


class _Server:
    """Sends the bytes at hand to whoever connects, and closes."""

    def __init__(self) -> None:
        self.reply = b""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1/completions"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            try:
                connection.settimeout(5)
                seen = b""
                while b"{}" not in seen[-8:]:
                    part = connection.recv(1 << 16)
                    if not part:
                        break
                    seen += part
                connection.sendall(self.reply)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            finally:
                connection.close()


def _packings(data: bytes, random: Random) -> bytes:
    """Packings within packings, unknown ones, and bombs."""
    names = random.choice((b"gzip, gzip", b"br", b"zstd", b"deflate", b"gzip", b"gzip," * 50, b"x-gzip", b"identity"))
    body = random.choice((_PACKED, _PACKED[:-4], _PACKED * 100, gzip.compress(_PACKED, mtime=0), _BODY))
    return _reply(body, b"Content-Encoding: " + names, b"Content-Length: %d" % len(body))


def http() -> list[Case]:
    """Replies over the wire."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    server = _Server()
    transport = Transport(1, 3.0, "sk-a-key-that-nobody-has")

    def parse(data: bytes) -> None:
        server.reply = data
        transport.post(server.url, b"{}")

    words = (
        b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n",
        b"Content-Encoding: gzip\r\n", b"Location: \x00", b"FFFFFFFFFFFFFFFF\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
        b"X: y\r\n" * 200, b"HTTP/9.9 999999999999", b"Retry-After: 1e999", b"-5\r\n",
    )  # fmt: skip
    return [Case("reply", _replies, parse, (Lost,), change=_packings, words=words, batch=50)]
