"""The prototype of a released connection: aiohttp answers, then the transport gets a tiny protocol."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from scripts.bench.side_by_side.commands import frame_of
from scripts.bench.side_by_side.peers.base import PythonPeer
from scripts.bench.side_by_side.peers.on_aiohttp import Subscribe, serve
from scripts.bench.side_by_side.peers.raw import Streams

_CONNECTED = b"event: connected\ndata: {}\n\n"


class ReleasedPeer(PythonPeer):
    """What a released connection costs before anything is kept, checked or promised."""

    name: ClassVar[str] = "released"
    module: ClassVar[str] = __name__


class Released(asyncio.Protocol):
    """All that is left of a connection."""

    __slots__ = ("_streams", "_transport", "_user_id")

    def __init__(self, streams: Streams, user_id: str, transport: asyncio.Transport) -> None:
        self._streams = streams
        self._user_id = user_id
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.remove(self._user_id, self._transport)


class Response(EventSourceResponse):
    """aiohttp-sse's headers without its task, and without an end."""

    async def prepare(self, request: web.BaseRequest) -> object:  # type: ignore[override]
        self.headers["Connection"] = "close"
        return await web.StreamResponse.prepare(self, request)

    async def write_eof(self, data: bytes = b"") -> None:
        pass


def _chunk(frame: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def subscribe_to(streams: Streams) -> Subscribe:
    async def subscribe(request: web.Request) -> web.StreamResponse:
        response = Response()
        await response.prepare(request)
        handler, transport, user_id = request.protocol, request.transport, request.query["user"]
        assert transport is not None
        transport.set_protocol(Released(streams, user_id, transport))
        handler.transport = None
        handler.connection_lost(None)
        transport.resume_reading()
        transport.write(_chunk(_CONNECTED))
        streams.add(user_id, transport)
        return response

    return subscribe


if __name__ == "__main__":
    streams = Streams(lambda data: _chunk(frame_of(data)))
    serve(subscribe_to(streams), streams)
