"""Endless calls: they show something for as long as somebody looks, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import pytest

from potoserver import ServerModule, rpc
from potoserver.module.rpc import rpc_methods
from tests.support.clock import ManualClock
from tests.support.served import serving
from tests.support.server import RunningServer, RunServer
from tests.support.sse import EventReader

SECRET = "s" * 32


class Ticker(ServerModule):
    """Counts when the test says so, and knows who looks."""

    def __init__(self) -> None:
        self.looking = 0
        self.changed = asyncio.Condition()
        self.ticks = asyncio.Semaphore(0)

    @rpc(endless=True)
    async def tick(self) -> AsyncIterator[int]:
        """Counts without end."""
        await self._look(1)
        try:
            for number in range(1_000_000):
                yield number
                await self.ticks.acquire()
        finally:
            self.looking -= 1
            async with self.changed:
                self.changed.notify_all()

    @rpc
    async def once(self) -> int:
        return 1

    async def _look(self, by: int) -> None:
        self.looking += by
        async with self.changed:
            self.changed.notify_all()

    async def until_looking(self, count: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.looking == count)


async def look(running: RunningServer, token: str = "test-token") -> EventReader:
    """Opens one, and reads its first item."""
    return await look_at(running.session, running.url, token)


async def look_at(session: aiohttp.ClientSession, url: str, token: str = "test-token") -> EventReader:
    response = await session.post(
        f"{url}/Ticker/tick",
        headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None),
    )
    assert response.status == 200, await response.text()
    reader = EventReader(response)
    assert (await reader.next()).data == 0
    return reader


async def test_an_endless_call_that_is_open_takes_no_place_of_other_calls(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Whoever opens a page three times can still call; endless calls have a limit of their own."""
    ticker = Ticker()
    limits = {"calls_at_once_per_user": 1, "calls_at_once": 1, "connections_per_user": 3}
    async with running_server(tmp_path, [ticker], limits=limits) as running:
        readers = [await look(running) for _ in range(3)]
        assert (await running.call("Ticker/once"))[0] == 200
        assert running.sample("potoserver_calls_in_flight") == 0
        assert running.sample("potoserver_endless_calls") == 3
        answer = await running.session.post(
            f"{running.url}/Ticker/tick",
            headers={"Authorization": "Bearer test-token", "Accept": "text/event-stream"},
        )
        assert answer.status == 429
        assert (await answer.json())["detail"] == "You have 3 endless calls open; close one."
        assert running.sample("potoserver_calls_refused_total", of="endless") == 1
        readers.append(await look(running, "admin-token"))
        for reader in readers:
            await reader.close()


async def test_the_stop_ends_endless_calls_and_waits_for_none(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Their readers are told; nothing is left undone."""
    ticker = Ticker()
    async with running_server(tmp_path, [ticker]) as running:
        reader = await look(running)
        assert await running.server.stop() is True
        assert ticker.looking == 0
        told = await reader.next("error")
        assert (told.data["status"], told.data["detail"]) == (503, "The server stops; try again in a moment.")
        await reader.end()


async def test_a_token_that_expires_ends_its_endless_calls(tmp_path: Path, running_server: RunServer) -> None:
    """Nobody goes on looking with it."""
    clock, ticker = ManualClock(), Ticker()
    token = jwt.encode({"sub": "j1", "exp": clock.now_ms() // 1000 + 60}, SECRET, algorithm="HS256")
    async with running_server(tmp_path, [ticker], clock=clock, auth={"jwt_secret": SECRET}) as running:
        reader = await look(running, token)
        await clock.advance(58)
        assert ticker.looking == 1
        await clock.advance(3)
        assert (await reader.next("error")).data["status"] == 401
        await ticker.until_looking(0)


async def test_without_asking_for_a_stream_it_is_the_first_item(
    tmp_path: Path, running_server: RunServer
) -> None:
    """So that curl gets a look, and no call hangs for ever."""
    ticker = Ticker()
    async with running_server(tmp_path, [ticker]) as running:
        assert await running.call("Ticker/tick") == (200, [0])
        assert ticker.looking == 0


async def test_it_ends_with_its_reader(tmp_path: Path) -> None:
    """At once, not when the next item can't be sent: on connections as the command line serves them."""
    ticker = Ticker()
    async with serving(tmp_path, [ticker]) as served, aiohttp.ClientSession() as session:
        reader = await look_at(session, served.url)
        await ticker.until_looking(1)
        await reader.close()
        await ticker.until_looking(0)
        async with asyncio.timeout(10):
            while served.sample("potoserver_endless_calls"):
                await asyncio.sleep(0.005)


def test_only_a_stream_can_be_endless() -> None:
    """Anything else has an end of its own."""

    class Wrong(ServerModule):
        @rpc(endless=True)
        async def once(self) -> int:
            return 1

    with pytest.raises(TypeError, match=r"Wrong.once: only an async generator can be endless"):
        rpc_methods(Wrong())
