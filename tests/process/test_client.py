"""PotoClient against real servers that restart, networks that cut, and its own suspension.

What a client has seen is compared with what another connection, undisturbed, was sent.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from potoserver.client import Connected, Disconnected, PotoClient, RepeatPolicy, StreamEvent
from tests.client.support import LIMIT_S, SOON, client_of, next_of
from tests.faults.proxy import Proxy
from tests.faults.suspension import SuspendableClient
from tests.process.conftest import StartServer
from tests.support.process import NOBODY_DEPARTS, ServerProcess, chat
from tests.support.sse import EventReader, stream

pytestmark = pytest.mark.process

UNLIMITED = {"POTO_LIMITS__CONNECTIONS_PER_USER": "0", "POTO_LIMITS__CALLS_PER_MINUTE": "0"}


class Follower:
    """Reads a subscription in the background and keeps what it says."""

    def __init__(self, client: PotoClient, **options: Any) -> None:
        self._events = client.subscribe(backoff=SOON, **options)
        self.seen: list[StreamEvent] = []
        self._more = asyncio.Condition()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self._events:
            async with self._more:
                self.seen.append(event)
                self._more.notify_all()

    async def until(self, what: Any) -> None:
        """Waits until `what(self)` holds."""
        async with asyncio.timeout(LIMIT_S), self._more:
            await self._more.wait_for(lambda: what(self))

    async def close(self) -> None:
        await self._events.close()
        await self._task

    @property
    def connections(self) -> list[Connected]:
        return [each for each in self.seen if isinstance(each, Connected)]

    @property
    def drops(self) -> int:
        return sum(isinstance(each, Disconnected) for each in self.seen)

    def ids(self, event_type: str) -> list[str | None]:
        return [each.id for each in self.seen if each.type == event_type]


@asynccontextmanager
async def following(url: str, **options: Any) -> AsyncIterator[Follower]:
    async with client_of(url) as client:
        follower = Follower(client, **options)
        await follower.until(lambda it: it.connections)
        try:
            yield follower
        finally:
            await follower.close()


def ids_of(witness: EventReader, event_type: str) -> list[str | None]:
    return [each.id for each in witness.seen if each.type == event_type]


async def until_seen(witness: EventReader, count: int) -> None:
    """Waits until the witness was sent so many messages."""
    async with asyncio.timeout(LIMIT_S):
        while len(ids_of(witness, "message")) < count:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def cutting(proxy: Proxy, chance: random.Random) -> AsyncIterator[None]:
    """Draws anew all the time after how many bytes to the client a connection is reset."""

    async def draw() -> None:
        while True:
            proxy.to_client.cut_after = chance.randint(250, 4000)
            await asyncio.sleep(0.05)

    drawing = asyncio.create_task(draw())
    try:
        yield
    finally:
        drawing.cancel()
        proxy.to_client.cut_after = None


def is_subsequence(part: list[Any], whole: list[Any]) -> bool:
    rest = iter(whole)
    return all(each in rest for each in part)


@pytest.mark.parametrize("drops", [10, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("by_ticket", [False, True], ids=["header", "ticket"])
async def test_a_network_that_cuts_anywhere_loses_and_doubles_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, by_ticket: bool, drops: int
) -> None:
    """Each connection is cut after a number of bytes drawn by chance: in heads, in ids, between events."""
    server = await start_server(SESSION_RECONNECT_GRACE="5000", **UNLIMITED)
    chance = random.Random(7)
    async with (
        stream(http, f"{server.url}/subscribe") as witness,
        Proxy(server.port) as proxy,
        following(proxy.url, by_ticket=by_ticket) as follower,
    ):
        async with cutting(proxy, chance):
            said = 0
            while said < 40 or follower.drops < drops:
                await chat(http, server.url, f"message {said} " + "word " * chance.randint(1, 40))
                said += 1
                # Not so far behind that the log would not reach: then it would be told of a gap.
                await follower.until(lambda it: len(it.ids("message")) > 2 * said - 60)  # noqa: B023
        await until_seen(witness, 2 * said)
        proxy.reset()
        last = ids_of(witness, "message")[-1]
        await follower.until(lambda it: last in it.ids("message"))
        assert not any(each.gap for each in follower.connections)
        assert follower.ids("message") == ids_of(witness, "message")
        # Those of a reply that was finished meanwhile are replaced by it; the others come once, in order.
        assert is_subsequence(follower.ids("delta"), ids_of(witness, "delta"))


async def test_replies_through_a_network_that_cuts_come_whole_and_once(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Repeated under one key until they are through: each word and each message once."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="2", **NOBODY_DEPARTS, **UNLIMITED)
    chance = random.Random(11)
    texts = [f"{number}: " + " ".join(f"word{n}" for n in range(30)) for number in range(12)]
    async with Proxy(server.port) as proxy, client_of(proxy.url) as client:
        async with cutting(proxy, chance):
            for text in texts:
                reply = client.module("ChatServerModule").chatWithHistory.stream(message=text)
                assert "".join([delta["text"] async for delta in reply]) == text == reply.result["reply"]
                assert not reply.replaced
        kept = await client.module("ChatServerModule").getConversation()
    assert [each["content"] for each in kept["messages"]] == [text for text in texts for _ in range(2)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_is_survived_and_what_it_lost_is_told(
    start_server: StartServer, http: aiohttp.ClientSession, end: signal.Signals
) -> None:
    """A call in flight is answered by the next server, once on disk; the stream says `gap`, then goes on."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="30", SESSION_RECONNECT_GRACE="5000", **UNLIMITED)
    async with following(server.url) as follower, patient(server.url) as client:
        reply = client.module("ChatServerModule").chatWithHistory.stream(message=" ".join("abcdefghijklmnop"))
        first = await anext(reply)
        await server.stop(end)
        await server.start()
        rest = [delta["text"] async for delta in reply]
        if reply.result["finishReason"] == "stop":
            assert reply.result["reply"] == " ".join("abcdefghijklmnop")
        if not reply.replaced:
            assert "".join([first["text"], *rest]) == reply.result["reply"]
        await follower.until(lambda it: len(it.connections) == 2)
        assert follower.connections[1].gap
        assert follower.connections[1].user == "a1"
        await client.module("ChatServerModule").chatWithHistory(message="after")
        await follower.until(
            lambda it: it.seen[-1].type == "message" and it.seen[-1].data["role"] == "assistant"
        )
        witness_ids = [each.id for each in follower.seen if each.id and each.type != "connected"]
        assert len(witness_ids) == len(set(witness_ids))
        await client.module("ChatServerModule").endSession()
    questions = [each["content"] for each in messages_of(server) if each["role"] == "user"]
    assert sorted(questions) == [" ".join("abcdefghijklmnop"), "after"]


@asynccontextmanager
async def patient(url: str) -> AsyncIterator[PotoClient]:
    """A client that repeats for as long as a server may take to start."""
    async with PotoClient(url, "test-token", repeat=RepeatPolicy(60.0, SOON)) as client:
        yield client


def messages_of(server: ServerProcess) -> list[dict[str, Any]]:
    return [message for dialog in server.dialogs() for message in dialog["messages"]]


async def test_a_suspended_client_goes_on_where_it_was(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Its lease lapses while it sleeps; woken within the grace it gets what was said meanwhile, once each."""
    server = await start_server(**NOBODY_DEPARTS, **UNLIMITED)
    async with SuspendableClient(server.url, 10, program="tests.client.printing") as client:
        await client.next("connected")
        await chat(http, server.url, "before")
        await client.next("message")
        await client.next("message")
        client.suspend()
        await chat(http, server.url, "meanwhile")
        await server.until_logged("SSE disconnect detected", cause="lease")
        await chat(http, server.url, "later")
        client.resume()
        said = [(await client.next("message"))["data"]["content"] for _ in range(4)]
        assert said == ["meanwhile", "meanwhile", "later", "later"]
        back = [each for each in client.seen if each["type"] == "connected"]
        assert [each["data"]["gap"] for each in back] == [False, False]
        ids = [each["id"] for each in client.seen if each["type"] == "message"]
        assert len(ids) == len(set(ids)) == 6


@pytest.mark.long
async def test_a_client_that_answers_pings_keeps_its_lease_however_slow_its_caller_is(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The caller takes nothing for more than a whole lease; the connection is the same one after it."""
    server = await start_server(SESSION_RECONNECT_GRACE="300", **UNLIMITED)
    async with client_of(server.url) as client, client.subscribe(lease_s=10) as events:
        first = await anext(events)
        # Another one that never answers a ping shows that a lease has passed.
        async with stream(http, f"{server.url}/subscribe", lease="10") as silent:
            await silent.next("connected")
            await server.until_logged("SSE disconnect detected", cause="lease")
            await silent.end()
        await chat(http, server.url, "still here")
        said = await next_of(events, "message")
        assert (said.type, said.data["content"]) == ("message", "still here")
        assert not server.logged("SSE disconnect detected", connection=first.data["connection"])
