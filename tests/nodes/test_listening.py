"""What the engine of several nodes tells a node, and what becomes of its connections."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from potoserver import Cause, Connection, Event, ServerModule
from potoserver.engine.presence import Attachment
from tests.support.server import RunServer
from tests.support.sse import stream

LIMIT_S = 20.0


class Told(ServerModule):
    """What modules are told."""

    def __init__(self) -> None:
        self.arrived = 0
        self.closed: asyncio.Queue[tuple[Connection, Cause]] = asyncio.Queue()

    async def on_sse_connect(self, user_id: str) -> None:
        self.arrived += 1

    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        self.closed.put_nowait((connection, cause))


@pytest.fixture
async def told() -> Told:
    """What modules of the server are told."""
    return Told()


async def test_who_has_lost_events_is_cut_and_told_of_the_gap_when_back(
    tmp_path: Path, running_server: RunServer
) -> None:
    """A stream with a hole in it looks like any other; nobody else is cut."""
    async with running_server(tmp_path) as server, aiohttp.ClientSession() as session:
        url = f"{server.url}/subscribe"
        async with stream(session, url) as loses, stream(session, url, "admin-token") as other:
            await loses.next("connected")
            await other.next("connected")
            server.core.engine._listener.on_gap("a1")
            await server.core.engine.publish("a1", Event("note"))
            await loses.end()
            assert all(event.type != "note" for event in loses.seen)
            await server.core.engine.publish("admin", Event("note"))
            await other.next("note")


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_node_that_joins_anew_has_its_connections_in_the_new_generation(
    tmp_path: Path, running_server: RunServer, told: Told, arrived: bool
) -> None:
    """Modules are told of an arrival where it is one, and of the end with the new generation."""
    async with running_server(tmp_path, [told]) as server, aiohttp.ClientSession() as session:
        async with stream(session, f"{server.url}/subscribe") as reader:
            connected = await reader.next("connected")
            await _until_arrived(told, 1)
            server.core.engine._listener.on_rejoined("a1", Attachment(7, arrived=arrived))
            await _until_arrived(told, 1 + arrived)
        connection, _ = await asyncio.wait_for(told.closed.get(), LIMIT_S)
        assert (connection.id, connection.generation) == (connected.data["connection"], 7)
        assert told.arrived == 1 + arrived


async def _until_arrived(told: Told, times: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while told.arrived < times:
            await asyncio.sleep(0.01)
