"""The wire of a subscription: a connection that aiohttp has let go of."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse
from typing_extensions import override

from potoserver.clock import Clock, TimerHandle
from potoserver.engine.presence import Cause
from potoserver.events import Frame
from potoserver.subscriptions import EventStream, StreamListener
from potoserver.web.peer import (
    StallWatch,
    descriptor_of,
    error_of,
    give_up_soon,
    hold_back_unsent,
    is_silent,
    pause_as_soon_as_anything_waits,
    plain_descriptor,
    send_together,
    silent_for_s,
    unacknowledged_bytes,
    untaken_bytes,
)
from potoserver.web.quiet import QuietConnections

_LAST_CHUNK = b"0\r\n\r\n"
_PIECE_BYTES = 65_536
"""At most so many bytes are given to the transport while the kernel takes no more: it would copy them."""
_SILENT = 0.9
"""Of the send timeout: a kernel that was not heard for that long is gone. A live one answers its probes."""
_UNASKED_BYTES = 65_536
"""What a client may send after its request, which nobody reads."""
_ABORT = {Cause.SLOW, Cause.LEASE, Cause.UNREACHABLE, Cause.RESET}
"""Ends after which the client reads nothing any more: what still waits for it is thrown away."""


class SubscriptionResponse(EventSourceResponse):
    """The headers of an event stream as aiohttp-sse makes them, without its task per connection.

    The task is made in `EventSourceResponse.prepare`, so this goes to the base class's `prepare` instead.
    """

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        # The connection ends with the stream; a client that kept it for a next request would lose that one.
        self.headers["Connection"] = "close"
        if request.transport is not None:
            # They go with the opening: to send, and to wake the client, costs as much for both as for one.
            send_together(request.transport, on=True)
        return await web.StreamResponse.prepare(self, request)

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        """Writes nothing: by now the connection is the subscription's."""


class TransportStream(asyncio.Protocol, EventStream):
    """Writes frames to a transport whose protocol it has become.

    After the headers aiohttp has nothing more to do for an event stream. Taking its place frees the request
    and the request handler (most of what a connection costs), tells the end of the connection at once and
    with its cause, and needs no task.

    What the reader does not take waits here, as references to frames that all connections share; the
    transport holds one piece of it. Invariant: something waits here only while the transport is paused.

    Args:
        transport: The connection.
        chunked: Whether the body is chunked (HTTP/1.1).
        outbox_bytes: What may wait behind the write that the reader is busy with.
        send_timeout_s: How long a reader may take nothing, and an orderly close may wait for one.
        clock: Tells since when a reader stalls.
        quiet: Forgets the connection when it is lost.
    """

    __slots__ = (
        "_cause",
        "_chunked",
        "_clock",
        "_direct",
        "_listener",
        "_outbox_bytes",
        "_patience",
        "_paused",
        "_quiet",
        "_send_timeout_s",
        "_sent_bytes",
        "_stall",
        "_transport",
        "_unasked_bytes",
        "_uncounted_bytes",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        chunked: bool,
        outbox_bytes: int,
        send_timeout_s: float,
        clock: Clock,
        quiet: QuietConnections,
    ) -> None:
        self._transport = transport
        self._chunked = chunked
        self._outbox_bytes = outbox_bytes
        self._send_timeout_s = send_timeout_s
        self._clock = clock
        self._quiet = quiet
        self._listener: StreamListener | None = None
        self._patience: TimerHandle | None = None
        """Ends when an orderly end has waited long enough for the reader."""
        self._cause: Cause | None = None
        self._paused = False
        self._stall: StallWatch | None = None
        self._waiting: deque[bytes | memoryview] | None = None
        self._waiting_bytes = 0
        self._uncounted_bytes = 0
        """Of what waits, the rest of the write that the reader is busy with."""
        self._sent_bytes = 0
        self._unasked_bytes = 0
        self._direct = plain_descriptor(transport)
        """Where a frame goes past the transport; None while it may not: something waits, or it has ended."""

    @classmethod
    def take_over(
        cls,
        request: web.Request,
        *,
        outbox_bytes: int,
        send_timeout_s: float,
        clock: Clock,
        quiet: QuietConnections,
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
            quiet=quiet,
        )
        hold_back_unsent(transport)
        transport.set_protocol(stream)
        pause_as_soon_as_anything_waits(transport)
        if transport.get_write_buffer_size():
            stream.pause_writing()  # if it was paused before, only aiohttp has been told
        # Told that its connection is lost, the request handler lets go of everything. It closes the
        # transport that it knows, so it must know none by then.
        handler.transport = None
        handler.connection_lost(None)
        quiet.add(stream, transport)
        return stream

    # EventStream

    @override
    def write(self, frame: Frame) -> None:
        # What a delivery costs is the kernel's, and this: one more object to look at is felt where thousands
        # get an event. So it goes past the transport, which has nothing to do while nothing waits.
        data = frame.chunked if self._chunked else frame.raw
        if self._direct is None or len(data) > _PIECE_BYTES:
            self._write([data])
            return
        try:
            taken_bytes = os.write(self._direct, data)
        except BlockingIOError:
            taken_bytes = 0
        except OSError as error:
            self._fail(error)
            return
        self._sent_bytes += taken_bytes
        if taken_bytes < len(data):
            self._write([memoryview(data)[taken_bytes:]])

    @override
    def write_together(self, frames: Sequence[Frame]) -> None:
        self._write([frame.chunked if self._chunked else frame.raw for frame in frames])
        send_together(self._transport, on=False)

    def _write(self, written: Sequence[bytes | memoryview]) -> None:
        if self._cause is not None or self._transport.is_closing():
            return  # a connection that is lost is told of in a moment; until then asyncio warns of each write
        size = sum(map(len, written))
        self._sent_bytes += size
        if self._paused:
            if self._waiting_bytes - self._uncounted_bytes + size > self._outbox_bytes:
                self.close(Cause.SLOW)
            else:
                self._keep(written, size)
        elif size <= _PIECE_BYTES:
            self._transport.write(b"".join(written))
        else:
            self._keep(written, size)
            self._pass_on()
            # Its size is not the reader's doing: cut off for it, a client would return only to get it again.
            self._uncounted_bytes = self._waiting_bytes

    @override
    def close(self, cause: Cause) -> None:
        if self._cause is not None:
            return
        if cause in _ABORT:
            self._abort()
        else:
            if self._chunked:
                self._keep([_LAST_CHUNK], len(_LAST_CHUNK))
            self._cause = cause
            self._pass_on()
            if self._paused:
                self._patience = self._clock.call_later(self._send_timeout_s, self._abort)
        self._lose(cause)

    @override
    def listen(self, listener: StreamListener) -> None:
        if self._cause is not None:
            listener.on_lost(self._cause)
        else:
            self._listener = listener

    @override
    def expect_taken(self, upto_bytes: int) -> None:
        if self._cause is not None or self.taken_bytes >= upto_bytes:
            return
        if self._cause_of_stall(Cause.SLOW) is Cause.UNREACHABLE:
            self.close(Cause.UNREACHABLE)
        else:
            self._watch()  # it is heard, and has not come that far: it reads slowly, or not at all

    @property
    @override
    def sent_bytes(self) -> int:
        return self._sent_bytes

    @property
    @override
    def taken_bytes(self) -> int:
        return self._sent_bytes - self._waiting_bytes - untaken_bytes(self._transport)

    @property
    @override
    def all_taken(self) -> bool:
        if self._direct is not None:
            return not unacknowledged_bytes(self._direct)
        return not self._paused and not unacknowledged_bytes(descriptor_of(self._transport))

    def _abort(self) -> None:
        """Ends the connection. What waits here is thrown away; what the kernel has, it may still bring."""
        give_up_soon(self._transport, self._send_timeout_s)
        self._transport.abort()
        self._waiting = None

    def _fail(self, error: OSError) -> None:
        """The socket has taken nothing, and will not any more."""
        if not self._transport.is_closing():  # else asyncio is about to tell why
            self._abort()
            self._lose(self._cause_of(error))

    def _lose(self, cause: Cause) -> None:
        self._cause = cause
        self._direct = None
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_lost(cause)

    def _keep(self, written: Sequence[bytes | memoryview], size: int) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.extend(written)
        self._waiting_bytes += size

    def _pass_on(self) -> None:
        """Gives the transport what waits, until the kernel takes no more or the connection is lost."""
        while self._waiting and not (self._paused or self._transport.is_closing()):
            first = self._waiting.popleft()
            if len(first) > _PIECE_BYTES:
                whole = memoryview(first)
                self._waiting.appendleft(whole[_PIECE_BYTES:])
                first = whole[:_PIECE_BYTES]
            self._waiting_bytes -= len(first)
            self._uncounted_bytes = max(0, self._uncounted_bytes - len(first))
            self._transport.write(first)
        if not self._waiting:
            self._waiting = None
            if self._cause is not None:
                give_up_soon(self._transport, self._send_timeout_s)
                self._transport.close()

    # Quiet

    def speaks(self) -> None:
        """Reads on, since the client has said something."""
        self._transport.resume_reading()

    def ended(self, failed: bool) -> None:
        """Ends: the client has, or the connection is lost."""
        if self._transport.is_closing():
            return  # by us; what waits, if anything does, finds it out
        error = error_of(self._transport) if failed else None
        if error is not None:
            self._fail(error)
        else:
            self.eof_received()
            self._transport.close()

    # asyncio.Protocol

    @override
    def eof_received(self) -> None:
        # Told at once: asyncio closes the transport now, and says so only when others have had their turn.
        if self._cause is None and not self._paused:
            self._lose(Cause.CLOSED)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        # Before all else: once it is closed, another user's connection may have the descriptor.
        self._direct = None
        self._let_off()
        self._quiet.remove(self._transport)
        self._waiting = None
        if self._patience is not None:
            self._patience.cancel()
        if self._cause is None:
            self._lose(Cause.CLOSED if exc is None else self._cause_of(exc))

    @override
    def data_received(self, data: bytes) -> None:
        """Ignores what a client sends after its request, there being nobody to answer it; up to a limit."""
        self._unasked_bytes += len(data)
        if self._unasked_bytes > _UNASKED_BYTES and self._cause is None:
            self._abort()
            self._lose(Cause.KICKED)

    @override
    def pause_writing(self) -> None:
        if self._paused:
            return
        self._paused = True
        self._direct = None
        self._watch()

    @override
    def resume_writing(self) -> None:
        # Not now: asyncio's transport is in the middle of a write, and when what is done here ends it (a last
        # piece, a reset) it goes on to say that twice.
        asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._transport.is_closing():
            return
        self._paused = False
        self._let_off()
        self._pass_on()
        if not self._paused and self._cause is None:
            self._direct = plain_descriptor(self._transport)

    def _watch(self) -> None:
        if self._stall is None:
            self._stall = StallWatch(
                self._clock, self._send_timeout_s, lambda: self.close(self._cause_of_stall(Cause.SLOW))
            )
        if not self._stall.looks:
            self._stall.begin(self._progress)

    def _progress(self) -> int | None:
        taken_bytes = self.taken_bytes
        return taken_bytes if taken_bytes < self._sent_bytes else None

    def _cause_of(self, error: Exception) -> Cause:
        if isinstance(error, BrokenPipeError):
            return Cause.CLOSED  # before that was written, and in order: else it would be a reset
        return self._cause_of_stall(Cause.UNREACHABLE) if is_silent(error) else Cause.RESET

    def _cause_of_stall(self, unknown: Cause) -> Cause:
        """Why nothing was taken: the reader would not, or the network did not bring it there."""
        silent_s = silent_for_s(self._transport)
        if silent_s is None:
            return unknown
        return Cause.UNREACHABLE if silent_s >= self._send_timeout_s * _SILENT else Cause.SLOW

    def _let_off(self) -> None:
        if self._stall is not None:
            self._stall.end()
            self._stall = None
