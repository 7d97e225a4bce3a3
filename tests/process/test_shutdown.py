"""Signals and crashes: what a server leaves behind, and how the next one goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import NOBODY_DEPARTS, ServerProcess, chat, patient, tokens_of
from tests.support.sse import EventReader, open_stream, parse_events, stream

pytestmark = pytest.mark.process

USERS = 500
SHUTDOWN_S = 15
SAID = "an answered question"
SHORT = " ".join(f"w{number}" for number in range(10))
"""Its reply takes 2 s at 200 ms a word: it ends within the shutdown's limit."""
LONG = " ".join(f"w{number}" for number in range(3000))
"""Its reply takes ten minutes."""
CHAT = "/ChatServerModule/chatWithHistory"


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


async def start_reply(
    http: aiohttp.ClientSession, url: str, token: str, message: str
) -> aiohttp.ClientResponse:
    """Asks for a streamed reply; returns once its first words have come."""
    answer = await http.post(
        url + CHAT, json={"message": message}, headers=bearer(token) | {"Accept": "text/event-stream"}
    )
    assert answer.status == 200
    async with asyncio.timeout(30):
        while b"event: delta" not in await answer.content.readuntil(b"\n\n"):
            pass
    return answer


async def rest_of(answer: aiohttp.ClientResponse) -> bytes:
    """What else came on a streamed reply."""
    try:
        async with asyncio.timeout(30):
            return await answer.content.read()
    except aiohttp.ClientError:
        return b""
    finally:
        answer.close()


def check_nothing_open(server: ServerProcess) -> None:
    """No dialog is open, by its mark or by its file."""
    assert server.open_marks() == []
    assert [path for path in saved.current_files(server.data_dir) if path.stat().st_size] == []
    assert saved.set_aside(server.data_dir) == []


async def test_sigterm_with_500_sessions_and_replies_in_flight_loses_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Everyone is told, all is archived as `shutdown`, replies are finished or marked interrupted."""
    users = [f"u{number:03}" for number in range(USERS)]
    environment = tokens_of(users) | {
        "POTO_CHAT__ECHO__DELAY_MS": "200",
        "POTO_SHUTDOWN_TIMEOUT_S": str(SHUTDOWN_S),
    }
    server = await start_server(**environment)
    readers: list[EventReader] = []
    for batch in range(0, USERS, 50):
        readers += await asyncio.gather(
            *(open_stream(http, server.url + "/subscribe", f"t-{user}") for user in users[batch : batch + 50])
        )
    for reader in readers:
        await reader.next("connected")
    await asyncio.gather(*(chat(http, server.url, SAID, f"t-{user}") for user in users))
    long, short, plain = users[:60], users[60:160], users[160:220]
    longs = await asyncio.gather(*(start_reply(http, server.url, f"t-{user}", LONG) for user in long))
    shorts = await asyncio.gather(*(start_reply(http, server.url, f"t-{user}", SHORT) for user in short))
    plains = [
        asyncio.create_task(
            http.post(server.url + CHAT, json={"message": SHORT}, headers=bearer(f"t-{user}"))
        )
        for user in plain
    ]
    plain_readers = readers[160:220]
    for reader in plain_readers:  # the question is on disk before the model is asked
        while (await reader.next("message")).data["content"] != SHORT:
            pass

    begun_s = time.monotonic()
    status = await server.stop(limit_s=SHUTDOWN_S + 10)
    took_s = time.monotonic() - begun_s
    assert status == 0
    assert took_s < SHUTDOWN_S + 3
    assert server.logged("shutting down, archiving all active sessions")

    for reader in readers:
        await reader.end()
    assert [reader for reader in readers if "shutdown" not in [event.type for event in reader.seen]] == []
    dialogs = {user: server.dialogs(user) for user in users}
    assert [user for user, found in dialogs.items() if len(found) != 1] == []
    assert {found[0]["reason"] for found in dialogs.values()} == {"shutdown"}
    said = {user: dialogs[user][0]["messages"] for user in users}
    for user in users:
        assert [each["content"] for each in said[user][:2]] == [SAID, SAID]
    for user in users[220:]:
        assert len(said[user]) == 2

    for user, answer in zip(short, shorts, strict=True):
        assert b"event: done" in await rest_of(answer)
        assert [each["content"] for each in said[user][2:]] == [SHORT, SHORT]
        assert "interrupted" not in said[user][3]
    for user, call in zip(plain, plains, strict=True):
        response = await call
        assert response.status == 200
        assert (await response.json())["reply"] == SHORT
        assert [each["content"] for each in said[user][2:]] == [SHORT, SHORT]
    for user, answer in zip(long, longs, strict=True):
        told = parse_events(await rest_of(answer))[-1]
        question, reply = said[user][2:]
        assert question["content"] == LONG
        assert reply["interrupted"] is True
        assert len(reply["content"]) > 0
        assert LONG.startswith(reply["content"].rstrip())
        assert (told.type, told.data["finishReason"]) == ("done", "shutdown")
        assert told.data["reply"] == reply["content"]
    check_nothing_open(server)

    archives = sorted(server.data_dir.glob("users/*/dialogs/archived/*"))
    again = await start_server(folder=tmp_path, **environment)
    assert [line for line in again.log_lines() if "recover" in json.dumps(line).lower()] == []
    async with stream(http, again.url + "/subscribe", f"t-{users[0]}") as reader:
        assert (await reader.next("connected")).data["conversation"] != dialogs[users[0]][0]["conversation"]
    assert await again.stop() == 0
    assert sorted(again.data_dir.glob("users/*/dialogs/archived/*")) == archives


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_sigterm_and_sigint_end_every_session_and_exit_0(
    start_server: StartServer, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """Who is connected, in the grace or only calls: all are archived as `shutdown`, exit status 0."""
    server = await start_server(**tokens_of(["here", "leaving", "calling"]), **NOBODY_DEPARTS)
    here = await open_stream(http, server.url + "/subscribe", "t-here")
    async with stream(http, server.url + "/subscribe", "t-leaving") as leaving:
        await leaving.next("connected")
        await chat(http, server.url, "bye", "t-leaving")
    await server.until_logged("SSE disconnect detected", user="leaving")
    await chat(http, server.url, "hi", "t-here")
    await chat(http, server.url, "hello", "t-calling")

    begun_s = time.monotonic()
    assert await server.stop(number) == 0
    assert time.monotonic() - begun_s < 15  # nothing was in flight, so nothing is waited for
    shutdown = await here.next("shutdown")
    assert shutdown.id is None
    await here.end()
    for user in ("here", "leaving", "calling"):
        [dialog] = server.dialogs(user)
        assert (dialog["reason"], dialog["message_count"]) == ("shutdown", 2)
    check_nothing_open(server)
    assert server.logged("shutting down, archiving all active sessions")
    [drop] = server.logged("SSE disconnect detected", user="here")
    assert drop["cause"] == "shutdown"


async def test_a_draining_server_refuses_new_work_and_says_so(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """While the last reply is finished: calls are 503, health is draining, subscribers get `unavailable`."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="600")
    async with stream(http, server.url + "/subscribe") as reader:
        await reader.next("connected")
        answer = await start_reply(http, server.url, "test-token", SHORT)
        server.send_signal(signal.SIGTERM)
        shutdown = await reader.next("shutdown")
        assert isinstance(shutdown.data["retryAfterMs"], int)
        assert shutdown.retry_ms == shutdown.data["retryAfterMs"] >= 1000

        async with http.post(
            server.url + CHAT, json={"message": "too late"}, headers=bearer("admin-token")
        ) as refused:
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.content_type == "application/problem+json"
        async with http.get(server.url + "/health") as health:
            assert health.status == 503
            assert (await health.json())["status"] == "draining"
        async with http.get(server.url + "/health/ready") as ready:
            assert ready.status == 503
        async with http.get(server.url + "/health/live") as live:
            assert live.status == 200
        async with stream(http, server.url + "/subscribe", "admin-token") as late:
            unavailable = await late.next()
            assert unavailable.type == "unavailable"
            assert unavailable.data["reason"] == "draining"
            assert unavailable.retry_ms == unavailable.data["retryAfterMs"]
            await late.end()
        assert b"event: done" in await rest_of(answer)
        assert await server.wait() == 0
    [dialog] = server.dialogs()
    assert [each["content"] for each in dialog["messages"]] == [SHORT, SHORT]
    assert server.archives("admin") == []


async def test_a_second_signal_exits_at_once_and_the_next_start_recovers(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The second signal waits for no reply; what was acknowledged is recovered by the next start."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="200")
    async with stream(http, server.url + "/subscribe") as reader:
        await chat(http, server.url, "answered")
        answer = await start_reply(http, server.url, "test-token", LONG)
        server.send_signal(signal.SIGTERM)
        await reader.next("shutdown")
        begun_s = time.monotonic()
        assert await server.stop(signal.SIGTERM) == 1
        assert time.monotonic() - begun_s < 10  # the reply takes ten minutes, the limit is 30 s
        await rest_of(answer)
    assert server.archives() == []

    again = await start_server(folder=tmp_path, SESSION_RECONNECT_GRACE="0")
    await again.until_logged("dialog archived")
    [dialog] = again.dialogs()
    assert dialog["reason"] == "recovered"
    assert [each["content"] for each in dialog["messages"][:3]] == ["answered", "answered", LONG]
    assert await again.stop() == 0


async def test_a_stop_right_after_a_start_leaves_nothing_unsaid(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Dialogs that a crash left open are archived, or the exit status 1 tells that they still are open."""
    users = sorted(f"u{number:02}" for number in range(30))
    server = await start_server(**tokens_of(users), **NOBODY_DEPARTS)
    await asyncio.gather(*(chat(http, server.url, "hello", f"t-{user}") for user in users))
    await server.stop(signal.SIGKILL)
    await server.start()
    status = await server.stop()
    left = server.open_marks()
    assert status == (1 if left else 0)
    assert [user for user in users if len(server.archives(user)) != (user not in left)] == []
    await server.start()
    for user in left:
        answer = await chat(http, server.url, "hello again", f"t-{user}")
        await server.until_logged("session continued", user=user, conversation=answer["conversationId"])
    assert await server.stop() == 0
    check_nothing_open(server)
    assert {len(server.archives(user)) for user in users} == {1}


async def test_after_a_crash_who_returns_in_time_goes_on_and_who_does_not_is_recovered(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Connecting or calling within the grace goes on with the same conversation; the others are archived."""
    users = ["returns", "calls", "stays-away"]
    server = await start_server(
        POTO_MODULES=patient("chat_server"), SESSION_RECONNECT_GRACE="6000", **tokens_of(users)
    )
    conversations: dict[str, Any] = {}
    readers = []
    for user in users:
        readers.append(await open_stream(http, server.url + "/subscribe", f"t-{user}"))
        answer = await chat(http, server.url, f"{user} before", f"t-{user}")
        conversations[user] = answer["conversationId"]
    await server.stop(signal.SIGKILL)
    last_id = readers[0].last_id
    for reader in readers:
        await reader.end()
        await reader.close()
    assert server.open_marks() == sorted(users)

    await server.start()
    async with stream(http, server.url + "/subscribe", "t-returns", last_event_id=last_id) as reader:
        connected = await reader.next("connected")
        assert connected.data["conversation"] == conversations["returns"]
        assert connected.data["gap"] is True  # the log of events was in memory
        for user in ("returns", "calls"):
            answer = await chat(http, server.url, f"{user} after", f"t-{user}")
            assert answer["conversationId"] == conversations[user]
        await server.until_logged("dialog archived", user="stays-away")
        [dialog] = server.dialogs("stays-away")
        assert dialog["reason"] == "recovered"
        assert dialog["conversation"] == conversations["stays-away"]
        assert server.archives("returns") == server.archives("calls") == []
        async with stream(http, server.url + "/subscribe", "t-stays-away") as late:
            assert (await late.next("connected")).data["archived"] == {
                "id": server.archives("stays-away")[0].stem,
                "reason": "recovered",
                "conversation": conversations["stays-away"],
            }
        await server.until_logged("session continued", user="returns")
    await server.until_logged("dialog archived", user="returns")
    assert await server.stop() == 0
    for user, reason in (("returns", "disconnect"), ("calls", "shutdown")):
        [dialog] = server.dialogs(user)
        assert (dialog["conversation"], dialog["reason"]) == (conversations[user], reason)
        assert [each["content"] for each in dialog["messages"]] == [f"{user} before"] * 2 + [
            f"{user} after"
        ] * 2
    check_nothing_open(server)


async def test_the_grace_after_a_start_is_long_enough_for_clients_to_return(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Dialogs left open are adopted for the grace, counted from when the server is ready."""
    server = await start_server(SESSION_RECONNECT_GRACE="800")
    waited_s: list[float] = []
    while not waited_s or (max(waited_s) < 0.75 and len(waited_s) < 5):  # "serving" may be written late
        await chat(http, server.url, "hello")
        await server.stop(signal.SIGKILL)
        await server.start()
        number = len(waited_s) + 1
        serving = (await server.until_logged("serving", number + 1))[-1]
        archived = (await server.until_logged("dialog archived", number))[-1]
        waited_s.append(_seconds(archived) - _seconds(serving))
    assert max(waited_s) >= 0.75
    assert min(waited_s) < 10
    assert {dialog["reason"] for dialog in server.dialogs()} == {"recovered"}


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()
