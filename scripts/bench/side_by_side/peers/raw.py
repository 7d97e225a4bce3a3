"""The limit of CPython: an asyncio Protocol that answers with a head, and then holds a transport."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

from scripts.bench.side_by_side.commands import Command, frame_of, obey
from scripts.bench.side_by_side.peers.base import PythonPeer

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
    b"event: connected\ndata: {}\n\n"
)
_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_HEARTBEAT = b":\n\n"
_INTERVAL_S = 15
"""As the heartbeats of this server are."""


class RawPeer(PythonPeer):
    """No HTTP server, no checks, heartbeats when told: what is left is the transport and the kernel."""

    name: ClassVar[str] = "raw asyncio"
    module: ClassVar[str] = __name__
    beats: ClassVar[bool] = True
    beat_path: ClassVar[str] = "/beat"
    tells_ends: ClassVar[bool] = True

    def ends_ms(self) -> dict[str, float]:
        lines = (self.folder / "output").read_text().split("\n")[:-1]
        return {user: float(at_ms) for user, _, at_ms in map(str.split, lines)}


class Streams:
    """All that are open, by user.

    Args:
        encode: Makes an event's bytes, once for all who get it.
    """

    def __init__(self, encode: Callable[[dict[str, Any]], bytes] = frame_of) -> None:
        self._encode = encode
        self._by_user: dict[str, list[asyncio.Transport]] = {}

    def add(self, user_id: str, transport: asyncio.Transport) -> None:
        self._by_user.setdefault(user_id, []).append(transport)

    def remove(self, user_id: str, transport: asyncio.Transport) -> None:
        of_user = self._by_user[user_id]
        of_user.remove(transport)
        if not of_user:
            del self._by_user[user_id]

    async def beat(self) -> None:
        """Writes a heartbeat to each that is open now, once in each interval: a part of them each second."""
        everyone = [transport for of_user in self._by_user.values() for transport in of_user]
        size = math.ceil(len(everyone) / _INTERVAL_S)
        for second in itertools.count():
            begin = second % _INTERVAL_S * size
            for transport in everyone[begin : begin + size]:
                transport.write(_HEARTBEAT)
            await asyncio.sleep(1)

    async def tell(self, user_id: str, data: dict[str, Any]) -> None:
        frame = self._encode(data)
        for transport in self._by_user[user_id]:
            transport.write(frame)

    async def tell_all(self, data: dict[str, Any]) -> None:
        frame = self._encode(data)
        for of_user in self._by_user.values():
            for transport in of_user:
                transport.write(frame)


class Stream(asyncio.Protocol):
    """One connection: of a subscriber, or the one on which commands come."""

    __slots__ = ("_streams", "_transport", "_user_id")

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._user_id: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /beat"):
            asyncio.ensure_future(self._streams.beat())  # noqa: RUF006 - held while it sleeps
            self._transport.write(_DONE)
            return
        if data.startswith(b"POST"):
            asyncio.ensure_future(self._obey(data.partition(b"\r\n\r\n")[2]))  # noqa: RUF006 - held while it sleeps
            return
        self._user_id = data[: data.index(b" HTTP")].rpartition(b"user=")[2].decode()
        self._transport.write(_HEAD)
        self._streams.add(self._user_id, self._transport)

    async def _obey(self, body: bytes) -> None:
        await obey(Command.of(json.loads(body)), self._streams)
        self._transport.write(_DONE)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._user_id is not None:
            print(self._user_id, "ended", time.time() * 1000, flush=True)
            self._streams.remove(self._user_id, self._transport)


async def serve(port: int) -> None:
    streams = Streams()
    server = await asyncio.get_running_loop().create_server(
        lambda: Stream(streams), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
