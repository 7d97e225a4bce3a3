"""Subscribers on a bare socket, which read only when they are told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping

from tests.support.sse import Received, parse_events

_LIMIT_S = 20.0


class RawSubscriber:
    """An event stream of HTTP/1.0, so without chunks: what is received is the stream itself.

    Args:
        sock: Connected, not blocking.

    Attributes:
        received: What came so far, head and body.
        ended: How the stream ended, `end` or `reset`; None while it goes on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.ended: str | None = None

    @classmethod
    async def open(
        cls,
        port: int,
        token: str = "test-token",
        *,
        host: str = "127.0.0.1",
        sock: socket.socket | None = None,
        buffer_bytes: int | None = 4096,
        last_event_id: str | None = None,
        query: str = "",
    ) -> RawSubscriber:
        """Connects and subscribes; nothing is read yet.

        Args:
            port: The server's.
            token: Whose stream.
            host: The server's address.
            sock: Not connected; None makes one.
            buffer_bytes: The size of its receive buffer: how much comes without being read; None for the
                machine's own.
            last_event_id: Where to go on.
            query: Of the URL, with its `?`.
        """
        sock = sock or socket.socket()
        sock.setblocking(False)
        if buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        made = cls(sock)
        await made.subscribe(token, last_event_id=last_event_id, query=query)
        return made

    async def subscribe(
        self,
        token: str = "test-token",
        *,
        last_event_id: str | None = None,
        query: str = "",
        version: str = "1.0",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Sends the request."""
        fields = {"Host": "localhost", "Authorization": f"Bearer {token}"} | dict(headers or {})
        if last_event_id is not None:
            fields["Last-Event-ID"] = last_event_id
        lines = [f"GET /subscribe{query} HTTP/{version}", *(f"{name}: {fields[name]}" for name in fields)]
        await asyncio.get_running_loop().sock_sendall(self.sock, "\r\n".join([*lines, "", ""]).encode())

    async def read(self, size: int = 65_536) -> bytes:
        """Reads at most so much; nothing more comes after `ended`."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                data = await asyncio.get_running_loop().sock_recv(self.sock, size)
        except ConnectionError:
            self.ended = "reset"
            return b""
        if not data:
            self.ended = "end"
        self.received += data
        return data

    async def read_until(self, text: bytes) -> None:
        """Reads until that has come."""
        searched = 0
        while self.received.find(text, searched) < 0:
            searched = max(0, len(self.received) - len(text))
            assert await self.read(), f"the stream ended without {text!r}: {self.received[-500:]!r}"

    async def read_to_end(self) -> None:
        """Reads all there is."""
        while self.ended is None:
            await self.read()

    @property
    def events(self) -> list[Received]:
        """The events that came whole."""
        return parse_events(bytes(self.received.partition(b"\r\n\r\n")[2]))

    @property
    def last_id(self) -> str | None:
        """Where a client would go on that has received this much."""
        return next((event.id for event in reversed(self.events) if event.id is not None), None)

    def close(self, *, reset: bool = False) -> None:
        """Closes the connection, with a reset if it is asked for."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
