"""Arriving, staying away for a moment, and going: tabs, blips, drops, and who never connects."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support.process import NOBODY_DEPARTS, ServerProcess, chat, patient
from tests.support.sse import LIMIT_S, EventReader, Received, open_stream, parse_events, stream
from tests.support.waiting import until

pytestmark = pytest.mark.process

CONVERSATION = re.compile(r"sse-\d{13}-[0-9a-z]{9}")
SUBSCRIBE = "/subscribe"
UNLIMITED = {"POTO_LIMITS__CONNECTIONS_PER_USER": "0", "POTO_LIMITS__CALLS_PER_MINUTE": "0"}


async def drop(server: ServerProcess, reader: EventReader, user: str = "a1") -> dict[str, Any]:
    """Closes a connection and waits until the server has noticed; returns its log line."""
    await until(lambda: "connected" in [event.type for event in reader.seen])
    connection = next(event.data["connection"] for event in reader.seen if event.type == "connected")
    await reader.close()
    [line] = await server.until_logged("SSE disconnect detected", connection=connection, user=user)
    return line


async def let_a_grace_pass(server: ServerProcess, http: aiohttp.ClientSession) -> None:
    """Waits until another user, who comes and goes now, is gone for good: one whole grace."""
    before = len(server.logged("session ended", user="admin"))
    async with stream(http, server.url + SUBSCRIBE, "admin-token") as reader:
        await reader.next("connected")
    await server.until_logged("session ended", before + 1, user="admin")


def contents(events: list[Received]) -> list[tuple[str, str]]:
    """Role and text of the messages among the events."""
    return [(each.data["role"], each.data["content"]) for each in events if each.type == "message"]


# Tabs and drops


async def test_closing_one_of_two_tabs_ends_nothing_and_the_last_ends_once(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """A session lasts as long as any tab is open; with the last one it ends, once."""
    server = await start_server(SESSION_RECONNECT_GRACE="300")
    first = await open_stream(http, server.url + SUBSCRIBE)
    second = await open_stream(http, server.url + SUBSCRIBE)
    answer = await chat(http, server.url, "in two tabs")
    for tab in (first, second):
        assert contents([await tab.next("message"), await tab.next("message")]) == [
            ("user", "in two tabs"),
            ("assistant", "in two tabs"),
        ]

    assert (await drop(server, first))["connections_left"] == 1
    await let_a_grace_pass(server, http)
    assert server.logged("session ended", user="a1") == []
    assert server.current().stat().st_size > 0
    assert (await chat(http, server.url, "in one tab"))["conversationId"] == answer["conversationId"]
    assert contents([await second.next("message")]) == [("user", "in one tab")]

    assert (await drop(server, second))["connections_left"] == 0
    await server.until_logged("dialog archived", user="a1")
    await let_a_grace_pass(server, http)
    assert len(server.logged("session ended", user="a1")) == 1
    [dialog] = server.dialogs()
    assert dialog["conversation"] == answer["conversationId"]
    assert dialog["message_count"] == 4


async def test_a_blip_shorter_than_the_grace_loses_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who returns within the grace goes on with the conversation and gets what was missed, once, in order."""
    server = await start_server(**NOBODY_DEPARTS)
    async with stream(http, server.url + SUBSCRIBE) as reader:
        connected = await reader.next("connected")
        await chat(http, server.url, "before")
        seen = [await reader.next("message"), await reader.next("message")]
        await drop(server, reader)
    for number in range(5):
        await chat(http, server.url, f"missed {number}")

    async with stream(http, server.url + SUBSCRIBE, last_event_id=seen[-1].id) as reader:
        returned = await reader.next("connected")
        assert (returned.data["resumed"], returned.data["gap"]) == (True, False)
        assert returned.data["conversation"] == connected.data["conversation"]
        missed = [await reader.next() for _ in range(10)]
        await chat(http, server.url, "after")
        await reader.next("message")
        await reader.next("message")
    expected = [(role, f"missed {number}") for number in range(5) for role in ("user", "assistant")]
    assert contents(missed) == expected
    assert contents(reader.seen) == [*expected, ("user", "after"), ("assistant", "after")]
    assert server.logged("session ended") == []
    assert server.archives() == []
    await server.until_logged("session continued", user="a1")
    assert len(server.logged("session started", user="a1")) == 1


async def test_a_return_within_the_grace_stops_it(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who came back in time is not taken for gone when the grace of the drop would have passed."""
    server = await start_server(SESSION_RECONNECT_GRACE="3000")
    reader = await open_stream(http, server.url + SUBSCRIBE)
    answer = await chat(http, server.url, "hello")
    await drop(server, reader)
    async with stream(http, server.url + SUBSCRIBE) as reader:
        assert (await reader.next("connected")).data["resumed"] is True
        await let_a_grace_pass(server, http)
        assert server.logged("session ended", user="a1") == []
        again = await chat(http, server.url, "hello again")
        assert again["conversationId"] == answer["conversationId"]


async def test_a_drop_a_return_and_a_second_drop_within_the_grace_end_once(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The grace counts from the last drop: one end, one archive, not before that drop's grace."""
    server = await start_server(SESSION_RECONNECT_GRACE="3000")
    reader = await open_stream(http, server.url + SUBSCRIBE)
    answer = await chat(http, server.url, "hello")
    await drop(server, reader)
    reader = await open_stream(http, server.url + SUBSCRIBE)
    assert (await reader.next("connected")).data["resumed"] is True
    await drop(server, reader)

    await server.until_logged("dialog archived")
    await let_a_grace_pass(server, http)
    lines = [line for line in server.log_lines() if line.get("user") == "a1"]
    events = [line["event"] for line in lines]
    assert events.count("SSE disconnect detected") == 2
    assert events.count("session ended") == events.count("conversation archived") == 1
    assert events.index("session ended") > len(events) - 1 - events[::-1].index("SSE disconnect detected")
    [dialog] = server.dialogs()
    assert dialog["conversation"] == answer["conversationId"]


async def test_a_reply_in_flight_is_finished_before_the_archive(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who leaves in the middle of a reply, caller and subscriber alike, finds it whole in the archive."""
    server = await start_server(SESSION_RECONNECT_GRACE="200", POTO_CHAT__ECHO__DELAY_MS="150")
    text = "one two three four five six seven eight"
    reader = await open_stream(http, server.url + SUBSCRIBE)
    call = asyncio.create_task(chat(http, server.url, text))
    await reader.next("delta")
    call.cancel()
    await asyncio.wait([call])
    await drop(server, reader)
    await server.until_logged("dialog archived")
    [dialog] = server.dialogs()
    assert [each["content"] for each in dialog["messages"]] == [text, text]
    assert "interrupted" not in dialog["messages"][1]
    assert dialog["reason"] == "disconnect"


# Replay


@dataclass
class CutClient:
    """A client on a bad line: reads so many bytes of each stream, then the connection is gone.

    Attributes:
        port: The server's.
        last_id: Where it resumes; only events that came whole count, as the HTML standard has it.
        events: What came whole, over all connections.
    """

    port: int
    last_id: str | None = None
    events: list[Received] = field(default_factory=list)

    async def connect_and_read(self, upto: int, reset: bool) -> list[Received]:
        """Reads `upto` bytes of a stream's body (fewer when nothing comes), then cuts; returns the events."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [
            "GET /subscribe HTTP/1.0",  # without chunks: the body is the stream
            "Host: localhost",
            "Authorization: Bearer test-token",
            "Accept: text/event-stream",
            *([f"Last-Event-ID: {self.last_id}"] if self.last_id else []),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        body = b""
        try:
            while len(body) < upto:
                # The opening comes for certain, however late; behind it there may be nothing more.
                async with asyncio.timeout(0.5 if b"\n\n" in body else LIMIT_S):
                    data = await reader.read(upto - len(body))
                assert data, "the server ended the stream"
                body += data
        except TimeoutError:
            pass  # nothing more to come
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        events = parse_events(body)
        for event in events:
            self.last_id = event.id or self.last_id
        self.events += events
        return events


async def cut_in_mid_replay(server: ServerProcess, http: aiohttp.ClientSession, step: int) -> None:
    """A link that is cut after so many bytes of each replay; every event comes once and in order."""
    client = CutClient(server.port)
    async with stream(http, server.url + SUBSCRIBE) as steady:
        await steady.next("connected")
        await client.connect_and_read(600, reset=False)
        assert client.events[0].type == "connected"
        assert contents(client.events) == []
        for number in range(12):
            await chat(http, server.url, f"{number} " + "å" * (number * 7))
        while len(contents(steady.seen)) < 24:
            await steady.next("message")

        upto = step
        for attempt in range(500):
            received = await client.connect_and_read(upto, reset=attempt % 2 == 1)
            if contents(client.events) == contents(steady.seen):
                break
            # A line that is cut within `connected` every time brings nothing: then it gets a little better.
            upto = step if len(received) > 1 else upto + 70
        assert contents(client.events) == contents(steady.seen), step
        ids = [event.id for event in client.events if event.type == "message"]
        assert ids == [event.id for event in steady.seen if event.type == "message"]
        connects = [event.data for event in client.events if event.type == "connected"]
        assert not any(data["gap"] for data in connects)
        assert len({data["conversation"] for data in connects}) == 1


async def test_a_link_that_drops_again_in_mid_replay_loses_and_doubles_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """However far each replay gets before the next cut."""
    server = await start_server(**UNLIMITED)
    for step in (1, 150, 333, 700, 1500, 4000):
        await cut_in_mid_replay(server, http, step)


async def test_cuts_while_others_talk_lose_and_double_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Between replay and live nothing is lost, doubled or reordered, also while new events are made."""
    server = await start_server(**UNLIMITED)
    client = CutClient(server.port)
    async with stream(http, server.url + SUBSCRIBE) as steady:
        await steady.next("connected")
        await client.connect_and_read(600, reset=False)
        said = 60

        async def talk() -> None:
            for number in range(said):
                await chat(http, server.url, f"message {number}")

        talking = asyncio.create_task(talk())
        cuts = 0
        while not talking.done() or contents(client.events) != contents(steady.seen):
            await client.connect_and_read(400 + 170 * (cuts % 9), reset=cuts % 2 == 1)
            cuts += 1
            assert cuts < 300
        await talking
        while len(contents(steady.seen)) < 2 * said:
            await steady.next("message")
        for _ in range(20):
            await client.connect_and_read(100_000, reset=False)
            if len(contents(client.events)) >= 2 * said:
                break

    assert cuts > 5
    assert contents(client.events) == contents(steady.seen)
    assert contents(client.events) == [
        (role, f"message {number}") for number in range(said) for role in ("user", "assistant")
    ]
    positions = [
        int(event.id.rpartition("-")[2]) for event in client.events if event.id and event.type != "connected"
    ]
    assert positions == sorted(set(positions))


SLOW_OPENING = """
import asyncio
from pathlib import Path

from potoserver import ServerModule


class SlowOpening(ServerModule):
    connected_field_names = ("slow",)

    async def connected_fields(self, user_id):
        Path("opening").touch()
        while not Path("open").exists():
            await asyncio.sleep(0.01)
        return {"slow": True}
"""


async def test_what_comes_while_a_stream_opens_follows_the_replay_once(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Events made between a client's request and its `connected` come behind it, once, in order."""
    (tmp_path / "slow_opening.py").write_text(SLOW_OPENING)
    opening, may_open = tmp_path / "opening", tmp_path / "open"
    may_open.touch()
    server = await start_server(POTO_MODULES=patient("chat_server", "slow_opening:SlowOpening"))
    async with stream(http, server.url + SUBSCRIBE) as reader:
        first = await reader.next("connected")
    await chat(http, server.url, "while away")

    opening.unlink()
    may_open.unlink()
    async with stream(http, server.url + SUBSCRIBE, last_event_id=first.id) as reader:
        async with asyncio.timeout(10):
            while not opening.exists():
                await asyncio.sleep(0.01)
        await chat(http, server.url, "while it opens")
        may_open.touch()
        connected = await reader.next()
        assert (connected.type, connected.data["slow"]) == ("connected", True)
        await chat(http, server.url, "live")
        while len(contents(reader.seen)) < 6:
            await reader.next("message")
        texts = ["while away", "while it opens", "live"]
        assert contents(reader.seen) == [(role, text) for text in texts for role in ("user", "assistant")]


async def test_resuming_by_header_and_by_query(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`Last-Event-ID` or `lastEventId` names where to go on; where both are given the header counts."""
    server = await start_server()
    for by in ("header", "query", "header beats query"):
        async with stream(http, server.url + SUBSCRIBE) as reader:
            await reader.next("connected")
            await chat(http, server.url, "one")
            await chat(http, server.url, "two")
            ids = [(await reader.next("message")).id for _ in range(4)]
        options: dict[str, Any] = {}
        if by != "query":
            options["last_event_id"] = ids[1]
        if by != "header":
            options["lastEventId"] = ids[1] if by == "query" else ids[3]
        async with stream(http, server.url + SUBSCRIBE, **options) as reader:
            connected = await reader.next("connected")
            assert connected.data["gap"] is False, by
            assert connected.id == ids[1], by
            replayed = contents([await reader.next(), await reader.next()])
            assert replayed == [("user", "two"), ("assistant", "two")], by


@pytest.mark.parametrize(
    "unusable",
    ["{epoch}-99999999999999", "otherepoch-1", "7", "nonsense", "{epoch}--1", "{epoch}-01", "ä", "a" * 500],
    ids=["future", "other epoch", "no epoch", "malformed", "negative", "leading zero", "not ASCII", "long"],
)
async def test_an_id_that_cant_be_continued_is_told_as_a_gap(
    start_server: StartServer, http: aiohttp.ClientSession, unusable: str
) -> None:
    """An unknown, malformed or future id gives `gap: true` and the newest id, from which all goes on."""
    server = await start_server()
    async with stream(http, server.url + SUBSCRIBE) as reader:
        await reader.next("connected")
        await chat(http, server.url, "before the gap")
        newest = [await reader.next("message"), await reader.next("message")][-1].id
        assert newest is not None
        epoch = newest.rpartition("-")[0]
        unusable = unusable.format(epoch=epoch)
        async with stream(http, server.url + SUBSCRIBE, lastEventId=unusable) as gapped:
            connected = await gapped.next("connected")
            assert connected.data["gap"] is True
            assert connected.id == newest
            await chat(http, server.url, "behind the gap")
            assert contents([await gapped.next("message")]) == [("user", "behind the gap")]
    async with stream(http, server.url + SUBSCRIBE, last_event_id=connected.id) as resumed:
        assert (await resumed.next("connected")).data["gap"] is False
        assert contents([await resumed.next()]) == [("user", "behind the gap")]


async def test_an_id_older_than_the_log_is_told_as_a_gap(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Where the bounded log has dropped what the client missed, it is told so and nothing is replayed."""
    server = await start_server(POTO_BACKLOG__EVENTS="4")
    async with stream(http, server.url + SUBSCRIBE) as reader:
        first = await reader.next("connected")
        for number in range(5):
            await chat(http, server.url, f"message {number}")
    async with stream(http, server.url + SUBSCRIBE, last_event_id=first.id) as reader:
        connected = await reader.next("connected")
        assert connected.data["gap"] is True
        await chat(http, server.url, "now")
        assert contents([await reader.next()]) == [("user", "now")]


async def test_the_id_of_connected_loses_nothing_at_a_second_drop(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """A client that saw nothing but `connected` resumes from its id and gets all that came since."""
    server = await start_server()
    async with stream(http, server.url + SUBSCRIBE) as reader:
        first = await reader.next("connected")
    await chat(http, server.url, "while away")
    async with stream(http, server.url + SUBSCRIBE, last_event_id=first.id) as reader:
        second = await reader.next("connected")
    assert second.id == first.id
    async with stream(http, server.url + SUBSCRIBE, last_event_id=second.id) as reader:
        assert (await reader.next("connected")).data["gap"] is False
        assert contents([await reader.next(), await reader.next()]) == [
            ("user", "while away"),
            ("assistant", "while away"),
        ]


async def test_the_connected_event_tells_where_the_client_stands(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`connected` names user, connection, conversation, what was archived meanwhile, and how to go on."""
    server = await start_server(SESSION_RECONNECT_GRACE="400")
    async with stream(http, server.url + SUBSCRIBE) as reader:
        first = await reader.next()
        assert reader.response.content_type == "text/event-stream"
        assert reader.response.headers["Cache-Control"] == "no-cache"
        assert reader.response.headers["X-Accel-Buffering"] == "no"
        async with stream(http, server.url + SUBSCRIBE) as other:
            second = await other.next()
        answer = await chat(http, server.url, "to be archived")
    assert first.type == second.type == "connected"
    assert {"user", "connection", "resumed", "gap", "conversation", "archived"} <= set(first.data)
    assert first.data["user"] == "a1"
    assert (first.data["resumed"], first.data["gap"], first.data["archived"]) == (False, False, None)
    assert CONVERSATION.fullmatch(first.data["conversation"])
    assert first.retry_ms == 100  # a quarter of the grace
    assert first.id is not None
    assert (second.data["resumed"], second.data["conversation"]) == (True, first.data["conversation"])
    assert second.data["connection"] != first.data["connection"]
    assert answer["conversationId"] == first.data["conversation"]

    await server.until_logged("dialog archived")
    async with stream(http, server.url + SUBSCRIBE) as reader:
        returned = await reader.next("connected")
        assert returned.data["resumed"] is False
        assert returned.data["conversation"] != first.data["conversation"]
        assert returned.data["archived"] == {
            "id": server.archives()[0].stem,
            "reason": "disconnect",
            "conversation": first.data["conversation"],
        }
    async with stream(http, server.url + SUBSCRIBE) as reader:
        assert (await reader.next("connected")).data["archived"] is None  # told once


async def test_the_default_reconnection_time_is_a_second(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """With the default grace clients are told to return after 1000 ms."""
    server = await start_server()
    async with stream(http, server.url + SUBSCRIBE) as reader:
        assert (await reader.next()).retry_ms == 1000


# The fallback


async def test_a_call_without_any_connection_is_archived_by_the_fallback(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who only calls and never connects is archived as `timeout` after the inactivity time."""
    server = await start_server(SESSION_TIMEOUT="4000", SESSION_CHECK_INTERVAL="100")
    await chat(http, server.url, "one")
    answer = await chat(http, server.url, "two")
    await server.until_logged("dialog archived")
    [dialog] = server.dialogs()
    assert (dialog["reason"], dialog["message_count"]) == ("timeout", 4)
    assert dialog["conversation"] == answer["conversationId"]
    [ended] = server.logged("session ended")
    assert ended["reason"] == "timeout"
    later = await chat(http, server.url, "three")
    assert later["conversationId"] != answer["conversationId"]


async def test_scope_absent_leaves_a_connected_idle_user_alone(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """By default a user with a live connection may be idle for as long as they like."""
    server = await start_server(SESSION_TIMEOUT="400", SESSION_CHECK_INTERVAL="100")
    async with stream(http, server.url + SUBSCRIBE) as reader:
        await reader.next("connected")
        answer = await chat(http, server.url, "connected")
        await chat(http, server.url, "not connected", "admin-token")
        await server.until_logged("dialog archived", user="admin")  # who was idle for a shorter time
        await chat(http, server.url, "not connected either", "admin-token")
        await server.until_logged("dialog archived", 2, user="admin")
        assert server.logged("session ended", user="a1") == []
        again = await chat(http, server.url, "still here")
        assert again["conversationId"] == answer["conversationId"]


async def test_scope_idle_ends_a_connected_idle_user_and_tells_the_connection(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Under scope `idle` the fallback ends connected users too; their connections get `archived`."""
    server = await start_server(
        SESSION_TIMEOUT="400", SESSION_CHECK_INTERVAL="100", POTO_CHAT__SESSION_TIMEOUT_SCOPE="idle"
    )
    async with stream(http, server.url + SUBSCRIBE) as reader:
        await reader.next("connected")
        answer = await chat(http, server.url, "idle soon")
        archived = await reader.next("archived")
        [dialog] = server.dialogs()
        assert archived.data == {
            "id": server.archives()[0].stem,
            "reason": "timeout",
            "conversation": answer["conversationId"],
        }
        assert dialog["reason"] == "timeout"
        assert not reader.ended.is_set()
        again = await chat(http, server.url, "a new one")
        assert again["conversationId"] != answer["conversationId"]
        await reader.next("message")


async def test_a_call_in_the_grace_goes_on_and_the_fallback_ends_it(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """A call within the grace belongs to the same conversation; then inactivity ends it, not the grace."""
    server = await start_server(
        SESSION_RECONNECT_GRACE="3000", SESSION_TIMEOUT="6000", SESSION_CHECK_INTERVAL="100"
    )
    reader = await open_stream(http, server.url + SUBSCRIBE)
    answer = await chat(http, server.url, "connected")
    await drop(server, reader)
    again = await chat(http, server.url, "in the grace")
    assert again["conversationId"] == answer["conversationId"]
    await let_a_grace_pass(server, http)
    assert server.logged("session ended", user="a1", reason="disconnect") == []
    await server.until_logged("dialog archived", user="a1")
    [dialog] = server.dialogs()
    assert (dialog["reason"], dialog["message_count"]) == ("timeout", 4)


async def test_a_session_without_a_message_leaves_no_file(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who only listens leaves nothing on disk."""
    server = await start_server(SESSION_RECONNECT_GRACE="0")
    async with stream(http, server.url + SUBSCRIBE) as reader:
        await reader.next("connected")
    await server.until_logged("session ended")
    assert await server.stop() == 0
    assert list((server.data_dir / "users").rglob("*.yaml")) == []
    assert server.logged("dialog archived") == []
