"""What is asked of a whole deployment, and what is done to a connection, on two real nodes."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.cluster.conftest import StartCluster
from tests.faults.suspension import answer_pings
from tests.support.commands import potoserver
from tests.support.process import chat
from tests.support.sse import EventReader, open_stream

pytestmark = pytest.mark.process

LEASE_S = 10
PINGS = 3
"""In a lease."""
AS_ADMIN = {"Authorization": "Bearer admin-token"}


async def until_pinged(stream: EventReader, times: int) -> None:
    """Waits until so many pings have come, whoever reads them."""
    while sum(event.type == "ping" for event in stream.seen) < times:
        assert not stream.ended.is_set(), [event.type for event in stream.seen]
        await asyncio.sleep(0.1)


@pytest.mark.long
async def test_a_lease_is_kept_by_acks_that_always_come_to_the_other_node(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """As a load balancer likes."""
    cluster = await start_server()
    one, two = cluster.nodes
    stream = await open_stream(http, f"{one.url}/subscribe", lease=str(LEASE_S))
    acks = asyncio.create_task(answer_pings(http, two.url, stream))
    await until_pinged(stream, PINGS + 2)
    await stream.close()
    await acks


@pytest.mark.long
async def test_no_lease_lapses_while_valkey_does_not_answer(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """However long that is: the acks that come to the other node can't be passed on then."""
    cluster = await start_server()
    one, two = cluster.nodes
    stream = await open_stream(http, f"{one.url}/subscribe", lease=str(LEASE_S))
    acks = asyncio.create_task(answer_pings(http, two.url, stream))
    await until_pinged(stream, 1)
    cluster.valkey.pause()
    await until_pinged(stream, 1 + 3 * PINGS)
    cluster.valkey.go_on()
    await until_pinged(stream, 1 + 5 * PINGS)
    await stream.close()
    await acks


@pytest.mark.long
async def test_all_sessions_are_seen_from_any_node_and_a_paused_one_is_told(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """By the command and live; once declared dead it is missed no more, and when it goes on it is back."""
    cluster = await start_server()
    one, two = cluster.nodes
    async with http.post(
        f"{two.url}/ChatServerModule/watchSessions",
        headers=AS_ADMIN | {"Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None),
    ) as response:
        reader = EventReader(response)
        await chat(http, one.url, "Hello!", "test-token")
        await chat(http, two.url, "Hello!", "admin-token")
        places = {}
        for node in (one, two):
            done = potoserver("sessions", "--json", "--url", node.url, cwd=cluster.folder)
            listed = [json.loads(line) for line in done.stdout.splitlines()]
            places[node] = {each["userId"]: each["node"] for each in listed}
            table = potoserver("sessions", "--url", node.url, cwd=cluster.folder).stdout
            assert table.splitlines()[0].split()[-1] == "node"
        assert places[one] == places[two]
        assert len(set(places[one].values())) == 2

        async def told(active: int, silent: int) -> dict[str, Any]:
            async with asyncio.timeout(30):
                while True:
                    item: dict[str, Any] = (await reader.next("delta")).data
                    if (item["active"], len(item["silent"])) == (active, silent):
                        return item

        await told(2, 0)
        one.send_signal(signal.SIGSTOP)
        item = await told(1, 1)
        assert item["silent"] == [places[one]["a1"]]
        await told(1, 0)
        one.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            nodes = {places[one]["a1"]}
            while len(nodes) < 2 or places[one]["a1"] in nodes:
                async with http.post(
                    f"{two.url}/Operations/watch", headers=AS_ADMIN, json={"limit": 1}
                ) as answer:
                    (view,) = await answer.json()
                    nodes = {each["id"] for each in view["nodes"] if each["answers"]}
        with suppress(EOFError):
            await reader.close()
