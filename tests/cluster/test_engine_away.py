"""Valkey dies, or stands still, and is back: streams stay, calls say to come again, all heals by itself."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from potoserver.engine.valkey.keys import LEASE_S
from tests.cluster.conftest import StartCluster
from tests.support.cluster import ClusterProcess
from tests.support.process import chat
from tests.support.sse import EventReader, open_stream, stream

pytestmark = pytest.mark.process

BEARER = {"Authorization": "Bearer test-token"}


async def until_ready(http: aiohttp.ClientSession, cluster: ClusterProcess, *, ready: bool) -> None:
    """Waits until all nodes say that they are, or that they are not."""
    async with asyncio.timeout(30):
        for node in cluster.nodes:
            while True:
                async with http.get(f"{node.url}/health/ready") as answer:
                    if (answer.status == 200) == ready:
                        break
                await asyncio.sleep(0.1)


async def until_all_know(http: aiohttp.ClientSession, cluster: ClusterProcess) -> None:
    """Waits until all nodes have noticed; what comes in the seconds before is kept, and answered."""
    async with asyncio.timeout(30):
        for node in cluster.nodes:
            while True:
                async with http.get(f"{node.url}/health") as answer:
                    if (await answer.json())["status"] == "degraded":
                        break
                await asyncio.sleep(0.1)


async def refused(http: aiohttp.ClientSession, url: str) -> None:
    """A call is told to come again."""
    async with http.post(
        f"{url}/ChatServerModule/chatWithHistory", json={"message": "too early"}, headers=BEARER
    ) as answer:
        assert answer.status == 503, await answer.text()
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.content_type == "application/problem+json"


async def next_messages(reader: EventReader, count: int) -> list[str]:
    return [(await reader.next("message")).data["content"] for _ in range(count)]


@pytest.mark.parametrize("how", [pytest.param("killed", marks=pytest.mark.long), "paused"])
async def test_while_valkey_is_away_streams_stay_and_afterwards_all_goes_on(
    start_server: StartCluster, http: aiohttp.ClientSession, how: str
) -> None:
    """For longer than a lease: nobody is declared dead for it, and nobody's session ends."""
    cluster = await start_server(SESSION_RECONNECT_GRACE="1000")
    readers = [await open_stream(http, f"{node.url}/subscribe") for node in cluster.nodes]
    for reader in readers:
        await reader.next("connected")
    first = await chat(http, cluster.url, "before")
    for reader in readers:
        assert await next_messages(reader, 2) == ["before"] * 2

    if how == "killed":
        cluster.valkey.kill()
    else:
        cluster.valkey.pause()
    await until_ready(http, cluster, ready=False)
    await until_all_know(http, cluster)
    for node in cluster.nodes:
        await refused(http, node.url)
        async with stream(http, f"{node.url}/subscribe", "admin-token") as late:
            assert (await late.next()).type == "unavailable"
            await late.end()
    await asyncio.sleep(LEASE_S + 1)  # what would be the death of a node that alone is away
    assert not any(reader.ended.is_set() for reader in readers)

    if how == "killed":
        cluster.valkey.start()
    else:
        cluster.valkey.go_on()
    await until_ready(http, cluster, ready=True)
    again = await chat(http, cluster.url, "after")
    assert again["conversationId"] == first["conversationId"]
    for reader in readers:
        assert await next_messages(reader, 2) == ["after"] * 2
        assert not reader.ended.is_set()
        await reader.close()
    assert cluster.logged("session ended") == []
    assert cluster.logged("node lost") == cluster.logged("node declared dead, joined anew") == []
    await cluster.until_logged("dialog archived")
    assert await cluster.stop() == 0
    [dialog] = cluster.dialogs()
    assert [each["content"] for each in dialog["messages"]] == ["before", "before", "after", "after"]
    assert dialog["reason"] == "disconnect"
