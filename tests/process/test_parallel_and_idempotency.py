"""Many messages of one user at once, and the same message more than once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import ServerProcess, chat
from tests.support.sse import EventReader, stream

pytestmark = pytest.mark.process

SLOW_MS = "1000"
TOKEN = {"Authorization": "Bearer test-token"}


async def _say(
    http: aiohttp.ClientSession,
    server: ServerProcess,
    text: str,
    key: str,
    token: str = "test-token",
    **other: Any,
) -> tuple[int, dict[str, Any]]:
    answer = await http.post(
        f"{server.url}/ChatServerModule/chatWithHistory",
        json={"message": text, **other},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
    )
    return answer.status, await answer.json(content_type=None)


async def _say_streamed(
    http: aiohttp.ClientSession, server: ServerProcess, text: str, key: str | None = None
) -> dict[str, Any]:
    """Says something, reads the stream to its end; returns what `done` carries."""
    headers = TOKEN | {"Accept": "text/event-stream"} | ({"Idempotency-Key": key} if key else {})
    answer = await http.post(
        f"{server.url}/ChatServerModule/chatWithHistory", json={"message": text}, headers=headers
    )
    assert answer.status == 200, await answer.text()
    reader = EventReader(answer)
    try:
        done: dict[str, Any] = (await reader.next("done")).data
        pieces = [event.data["text"] for event in reader.seen if event.type == "delta"]
        # An answer that was given before comes whole, in `done`.
        assert not pieces or "".join(pieces) == done["reply"]
        return done
    finally:
        await reader.close()


async def _messages(http: aiohttp.ClientSession, server: ServerProcess) -> list[tuple[str, str]]:
    """Role and content of each message of the current conversation."""
    answer = await http.post(f"{server.url}/ChatServerModule/getConversation", json={}, headers=TOKEN)
    assert answer.status == 200
    return [(message["role"], message["content"]) for message in (await answer.json())["messages"]]


def _pair(text: str) -> list[tuple[str, str]]:
    return [("user", text), ("assistant", text)]


def _kept(server: ServerProcess) -> list[tuple[str, str]]:
    """Every message of every file."""
    dialogs = [*saved.archives(server.data_dir), *saved.open_dialogs(server.data_dir)]
    return [message for dialog in dialogs for message in dialog.messages]


async def _end_session(http: aiohttp.ClientSession, server: ServerProcess) -> None:
    answer = await http.post(f"{server.url}/ChatServerModule/endSession", json={}, headers=TOKEN)
    assert answer.status == 200


async def test_fifty_messages_at_once_are_all_kept_each_reply_behind_its_question(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Half of them streamed, replies of several words with a pause each: nothing interleaves."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="5")
    texts = [f"number {number} has some words" for number in range(50)]
    calls = [
        _say_streamed(http, server, text) if number % 2 else chat(http, server.url, text)
        for number, text in enumerate(texts)
    ]
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        answers = await asyncio.gather(*calls)
        assert [answer["reply"] for answer in answers] == texts
        assert len({answer["conversationId"] for answer in answers}) == 1
        told = [
            (event.data["role"], event.data["content"])
            for event in [await reader.next("message") for _ in range(100)]
        ]
    kept = await _messages(http, server)
    assert told == kept
    assert sorted(kept[::2]) == sorted(("user", text) for text in texts)
    assert kept[1::2] == [("assistant", text) for _, text in kept[::2]]
    assert await server.stop() == 0
    [archive] = server.archives()
    assert saved.load(archive).messages == kept
    stamps = [message["timestamp"] for message in saved.load(archive).fields["messages"]]
    assert stamps == sorted(stamps)


async def test_a_repeat_while_the_first_call_runs_waits_for_its_answer(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Gathered and streamed repeats get the first one's message; the dialog holds one question."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS=SLOW_MS)
    async with stream(http, f"{server.url}/subscribe") as reader:
        first = asyncio.create_task(_say(http, server, "a slow reply", "k"))
        await reader.next("message")
        assert not first.done()
        (status, again), streamed = await asyncio.gather(
            _say(http, server, "a slow reply", "k"), _say_streamed(http, server, "a slow reply", "k")
        )
        assert (status, again) == await first
        assert (status, streamed) == (200, again)
    assert await _messages(http, server) == _pair("a slow reply")


async def test_a_repeat_gets_the_first_answer_and_adds_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """After the reply, after other messages, after the archive, after a restart."""
    server = await start_server()
    first = await _say(http, server, "once", "k")
    assert first[0] == 200
    assert await _say(http, server, "once", "k") == first
    await _say(http, server, "another", "k2")
    assert await _say(http, server, "once", "k") == first
    assert await _messages(http, server) == _pair("once") + _pair("another")
    await _end_session(http, server)
    assert await _say(http, server, "once", "k") == first
    assert await _say_streamed(http, server, "once", "k") == first[1]
    assert await server.stop() == 0
    await server.start()
    assert await _say(http, server, "once", "k") == first
    assert await server.stop(signal.SIGKILL) != 0
    await server.start()
    assert await _say(http, server, "once", "k") == first
    assert await server.stop() == 0
    assert _kept(server) == _pair("once") + _pair("another")
    assert len(server.archives()) == 1


async def test_a_repeat_after_a_crash_before_the_reply_completes_the_first_call(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The question was on disk, `kill -9` took the reply: the repeat adds the reply alone."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS=SLOW_MS)
    async with stream(http, f"{server.url}/subscribe") as reader:
        lost = asyncio.create_task(_say(http, server, "a reply that is lost", "k"))
        await reader.next("message")
        await server.stop(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await lost
    assert _kept(server) == [("user", "a reply that is lost")]
    server.environment.clear()
    await server.start()
    status, answer = await _say(http, server, "a reply that is lost", "k")
    assert (status, answer["reply"]) == (200, "a reply that is lost")
    assert await _say(http, server, "a reply that is lost", "k") == (status, answer)
    assert await server.stop() == 0
    assert _kept(server) == _pair("a reply that is lost")


async def test_a_repeat_after_a_crash_and_the_recovered_archive_asks_nothing_twice(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The dialog with the unanswered question is archived: the repeat gets a reply, no second question."""
    server = await start_server(SESSION_RECONNECT_GRACE="0", POTO_CHAT__ECHO__DELAY_MS=SLOW_MS)
    lost = asyncio.create_task(_say(http, server, "a reply that is lost", "k"))
    await server.until_logged("session message added to dialogue journal")
    await server.stop(signal.SIGKILL)
    with pytest.raises(aiohttp.ClientError):
        await lost
    del server.environment["POTO_CHAT__ECHO__DELAY_MS"]
    await server.start()
    await saved.until_archived(server.data_dir / "users" / "a1")
    status, answer = await _say(http, server, "a reply that is lost", "k")
    assert (status, answer["reply"]) == (200, "a reply that is lost")
    assert await _say(http, server, "a reply that is lost", "k") == (status, answer)
    assert await server.stop() == 0
    assert sorted(_kept(server)) == sorted(_pair("a reply that is lost"))


async def test_a_repeat_with_another_body_is_refused(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """422 while the first runs, after it and after the archive; nothing is added."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS=SLOW_MS)
    async with stream(http, f"{server.url}/subscribe") as reader:
        first = asyncio.create_task(_say(http, server, "one body of words", "k"))
        await reader.next("message")
        assert (await _say(http, server, "another body", "k"))[0] == 422
        assert not first.done()
        assert (await first)[0] == 200
        status, problem = await _say(http, server, "one body of words", "k", reasoningEnabled=True)
        assert (status, problem["status"]) == (422, 422)
        await _end_session(http, server)
        assert (await _say(http, server, "another body", "k"))[0] == 422
    assert await server.stop() == 0
    assert _kept(server) == _pair("one body of words")


async def test_a_key_is_its_users_own(start_server: StartServer, http: aiohttp.ClientSession) -> None:
    """Two users with one key get an answer each."""
    server = await start_server()
    status, mine = await _say(http, server, "mine", "k")
    other_status, theirs = await _say(http, server, "theirs", "k", "admin-token")
    assert (status, mine["reply"], other_status, theirs["reply"]) == (200, "mine", 200, "theirs")


async def test_a_key_is_1_to_128_visible_ascii_characters(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Any other is refused with a problem document, and nothing is kept."""
    server = await start_server()
    for key in ("", "k" * 129, "two words", "tab\tin", "ключ", "é"):
        status, problem = await _say(http, server, "never", key)
        assert 400 <= status < 500, key
        assert problem["status"] == status
    assert await _messages(http, server) == []
    for key in ("k" * 128, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"):
        assert (await _say(http, server, f"with {key}", key))[0] == 200


async def test_a_caller_that_goes_away_stops_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The reply grows on, is told to every connection and kept."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="100")
    async with stream(http, f"{server.url}/subscribe") as reader:
        going = asyncio.create_task(_say(http, server, "nobody waits for this", "k"))
        await reader.next("message")
        going.cancel()
        assert (await reader.next("message")).data["content"] == "nobody waits for this"
    assert await server.stop() == 0
    assert _kept(server) == _pair("nobody waits for this")
