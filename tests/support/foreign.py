"""Clients for event streams that nobody here wrote, each behind the same few methods."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from aiohttp_sse_client2.client import EventSource
from httpx_sse import aconnect_sse
from typing_extensions import override

from tests.support.npm import npm_packages
from tests.support.sse import parse_events

LIMIT_S = 30.0
TYPES = ("connected", "message", "delta", "shutdown", "unavailable")
_HEADERS = {"Authorization": "Bearer test-token"}


class ForeignClient(ABC):
    """Subscribes, keeps what it receives, and comes back by itself or as its documentation has it.

    Args:
        url: The stream's.
        folder: A folder for its files.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.events: list[tuple[str, Any]] = []
        self._more = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ForeignClient:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    @abstractmethod
    async def run(self) -> None:
        """Receives, and returns after each break, until it is cancelled."""

    async def take(self, event_type: str, data: str) -> None:
        """Keeps an event."""
        async with self._more:
            self.events.append((event_type, json.loads(data)))
            self._more.notify_all()

    def of(self, event_type: str) -> list[Any]:
        """The data of each event of that type, in the order they came."""
        return [data for kind, data in self.events if kind == event_type]

    async def until(self, event_type: str, count: int) -> list[Any]:
        """Waits until so many events of that type have come; returns their data."""
        assert self._task is not None
        try:
            async with asyncio.timeout(LIMIT_S), self._more:
                while len(self.of(event_type)) < count:
                    if self._task.done():
                        self._task.result()
                        raise AssertionError("the client has given up")
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"not {count} {event_type} but {self.events}") from None
        return self.of(event_type)


class CurlLoop(ForeignClient):
    """curl in a loop of a shell; the last id it wrote is where it goes on."""

    SCRIPT = """
    while :; do
      id=$(sed -n 's/^id: //p' "$OUT" | tail -n 1)
      curl -sN -H "Authorization: Bearer test-token" ${id:+-H "Last-Event-ID: $id"} "$URL" >>"$OUT"
      sleep 0.2
    done
    """

    @override
    async def run(self) -> None:
        out = self.folder / "curl.out"
        out.touch()
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", self.SCRIPT),
            env=os.environ | {"OUT": str(out), "URL": self.url},
            start_new_session=True,  # so that the loop and its curl are ended together
        )
        taken = 0
        try:
            while True:
                # A broken connection may leave the head of an event; the next one begins with `retry:`.
                events = parse_events(out.read_bytes().replace(b"\nretry: ", b"\n\nretry: "))
                for event in events[taken:]:
                    await self.take(event.type, json.dumps(event.data))
                taken = len(events)
                await asyncio.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class HttpxSse(ForeignClient):
    """httpx-sse: reconnects as its README does, by `Last-Event-ID` and the `retry` it was told."""

    @override
    async def run(self) -> None:
        last_event_id = ""
        retry_s = 1.0
        async with httpx.AsyncClient(timeout=None, headers=_HEADERS, trust_env=False) as client:
            while True:
                headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
                try:
                    async with aconnect_sse(client, "GET", self.url, headers=headers) as source:
                        async for event in source.aiter_sse():
                            last_event_id = event.id or last_event_id
                            if event.retry is not None:
                                retry_s = event.retry / 1000
                            if event.data:  # it makes an empty event of a heartbeat's blank line
                                await self.take(event.event, event.data)
                except httpx.TransportError:
                    pass
                await asyncio.sleep(retry_s)


class AiohttpSseClient(ForeignClient):
    """aiohttp-sse-client2: returns by itself after an orderly end, by `connect` after a broken one."""

    @override
    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            EventSource(
                self.url,
                session=session,
                headers=dict(_HEADERS),
                reconnection_time=timedelta(milliseconds=100),
                max_connect_retry=8,
            ) as source,
        ):
            while True:
                try:
                    async for event in source:
                        await self.take(event.type or "message", event.data)
                except aiohttp.ClientError:
                    await self._come_back(source)

    async def _come_back(self, source: EventSource) -> None:
        """Where it has given up, as behind an orderly end after one try, `connect` is one more try."""
        while True:
            with suppress(aiohttp.ClientError):
                return await source.connect(8)
            await asyncio.sleep(0.1)


class NpmEventSource(ForeignClient):
    """The npm package `eventsource`: does what a browser does."""

    SCRIPT = """
    const {EventSource} = await import(process.argv[1]);
    const token = {Authorization: "Bearer test-token"};
    const source = new EventSource(process.argv[2], {
      fetch: (url, init) => fetch(url, {...init, headers: {...init.headers, ...token}}),
    });
    for (const type of JSON.parse(process.argv[3]))
      source.addEventListener(type, (event) => console.log(JSON.stringify([type, event.data])));
    """

    @override
    async def run(self) -> None:
        package = npm_packages("eventsource@4.1.1") / "eventsource"
        entry = package / json.loads((package / "package.json").read_text())["exports"]["."]["default"]
        process = await asyncio.create_subprocess_exec(
            *("node", "--input-type=module", "-e", self.SCRIPT),
            *("--", entry.as_uri(), self.url, json.dumps(TYPES)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                await self.take(*json.loads(line))
            raise AssertionError("node has ended")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
