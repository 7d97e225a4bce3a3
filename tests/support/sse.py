"""A plain reader of event streams, on an aiohttp client session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

LIMIT_S = 20.0
"""How long a test waits for what must come."""


@dataclass(frozen=True)
class Received:
    """One event as it came."""

    type: str
    data: Any
    id: str | None
    retry_ms: int | None = None


def parse_events(body: bytes) -> list[Received]:
    """The events of a stream's body that are whole; what a cut has left of another is dropped."""
    *blocks, _ = body.split(b"\n\n")
    events = (_event_of(block.decode().split("\n")) for block in blocks)
    return [event for event in events if event is not None]


def _event_of(block: list[str]) -> Received | None:
    fields: dict[str, str] = {}
    for line in block:
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    retry = fields.get("retry")
    return Received(
        fields.get("event", "message"),
        json.loads(fields["data"]),
        fields.get("id"),
        int(retry) if retry else None,
    )


class EventReader:
    """Reads one stream to its end; every event is kept in `seen`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.seen: list[Received] = []
        self.comments = 0
        self.ended = asyncio.Event()
        self._read = 0
        self._more = asyncio.Condition()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            block: list[str] = []
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                if line:
                    block.append(line)
                    continue
                await self._take(block)
                block = []
        except aiohttp.ClientError:
            pass
        finally:
            self.response.close()
            self.ended.set()
            async with self._more:
                self._more.notify_all()

    async def _take(self, block: list[str]) -> None:
        event = _event_of(block)
        async with self._more:
            if event is not None:
                self.seen.append(event)
            else:
                self.comments += 1
            self._more.notify_all()

    async def next(self, event_type: str | None = None) -> Received:
        """The next event that was not asked for yet, of that type if one is given."""
        async with asyncio.timeout(LIMIT_S), self._more:
            while True:
                while self._read < len(self.seen):
                    event = self.seen[self._read]
                    self._read += 1
                    if event_type is None or event.type == event_type:
                        return event
                if self.ended.is_set():
                    raise EOFError(f"the stream ended without {event_type or 'another event'}: {self.seen}")
                await self._more.wait()

    async def end(self) -> None:
        """Waits for the server to end the stream."""
        async with asyncio.timeout(LIMIT_S):
            await self.ended.wait()

    async def close(self) -> None:
        """Drops the connection as a client does that goes."""
        self.response.close()
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def last_id(self) -> str | None:
        """The last event id, as a client would send it to resume."""
        return next((event.id for event in reversed(self.seen) if event.id is not None), None)


async def open_stream(
    session: aiohttp.ClientSession,
    url: str,
    token: str | None = "test-token",
    *,
    last_event_id: str | None = None,
    **params: str,
) -> EventReader:
    """Subscribes; the caller closes the reader."""
    headers = {"Accept": "text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    response = await session.get(
        url, headers=headers, params=params, timeout=aiohttp.ClientTimeout(total=None)
    )
    assert response.status == 200, await response.text()
    return EventReader(response)


@asynccontextmanager
async def stream(
    session: aiohttp.ClientSession, url: str, token: str | None = "test-token", **options: Any
) -> AsyncIterator[EventReader]:
    """Subscribes for the length of a block."""
    reader = await open_stream(session, url, token, **options)
    try:
        yield reader
    finally:
        await reader.close()
