"""Readers that stop reading: cut off at their limit, memory bounded, the others untouched."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import pytest

from tests.faults.readers import RawSubscriber
from tests.process.conftest import StartServer
from tests.support.process import ServerProcess, tokens_of
from tests.support.sse import stream

pytestmark = pytest.mark.process

WATCHERS = 20
EVENT_BYTES = 8000
KERNEL_BYTES = 400_000
"""What the kernels take for a reader that reads nothing; what is beyond waits in the server."""
PIECE_BYTES = 65_536
"""What the server holds for a reader beside the outbox: the piece that the kernel is to take next."""
OVERHEAD_BYTES = 40_000_000
"""What the server needs for itself meanwhile: connections, calls, what Python keeps of freed memory."""

PUBLISHER = """
import asyncio, time
from potoserver import Event, ServerModule, rpc

class Publisher(ServerModule):
    @rpc
    async def flood(self, readers: int, events: int, size: int) -> None:
        for number in range(events):
            for reader in range(readers):
                text = f"{reader}-{number}-".ljust(size, "x")
                await self.context.publish(f"r{reader}", Event("flood", {"number": number, "text": text}))
                if reader % 10 == 9:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.02)

    @rpc
    async def tick(self, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            await self.context.publish("watcher", Event("tick", {"sent_s": time.monotonic()}))
            await asyncio.sleep(0.02)
"""


class Watch:
    """Connections of one user that are told the time, and how late it is when they hear of it.

    Both processes are on one machine, so one monotonic clock serves both.
    """

    def __init__(self, http: aiohttp.ClientSession, server: ServerProcess) -> None:
        self._http = http
        self._url = f"{server.url}/subscribe"
        self.late_ms: list[float] = []

    async def run(self, ready: asyncio.Barrier) -> None:
        headers = {"Authorization": "Bearer t-watcher", "Accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._http.get(self._url, headers=headers, timeout=timeout) as response:
            await ready.wait()
            async for line in response.content:
                if line.startswith(b'data: {"sent_s"'):
                    sent_s = json.loads(line.removeprefix(b"data: "))["sent_s"]
                    self.late_ms.append((time.monotonic() - sent_s) * 1000)


@asynccontextmanager
async def watched(http: aiohttp.ClientSession, server: ServerProcess) -> AsyncIterator[list[float]]:
    """Watches for the length of a block; gives how late each event came, in milliseconds."""
    watch = Watch(http, server)
    ready = asyncio.Barrier(WATCHERS + 1)
    tasks = [asyncio.create_task(watch.run(ready)) for _ in range(WATCHERS)]
    await ready.wait()
    ticking = asyncio.create_task(call(http, server, "tick", "t-watcher", seconds=600))
    try:
        yield watch.late_ms
        assert not ticking.done(), ticking.result()
    finally:
        for task in (*tasks, ticking):
            task.cancel()
        await asyncio.wait([*tasks, ticking])


async def call(
    http: aiohttp.ClientSession, server: ServerProcess, method: str, token: str = "t-r0", **arguments: float
) -> None:
    async with http.post(
        f"{server.url}/Publisher/{method}",
        json=arguments,
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=None),
    ) as answer:
        assert answer.status == 200, await answer.text()


def resident_bytes(server: ServerProcess) -> int:
    """Of the server's process, now."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


class Peak:
    """The most that the process held while it was looked at."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.bytes = 0

    async def run(self) -> None:
        while True:
            self.bytes = max(self.bytes, resident_bytes(self._server))
            await asyncio.sleep(0.02)


def described(late_ms: list[float]) -> str:
    percentiles = quantiles(late_ms, n=100)
    return f"p50 {percentiles[49]:.1f}, p99 {percentiles[98]:.1f}, max {max(late_ms):.1f} ms"


async def stall(server: ServerProcess, http: aiohttp.ClientSession, readers: int, outbox_bytes: int) -> None:
    """Floods users without connections, then the same with a stalled reader each; then these come back."""
    events = (KERNEL_BYTES + outbox_bytes) // EVENT_BYTES
    idle_bytes = resident_bytes(server)
    async with watched(http, server) as late_ms:
        await call(http, server, "flood", readers=readers, events=events, size=EVENT_BYTES)
    before_ms = list(late_ms)
    stalled = [await RawSubscriber.open(server.port, f"t-r{number}") for number in range(readers)]
    await server.until_logged("SSE subscribed", readers + WATCHERS)
    await asyncio.sleep(0.5)
    peak = Peak(server)
    looking = asyncio.create_task(peak.run())
    async with watched(http, server) as late_ms:
        await call(http, server, "flood", readers=readers, events=events, size=EVENT_BYTES)
        ended = await server.until_logged("SSE disconnect detected", readers, cause="slow")
    looking.cancel()

    grown_bytes = peak.bytes - idle_bytes
    allowed_bytes = readers * (outbox_bytes + outbox_bytes // 2 + PIECE_BYTES + EVENT_BYTES) + OVERHEAD_BYTES
    print(f"{readers} stalled readers x {outbox_bytes} bytes: {grown_bytes / 1e6:.0f} MB more", end=", ")
    print(f"{allowed_bytes / 1e6:.0f} MB allowed; {events} events each")
    print(f"others without them: {described(before_ms)}; with: {described(late_ms)};", end=" ")
    print(f"ratio of p50 {median(late_ms) / median(before_ms):.2f}")
    assert len(ended) == readers
    assert grown_bytes <= allowed_bytes
    assert max(late_ms) < 10_000
    async with http.get(f"{server.url}/health") as answer:
        assert "slow-readers" in [alarm["alarm"] for alarm in (await answer.json())["alarms"]]
    for subscriber in stalled[:20]:
        await comes_back(server, http, subscriber, stalled.index(subscriber), events)
    for subscriber in stalled[20:]:
        subscriber.close()


async def comes_back(
    server: ServerProcess, http: aiohttp.ClientSession, cut: RawSubscriber, number: int, events: int
) -> None:
    """What came before the cut and what is replayed make a whole, or the client is told of a gap."""
    await cut.read_to_end()
    cut.close()
    heard = [event.data["number"] for event in cut.events if event.type == "flood"]
    assert heard == list(range(len(heard)))
    async with stream(http, f"{server.url}/subscribe", f"t-r{number}", last_event_id=cut.last_id) as reader:
        connected = await reader.next("connected")
        if connected.data["gap"]:
            return
        while len(heard) < events:
            heard.append((await reader.next("flood")).data["number"])
    assert heard == list(range(events))


async def start(start_server: StartServer, tmp_path: Path, readers: int, outbox_bytes: int) -> ServerProcess:
    (tmp_path / "publisher.py").write_text(PUBLISHER)
    return await start_server(
        **tokens_of(["watcher", *(f"r{number}" for number in range(readers))]),
        POTO_MODULES='["publisher:Publisher"]',
        POTO_LIMITS__OUTBOX_BYTES=str(outbox_bytes),
        POTO_LIMITS__CONNECTIONS_PER_USER="0",
        POTO_BACKLOG__BYTES=str(outbox_bytes // 2),
    )


async def test_stalled_readers_are_cut_off_and_the_others_feel_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """At `limits.outbox_bytes`, cause `slow`; memory grows by no more than that for each."""
    server = await start(start_server, tmp_path, 150, 131_072)
    await stall(server, http, 150, 131_072)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_same_with_five_hundred_and_the_default_outbox(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """2 MiB each."""
    server = await start(start_server, tmp_path, 500, 2_097_152)
    await stall(server, http, 500, 2_097_152)
