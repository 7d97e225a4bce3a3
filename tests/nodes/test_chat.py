"""The chat on two servers that share a Valkey and a folder: each user's dialogs are one node's at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver import UnavailableError
from tests.chat.support import LedResponder
from tests.nodes.support import kill, tell_no_reply, two_servers
from tests.support import saved
from tests.support.server import RunningServer, RunServer
from tests.support.sse import stream
from tests.support.waiting import until

LIMIT_S = 30.0
GRACE_MS = 1000


async def say(server: RunningServer, text: str, **headers: str) -> dict[str, Any]:
    status, answer = await server.call("ChatServerModule/chatWithHistory", {"message": text}, **headers)
    assert status == 200, answer
    return dict(answer)


async def make_home(server: RunningServer) -> None:
    """The user is at home where the first call comes to."""
    assert (await server.call("ChatServerModule/getSessionInfo"))[0] == 200


def set_ahead(monkeypatch: pytest.MonkeyPatch, server: RunningServer) -> None:
    """Sets one node's clock ten minutes ahead of the engine's and of the other node's."""
    clock = server.core.clock
    right = clock.wall_ms
    monkeypatch.setattr(clock, "wall_ms", lambda: right() + 600_000)


class Pair:
    """Two servers, each with the chat, on one folder.

    Attributes:
        servers: The servers.
        chats: Their chats.
        data: The folder.
    """

    def __init__(
        self, servers: tuple[RunningServer, RunningServer], chats: list[ChatServerModule], data: Path
    ) -> None:
        self.servers = servers
        self.chats = chats
        self.data = data

    def at_home(self, user_id: str = "a1") -> int | None:
        """On which of the two the user has a session."""
        where = [number for number, chat in enumerate(self.chats) if user_id in chat.user_sessions]
        assert len(where) <= 1, "a user has one session"
        return where[0] if where else None

    def archived(self) -> list[saved.Saved]:
        return list(saved.archives(self.data))


Start = Callable[..., Awaitable[Pair]]


@pytest.fixture
async def start(tmp_path: Path, valkey_url: str, running_server: RunServer) -> AsyncIterator[Start]:
    """Starts the two; each is stopped at the end unless the test has done so."""
    async with AsyncExitStack() as stack:

        async def started(responder: LedResponder | None = None, grace_ms: int = GRACE_MS) -> Pair:
            chats = [ChatServerModule(responder=responder) for _ in range(2)]
            servers = await stack.enter_async_context(
                two_servers(
                    running_server,
                    tmp_path,
                    valkey_url,
                    ([chats[0]], [chats[1]]),
                    grace_ms,
                    data_dir=tmp_path / "data",
                    sections={"chat": ChatSettings()},
                    presence={"grace_ms": grace_ms},
                )
            )
            return Pair(servers, chats, tmp_path / "data")

        yield started


async def test_a_dialog_is_one_whichever_node_it_is_told_to(start: Start) -> None:
    """Messages by turns to both nodes: one conversation, in order, one archive when the stream ends."""
    pair = await start()
    one, two = pair.servers
    async with stream(two.session, f"{two.url}/subscribe") as reader:
        connected = await reader.next("connected")
        conversation = connected.data["conversation"]
        for number in range(6):
            answer = await say(pair.servers[number % 2], f"message {number}")
            assert answer["conversationId"] == conversation
            await reader.next("message")
        status, kept = await one.call("ChatServerModule/getConversation")
        assert (status, kept["conversationId"]) == (200, conversation)
        assert pair.at_home() is not None
    await until(lambda: len(pair.archived()) == 1)
    (archive,) = pair.archived()
    assert archive.conversation == conversation
    assert [text for role, text in archive.messages if role == "user"] == [f"message {n}" for n in range(6)]


async def test_messages_to_both_nodes_at_once_are_answered_one_after_the_other(start: Start) -> None:
    """Each question is followed by its reply."""
    pair = await start()
    texts = [f"message {number}" for number in range(12)]
    await asyncio.gather(*(say(pair.servers[number % 2], text) for number, text in enumerate(texts)))
    status, answer = await pair.servers[1].call("ChatServerModule/endSession")
    assert status == 200
    (archive,) = pair.archived()
    assert archive.conversation == answer["conversationId"]
    roles = [role for role, _ in archive.messages]
    assert roles == ["user", "assistant"] * 12
    assert sorted(text for role, text in archive.messages if role == "user") == sorted(texts)


async def test_a_repeated_call_is_answered_once_by_whichever_node(start: Start) -> None:
    """The key is known where the user is at home."""
    pair = await start()
    key = {"Idempotency-Key": "k1"}
    first = await say(pair.servers[0], "once", **key)
    assert await say(pair.servers[1], "once", **key) == first
    status, kept = await pair.servers[1].call("ChatServerModule/getConversation")
    assert (status, len(kept["messages"])) == (200, 2)


async def test_a_node_that_stops_hands_its_users_over(start: Start) -> None:
    """No session ends: the other node goes on with the same conversation."""
    pair = await start(grace_ms=5000)
    home, other = pair.servers
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        conversation = (await reader.next("connected")).data["conversation"]
        await say(other, "before")
        assert pair.at_home() == 0
        assert await home.server.stop()
        await until(lambda: pair.at_home() == 1)  # though nobody asks
        answer = await say(other, "after")
        assert answer["conversationId"] == conversation
        assert not pair.archived()
    await until(lambda: len(pair.archived()) == 1)
    (archive,) = pair.archived()
    assert [text for role, text in archive.messages if role == "user"] == ["before", "after"]
    assert archive.fields["reason"] == "disconnect"


async def test_a_silent_session_is_handed_over_with_its_conversation(start: Start) -> None:
    """Nothing was said, so no file tells of it."""
    pair = await start(grace_ms=5000)
    home, other = pair.servers
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        conversation = (await reader.next("connected")).data["conversation"]
        assert pair.at_home() == 0
        await home.server.stop()
        answer = await say(other, "after")
        assert answer["conversationId"] == conversation
        assert pair.at_home() == 1


async def test_a_reply_in_flight_is_finished_before_its_user_is_handed_over(start: Start) -> None:
    """The caller gets it from the node that stops."""
    led = LedResponder()
    pair = await start(led)
    home, other = pair.servers
    await make_home(home)
    asking = asyncio.create_task(say(other, "slow"))
    await until(lambda: led.asked == [["slow"]])
    stopping = asyncio.create_task(home.server.stop())
    await until(lambda: home.core.draining)
    led.answer("done")
    answer = await asking
    assert answer["reply"] == "done"
    assert await stopping
    led.answer("again")
    again = await say(other, "after")
    assert again["conversationId"] == answer["conversationId"]
    assert not pair.archived()


async def test_all_nodes_that_stop_at_once_end_every_session_once(start: Start) -> None:
    """The last one ends what the others hand over."""
    pair = await start()
    tokens = ["test-token", "admin-token"]
    for token, server in zip(tokens, pair.servers, strict=True):
        status, _ = await server.call("ChatServerModule/chatWithHistory", {"message": "bye"}, token=token)
        assert status == 200
    assert all(await asyncio.gather(*(server.server.stop() for server in pair.servers)))
    archives = pair.archived()
    assert len(archives) == 2
    assert {each.fields["reason"] for each in archives} == {"shutdown"}
    assert not list(saved.open_dialogs(pair.data))


async def test_a_node_that_stops_hands_nobody_over_to_one_that_has_just_died(start: Start) -> None:
    """It seems to live until its lease has lapsed. What it had open is ended, too: nobody else is left."""
    pair = await start(grace_ms=60_000)
    dead, last = pair.servers
    for server, token in ((dead, "test-token"), (last, "admin-token")):
        status, _ = await server.call("ChatServerModule/chatWithHistory", {"message": "bye"}, token=token)
        assert status == 200
    assert (pair.at_home("a1"), pair.at_home("admin")) == (0, 1)
    await last.core.engine.find_nodes()  # it knows of the other
    await kill(dead)
    assert await last.server.stop()
    assert {(each.fields["user"], each.fields["reason"]) for each in pair.archived()} == {
        ("a1", "shutdown"),
        ("admin", "shutdown"),
    }
    assert not list(saved.open_dialogs(pair.data))


async def test_a_node_that_was_declared_dead_writes_nothing_more(start: Start) -> None:
    """Its replies in flight are cut, and the conversation goes on where the user is at home then."""
    led = LedResponder()
    pair = await start(led, grace_ms=60_000)
    first, other = pair.servers
    led.answer("one")
    before = await say(first, "first")
    asking = asyncio.create_task(first.call("ChatServerModule/chatWithHistory", {"message": "second"}))
    await until(lambda: len(led.asked) == 2)
    await first.core.engine._life._rejoin()
    status, problem = await asking
    assert (status, problem["status"]) == (503, 503)
    led.answer("two")
    async with asyncio.timeout(LIMIT_S):
        while True:
            status, answer = await other.call("ChatServerModule/chatWithHistory", {"message": "third"})
            if status != 503:
                break
            await asyncio.sleep(0.2)
    assert (status, answer["conversationId"]) == (200, before["conversationId"])
    status, kept = await first.call("ChatServerModule/getConversation")
    assert [each["content"] for each in kept["messages"]] == ["first", "one", "second", "third", "two"]


async def test_a_message_that_the_last_home_did_not_tell_of_is_a_gap(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes back with an id from before is told of it; where all was told there is none."""

    async def away(*_: Any) -> bool:
        raise UnavailableError("away")

    pair = await start(grace_ms=5000)
    home, other = pair.servers
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        await say(other, "told")
        told = [await reader.next("message") for _ in range(2)]
        monkeypatch.setattr(home.core.engine, "publish", away)
        monkeypatch.setattr(home.core.engine, "ensure_logged", away)
        await say(other, "untold")
        assert await home.server.stop()
        await until(lambda: pair.at_home() == 1)
        async with asyncio.timeout(LIMIT_S):
            while True:
                last_id = told[-1].id
                async with stream(other.session, f"{other.url}/subscribe", last_event_id=last_id) as again:
                    if (await again.next("connected")).data["gap"]:
                        return
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("who_is_ahead", "recent_ms"),
    [(0, 60_000), (1, 60_000), (1, -60_000)],
    ids=["last home", "next home", "minutes later"],
)
async def test_a_message_that_was_not_told_is_told_by_the_next_home_whatever_the_clocks_show(
    start: Start, monkeypatch: pytest.MonkeyPatch, who_is_ahead: int, recent_ms: int
) -> None:
    """The reply that was kept and not told comes to who is there, once, and there is no gap."""
    monkeypatch.setattr("modules.chat_server.taking_over._RECENT_MS", recent_ms)
    pair = await start(grace_ms=5000)
    home, other = pair.servers
    set_ahead(monkeypatch, pair.servers[who_is_ahead])
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        await say(other, "told")
        told = [await reader.next("message") for _ in range(2)]
        tell_no_reply(monkeypatch, home)
        answer = await say(other, "untold")
        assert await home.server.stop()
        told += [await reader.next("message") for _ in range(2)]
        assert told[-1].data["messageId"] == answer["messageId"]
        await say(other, "after")
        told += [await reader.next("message") for _ in range(2)]
    texts = [event.data["content"] for event in told]
    assert texts == ["told", "told", "untold", "untold", "after", "after"]


@pytest.mark.parametrize("who_is_ahead", [0, 1], ids=["last home", "next home"])
async def test_what_was_told_long_ago_is_not_told_again_whatever_the_clocks_show(
    start: Start, monkeypatch: pytest.MonkeyPatch, who_is_ahead: int
) -> None:
    """Its events have lapsed, so the log does not tell."""
    # As if a minute had passed, however late a node has learnt the engine's time.
    monkeypatch.setattr("modules.chat_server.taking_over._RECENT_MS", -60_000)
    pair = await start(grace_ms=5000)
    home, other = pair.servers
    set_ahead(monkeypatch, pair.servers[who_is_ahead])
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        await say(other, "before")
        told = [await reader.next("message") for _ in range(2)]
        engine = other.core.engine
        await engine._link.commands([("XTRIM", engine._keys.of_user("a1", "log", ""), "MAXLEN", 0)])
        assert await home.server.stop()
        await until(lambda: pair.at_home() == 1)
        await say(other, "after")
        told += [await reader.next("message") for _ in range(2)]
    assert [event.data["content"] for event in told] == ["before", "before", "after", "after"]


async def test_what_a_session_waits_for_is_counted_down_by_one_clock(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of presence: the node that is asked, and the one that has the session, may show any time."""
    pair = await start()
    home, other = pair.servers
    set_ahead(monkeypatch, other)
    await say(home, "here", Authorization="Bearer admin-token")
    status, (seen,) = await other.call("ChatServerModule/watchSessions", token="admin-token")
    (session,) = seen["sessions"]
    assert (status, session["waitingFor"]) == (200, "timeout")
    assert session["lastActivity"] <= seen["at"] < session["waitingUntil"]


async def test_a_home_whose_clock_is_ahead_ends_sessions_with_the_grace(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said before the connection ended is no call in the grace, whatever the node's clock shows."""
    pair = await start()
    home, other = pair.servers
    right = home.core.clock.wall_ms
    monkeypatch.setattr(type(home.core.clock), "wall_ms", lambda _: right() + 600_000)
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        await say(other, "before")
    await until(lambda: len(pair.archived()) == 1)
    assert pair.archived()[0].fields["reason"] == "disconnect"


async def test_a_home_that_nobody_needs_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a node knows of users does not grow; a user with a session stays."""
    monkeypatch.setattr("potoserver.nodes.homes._LOOK_S", 0.1)
    pair = await start()
    first = pair.servers[0]
    await make_home(first)
    await say(first, "here", Authorization="Bearer admin-token")
    assert await first.core.engine.home_of("a1") is not None
    monkeypatch.setattr("potoserver.nodes.homes._IDLE_S", 0.3)
    await until(lambda: "a1" not in first.core.homes._here)
    async with asyncio.timeout(LIMIT_S):
        while await first.core.engine.home_of("a1") is not None:
            await asyncio.sleep(0.02)
    assert await first.core.engine.home_of("admin") is not None
