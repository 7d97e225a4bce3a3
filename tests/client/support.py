"""What tests of the client share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from potoserver.client import (
    Backoff,
    Connected,
    Disconnected,
    PotoClient,
    RepeatPolicy,
    StreamEvent,
    Subscription,
)

LIMIT_S = 20.0
SOON = Backoff(base_s=0.02, most_s=0.1)
"""Waits that a test need not notice."""
PROBLEM = "application/problem+json"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def client_of(url: str, token: Any = "test-token") -> PotoClient:
    """A client that repeats soon, and not for long."""
    return PotoClient(url, token=token, repeat=RepeatPolicy(10.0, SOON))


async def next_of(events: Subscription, *types: str) -> StreamEvent:
    """The next event, of these types if any are given."""
    async with asyncio.timeout(LIMIT_S):
        async for event in events:
            if not types or event.type in types:
                return event
    raise AssertionError("the subscription has ended")


async def connected(events: Subscription) -> Connected:
    event = await next_of(events, "connected")
    assert isinstance(event, Connected)
    return event


async def disconnected(events: Subscription) -> Disconnected:
    event = await next_of(events, "disconnected")
    assert isinstance(event, Disconnected)
    return event


class Script:
    """A server that answers each request to a path as the test has written; the last answer is kept.

    Attributes:
        requests: The heads of the requests that came, by path without the query.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: dict[str, list[str]] = {}
        self._answers: dict[str, list[Answer]] = {}
        self._came = asyncio.Condition()

    def answer(self, path: str, *answers: Answer) -> None:
        self._answers.setdefault(path, []).extend(answers)

    def header(self, path: str, name: str) -> str:
        """A header of the latest request to a path; empty where it has none."""
        return self.requests[path][-1].partition(f"\r\n{name}: ")[2].partition("\r\n")[0]

    async def until(self, path: str, count: int) -> list[str]:
        """Waits for so many requests; returns their heads."""
        async with asyncio.timeout(LIMIT_S), self._came:
            await self._came.wait_for(lambda: len(self.requests.get(path, ())) >= count)
        return self.requests[path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")),
                0,
            )
            head += (await reader.readexactly(length)).decode()
            path = head.split(" ")[1].partition("?")[0]
            async with self._came:
                self.requests.setdefault(path, []).append(head)
                self._came.notify_all()
            answers = self._answers[path]
            await (answers.pop(0) if len(answers) > 1 else answers[0])(reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted() -> AsyncIterator[Script]:
    script = Script()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()


def says(status: int, body: str = "", content_type: str = PROBLEM, **headers: str) -> Answer:
    """A whole answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        raw = body.encode()
        writer.write("\r\n".join([*lines, f"Content-Length: {len(raw)}", "", ""]).encode() + raw)

    return answer


def streams(*events: str, holds: bool = False, cut: bool = False) -> Answer:
    """An event stream; it `holds` until the client goes, and with `cut` it ends in the middle."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            raw = event.encode()
            writer.write(b"%x\r\n%b\r\n" % (len(raw), raw))
            await writer.drain()
        if holds:
            await reader.read()
        if not cut:
            writer.write(b"0\r\n\r\n")

    return answer


def opening(event_id: str = "e-0", connection: str = "c-1", **more: Any) -> str:
    """The event `connected`."""
    data = {"user": "a1", "connection": connection, "resumed": False, "gap": False} | more
    return f"retry: 20\nid: {event_id}\nevent: connected\ndata: {json.dumps(data)}\n\n"
