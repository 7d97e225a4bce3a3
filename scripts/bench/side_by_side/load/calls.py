"""Calls of the load: each user calls again as soon as the answer is there."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.bench.side_by_side.load.streams import Stopwatch

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOOK_S = 0.2


@dataclass
class _Caller:
    sock: socket.socket
    request: bytes
    begun_s: float = 0.0
    received: bytes = b""
    expected: int = 0
    """The length of the answer with its head; 0 before that is known."""
    took_ms: list[float] = field(default_factory=list)

    def send(self) -> None:
        self.begun_s = time.perf_counter()
        self.sock.send(self.request)

    def take(self) -> bool:
        """Takes what is there; whether the answer is whole."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError(f"closed after {self.received[:300]!r}")
        self.received += data
        if not self.expected:
            head, found, _ = self.received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not found or length is None:
                return False
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"answered {self.received[:500]!r}")
            self.expected = len(head) + 4 + int(length[1])
        if len(self.received) < self.expected:
            return False
        self.took_ms.append((time.perf_counter() - self.begun_s) * 1000)
        self.received, self.expected = b"", 0
        return True


class Calls:
    """Calls on connections that are kept alive.

    Args:
        users: Each one's id and token.
    """

    def __init__(self, users: Sequence[Sequence[str]]) -> None:
        self._users = users

    def call(self, port: int, path: str, body: str, begin: int, count: int, seconds: float) -> dict[str, Any]:
        """Lets users call for a while, all at once.

        Args:
            port: The server's.
            path: What is called.
            body: The body of each call.
            begin: The number of the first user.
            count: How many users.
            seconds: For how long.
        """
        epoll = select.epoll()
        callers: dict[int, _Caller] = {}
        for _, token in self._users[begin : begin + count]:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            callers[sock.fileno()] = _Caller(sock, post(port, path, body, token).encode())
            epoll.register(sock.fileno(), select.EPOLLIN)
        watch = Stopwatch()
        until_s = time.perf_counter() + seconds
        for caller in callers.values():
            caller.send()
        calling = len(callers)
        while calling:
            for descriptor, _ in epoll.poll(_LOOK_S):
                caller = callers[descriptor]
                if not caller.take():
                    continue
                if time.perf_counter() < until_s:
                    caller.send()
                else:
                    calling -= 1
        answer = watch.read()
        for caller in callers.values():
            caller.sock.close()
        epoll.close()
        return answer | {"took_ms": [each for caller in callers.values() for each in caller.took_ms]}


def post(port: int, path: str, body: str, token: str, accept: str = "application/json") -> str:
    """A POST request of a JSON body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: {accept}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"
    )
