"""What one user, or one user more, can take of a real server, and what everybody is told at the limit."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import ServerProcess, chat, tokens_of
from tests.support.sse import open_stream, stream

pytestmark = pytest.mark.process

SUBSCRIBE = "/subscribe"
CHAT = "ChatServerModule/chatWithHistory"


async def call(
    server: ServerProcess, http: aiohttp.ClientSession, path: str, user: str, **arguments: Any
) -> tuple[aiohttp.ClientResponse, Any]:
    """Calls a method; returns the answer and its JSON."""
    headers = {"Authorization": f"Bearer t-{user}"}
    answer = await http.post(f"{server.url}/{path}", json=arguments, headers=headers)
    return answer, json.loads(await answer.text())


async def alarms(server: ServerProcess, http: aiohttp.ClientSession) -> str:
    """What health says is wrong."""
    return str((await (await http.get(f"{server.url}/health")).json())["alarms"])


async def test_a_user_who_has_taken_all_room_is_refused_until_archives_are_deleted(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """507 as a problem document; the dialog is archived all the same, and others feel nothing."""
    environment = {
        "POTO_LIMITS__USER_BYTES": "300000",
        "POTO_CHAT__JOURNAL__FSYNC": "never",
        "SESSION_RECONNECT_GRACE": "100",
        **tokens_of(["a", "b"]),
    }
    server = await start_server(**environment)
    said = 0
    async with stream(http, server.url + SUBSCRIBE, "t-a") as reader:
        await reader.next("connected")
        while True:
            answer, body = await call(server, http, CHAT, "a", message="x" * 20_000)
            if answer.status != 200:
                break
            said += 1
    assert 5 <= said <= 7
    assert answer.status == 507
    assert answer.content_type == "application/problem+json"
    assert "limits.user_bytes, 300000 bytes" in body["detail"] and body["requestId"]
    assert "user-full" in await alarms(server, http)
    metrics = await (await http.get(f"{server.url}/metrics")).text()
    assert 'potoserver_alarm{alarm="user-full"} 1.0' in metrics
    [line] = await server.until_logged("alarm on", alarm="user-full")
    assert line["user"] == "a"
    await chat(http, server.url, "y" * 20_000, "t-b")
    await saved.until_archived(server.data_dir / "users" / "a")
    [dialog] = server.dialogs("a")
    assert dialog["message_count"] == 2 * said

    assert await server.stop() == 0
    await server.start()
    answer, _ = await call(server, http, CHAT, "a", message="x" * 20_000)
    assert answer.status == 507, "what is there is counted at the next start, too"
    for path in server.archives("a"):
        path.unlink()
    # The folder is measured again, after a rest that depends on how long that took.
    async with asyncio.timeout(30):
        while (await call(server, http, CHAT, "a", message="x" * 20_000))[0].status == 507:
            await asyncio.sleep(0.1)
    assert await server.stop() == 0
    assert [dialog["message_count"] for dialog in server.dialogs("a")] == [2]


async def test_one_session_more_than_there_may_be_is_refused_and_a_connection_has_none(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """503 with Retry-After; the stream opens with `conversation` null, and gets one once there is room."""
    server = await start_server(
        POTO_CHAT__MAX_SESSIONS="2", SESSION_RECONNECT_GRACE="100", **tokens_of(["a", "b", "c"])
    )
    first = await open_stream(http, server.url + SUBSCRIBE, "t-a")
    assert (await first.next("connected")).data["conversation"]
    await chat(http, server.url, "x", "t-b")
    third = await open_stream(http, server.url + SUBSCRIBE, "t-c")
    assert (await third.next("connected")).data["conversation"] is None
    answer, body = await call(server, http, CHAT, "c", message="x")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "chat.max_sessions" in body["detail"]
    assert "sessions-full" in await alarms(server, http)
    assert (await chat(http, server.url, "still here", "t-b"))["reply"]

    await first.close()
    await server.until_logged("session ended", user="a")
    async with asyncio.timeout(10):
        answer, reply = await call(server, http, CHAT, "c", message="x")
        while answer.status == 503:  # what has ended is put away in a moment
            await asyncio.sleep(0.05)
            answer, reply = await call(server, http, CHAT, "c", message="x")
    assert answer.status == 200
    assert (await third.next("message")).data["conversationId"] == reply["conversationId"]
    await third.close()
    await saved.until_archived(server.data_dir / "users" / "c")
    assert await server.stop() == 0


async def test_callers_that_go_away_can_not_queue_more_than_they_may_have_in_flight(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Their calls count until they have ended; what was taken in is in the dialog, each message once."""
    server = await start_server(
        POTO_CHAT__ECHO__DELAY_MS="4000", POTO_LIMITS__CALLS_AT_ONCE_PER_USER="8", **tokens_of(["a", "b"])
    )
    url = f"{server.url}/{CHAT}"

    async def ask(number: int) -> int:
        headers = {"Authorization": "Bearer t-a", "Idempotency-Key": f"k{number % 4}"}
        return (await http.post(url, json={"message": f"n{number % 4}"}, headers=headers)).status

    asking = [asyncio.create_task(ask(number)) for number in range(40)]
    refused = [await each for each in itertools.islice(asyncio.as_completed(asking, timeout=20), 32)]
    assert refused == [429] * 32, "a repeat of a call in flight counts as well"
    assert "potoserver_calls_in_flight 8.0" in await (await http.get(f"{server.url}/metrics")).text()
    for going in asking:
        going.cancel()
    await asyncio.wait(asking)
    assert await ask(0) == 429, "who has gone still counts"
    assert (await chat(http, server.url, "x", "t-b"))["reply"] == "x"
    async with asyncio.timeout(40):
        while "potoserver_calls_in_flight 0.0" not in await (await http.get(f"{server.url}/metrics")).text():
            await asyncio.sleep(0.05)
    assert (await call(server, http, CHAT, "a", message="last"))[0].status == 200
    assert await server.stop() == 0
    [dialog] = server.dialogs("a")
    said = [each["content"] for each in dialog["messages"] if each["role"] == "user"]
    assert said[-1] == "last"
    assert len(said) == len(set(said)) <= 5


async def test_an_event_larger_than_log_and_outbox_reaches_who_reads_and_is_a_gap_for_who_was_away(
    start_server: StartServer,
) -> None:
    """A healthy reader is not cut off for it; who returns is told of the gap, and finds all in the dialog."""
    server = await start_server(
        POTO_BACKLOG__BYTES="20000",
        POTO_LIMITS__OUTBOX_BYTES="20000",
        # One such event after the other would be too much: each reply is stopped before its first word.
        POTO_CHAT__ECHO__DELAY_MS="60000",
        **tokens_of(["a"]),
    )
    text = "large " * 150_000
    async with aiohttp.ClientSession(read_bufsize=1 << 22) as http:
        here = await open_stream(http, server.url + SUBSCRIBE, "t-a")
        await here.next("connected")

        async def say(message: str) -> None:
            answer = asyncio.create_task(chat(http, server.url, message, "t-a"))
            assert (await here.next("message")).data["content"] == message
            await call(server, http, "ChatServerModule/stopGeneration", "a")
            assert (await here.next("message")).data["content"] == (await answer)["reply"] == ""

        away = await open_stream(http, server.url + SUBSCRIBE, "t-a")
        await away.next("connected")
        await say("small")
        assert (await away.next("message")).data["content"] == "small"
        await away.close()
        await say(text)
        assert not here.ended.is_set()
        async with stream(http, server.url + SUBSCRIBE, "t-a", last_event_id=away.last_id) as back:
            assert (await back.next("connected")).data["gap"] is True
            _, body = await call(server, http, "ChatServerModule/getConversation", "a")
            assert [each["content"] for each in body["messages"]] == ["small", "", text, ""]
            await say("small again")
            assert (await back.next("message")).data["content"] == "small again"
        async with stream(http, server.url + SUBSCRIBE, "t-a", last_event_id=here.last_id) as back:
            assert (await back.next("connected")).data["gap"] is False
        await here.close()
    assert await server.stop() == 0
