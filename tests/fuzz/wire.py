"""Raw exchanges with a server: any bytes out, whole answers back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3}) [^\r\n]*")
QUIET_S = 0.2
"""A connection that has answered and says no more for so long has nothing more to say."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        status: Its status.
        headers: Its headers, names in lower case.
        body: Its body, unframed; of an endless one what came.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document that it is."""
        assert self.headers["content-type"].startswith("application/problem+json"), self
        return dict(json.loads(self.body))


@dataclass(frozen=True)
class Exchange:
    """What became of a connection.

    Attributes:
        answers: The whole answers, the interim ones too.
        rest: Bytes behind them that are no whole answer.
        closed: Whether the server has closed it.
        took_s: How long that took.
    """

    answers: tuple[Answer, ...]
    rest: bytes
    closed: bool
    took_s: float


async def exchange(
    port: int, parts: Iterable[bytes], *, limit_s: float, pause_s: float = 0.0, wanted: int | None = None
) -> Exchange:
    """Sends the parts, and reads until the server closes, or has answered and is quiet.

    Args:
        port: The server's, on 127.0.0.1.
        parts: Sent one after the other.
        limit_s: After this without an answer or an end the exchange is over.
        pause_s: Between two parts.
        wanted: After so many final answers it is over, without waiting for quiet.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    closed = False
    sending = asyncio.create_task(_send(writer, parts, pause_s))
    try:
        while not closed and loop.time() - began_s < limit_s:
            answers, _ = parse(bytes(received))
            final = sum(each.status >= 200 for each in answers)
            if wanted is not None and final >= wanted:
                break
            has_answered = bool(final) and sending.done()
            wait_s = QUIET_S if has_answered else limit_s - (loop.time() - began_s)
            try:
                data = await asyncio.wait_for(reader.read(65536), max(0.0, wait_s))
            except TimeoutError:
                break
            except ConnectionError:
                data = b""
            received += data
            closed = not data
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        writer.transport.abort()
    answers, rest = parse(bytes(received))
    return Exchange(tuple(answers), rest, closed, loop.time() - began_s)


async def _send(writer: asyncio.StreamWriter, parts: Iterable[bytes], pause_s: float) -> None:
    try:
        for position, part in enumerate(parts):
            if position and pause_s:
                await asyncio.sleep(pause_s)
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        pass  # the server has said all it had to


def parse(data: bytes) -> tuple[list[Answer], bytes]:
    """The whole answers in some bytes, and the rest. No request may have been a HEAD.

    Raises:
        ValueError: They are no answers.
    """
    answers = []
    while data:
        head, found, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        match = _STATUS_LINE.fullmatch(first)
        if match is None and (found or not b"HTTP/1.1 ".startswith(first[:9])):
            raise ValueError(f"no answer: {data[:200]!r}")
        if not found or match is None:
            break
        headers = {}
        for line in lines:
            name, colon, value = line.partition(b": ")
            if not colon:
                raise ValueError(f"no header: {line!r}")
            headers[name.decode().lower()] = value.decode("latin-1")
        if headers.get("transfer-encoding") == "chunked":
            taken, used = _dechunk(body)
            endless = headers["content-type"].startswith("text/event-stream")
            if not used and not (endless and taken):
                break
        elif "content-length" in headers or int(match[1]) < 200 or int(match[1]) == 204:
            used = int(headers.get("content-length", 0))
            if len(body) < used:
                break
            taken = body[:used]
        else:
            taken, used = body, len(body)  # to the end of the connection, as HTTP/1.0 has it
        answers.append(Answer(int(match[1]), headers, taken))
        if "transfer-encoding" in headers and not used:
            return answers, b""  # a stream that goes on
        data = body[used:]
    return answers, data


def _dechunk(data: bytes) -> tuple[bytes, int]:
    """The body that chunks carry, and how many bytes they take; 0 while the last one is missing."""
    whole, position = b"", 0
    while True:
        line, found, _ = data[position:].partition(b"\r\n")
        if not found:
            return whole, 0
        size = int(line, 16)
        position += len(line) + 2
        if size == 0:
            return whole, position + 2
        if len(data) < position + size + 2:
            return whole, 0
        whole += data[position : position + size]
        position += size + 2
