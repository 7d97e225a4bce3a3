"""Hostile HTTP out of good HTTP: a corpus of requests, and seeded ways to break them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

from tests.fuzz.bad import AS_ANN, chunked, get, post

CHAT = "/ChatServerModule/chatWithHistory"
CORPUS = (
    get("/health"),
    get("/health/ready", "Connection: close"),
    get("/openapi.json", "Accept-Encoding: gzip"),
    get("/nothing?a=b#c"),
    get("/subscribe?lease=10&lastEventId=e-1", AS_ANN, "Last-Event-ID: e-1"),
    get("/subscribe?ticket=a.b.c", "Cookie: potoserver=a.b.c; other=1"),
    get("*", "Expect: 100-continue", method="OPTIONS"),
    get("http://localhost/health", "Forwarded: for=127.0.0.1"),
    get(
        "/health", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    ),
    get("/health", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    post(CHAT, '{"message": "Hello!"}', AS_ANN, "Accept: text/event-stream", "Idempotency-Key: k"),
    post("/Taker/take", '{"text": "ab", "tags": ["a"], "part": {"streetName": "s"}}', AS_ANN),
    post("/Taker/take", "{}", AS_ANN, "Expect: 100-continue", "X-Request-ID: mine"),
    post("/Taker/take", gzip.compress(b"{}"), AS_ANN, "Content-Encoding: gzip"),
    post("/login", '{"token": "ann"}', "Origin: http://localhost", "X-Forwarded-Proto: https"),
    post("/subscribe/ack", '{"connection": "c-1", "lastEventId": null}', AS_ANN),
    post("/subscribe/ticket", b"", AS_ANN),
    post("/logout"),
    chunked(b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"),
    chunked(b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"),
    get("/health") * 3,
    post("/Taker/take", "{}", AS_ANN) + get("/health/live", "Connection: close"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"x" * 100,
)
"""Requests to begin with: every route, every kind of framing, and a few that are no HTTP/1."""

_BYTES = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\t",
    b" ",
    b"\x80",
    b"\xff",
    b":",
    b";",
    b"%",
    b"\x1b",
    b"\x0b",
)
_HEADERS = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 0x10",
    b"Content-Length: 18446744073709551616",
    b"Content-Length: 4, 4",
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked ",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Host: a.example",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Expect: x",
    b"Content-Encoding: gzip",
    b"Content-Encoding: br",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: application/json; charset=\xff",
    b"Authorization: Bearer ann",
    b"Authorization: Bearer \xff",
    b"Authorization: Basic \0",
    b'Cookie: potoserver=\xff; a="\\377',
    b"Cookie: " + b"a=b; " * 1500,
    b"Accept: " + b"text/event-stream;q=0," * 300,
    b"Origin: http://[::1",
    b"Last-Event-ID: \xff",
    b"Idempotency-Key: \xc3\xa4",
    b"X-Request-ID: <script>",
    b"X-Forwarded-For: ,,,",
    b'Forwarded: for="',
    b"Range: bytes=0-1",
    b"If-None-Match: *",
    b" folded: yes",
    b"X: " + b"y" * 9000,
)
_TARGETS = (
    b"*",
    b"/",
    b"//",
    b"/%",
    b"/%00",
    b"/%ff",
    b"/\xff",
    b"http://[",
    b"http://a:0/",
    b"/..;/",
    b"/a/b?" + b"&" * 5000,
    b"",
)
_METHODS = (b"GET", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"G T", b"", b"\0")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"HTTP/1.1 ", b"")

_Way = Callable[[random.Random, bytes], bytes]


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_BYTES) * chance.choice((1, 1, 1, 2, 40)) + data[at:]


def _cut(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randrange(1, 30) :]


def _end(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(1, len(data) + 1)]


def _double(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    part = data[at : at + chance.randrange(1, 60)]
    return data[:at] + part * chance.choice((2, 3, 200)) + data[at:]


def _splice(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(CORPUS)
    return data[: chance.randrange(1, len(data) + 1)] + other[chance.randrange(len(other)) :]


def _follow(chance: random.Random, data: bytes) -> bytes:
    return data + chance.choice(CORPUS)


def _header(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randrange(1, max(2, len(lines))), chance.choice(_HEADERS))
    return b"\r\n".join(lines)


def _headers(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines[1:1] = [chance.choice(_HEADERS)] * chance.choice((2, 3, 130))
    return b"\r\n".join(lines)


def _first_line(chance: random.Random, data: bytes) -> bytes:
    line, end, rest = data.partition(b"\r\n")
    words = [*line.split(b" ", 2), b"", b""][:3]
    which = chance.randrange(3)
    words[which] = chance.choice((_METHODS, _TARGETS, _VERSIONS)[which])
    return b" ".join(words) + end + rest


def _line_ends(chance: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\n\r", b"\r\r\n")), chance.choice((1, 2, 99)))


_WAYS: tuple[_Way, ...] = (
    _flip,
    _insert,
    _cut,
    _end,
    _double,
    _splice,
    _follow,
    _header,
    _header,
    _headers,
    _first_line,
    _line_ends,
)


def hostile(chance: random.Random) -> list[bytes]:
    """A request broken in one to four ways, in the pieces in which it is sent."""
    data = chance.choice(CORPUS)
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        data = chance.choice(_WAYS)(chance, data) or b"\0"
    data = data.replace(b"HEAD ", b"GET ")  # whose answer has a length and no body
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 3))))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
