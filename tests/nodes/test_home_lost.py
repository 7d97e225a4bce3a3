"""The chat when the node that a user is at home on is no more: nobody hands anything over."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver import Event, EventId, ServerModule
from potoserver.engine.valkey import ValkeyEngine
from potoserver.server import StartError
from potoserver.settings.model import BacklogSettings
from tests.chat.support import LedResponder
from tests.nodes.test_chat import LIMIT_S, Pair, Start, say, start
from tests.support import saved
from tests.support.dialog_files import leave_open
from tests.support.server import RunningServer, RunServer
from tests.support.sse import stream
from tests.support.waiting import until

__all__ = ["start"]


async def at_home_on_the_first(pair: Pair, token: str = "test-token") -> None:
    """Makes it the user's home."""
    assert (await pair.servers[0].call("ChatServerModule/getSessionInfo", token=token))[0] == 200


def die(server: RunningServer) -> None:
    """To the other nodes it is dead from now on, though it does not know."""
    engine = server.core.engine
    for task in engine._life._tasks:
        task.cancel()
    engine._channel._task.cancel()


async def say_until_answered(server: RunningServer, text: str) -> str:
    """The conversation that the message came to; 503 is repeated, as `Retry-After` asks for."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            status, answer = await server.call(
                "ChatServerModule/chatWithHistory", {"message": text}, **{"Idempotency-Key": text}
            )
            if status == 200:
                return str(answer["conversationId"])
            assert status == 503, answer
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("spoken", [True, False])
async def test_who_is_connected_elsewhere_goes_on_in_the_same_conversation(
    start: Start, spoken: bool
) -> None:
    """Of one in which nothing was said no file tells; and its end is still the departure of its user."""
    pair = await start()
    await at_home_on_the_first(pair)
    other = pair.servers[1]
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        conversation = (await reader.next("connected")).data["conversation"]
        if spoken:
            await say(other, "before")
        await until(lambda: not pair.chats[0]._life.records._by_user["a1"].writing)
        die(pair.servers[0])
        assert await say_until_answered(other, "after") == conversation
    await until(lambda: bool(pair.archived()))
    (archive,) = pair.archived()
    assert (archive.conversation, archive.fields["reason"]) == (conversation, "disconnect")
    said = [text for role, text in archive.messages if role == "user"]
    assert said == (["before", "after"] if spoken else ["after"])


async def test_who_was_connected_to_it_departs_unless_back_in_the_grace(start: Start) -> None:
    """The dialog ends once, as of any user whose last connection is gone."""
    pair = await start()
    first = pair.servers[0]
    async with stream(first.session, f"{first.url}/subscribe") as reader:
        await reader.next("connected")
        await say(first, "hello")
        assert pair.at_home() == 0
        die(first)
        await until(lambda: bool(pair.archived()))
    (archive,) = pair.archived()
    assert archive.fields["reason"] == "disconnect"
    assert not list(saved.open_dialogs(pair.data))


async def test_who_was_not_connected_is_taken_over_and_archived(start: Start, tmp_path: Path) -> None:
    """As after a crash of one machine alone."""
    pair = await start()
    await say(pair.servers[0], "hello")
    assert pair.at_home() == 0
    die(pair.servers[0])
    await until(lambda: bool(pair.archived()))
    (archive,) = pair.archived()
    assert archive.fields["reason"] == "recovered"


async def test_a_reply_that_dies_with_its_node_is_told_to_have_failed(start: Start) -> None:
    """And the question, where the node had no time to tell of it; nobody is told of a gap."""
    led = LedResponder()
    pair = await start(led)
    await at_home_on_the_first(pair)
    first, other = pair.servers
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        asking = asyncio.create_task(first.call("ChatServerModule/chatWithHistory", {"message": "why"}))
        question = await reader.next("message")
        led.say("because ")
        delta = await reader.next("delta")
        engine = first.core.engine
        engine.publish = lost  # what it tells from now on reaches nobody
        die(first)
        failed = await reader.next("failed")
        assert failed.data["messageId"] == delta.data["messageId"]
        assert question.data["content"] == "why"
        asking.cancel()
        led.end()


async def test_a_message_that_was_kept_and_not_told_is_told_by_the_next_home(start: Start) -> None:
    """Its node died between the two."""
    pair = await start()
    await at_home_on_the_first(pair)
    first, other = pair.servers
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        await say(first, "one")
        engine = first.core.engine
        publish = engine.publish

        async def all_but_the_reply(user_id: str, event: Event) -> EventId:
            is_reply = event.type == "message" and event.data["role"] == "assistant"
            return await (lost if is_reply else publish)(user_id, event)

        engine.publish = all_but_the_reply
        answer = await say(first, "two")
        die(first)
        roles = [(await reader.next("message")).data["role"] for _ in range(3)]
        assert roles == ["user", "assistant", "user"]
        told = await reader.next("message")
        assert (told.data["messageId"], told.data["content"]) == (answer["messageId"], "two")


async def lost(_user_id: str, _event: Event) -> EventId:
    return EventId("lost", 1)


class Failing(ServerModule):
    """A module that can't start."""

    async def on_start(self) -> None:
        raise RuntimeError("no")


async def test_a_start_that_fails_leaves_open_what_a_crash_left_open(
    tmp_path: Path, valkey_url: str, running_server: RunServer
) -> None:
    """Nobody could come back for it; the next start adopts it."""
    leave_open(tmp_path / "data", "a1")
    engine = partial(
        ValkeyEngine, valkey_url, 1000, BacklogSettings(), logger=structlog.get_logger(), prefix=uuid4().hex
    )
    modules = [ChatServerModule(), Failing()]
    with pytest.raises(StartError, match=r"^Failing could not start: no$"):
        async with running_server(tmp_path, modules, engine=engine, sections={"chat": ChatSettings()}):
            pass
    assert len(list(saved.open_dialogs(tmp_path / "data"))) == 1
