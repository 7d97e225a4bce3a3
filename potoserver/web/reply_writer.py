"""Writes a reply that streams to its reader."""

from __future__ import annotations

from aiohttp import HttpVersion11, web

from potoserver.events import Frame, to_json
from potoserver.web.problems import problem_document
from potoserver.web.reply import Failure, ReplyBuffer

_PIECE_BYTES = 65_536
"""About so much is written at once, of what has waited."""


class ReplyWriter:
    """Writes each item when it is put, while the reader keeps up: no task has to wake for it.

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

    def write_now(self, item: str) -> bool:
        """Writes an item if the reader has taken all that was written before; tells whether."""
        protocol, transport = self._protocol, self._protocol.transport
        if transport is None or protocol.writing_paused or transport.is_closing():
            return False
        frame = Frame.encode("delta", item)
        if len(frame.raw) > _PIECE_BYTES:
            return False
        # As `response.write` would: that is a coroutine for the reader's sake, who has taken all.
        data = frame.chunked if self._chunked else frame.raw
        self._writer.output_size += len(data)
        transport.write(data)
        return True

    async def write_all(self) -> None:
        """Writes what waits, as it comes to wait, and the end.

        Raises:
            ReplyOverflowError: Too much has waited.
            ConnectionError: The reader has gone.
        """
        ending = None
        while ending is None:
            await self._buffer.wait()
            frames = [Frame.encode("delta", item) for item in self._buffer.take(_PIECE_BYTES)]
            ending = self._buffer.ending
            if isinstance(ending, Failure):
                problem = to_json(problem_document(ending.problem, self._request_id))
                frames.append(Frame.encode("error", problem))
            elif ending is not None:
                frames.append(Frame.encode("done", ending.result or "null"))
            await self._response.write(b"".join([frame.raw for frame in frames]))
