"""A client so lean that two thousand of them fit beside the server: bare HTTP/1.1 on asyncio."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.sse import Received, parse_events

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: closing sends a reset."""
_BROADCAST = b"event: online\n"
_IDLE_S = 60.0
ANSWER_LIMIT_S = 120.0
"""How long an answer may take before it counts as never given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Received]:
        """The body as the events of a stream."""
        return parse_events(self.body)


def _head(method: str, path: str, port: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _reset(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class _Wire(asyncio.StreamReaderProtocol):
    """Knows its transport from the first moment: who is cancelled while it connects can close it."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.transport: asyncio.Transport | None = None
        self.used_at_s = time.monotonic()
        super().__init__(self.reader)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        super().connection_made(transport)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: not after nearly as long a pause as the server waits for."""
        if self.transport is None or self.transport.is_closing() or self.reader.at_eof():
            return False
        return time.monotonic() - self.used_at_s < _IDLE_S


class Caller:
    """One connection that is kept alive, for one call at a time; opened with the first.

    Args:
        port: The server's, on 127.0.0.1.
        token: Who calls.
    """

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._wire: _Wire | None = None

    async def post(
        self, path: str, arguments: Mapping[str, Any], *, key: str | None = None, streamed: bool = False
    ) -> Answer:
        """Calls a method and reads the whole answer.

        Raises:
            OSError: The connection broke.
            EOFError: It ended before the answer did.
            TimeoutError: No answer came.
        """
        wire = self._wire
        if wire is None or not wire.usable:
            self.close()
            wire = self._wire = _Wire()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                if wire.transport is None:
                    await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", self._port)
                assert wire.transport is not None
                wire.transport.write(self._request(path, arguments, key, streamed=streamed))
                answer = await self._read_answer(wire.reader)
                wire.used_at_s = time.monotonic()
                return answer
        except BaseException:
            # What is left of the answer must not be taken for the next one.
            if wire.transport is not None:
                wire.transport.abort()
            raise

    def _request(self, path: str, arguments: Mapping[str, Any], key: str | None, *, streamed: bool) -> bytes:
        body = json.dumps(arguments).encode()
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        if key is not None:
            headers["Idempotency-Key"] = key
        if streamed:
            headers["Accept"] = "text/event-stream"
        return _head("POST", path, self._port, headers) + body

    async def _read_answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(await reader.readline(), 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            await reader.readline()
            body = b"".join(parts)
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, body, headers)

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection, whatever is on its way."""
        wire, self._wire = self._wire, None
        if wire is None or wire.transport is None:
            return
        if reset:
            _reset(wire.transport)
            wire.transport.abort()
        else:
            wire.transport.close()


class Feed(asyncio.Protocol):
    """One event stream: reads it, and tells of each event as it comes.

    Args:
        on_event: Told of each event but the broadcasts of who is online, which are only counted.
    """

    def __init__(self, on_event: Callable[[Received], None]) -> None:
        self._on_event = on_event
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._status: int | None = None
        self._chunks = bytearray()
        self._text = b""
        self.broadcasts = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls,
        port: int,
        token: str | None,
        on_event: Callable[[Received], None],
        *,
        query: str = "",
        last_event_id: str | None = None,
    ) -> Feed:
        """Connects and asks for the stream; events come from then on.

        Raises:
            OSError: There is no connection to be had.
        """
        headers = {"Accept": "text/event-stream"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        loop = asyncio.get_running_loop()
        feed = cls(on_event)
        try:
            transport, _ = await loop.create_connection(lambda: feed, "127.0.0.1", port)
        except BaseException:
            feed.close()  # cancelled, it may be connected all the same
            raise
        transport.write(_head("GET", f"/subscribe{query}", port, headers))
        return feed

    def close(self, *, reset: bool = False) -> None:
        """Goes, in order or with a reset."""
        if self._transport is not None and not self._transport.is_closing():
            if reset:
                _reset(self._transport)
                self._transport.abort()
            else:
                self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._status is None:
            self._head += data
            head, blank, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not blank:
                return
            self._status = int(head.split(b" ", 2)[1])
            if self._status != 200:
                self._on_event(Received("refused", {"status": self._status, "body": str(rest)}, None))
                self.close()
                return
            data = rest
        self._chunks += data
        self._take_chunks()

    def _take_chunks(self) -> None:
        text = []
        while True:
            size_text, line_end, _ = self._chunks.partition(b"\r\n")
            if not line_end:
                break
            begin = len(size_text) + 2
            end = begin + int(size_text, 16)
            if len(self._chunks) < end + 2:
                break
            text.append(bytes(self._chunks[begin:end]))
            del self._chunks[: end + 2]
        if text:
            self._take_text(self._text + b"".join(text))

    def _take_text(self, text: bytes) -> None:
        *blocks, self._text = text.split(b"\n\n")
        for block in blocks:
            if block.startswith(_BROADCAST):
                self.broadcasts += 1
                continue
            for event in parse_events(block + b"\n\n"):
                self._on_event(event)
