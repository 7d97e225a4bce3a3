"""Leases: what proves a client alive where the network can't, and never cuts one that is well."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from tests.faults.proxy import Proxy
from tests.faults.suspension import SuspendableClient, answer_pings
from tests.process.conftest import StartServer
from tests.support.process import BUSY_S, NOBODY_DEPARTS, ServerProcess, chat, tokens_of
from tests.support.sse import EventReader, open_stream

pytestmark = pytest.mark.process

LEASE_S = 10
TICK_S = 1.0
"""A lease is looked at once a second."""
DEAD = ("silent", "proxied", "suspended")
REPLAY_BYTES = 120_000


class Client:
    """A healthy client behind a proxy that stands for its link; it has missed much before it comes.

    Attributes:
        user: Whose stream.
        proxy: Its link.
        said: What was said to it since, in order.
    """

    def __init__(self, user: str, proxy: Proxy) -> None:
        self.user = user
        self.token = f"t-{user}"
        self.proxy = proxy
        self.said: list[str] = []
        self.reader: EventReader | None = None
        self._answering: asyncio.Task[None] | None = None

    async def come(self, http: aiohttp.ClientSession, server: ServerProcess) -> None:
        """Subscribes, goes, is told of something large, and returns over its link."""
        first = await open_stream(http, f"{server.url}/subscribe", self.token)
        last_id = (await first.next("connected")).id
        await first.close()
        await self.say(http, server, "x" * (REPLAY_BYTES // 3))
        self.reader = await open_stream(
            http, f"{self.proxy.url}/subscribe", self.token, last_event_id=last_id, lease=str(LEASE_S)
        )
        self._answering = asyncio.create_task(answer_pings(http, self.proxy.url, self.reader, self.token))

    async def say(self, http: aiohttp.ClientSession, server: ServerProcess, text: str) -> None:
        self.said.append(text)
        await chat(http, server.url, text, self.token)

    def heard(self) -> list[str]:
        assert self.reader is not None
        return [each.data["content"] for each in self.reader.seen if each.type == "message"]

    async def go(self) -> None:
        assert self.reader is not None
        assert self._answering is not None
        await self.reader.close()
        self._answering.cancel()
        await asyncio.wait([self._answering])


def spoil(proxy: Proxy, number: int, dice: random.Random) -> None:
    """Makes a link bad in one of five ways: late, unsteady, thin, in bursts, or all of it."""
    late, unsteady, thin, bursts = ((number % 5) in kinds for kinds in ((0, 4), (1, 4), (2, 4), (3,)))
    for flow in (proxy.to_server, proxy.to_client):
        flow.delay_s = dice.uniform(0.2, 0.5) if late else 0
        flow.jitter_s = dice.uniform(0.2, 0.8) if unsteady else 0
    if thin:
        proxy.to_client.chunk_bytes, proxy.to_client.interval_s = 360, 0.04  # 9 KB/s: the replay takes 13 s
    if bursts:
        proxy.to_client.chunk_bytes, proxy.to_client.interval_s = 4096, 0.4


async def hold(
    server: ServerProcess, http: aiohttp.ClientSession, clients: list[Client], for_s: float
) -> None:
    """Talks with all clients for a while; none is ever cut, and each hears everything, in order."""
    ends_s = time.monotonic() + for_s
    turn = 0
    while time.monotonic() < ends_s:
        turn += 1
        client = clients[turn % len(clients)]
        await client.say(http, server, f"{client.user} {turn}")
        await asyncio.sleep(min(0.5, 20 / len(clients)))
    async with asyncio.timeout(60):
        for client in clients:
            while len(client.heard()) < 2 * len(client.said):
                await asyncio.sleep(0.1)
    ends = server.logged("SSE disconnect detected")  # once: read for each client it would hold up their acks
    for client in clients:
        assert client.heard() == [text for text in client.said for _ in ("question", "echo")]
        causes = [line["cause"] for line in ends if line["user"] == client.user]
        assert causes == ["closed"], client.user  # of the connection before its link


async def open_clients(
    stack: AsyncExitStack, server: ServerProcess, http: aiohttp.ClientSession, count: int
) -> list[Client]:
    """So many healthy clients on bad links."""
    dice = random.Random(7)
    clients = []
    for number in range(count):
        proxy = await stack.enter_async_context(Proxy(server.port, buffer_bytes=4096))
        client = Client(f"h{number}", proxy)
        spoil(proxy, number, dice)
        clients.append(client)
    await asyncio.gather(*(client.come(http, server) for client in clients))
    for client in clients:
        stack.push_async_callback(client.go)
    return clients


def settings(count: int) -> dict[str, str]:
    users = [*DEAD, "unleased", *(f"h{number}" for number in range(count))]
    return tokens_of(users) | {"POTO_LIMITS__CALLS_PER_MINUTE": "0"} | NOBODY_DEPARTS


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def test_the_dead_are_gone_within_their_lease_and_the_healthy_never(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Dead behind a live proxy, suspended, silent: cause `lease`. Slow, late or unsteady: untouched."""
    count = 10
    server = await start_server(**settings(count))
    url = f"{server.url}/subscribe"
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, server, http, count)
        holding = asyncio.create_task(hold(server, http, clients, LEASE_S + 5))

        # A client behind a proxy that lives on: it reads and acknowledges, whatever has become of the client.
        proxy = await stack.enter_async_context(Proxy(server.port))
        behind = [
            await open_stream(http, f"{proxy.url}/subscribe", "t-proxied", lease=str(LEASE_S)),
            await open_stream(http, f"{proxy.url}/subscribe", "t-unleased"),
        ]
        silent = await open_stream(http, url, "t-silent", lease=str(LEASE_S))
        for reader in (*behind, silent):
            await reader.next("connected")
        suspended = await stack.enter_async_context(SuspendableClient(server.url, LEASE_S, "t-suspended"))
        await suspended.next("connected")
        await suspended.next("ping")
        await asyncio.sleep(0.5)  # for its answer
        proxy.to_server.swallow()
        proxy.to_client.swallow()
        for reader in behind:
            await reader.close()
        suspended.suspend()
        died_s = time.time()
        await chat(http, server.url, "to a suspended client", "t-suspended")  # its kernel takes that

        for user in DEAD:
            (line,) = await server.until_logged("SSE disconnect detected", user=user)
            assert line["cause"] == "lease"
            print(f"{user}: gone {_seconds(line) - died_s:.1f} s after it died")
            assert _seconds(line) - died_s <= LEASE_S + TICK_S + BUSY_S
        await silent.end()
        await silent.close()
        # Without a lease nothing is wrong as far as the server can see, for ever.
        assert server.logged("SSE disconnect detected", user="unleased") == []
        assert proxy.to_client.swallowed > 0

        await chat(http, server.url, "to nobody", "t-suspended")
        suspended.resume()
        returned = await suspended.next("connected")
        assert (returned["data"]["resumed"], returned["data"]["gap"]) == (True, False)
        await suspended.next("message")
        await suspended.next("message")
        heard = [event["data"]["content"] for event in suspended.seen if event["type"] == "message"]
        assert heard == ["to a suspended client"] * 2 + ["to nobody"] * 2
        await holding


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_hundred_healthy_clients_on_bad_links_are_never_cut(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Five minutes, thirty leases."""
    count = 100
    server = await start_server(**settings(count))
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, server, http, count)
        await hold(server, http, clients, 300)
        print("passed on", sum(client.proxy.to_client.passed for client in clients), "bytes")
