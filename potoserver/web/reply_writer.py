"""Writes a reply that streams to its reader."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web

from potoserver.events import Frame, encode_event, to_json
from potoserver.web.problems import problem_document
from potoserver.web.reply import Failure, ReplyBuffer

_PIECE_BYTES = 65_536
"""About so much is written at once, of what has waited."""
_TOGETHER_S = 0.0002
"""What comes so soon after a write goes out at the end of the loop's turn, with what else comes in it.

A model that is read from a socket may give many items in one turn, and the kernel's part of each write is
most of what an item costs.
"""


class ReplyWriter:
    """Writes items as they are put, while the reader keeps up: no task has to wake for it.

    What has waited, for the reader or for the stream to be opened, the task writes that runs `write_all`.

    Args:
        request: The call.
        response: Prepared: its headers are written.
        buffer: Where the reply comes from.
        request_id: Of the call, for the problem that a reply may end with.
    """

    def __init__(
        self, request: web.Request, response: web.StreamResponse, buffer: ReplyBuffer, request_id: str
    ) -> None:
        self._protocol = request.protocol
        self._writer = request.writer
        self._response = response
        self._buffer = buffer
        self._request_id = request_id
        self._chunked = request.version >= HttpVersion11
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        """Taken, and written at the end of the loop's turn at the latest."""
        self._gathered_bytes = 0
        self._turn_end: asyncio.Handle | None = None
        self._written_s = 0.0

    def write_now(self, item: str) -> bool:
        """Writes an item if the reader has taken all that was written before; tells whether."""
        protocol, transport = self._protocol, self._protocol.transport
        if transport is None or protocol.writing_paused or transport.is_closing():
            return False
        data = encode_event("delta", item)
        if len(data) > _PIECE_BYTES:
            return False
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > _PIECE_BYTES:
            self._write_gathered()
        elif self._turn_end is None:
            if self._loop.time() - self._written_s > _TOGETHER_S:
                self._write_gathered()
            else:
                self._turn_end = self._loop.call_soon(self._write_gathered)
        return True

    def _write_gathered(self) -> None:
        if self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        frame = Frame(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0
        transport = self._protocol.transport
        if not frame.raw or transport is None or transport.is_closing():
            return
        # As `response.write` would: that is a coroutine for the reader's sake, who has taken all.
        data = frame.chunked if self._chunked else frame.raw
        self._writer.output_size += len(data)
        transport.write(data)
        self._written_s = self._loop.time()

    async def write_all(self) -> None:
        """Writes what waits, as it comes to wait, and the end.

        Raises:
            ReplyOverflowError: Too much has waited.
            ConnectionError: The reader has gone.
        """
        ending = None
        while ending is None:
            await self._buffer.wait()
            self._write_gathered()
            events = [encode_event("delta", item) for item in self._buffer.take(_PIECE_BYTES)]
            ending = self._buffer.ending
            if isinstance(ending, Failure):
                problem = to_json(problem_document(ending.problem, self._request_id))
                events.append(encode_event("error", problem))
            elif ending is not None:
                events.append(encode_event("done", ending.result or "null"))
            await self._response.write(b"".join(events))
