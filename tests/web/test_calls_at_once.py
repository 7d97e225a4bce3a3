"""Calls in flight are bounded: of a user, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from potoserver import ServerModule, rpc
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer


class Gate(ServerModule):
    """Calls that end when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0

    @rpc
    async def wait(self) -> bool:
        self.inside += 1
        await self.open.wait()
        return True

    @rpc
    async def count(self) -> AsyncIterator[int]:
        self.inside += 1
        yield 1
        await self.open.wait()

    @rpc
    async def long(self) -> str:
        self.inside += 1
        return "x" * 32_000_000

    async def until(self, inside: int) -> None:
        async with asyncio.timeout(10):
            while self.inside < inside:
                await asyncio.sleep(0.005)


async def test_a_user_has_so_many_calls_in_flight(tmp_path: Path, running_server: RunServer) -> None:
    """One more is 429 and begins nothing; another user's goes through; one that ends makes room."""
    gate = Gate()
    limits = {"calls_at_once_per_user": 2, "calls_at_once": 3}
    async with running_server(tmp_path, [gate], clock=ManualClock(), limits=limits) as running:
        waiting = [asyncio.create_task(running.call("Gate/wait")) for _ in range(2)]
        await gate.until(2)
        status, problem = await running.call("Gate/wait")
        assert (status, problem["detail"]) == (429, "You have 2 calls in flight; wait for an answer.")
        waiting.append(asyncio.create_task(running.call("Gate/wait", token="admin-token")))
        await gate.until(3)
        status, problem = await running.call("Gate/wait", token="admin-token")
        assert status == 503
        assert [alarm.name for alarm in running.core.alarms.on()] == ["rate-limited", "calls-full"]
        assert running.sample("potoserver_calls_in_flight") == 3
        assert running.sample("potoserver_calls_refused_total", of="user") == 1
        assert running.sample("potoserver_calls_refused_total", of="all") == 1
        gate.open.set()
        assert [answer[0] for answer in await asyncio.gather(*waiting)] == [200] * 3
        assert (await running.call("Gate/wait"))[0] == 200
        assert running.sample("potoserver_calls_in_flight") == 0


async def test_a_caller_that_has_gone_still_counts(tmp_path: Path, running_server: RunServer) -> None:
    """Its call goes on, so hanging up opens no way around the limit; streamed calls are no exception."""
    gate = Gate()
    async with running_server(
        tmp_path, [gate], clock=ManualClock(), limits={"calls_at_once_per_user": 2}
    ) as running:
        await _call_and_hang_up(running, gate, "Gate/wait", 1)
        await _call_and_hang_up(running, gate, "Gate/count", 2, Accept="text/event-stream")
        assert (await running.call("Gate/wait"))[0] == 429
        gate.open.set()
        async with asyncio.timeout(10):
            while running.sample("potoserver_calls_in_flight"):
                await asyncio.sleep(0.005)
        assert (await running.call("Gate/wait"))[0] == 200


async def _call_and_hang_up(
    running: RunningServer, gate: Gate, path: str, inside: int, **headers: str
) -> None:
    call = asyncio.create_task(running.call(path, **headers))
    await gate.until(inside)
    call.cancel()
    await asyncio.wait([call])


async def test_a_call_that_is_refused_counts_no_more(tmp_path: Path, running_server: RunServer) -> None:
    """Bad arguments give their place back."""
    gate = Gate()
    async with running_server(
        tmp_path, [gate], clock=ManualClock(), limits={"calls_at_once_per_user": 1}
    ) as running:
        for _ in range(3):
            assert (await running.call("Gate/wait", {"unknown": 1}))[0] == 422
        assert running.sample("potoserver_calls_in_flight") == 0


async def test_an_answer_that_is_not_read_still_counts(tmp_path: Path, running_server: RunServer) -> None:
    """What the server holds for a caller who does not read is bounded by the calls in flight."""
    gate = Gate()
    async with running_server(
        tmp_path, [gate], clock=ManualClock(), limits={"calls_at_once_per_user": 2}
    ) as running:
        port = int(running.url.rpartition(":")[2])
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(
                b"POST /Gate/long HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
            )
            writers.append(writer)
        await gate.until(2)
        answered = {"route": "/Gate/long", "method": "POST", "status": "200"}
        async with asyncio.timeout(10):
            while running.sample("potoserver_request_seconds_count", **answered) < 2:
                await asyncio.sleep(0.005)
        assert (await running.call("Gate/count"))[0] == 429
        for writer in writers:
            writer.transport.abort()
        async with asyncio.timeout(10):
            while running.sample("potoserver_calls_in_flight"):
                await asyncio.sleep(0.005)
