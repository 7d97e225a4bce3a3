"""Repeated calls with an Idempotency-Key: after the first, beside it, after a crash, with another body."""

from __future__ import annotations

from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.idempotency import digest_of
from modules.chat_server.journal import (
    Conversation,
    FileSystemDialogueJournal,
    JournalFullError,
    MemoryDialogueJournal,
    Message,
)
from modules.chat_server.responders import ResponderError
from potoserver import User

from ..support.clock import ManualClock, settle
from .support import A1, Chat, LedResponder, conversation, question, texts


class FullForReplies(MemoryDialogueJournal):
    """Has room for questions alone, while it is full."""

    full = True

    @override
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        if self.full and message.role == "assistant":
            raise JournalFullError
        return await super().add_message(user, message, conversation)


def on_disk(tmp_path: Path, clock: ManualClock, led: LedResponder) -> Chat:
    return Chat(tmp_path, clock=clock, responder=led, settings={"journal": {"fsync": "never"}})


def digest(message: str) -> str:
    return digest_of(
        {"message": message, "json_output": False, "reasoning_enabled": False, "system_prompt": None}
    )


async def test_a_repeat_after_the_first_gets_its_answer_and_adds_nothing(tmp_path: Path) -> None:
    """Also after the archive, and after a restart."""
    clock, led = ManualClock(), LedResponder()
    async with on_disk(tmp_path, clock, led) as chat:
        led.answer("first answer")
        first = await chat.ask("x", key="k")
        repeat = chat.begin("x", key="k")
        assert await repeat.answer() == first
        assert [delta.text for delta in repeat.deltas] == ["first answer"]
        assert await chat.open_texts() == ["x", "first answer"]
        await chat.module.end_session(A1)
        assert await chat.ask("x", key="k") == first
        assert not chat.module.user_sessions, "a repeat begins no session"
    async with on_disk(tmp_path, clock, led) as chat:
        assert await chat.ask("x", key="k") == first
        assert len(await chat.archives()) == 1
    assert len(led.asked) == 1


async def test_a_repeat_while_the_first_runs_waits_for_it(tmp_path: Path) -> None:
    """Both get the same answer, and the repeat sees the reply grow from its beginning."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        first = chat.begin("x", key="k")
        await settle()
        led.say("a ")
        await settle()
        repeat = chat.begin("x", key="k")
        await settle()
        led.answer("b")
        assert await repeat.answer() == await first.answer()
        assert [each.text for each in repeat.deltas] == ["a ", "b"]
        assert await chat.open_texts() == ["x", "a b"]


async def test_a_repeat_in_the_queue_waits_too(tmp_path: Path) -> None:
    """The first has not had its turn yet."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        chat.begin("before")
        first, repeat = chat.begin("x", key="k"), chat.begin("x", key="k")
        await settle()
        led.answer("0")
        led.answer("1")
        assert await first.answer() == await repeat.answer()
        assert await chat.open_texts() == ["before", "0", "x", "1"]


@pytest.mark.parametrize("when", ["running", "answered", "archived"])
async def test_another_body_is_422(tmp_path: Path, when: str) -> None:
    """With the header named; nothing is added."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        first = chat.begin("x", key="k")
        await settle()
        if when != "running":
            led.answer("a")
            await first.answer()
        if when == "archived":
            await chat.module.end_session(A1)
        for options in ({"message": "y"}, {"message": "x", "json_output": True}):
            problem = await chat.begin(key="k", **options).problem()  # type: ignore[arg-type]
            assert problem.status == 422
            assert [each.field for each in problem.errors] == ["Idempotency-Key"]
        if when == "running":
            led.answer("a")
        await first.answer()
        assert len(led.asked) == 1


async def test_a_key_is_one_users(tmp_path: Path) -> None:
    """Another user's call with the same key is a call of its own."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.answer("mine")
        led.answer("theirs")
        assert (await chat.ask("x", key="k")).reply == "mine"
        assert (await chat.ask("x", key="k", user=User("b2"))).reply == "theirs"


async def test_after_a_day_a_key_is_new(tmp_path: Path) -> None:
    """24 h."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.answer("first")
        await chat.ask("x", key="k")
        await chat.until(24 * 3600 - 1)
        assert (await chat.ask("x", key="k")).reply == "first"
        await chat.until(2)
        led.answer("second")
        assert (await chat.ask("x", key="k")).reply == "second"


async def test_after_a_model_failure_a_repeat_asks_again(tmp_path: Path) -> None:
    """The question is there once, the reply right behind it."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.fail(ResponderError("no"))
        await chat.begin("x", key="k").problem()
        led.answer("yes")
        reply = await chat.ask("x", key="k")
        kept = await chat.module.dialogue_journal.get_conversation(A1)
        assert [each.content for each in kept] == ["x", "yes"]
        assert kept[1].reply_to is None
        assert await chat.ask("x", key="k") == reply


async def test_a_question_with_others_behind_it_gets_a_reply_that_names_it(tmp_path: Path) -> None:
    """The model sees the dialog up to the question; a further repeat finds the answer."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.answer("0")
        await chat.ask("before")
        led.fail(ResponderError("no"))
        await chat.begin("x", key="k").problem()
        led.answer("1")
        await chat.ask("after")
        led.answer("late")
        reply = await chat.ask("x", key="k")
        assert led.asked[-1] == ["before", "0", "x"]
        kept = await chat.module.dialogue_journal.get_conversation(A1)
        assert [each.content for each in kept] == ["before", "0", "x", "after", "1", "late"]
        assert kept[-1].reply_to == kept[2].id
        assert await chat.ask("x", key="k") == reply


@pytest.mark.parametrize("adopted", [True, False])
async def test_a_repeat_after_a_crash_completes_the_call(tmp_path: Path, adopted: bool) -> None:
    """In the same dialog while that is open, else in the next one, naming the question."""
    clock, led = ManualClock(), LedResponder()
    before = on_disk(tmp_path, clock, led)
    journal = FileSystemDialogueJournal(
        before.context.data_dir,
        clock=clock,
        fsync=False,
        logger=before.context.logger,
        registry=before.context.registry,
    )
    await journal.start()
    left_open = conversation(clock)
    asked = question("x", clock, idempotency_key="k", request_digest=digest("x"))
    await journal.add_message(A1, asked, left_open)
    await journal.close()
    async with on_disk(tmp_path, clock, led) as chat:
        await chat.quiet()
        if not adopted:
            await chat.until(5)
            await chat.quiet()
        led.answer("completed")
        reply = await chat.ask("x", key="k")
        assert reply.reply == "completed"
        assert (reply.conversation_id == left_open.id) == adopted
        assert chat.context.events("a1", "message")[-1]["conversationId"] == reply.conversation_id
        assert led.asked == [["x"]]
        kept = await chat.module.dialogue_journal.get_conversation(A1)
        if adopted:
            assert [each.content for each in kept] == ["x", "completed"]
            assert kept[1].reply_to is None
        else:
            assert [(each.content, each.reply_to) for each in kept] == [("completed", asked.id)]
            assert (await chat.module.get_conversation(A1)).conversation_id == reply.conversation_id
            assert [texts(each) for each in await chat.archives()] == [["x"]]
        assert await chat.ask("x", key="k") == reply
        await chat.module.end_session(A1)
        assert await chat.ask("x", key="k") == reply
        assert len(led.asked) == 1


async def test_a_reply_that_could_not_be_kept_comes_with_a_repeat(tmp_path: Path) -> None:
    """The question is there once, and a client that does what the problem says does not double it."""
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock)
    journal = FullForReplies(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    async with chat:
        problem = await chat.begin("x", key="k").problem()
        assert (problem.status, "same Idempotency-Key" in problem.detail) == (507, True)
        journal.full = False
        await chat.ask("x", key="k")
        assert await chat.open_texts() == ["x", "x"]
