"""Calls of the load: each user calls again as soon as the answer is there, or at a pace."""

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
    due_s: float = 0.0
    """When its call was to be sent, or its next one is; how long one takes is counted from then."""
    received: bytes = b""
    expected: int = 0
    """The length of the answer with its head; 0 before that is known."""
    took_ms: list[float] = field(default_factory=list)

    def send(self) -> None:
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
        self.took_ms.append((time.perf_counter() - self.due_s) * 1000)
        self.received, self.expected = b"", 0
        return True


class Calls:
    """Calls on connections that are kept alive.

    Args:
        users: Each one's id and token.
    """

    def __init__(self, users: Sequence[Sequence[str]]) -> None:
        self._users = users

    def call(
        self, port: int, path: str, body: str, begin: int, count: int, seconds: float, every_s: float = 0.0
    ) -> dict[str, Any]:
        """Lets users call for a while, all at once or, at a pace, one after the other.

        Args:
            port: The server's.
            path: What is called.
            body: The body of each call.
            begin: The number of the first user.
            count: How many users.
            seconds: For how long.
            every_s: How often a call of each user is due; 0: as soon as the one before is answered. One that
                is due earlier than that is sent late, and how long it takes counts from when it was due: else
                who makes calls wait would be asked less often while they do.
        """
        epoll = select.epoll()
        callers: dict[int, _Caller] = {}
        for _, token in self._users[begin : begin + count]:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            callers[sock.fileno()] = _Caller(sock, post(port, path, body, token).encode())
            epoll.register(sock.fileno(), select.EPOLLIN)
        watch = Stopwatch()
        begun_s = time.perf_counter()
        until_s = begun_s + seconds
        waiting = list(callers.values())
        for number, caller in enumerate(waiting):
            caller.due_s = begun_s + every_s * number / count
        calling = len(callers)
        while calling:
            now_s = time.perf_counter()
            for caller in [each for each in waiting if each.due_s <= now_s]:
                waiting.remove(caller)
                caller.send()
            next_s = min((each.due_s for each in waiting), default=now_s + _LOOK_S)
            for descriptor, _ in epoll.poll(next_s - now_s):
                caller = callers[descriptor]
                if not caller.take():
                    continue
                now_s = time.perf_counter()
                caller.due_s = caller.due_s + every_s if every_s else now_s
                if caller.due_s >= until_s:
                    calling -= 1
                elif caller.due_s <= now_s:
                    caller.send()
                else:
                    waiting.append(caller)
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
