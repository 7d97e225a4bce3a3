"""Acks on two servers that share a Valkey: each is taken where its connection is, wherever it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from potoserver.engine.valkey.link import end
from tests.nodes.support import two_servers
from tests.support.server import RunningServer, RunServer
from tests.support.sse import EventReader, open_stream
from tests.support.valkey import valkey_server

Servers = tuple[RunningServer, RunningServer]


@pytest.fixture
async def servers(tmp_path: Path, valkey_url: str, running_server: RunServer) -> AsyncIterator[Servers]:
    """Two servers on one Valkey."""
    async with two_servers(running_server, tmp_path, valkey_url, ([], []), 1000) as servers:
        yield servers


@asynccontextmanager
async def connected(
    server: RunningServer, token: str = "test-token"
) -> AsyncIterator[tuple[EventReader, str]]:
    """A stream with a lease, and its connection's id."""
    stream = await open_stream(server.session, f"{server.url}/subscribe", token, lease="60")
    try:
        yield stream, (await stream.next("connected")).data["connection"]
    finally:
        await stream.close()


async def ack(server: RunningServer, connection: str, token: str = "test-token") -> tuple[int, Any]:
    return await server.call("subscribe/ack", {"connection": connection}, token=token)


def lapses_at_s(server: RunningServer, connection: str) -> float:
    lapses: float = server.core.heartbeat._leases[connection].lapses_at_s
    return lapses


async def test_an_ack_renews_the_lease_on_the_node_that_holds_the_connection(servers: Servers) -> None:
    """On whichever node it arrives, again and again."""
    one, two = servers
    async with connected(one) as (_, connection):
        for server in (one, two, two):
            before_s = lapses_at_s(one, connection)
            assert await ack(server, connection) == (204, None)
            assert lapses_at_s(one, connection) > before_s


async def test_an_ack_for_no_connection_of_the_user_is_404_on_every_node(servers: Servers) -> None:
    """Whether it is somebody else's, has ended, or never was; also where its node was known."""
    one, two = servers
    async with connected(one) as (stream, connection):
        assert (await ack(two, connection, "admin-token"))[0] == 404
        before_s = lapses_at_s(one, connection)
        assert (await ack(one, connection, "admin-token"))[0] == 404
        assert lapses_at_s(one, connection) == before_s
        assert (await ack(two, "c-none"))[0] == 404
        assert (await ack(two, connection))[0] == 204
        await stream.close()
        while one.core.subscriptions.count_of("a1") or await one.core.engine.node_of("a1", connection):
            await one.core.engine.has_successor()
        for server in servers:
            assert (await ack(server, connection))[0] == 404


async def test_a_connection_whose_node_has_another_name_now_is_found_again(servers: Servers) -> None:
    """It was declared dead and has joined anew."""
    one, two = servers
    async with connected(one) as (_, connection):
        assert (await ack(two, connection))[0] == 204
        engine = one.core.engine
        before = engine.node_id
        with redis.Redis.from_url(two.core.engine._link._url.replace("valkey:", "redis:")) as client:
            async with engine._life._renewing:  # else it may renew before it is found dead
                while before in [each.id for each in two.core.engine.nodes()]:
                    client.zadd(engine._keys.of_registry("leases"), {before: 0})
                    await two.core.engine.has_successor()
        while engine.node_id == before or await engine.node_of("a1", connection) != engine.node_id:
            await engine.has_successor()
        await two.core.engine.has_successor()
        before_s = lapses_at_s(one, connection)
        assert (await ack(two, connection))[0] == 204
        assert lapses_at_s(one, connection) > before_s


async def test_an_ack_for_a_node_that_has_just_joined_is_taken(servers: Servers) -> None:
    """Before the node that gets the ack has looked again who is there."""
    one, two = servers
    async with connected(one) as (_, connection):
        await end(two.core.engine._life._tasks)
        registry = two.core.engine._registry
        registry._nodes = [each for each in registry._nodes if each.id == two.core.engine.node_id]
        for _ in range(2):
            assert (await ack(two, connection))[0] == 204


async def test_an_ack_for_a_node_that_has_died_is_503_and_then_404(servers: Servers) -> None:
    """So the client asks again, and when its node is declared dead subscribes anew."""
    one, two = servers
    async with connected(one) as (_, connection):
        assert (await ack(two, connection))[0] == 204
        await one.core.engine._channel.stop()  # as if it had been paused: it hears nothing
        await end(one.core.engine._life._tasks)
        status, problem = await ack(two, connection)
        assert (status, "try again" in problem["detail"]) == (503, True)
        while status == 503:
            status, _ = await ack(two, connection)
        assert status == 404


async def test_what_an_ack_costs_in_commands(tmp_path: Path, running_server: RunServer) -> None:
    """None where its connection is; elsewhere the question and the answer, and at first to find the node."""
    with valkey_server(tmp_path) as valkey:
        async with two_servers(running_server, tmp_path, valkey.url, ([], []), 1000) as servers:
            one, two = servers
            async with connected(one) as (_, connection):
                for server in servers:  # what a node does by itself is looked at by itself
                    await end(server.core.engine._life._tasks)
                with valkey.client() as client:

                    async def cost(server: RunningServer) -> int:
                        client.config_resetstat()
                        assert (await ack(server, connection))[0] == 204
                        found: Any = client.info("commandstats")
                        commands = ("cmdstat_eval", "cmdstat_evalsha")
                        return sum(found.get(name, {"calls": 0})["calls"] for name in commands)

                    assert [await cost(server) for server in (one, two, two, two)] == [0, 3, 2, 2]


async def test_while_the_engine_is_away_an_ack_is_503_elsewhere_and_no_connection_ends(
    tmp_path: Path, running_server: RunServer
) -> None:
    """With Retry-After; where its connection is, it is taken as ever."""
    with valkey_server(tmp_path) as valkey:
        async with two_servers(running_server, tmp_path, valkey.url, ([], []), 1000) as servers:
            one, two = servers
            async with connected(one) as (_, connection):
                valkey.kill()
                for server in servers:
                    while server.core.engine.available:
                        await asyncio.sleep(0.05)
                async with two.session.post(
                    f"{two.url}/subscribe/ack",
                    json={"connection": connection},
                    headers={"Authorization": "Bearer test-token"},
                ) as answer:
                    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert (await ack(one, connection))[0] == 204
                lease = one.core.heartbeat._leases[connection]
                lease.lapses_at_s = one.core.clock.monotonic_s()  # it would be over
                while lease.lapses_at_s < one.core.clock.monotonic_s() + 50:
                    await asyncio.sleep(0.05)
                assert one.core.subscriptions.count_of("a1") == 1
