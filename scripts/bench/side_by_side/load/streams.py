"""Event streams of the load: opened, held, counted, closed."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from scripts.bench.side_by_side.commands import MARK

_BUFFER_BYTES = 1 << 18
_MARK = MARK.encode()
_STAMP = re.compile(rb'"at":(\d+)')
NOW = "0" * 20
"""Stands in a request where the time goes at which it is sent."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: closing sends a reset."""
_LOOK_S = 0.2
_PER_ADDRESS = 5000
"""So many come from 127.0.0.1, as many from 127.0.0.2, and so on: of half of the ports from which one address
reaches another (14,000) none is left then, and to find one of the rest takes Linux more than a millisecond.
"""
_ADDRESS_ALONE = 24
"""IP_BIND_ADDRESS_NO_PORT (ip(7)), which Python has no name for: `bind` gives an address, `connect` a port.
Else each connection that has ended would keep a port from every peer for a minute, until there is none left.
"""


class Stopwatch:
    """The time, and how much of it this process was at work."""

    def __init__(self) -> None:
        self._begun_s, self._used_s = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        """What went by since this was made."""
        seconds = time.perf_counter() - self._begun_s
        return {"seconds": seconds, "busy": (time.process_time() - self._used_s) / seconds}


class Streams:
    """All streams that are open.

    Args:
        users: Each one's id and token.
    """

    def __init__(self, users: Sequence[Sequence[str]]) -> None:
        self._users = users
        self._epoll = select.epoll()
        self._streams: dict[int, socket.socket] = {}
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)

    def open(
        self, port: int, path: str, first: str, begin: int, count: int, at_once: int, one_user: bool
    ) -> dict[str, Any]:
        """Opens streams, each until its first event is there.

        Args:
            port: The server's.
            path: With `{user}` where the user's id goes.
            first: What tells that a stream is open.
            begin: The number of the first one's user.
            count: How many.
            at_once: How many are on their way at once.
            one_user: Whether all are of that one user, else each of the next one.
        """
        requests = [
            _subscribe(port, path, *self._users[begin if one_user else begin + number])
            for number in range(count)
        ]
        requests.reverse()
        wanted = first.encode()
        on_their_way: dict[int, bytes] = {}
        watch = Stopwatch()
        while requests or on_their_way:
            while requests and len(on_their_way) < at_once:
                sock = socket.socket()
                sock.setsockopt(socket.IPPROTO_IP, _ADDRESS_ALONE, 1)
                sock.bind((f"127.0.0.{1 + len(self._streams) // _PER_ADDRESS}", 0))
                sock.connect(("127.0.0.1", port))
                sock.setblocking(False)
                sock.send(requests.pop())
                self._streams[sock.fileno()] = sock
                self._epoll.register(sock.fileno(), select.EPOLLIN)
                on_their_way[sock.fileno()] = b""
            for descriptor, _ in self._epoll.poll(_LOOK_S):
                data = self._received(descriptor)
                if descriptor not in on_their_way:
                    continue
                so_far = on_their_way[descriptor] + data
                if not data:
                    raise ConnectionError(f"refused: {so_far[:300]!r}")
                if wanted in so_far:
                    del on_their_way[descriptor]
                else:
                    on_their_way[descriptor] = so_far
        return watch.read() | {"open": len(self._streams)}

    def count(
        self, port: int, requests: list[str], expected: int, limit_s: float, until: str = ""
    ) -> dict[str, Any]:
        """Has events sent, and counts them until all are there, and all requests answered.

        Args:
            port: The server's.
            requests: Posted one after the other, the next when there is an answer.
            expected: How many events come.
            limit_s: In how much time.
            until: With what an answer ends, where that is not known from its beginning.
        """
        seen = 0
        buffer, streams = self._buffer, self._streams
        watch = Stopwatch()
        control = Control(port, requests, until)
        self._epoll.register(control.descriptor, select.EPOLLIN)
        until_s = time.perf_counter() + limit_s
        ended: dict[str, Any] | None = None
        while (ended is None or not control.done) and time.perf_counter() < until_s:
            for descriptor, _ in self._epoll.poll(_LOOK_S):
                if descriptor == control.descriptor:
                    control.go_on()
                    continue
                size = streams[descriptor].recv_into(buffer)
                if size == 0:
                    self._forget(descriptor)
                seen += buffer.count(_MARK, 0, size)
            if seen >= expected and ended is None and (control.done or not until):
                ended = watch.read()
        self._epoll.unregister(control.descriptor)
        control.close()
        if ended is None:
            raise TimeoutError(f"{seen} of {expected} events came in {limit_s} s")
        return ended | {"events": seen}

    def stamps(self, port: int, requests: list[str], expected: int, limit_s: float) -> dict[str, Any]:
        """Has events sent, and tells for each how long it was on its way, in ms."""
        took_ms: list[float] = []
        watch = Stopwatch()
        control = Control(port, requests)
        self._epoll.register(control.descriptor, select.EPOLLIN)
        until_s = time.perf_counter() + limit_s
        while (len(took_ms) < expected or not control.done) and time.perf_counter() < until_s:
            for descriptor, _ in self._epoll.poll(_LOOK_S):
                if descriptor == control.descriptor:
                    control.go_on()
                    continue
                data = self._received(descriptor)
                now_ns = time.monotonic_ns()
                took_ms.extend((now_ns - int(each[1])) / 1e6 for each in _STAMP.finditer(data))
        self._epoll.unregister(control.descriptor)
        control.close()
        if len(took_ms) < expected:
            raise TimeoutError(f"{len(took_ms)} of {expected} events came in {limit_s} s")
        return watch.read() | {"took_ms": took_ms}

    def hold(self, seconds: float) -> dict[str, Any]:
        """Takes what comes for a while."""
        watch = Stopwatch()
        until_s = time.perf_counter() + seconds
        size = 0
        while (left_s := until_s - time.perf_counter()) > 0:
            for descriptor, _ in self._epoll.poll(left_s):
                size += len(self._received(descriptor))
        return watch.read() | {"bytes": size}

    def close(self, count: int, every_ms: float, reset: bool) -> dict[str, Any]:
        """Closes the streams that came last, one after the other, and tells when: wall time in ms."""
        at_ms = []
        watch = Stopwatch()
        for descriptor in list(self._streams)[: -count - 1 : -1]:
            if reset:
                self._streams[descriptor].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            at_ms.append(time.time() * 1000)
            self._forget(descriptor)
            time.sleep(every_ms / 1000)
        return watch.read() | {"at_ms": at_ms}

    def drop(self) -> dict[str, Any]:
        """Closes all streams."""
        watch = Stopwatch()
        for descriptor in list(self._streams):
            self._forget(descriptor)
        return watch.read()

    def _received(self, descriptor: int) -> bytes:
        size = 0
        with suppress(ConnectionResetError):
            size = self._streams[descriptor].recv_into(self._buffer)
        if size == 0:
            self._forget(descriptor)
        return bytes(self._view[:size])

    def _forget(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        self._streams.pop(descriptor).close()


class Control:
    """One connection on which requests are posted, one after the other."""

    def __init__(self, port: int, requests: Iterable[str], until: str = "") -> None:
        self._until = until.encode()
        self._received = b""
        self._requests = [request.encode() for request in requests]
        self._requests.reverse()
        self._sock = socket.create_connection(("127.0.0.1", port))
        self.descriptor = self._sock.fileno()
        self.done = False
        """Whether all are answered."""
        self._send()

    def go_on(self) -> None:
        """An answer is there, or some of it: posts the next request when it is whole.

        Raises:
            ConnectionError: It is no answer to be had.
        """
        answer = self._received + self._sock.recv(65_536)
        if not answer.startswith((b"HTTP/1.1 20", b"HTTP/1.0 20")):
            raise ConnectionError(f"answered {answer[:500]!r}")
        # A short answer comes as a whole. Of a long one the end is kept, where `until` may be cut in two.
        self._received = b"" if self._until in answer else answer[:20] + answer[20:][-100:]
        if self._received:
            return
        if self._requests:
            self._send()
        else:
            self.done = True

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def _send(self) -> None:
        now = f"{time.monotonic_ns():020}"
        self._sock.sendall(self._requests.pop().replace(NOW.encode(), now.encode()))


def _subscribe(port: int, path: str, user: str, token: str) -> bytes:
    return (
        f"GET {path.format(user=user)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
