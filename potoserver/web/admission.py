"""Who gets in: sockets are counted, and aiohttp sees one once the head of its first request is whole."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from typing import Any

from typing_extensions import override

from potoserver.clock import TimerHandle
from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.web.http_server import HEAD_TOO_LARGE, NOT_HTTP, SETTLED_S, HttpServer, refused
from potoserver.web.middleware import HEADERS, REQUEST_ID_HEADER, new_request_id
from potoserver.web.problems import problem_response
from potoserver.web.unavailable import unavailable

MAX_HEAD_BYTES = 65_536
"""Of a request's head: its line and its headers. aiohttp has limits of its own for each line."""
MAX_LINE_BYTES = 8190
"""Of a request's first line, as aiohttp has it."""

_ROOM_MADE = 64
"""How many idle connections are closed at once when there is no room."""
_REFUSED_S = 1.0
"""How long a refused socket may be in sending something, to be told why."""
_REFUSALS = 128
"""How many refused sockets may wait to be told; beyond, they are closed without a word."""
_SUBSCRIBES = re.compile(rb"GET /subscribe[? ]")
_FIRST_LINE = re.compile(rb"(?!PRI )\S+ \S+ HTTP/1\.[01]\r?\n")
"""Behind what else looks like a head aiohttp's parser may wait for more (HTTP/2, CONNECT to nowhere)."""
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""What a method is made of (RFC 9110, section 5.6.2)."""


class Admission:
    """Makes the protocol of each accepted socket.

    A socket that sends nothing, or half a head, costs one small object here and no request handler; it has
    `limits.head_timeout_s` and then it is closed. When `limits.sockets` are open, one that has kept its head
    back for a second makes room, else connections on which nobody is served, else the oldest without a head;
    only when all are busy is a new one refused. Event streams are not counted: they have left aiohttp, and
    have a limit of their own.

    Args:
        core: The parts of the server.
        http: Serves a connection from its first whole head on.
    """

    def __init__(self, core: Core, http: HttpServer) -> None:
        self.core = core
        self._http = http
        self._head_timeout_s = core.settings.limits.head_timeout_s
        self._heads: OrderedDict[Head, float] = OrderedDict()
        """Sockets without a whole head, and when each came; the oldest first."""
        self._timer: TimerHandle | None = None
        self._refusals = 0

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a socket that was accepted."""
        return Head(self)

    def __len__(self) -> int:
        return len(self._heads) + self._http.count

    def admit(self, head: Head) -> bool:
        """Takes a socket in, if need be in place of another one."""
        if len(self) >= self.core.socket_limit:
            self.core.alarms.set("sockets-full", lapses=True, limit=self.core.socket_limit)
            if not self._make_room():
                self.core.metrics.sockets_refused.inc()
                return False
        self._heads[head] = self.core.clock.monotonic_s()
        if self._timer is None:
            self._timer = self.core.clock.call_later(self._head_timeout_s, self._look)
        return True

    def pass_on(self, head: Head, transport: asyncio.Transport, data: bytes) -> None:
        """The head is whole: aiohttp takes over."""
        del self._heads[head]
        handler = self._http()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def gone(self, head: Head) -> None:
        """The socket is closed. Idempotent."""
        self._heads.pop(head, None)

    def close(self) -> None:
        """Closes every socket that has sent no whole head."""
        if self._timer is not None:
            self._timer.cancel()
        for head in list(self._heads):
            head.drop()

    def may_tell(self, change: int) -> bool:
        """Counts the sockets that wait to be told of their refusal; whether one more may."""
        self._refusals += change
        return self._refusals <= _REFUSALS

    def _make_room(self) -> bool:
        # Whoever means it sends the head at once: the oldest one is the likeliest to be held back.
        oldest = next(iter(self._heads), None)
        settled_s = self.core.clock.monotonic_s() - SETTLED_S
        if (oldest is None or self._heads[oldest] > settled_s) and self._http.close_idle(_ROOM_MADE):
            return True
        if oldest is not None:
            oldest.drop()
        return oldest is not None

    def _look(self) -> None:
        """Closes what has had its time; the next look is when the oldest one left has had it."""
        self._timer = None
        now_s = self.core.clock.monotonic_s()
        for head, since_s in list(self._heads.items()):
            rest_s = since_s + self._head_timeout_s - now_s
            if rest_s > 0:
                self._timer = self.core.clock.call_later(rest_s, self._look)
                return
            head.expire(self._head_timeout_s)


class Head(asyncio.Protocol):
    """A socket that has not sent the whole head of a request yet.

    Args:
        admission: Decides, and takes the whole head.
    """

    __slots__ = ("_admission", "_data", "_refusal", "_telling", "_transport")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._refusal: ProblemError | None = None
        self._telling: TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._admission.admit(self):
            return
        # An answer before the request would be lost: closing with unread bytes resets the connection.
        self._refusal = ProblemError(
            503, "The server has as many connections as it takes; try again in a moment.", retry_after_s=1
        )
        if self._admission.may_tell(+1):
            self._telling = self._admission.core.clock.call_later(_REFUSED_S, self.drop)
        else:
            transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._refusal is not None:
            if _SUBSCRIBES.match(data):
                self._admission.gone(self)
                transport.write(_raw_stream(self._admission.core.settings.retry_ms))
                transport.close()
            else:
                self._answer(self._refusal)
            return
        searched = max(0, len(self._data) - 3)
        # Empty lines before a request are passed over (RFC 9112, section 2.2): not kept, and not its end.
        begun = self._data = (self._data + data).lstrip(b"\r\n")
        if not begun:
            return
        if begun[0] not in _TOKEN:
            self._answer(ProblemError(400, NOT_HTTP))
        elif b"\n\r\n" in begun[searched:] or b"\n\n" in begun[searched:]:
            if _FIRST_LINE.match(begun):
                self._admission.pass_on(self, transport, begun)
            else:
                self._answer(ProblemError(400, NOT_HTTP))
        elif b"\n" not in begun and len(begun) > MAX_LINE_BYTES:
            self._answer(
                ProblemError(414, f"A request's first line may have at most {MAX_LINE_BYTES} bytes.")
            )
        elif len(begun) > MAX_HEAD_BYTES:
            self._answer(ProblemError(431, HEAD_TOO_LARGE))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._admission.gone(self)
        if self._refusal is not None:
            self._admission.may_tell(-1)
        if self._telling is not None:
            self._telling.cancel()

    def drop(self) -> None:
        """Closes the socket without a word."""
        self._admission.gone(self)
        if self._transport is not None:
            self._transport.abort()

    def expire(self, limit_s: float) -> None:
        """Closes the socket, its time being up; one that has sent nothing (browsers keep some) untold."""
        if not self._data:
            self.drop()
            return
        self._admission.core.alarms.set("slow-senders", lapses=True)
        self._answer(ProblemError(408, f"The request's head did not come within {limit_s:g} s."))

    def _answer(self, problem: ProblemError) -> None:
        transport = self._transport
        assert transport is not None
        self._admission.gone(self)
        peer: Any = transport.get_extra_info("peername")
        refused(self._admission.core, problem, peer[0] if peer else None)
        transport.write(_raw(problem))
        transport.close()


def _raw(problem: ProblemError) -> bytes:
    """A whole answer, where there is no request to answer by aiohttp's means."""
    request_id = new_request_id()
    response = problem_response(problem, request_id)
    body = response.body
    assert isinstance(body, bytes)
    fields = {
        **response.headers,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Server": "potoserver",
        REQUEST_ID_HEADER: request_id,
        **HEADERS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {problem.status} {response.reason}\r\n{head}\r\n".encode("latin-1") + body


def _raw_stream(retry_ms: int) -> bytes:
    """The same for `/subscribe`: a browser's EventSource would give up for good on a 503."""
    fields = {
        "Content-Type": "text/event-stream",
        "Connection": "close",
        "Server": "potoserver",
        REQUEST_ID_HEADER: new_request_id(),
        **HEADERS,
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return (
        f"HTTP/1.1 200 OK\r\n{head}\r\n".encode("latin-1") + unavailable("too-many-connections", retry_ms).raw
    )
