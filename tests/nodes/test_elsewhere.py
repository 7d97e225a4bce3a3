"""Calls about a user on two servers that share a Valkey run at the user's home, wherever they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from potoserver import Call, Done, Download, ProblemError, ServerModule, User, rpc
from potoserver.nodes.exchange import Part
from tests.nodes.support import kill, two_servers
from tests.support.server import RunningServer, RunServer
from tests.support.sse import parse_events

TOKENS = {
    "test-token": {"user": "a1", "name": "Ann", "email": "ann@example.org", "roles": ["user", "editor"]},
    "admin-token": {"user": "admin", "roles": ["user", "admin"]},
}
LIMIT_S = 20.0


class Desk(ServerModule):
    """Keeps things of each user in memory, so it must always be the same one that is asked."""

    homed = True

    async def on_stop(self) -> None:
        self.going_on.set()

    def __init__(self) -> None:
        self.kept: dict[str, list[str]] = {}
        self.looking = 0
        self.going_on = asyncio.Event()
        self.finished = asyncio.Event()

    @rpc
    async def keep(self, user: User, thing: str) -> list[str]:
        """Keeps a thing; returns all that are kept."""
        things = self.kept.setdefault(user.id, [])
        things.append(thing)
        return things

    @rpc
    async def who(self, call: Call) -> list[str | None]:
        """What is known of the call."""
        user = call.user
        return [user.id, user.name, user.email, *sorted(user.roles), call.idempotency_key]

    @rpc(roles={"admin"}, about="of")
    async def count(self, of: str) -> int:
        """How many things are kept of a user."""
        return len(self.kept.get(of, ()))

    @rpc(anywhere=True)
    async def here(self) -> int:
        """How many users' things are on this node."""
        return len(self.kept)

    @rpc
    async def spell(self, call: Call, text: str) -> AsyncIterator[str | Done[int]]:
        """The letters one by one, then their number; below zero where one answer is wanted."""
        if call.whole:
            yield Done(-len(text))
            return
        for letter in text:
            yield letter
        yield Done(len(text))

    @rpc
    async def recite(self, words: int) -> AsyncIterator[str]:
        """Long words, each as soon as the one before is taken."""
        for _ in range(words):
            yield "x" * 1000
            await asyncio.sleep(0)
        self.finished.set()

    @rpc
    async def stumble(self) -> AsyncIterator[int]:
        """One item, then a problem."""
        yield 1
        raise ProblemError(409, "It went wrong.", retry_after_s=3)

    @rpc
    async def fail(self) -> int:
        """Nothing but a fault."""
        raise RuntimeError("the inside")

    @rpc
    async def echo(self, text: str) -> str:
        """The text again."""
        return text

    @rpc
    async def work_on(self) -> AsyncIterator[int]:
        """Something that takes as long as it takes."""
        yield 1
        await self.going_on.wait()
        yield 2
        self.finished.set()

    @rpc(endless=True)
    async def watch(self) -> AsyncIterator[int]:
        """One picture, and no other."""
        self.looking += 1
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            self.looking -= 1
            self.finished.set()

    @rpc
    async def file(self, size: int, whole: bool = True) -> Download:
        """A file of that size; broken off half-way where it isn't to be whole."""

        async def chunks() -> AsyncIterator[bytes]:
            for begin in range(0, size, 100_000):
                if not whole and begin > size / 2:
                    raise RuntimeError("the disk has gone")
                yield bytes(min(100_000, size - begin))

        return Download("application/zip", "things.zip", chunks())


class Pair:
    """Two servers on one Valkey; a1's home is the first."""

    def __init__(self, servers: tuple[RunningServer, RunningServer], desks: list[Desk]) -> None:
        self.home, self.other = servers
        self.desk, self.other_desk = desks

    def post(
        self, method: str, arguments: object = None, **headers: str
    ) -> aiohttp.client._RequestContextManager:
        """A call of a1's, to the node that is not a1's home."""
        headers = {"Authorization": "Bearer test-token"} | headers
        return self.other.session.post(
            f"{self.other.url}/Desk/{method}", json=arguments or {}, headers=headers
        )

    async def stream(self, method: str, arguments: object = None) -> list[tuple[str, object]]:
        async with self.post(method, arguments, Accept="text/event-stream") as answer:
            assert answer.status == 200
            return [(event.type, event.data) for event in parse_events(await answer.read())]


@pytest.fixture
async def pair(tmp_path: Path, valkey_url: str, running_server: RunServer) -> AsyncIterator[Pair]:
    """Two servers on one Valkey."""
    desks = [Desk(), Desk()]
    modules = ([desks[0]], [desks[1]])
    async with two_servers(
        running_server, tmp_path, valkey_url, modules, 1000, auth={"tokens": TOKENS}
    ) as servers:
        status, kept = await servers[0].call("Desk/keep", {"thing": "first"})
        assert (status, kept) == (200, ["first"])
        yield Pair(servers, desks)


async def test_calls_of_one_user_run_on_one_node_wherever_they_arrive(pair: Pair) -> None:
    """So what that keeps in memory is all there is; another user's home may be the other node."""
    assert await pair.other.call("Desk/keep", {"thing": "second"}) == (200, ["first", "second"])
    assert await pair.home.call("Desk/keep", {"thing": "third"}) == (200, ["first", "second", "third"])
    status, kept = await pair.other.call("Desk/keep", {"thing": "mine"}, token="admin-token")
    assert (status, kept) == (200, ["mine"])
    assert (list(pair.desk.kept), list(pair.other_desk.kept)) == (["a1"], ["admin"])


async def test_the_home_knows_who_asks_as_the_node_that_was_asked_does(pair: Pair) -> None:
    """User, roles and the idempotency key."""
    answer = await pair.other.call("Desk/who", **{"Idempotency-Key": "k-1"})
    assert answer == (200, ["a1", "Ann", "ann@example.org", "editor", "user", "k-1"])


async def test_an_admins_call_about_a_user_runs_at_that_users_home(pair: Pair) -> None:
    """Not at the admin's own."""
    assert await pair.other.call("Desk/count", {"of": "a1"}, token="admin-token") == (200, 1)


async def test_a_method_that_may_run_anywhere_runs_where_it_arrives(pair: Pair) -> None:
    """It tells of its node alone."""
    assert await pair.home.call("Desk/here") == (200, 1)
    assert await pair.other.call("Desk/here") == (200, 0)


async def test_bad_arguments_are_refused_with_their_names_before_they_travel(pair: Pair) -> None:
    """As on one node."""
    status, problem = await pair.other.call("Desk/keep", {"thing": 5})
    assert (status, problem["errors"][0]["field"]) == (422, "thing")


async def test_a_stream_comes_item_by_item_with_its_result(pair: Pair) -> None:
    """As events; gathered, the method knows it, whichever node was asked."""
    events = await pair.stream("spell", {"text": "häß"})
    assert events == [("delta", "h"), ("delta", "ä"), ("delta", "ß"), ("done", 3)]
    assert await pair.other.call("Desk/spell", {"text": "abc"}) == (200, -3)


async def test_a_reply_larger_than_the_outbox_reaches_who_reads(
    tmp_path: Path, valkey_url: str, running_server: RunServer
) -> None:
    """However fast it is made: the way between the nodes is no slow reader. As events, and gathered."""
    modules = ([Desk()], [Desk()])
    limits = {"outbox_bytes": 65_536}
    async with two_servers(
        running_server, tmp_path, valkey_url, modules, 1000, auth={"tokens": TOKENS}, limits=limits
    ) as servers:
        pair = Pair(servers, [*modules[0], *modules[1]])
        await pair.home.call("Desk/keep", {"thing": "first"})
        assert await pair.other.call("Desk/spell", {"text": "x" * 100_000}) == (200, -100_000)
        events = await pair.stream("recite", {"words": 1000})
        assert events == [("delta", "x" * 1000)] * 1000 + [("done", None)]


async def test_a_reply_that_is_wanted_as_one_travels_as_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pieces it is made of: the home says that it has the call, and what came of it."""
    engine, sent = pair.home.core.engine, []
    send = engine.send

    async def counted(node_id: str, payload: bytes) -> None:
        sent.append(len(payload))
        await send(node_id, payload)

    monkeypatch.setattr(engine, "send", counted)
    status, items = await pair.other.call("Desk/recite", {"words": 200})
    assert (status, len(items)) == (200, 200)
    assert len(sent) == 2
    status, problem = await pair.other.call("Desk/stumble")
    assert (status, problem["detail"]) == (409, "It went wrong.")


async def test_a_node_that_is_gone_in_the_middle_stops_no_method(pair: Pair) -> None:
    """Also where so much is on its way that the method waits for it."""
    home, node_calls = pair.home.core.engine.node_id, pair.other.core.node_calls
    head = {"module": "Desk", "method": "recite", "user": "a1", "name": None, "email": None}
    head |= {"roles": [], "request": "r-1", "key": None, "whole": False}
    answer = node_calls.call(home, "method", Part(head, b'{"words":10000}'))
    for _ in range(3):
        await anext(answer)
    assert not pair.desk.finished.is_set()
    await answer.aclose()
    async with asyncio.timeout(LIMIT_S):
        await pair.desk.finished.wait()


async def test_problems_come_as_they_were_raised(pair: Pair) -> None:
    """Before the first item, behind it, and without a word of what nobody foresaw."""
    async with pair.post("stumble", Accept="text/event-stream") as answer:
        events = [(event.type, event.data) for event in parse_events(await answer.read())]
    assert events[0] == ("delta", 1)
    assert (events[1][0], events[1][1]["status"], events[1][1]["detail"]) == ("error", 409, "It went wrong.")
    async with pair.post("fail") as answer:
        text = await answer.text()
        assert (answer.status, "inside" in text) == (500, False)


@pytest.mark.parametrize("chars", [0, 1, 262_143, 262_144, 262_145, 900_000])
async def test_arguments_and_results_of_any_size_arrive_whole(pair: Pair, chars: int) -> None:
    """Also where they are as large as a message between nodes, or a little larger."""
    text = "ü" * (chars % 2) + "x" * (chars - chars % 2)
    status, answer = await pair.other.call("Desk/echo", {"text": text})
    assert status == 200
    assert answer == text


async def test_a_caller_that_goes_stops_nothing(pair: Pair) -> None:
    """The method runs to its end at the home."""
    async with pair.post("workOn", Accept="text/event-stream") as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    pair.desk.going_on.set()
    async with asyncio.timeout(LIMIT_S):
        await pair.desk.finished.wait()


async def test_an_endless_call_ends_at_the_home_with_its_reader(pair: Pair) -> None:
    """It shows something for as long as somebody looks."""
    async with pair.post("watch", Accept="text/event-stream") as answer:
        await answer.content.readuntil(b"\n\n")
        assert pair.desk.looking == 1
        answer.close()
    async with asyncio.timeout(LIMIT_S):
        await pair.desk.finished.wait()
    assert pair.desk.looking == 0


async def test_a_file_arrives_whole_or_is_seen_to_be_broken_off(pair: Pair) -> None:
    """With its type and name."""
    async with pair.post("file", {"size": 3_000_000}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/zip")
        assert "things.zip" in answer.headers["Content-Disposition"]
        assert len(await answer.read()) == 3_000_000
    async with pair.post("file", {"size": 3_000_000, "whole": False}) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_call_is_503_when_its_home_dies_and_the_next_goes_to_a_living_node(pair: Pair) -> None:
    """With Retry-After: what the dead node had in memory is gone, and whoever repeats is served."""
    async with pair.post("workOn", Accept="text/event-stream") as answer:
        await answer.content.readuntil(b"\n\n")
        await kill(pair.home)
        (event,) = parse_events(await answer.read())
        assert (event.type, event.data["status"]) == ("error", 503)
    async with asyncio.timeout(LIMIT_S):
        while True:
            async with pair.post("keep", {"thing": "again"}) as answer:
                if answer.status == 200:
                    assert await answer.json() == ["again"]
                    break
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                await asyncio.sleep(0.2)
    assert pair.other_desk.kept["a1"] == ["again"]
