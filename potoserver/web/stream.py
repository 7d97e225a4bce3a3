"""The wire of a subscription: a connection that aiohttp has let go of."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse
from typing_extensions import override

from potoserver.clock import Clock
from potoserver.engine.base import Cause
from potoserver.events import Frame
from potoserver.subscriptions import EventStream

_LAST_CHUNK = b"0\r\n\r\n"
_UNREACHABLE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_ABORT = {Cause.SLOW, Cause.LEASE, Cause.UNREACHABLE, Cause.RESET}
"""Ends after which the client reads nothing any more: what still waits for it is thrown away."""


class SubscriptionResponse(EventSourceResponse):
    """The headers of an event stream as aiohttp-sse makes them, without its task per connection.

    The task is made in `EventSourceResponse.prepare`, so this goes to the base class's `prepare` instead.
    """

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.version < (1, 1):
            self.headers["Connection"] = "close"  # there the end of the body is the end of the connection
        return await web.StreamResponse.prepare(self, request)

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        """Writes nothing: by now the connection is the subscription's."""


class TransportStream(asyncio.Protocol, EventStream):
    """Writes frames to a transport whose protocol it has become.

    After the headers aiohttp has nothing more to do for an event stream. Taking its place frees the request
    and the request handler (most of what a connection costs), tells the end of the connection at once and
    with its cause, and needs no task.

    Args:
        transport: The connection.
        chunked: Whether the body is chunked (HTTP/1.1).
        outbox_bytes: What may wait for the reader.
        send_timeout_s: How long an orderly close may wait for a reader.
        clock: Tells since when a reader stalls.
    """

    __slots__ = (
        "_cause",
        "_chunked",
        "_clock",
        "_on_lost",
        "_outbox_bytes",
        "_send_timeout_s",
        "_stalled_since_s",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        chunked: bool,
        outbox_bytes: int,
        send_timeout_s: float,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._chunked = chunked
        self._outbox_bytes = outbox_bytes
        self._send_timeout_s = send_timeout_s
        self._clock = clock
        self._on_lost: Callable[[Cause], None] | None = None
        self._cause: Cause | None = None
        self._stalled_since_s: float | None = None

    @classmethod
    def take_over(
        cls, request: web.Request, *, outbox_bytes: int, send_timeout_s: float, clock: Clock
    ) -> TransportStream | None:
        """Takes the connection from aiohttp, its response headers having been sent.

        Returns:
            The stream, or None when the client has gone already.
        """
        handler = request.protocol
        transport = request.transport
        if transport is None or transport.is_closing():
            return None
        stream = cls(
            transport,
            chunked=request.version >= (1, 1),
            outbox_bytes=outbox_bytes,
            send_timeout_s=send_timeout_s,
            clock=clock,
        )
        _abort_when_unacknowledged(transport, send_timeout_s)
        transport.set_protocol(stream)
        # Told that its connection is lost, the request handler lets go of everything. It closes the
        # transport that it knows, so it must know none by then.
        handler.transport = None
        handler.connection_lost(None)
        if not transport.is_reading():
            transport.resume_reading()  # else the client's going would not be noticed
        return stream

    # EventStream

    @override
    def write(self, frame: Frame) -> None:
        if self._cause is not None or self._transport.is_closing():
            return  # a connection that is lost is told of in a moment; until then asyncio warns of each write
        self._transport.write(frame.chunked if self._chunked else frame.raw)
        if self._transport.get_write_buffer_size() > self._outbox_bytes:
            self.close(Cause.SLOW)

    @override
    def close(self, cause: Cause) -> None:
        if self._cause is not None:
            return
        if cause in _ABORT:
            self._transport.abort()
        else:
            if self._chunked:
                self._transport.write(_LAST_CHUNK)
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._clock.call_later(self._send_timeout_s, self._transport.abort)
        self._lose(cause)

    @override
    def listen(self, on_lost: Callable[[Cause], None]) -> None:
        self._on_lost = on_lost
        if self._cause is not None:
            on_lost(self._cause)

    @property
    @override
    def stalled_since_s(self) -> float | None:
        return self._stalled_since_s

    def _lose(self, cause: Cause) -> None:
        self._cause = cause
        if self._on_lost is not None:
            self._on_lost(cause)

    # asyncio.Protocol

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._cause is not None:
            return
        if exc is None:
            self._lose(Cause.CLOSED)
        elif isinstance(exc, TimeoutError) or getattr(exc, "errno", None) in _UNREACHABLE:
            self._lose(Cause.UNREACHABLE)
        else:
            self._lose(Cause.RESET)

    @override
    def data_received(self, data: bytes) -> None:
        """Ignores what a client sends after its request: there is nobody to answer it."""

    @override
    def pause_writing(self) -> None:
        self._stalled_since_s = self._clock.monotonic_s()

    @override
    def resume_writing(self) -> None:
        self._stalled_since_s = None


def _abort_when_unacknowledged(transport: asyncio.Transport, timeout_s: float) -> None:
    """Asks the kernel to give the connection up when sent bytes stay unacknowledged (Linux)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    sock = transport.get_extra_info("socket")
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, max(1, int(timeout_s * 1000)))
