"""From a session's end to its archive, when the journal fails, and at shutdown."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import JournalUnavailableError, MemoryDialogueJournal, Reason
from modules.chat_server.module import UnfinishedError
from potoserver import Event, User
from tests.support.waiting import until

from ..support.clock import ManualClock, settle
from .support import A1, Asked, Chat, LedResponder, reasons, texts


class NoArchives(MemoryDialogueJournal):
    """Can't archive while told so."""

    failing = True
    tries = 0

    @override
    async def archive_conversation(self, *args: Any, **options: Any) -> str | None:
        self.tries += 1
        if self.failing:
            raise JournalUnavailableError
        return await super().archive_conversation(*args, **options)


def chat_with_failing_archive(tmp_path: Path, **options: Any) -> tuple[Chat, NoArchives]:
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock, **options)
    journal = NoArchives(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    return chat, journal


async def pending(chat: Chat) -> float | None:
    """What health says of pending archives, and the metric."""
    fields = await chat.module.health_fields()
    assert chat.context.registry.get_sample_value("potoserver_pending_archives") == fields["pendingArchives"]
    return fields["pendingArchives"]  # type: ignore[no-any-return]  # JSON


async def test_a_failed_archive_is_reported_kept_and_tried_again(tmp_path: Path) -> None:
    """At error in the log, in health and metrics, and with its own reason and time once the journal works."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(5)
        ended_ms = chat.clock.now_ms()
        line = chat.context.logged("dialog archive failed")[0]
        assert (line["log_level"], line["user"], line["reason"]) == ("error", "a1", "disconnect")
        assert await pending(chat) == 1
        info = await chat.module.get_user_session_info("a1")
        assert info is not None and not info.is_active
        await chat.until(100)
        assert 5 < journal.tries < 60, "with backoff"
        journal.failing = False
        await chat.until(61)
        (dialog,) = await chat.archives()
        assert (dialog.reason, dialog.ended_ms) == (Reason.DISCONNECT, ended_ms)
        assert await pending(chat) == 0
        assert await chat.module.get_user_session_info("a1") is None


async def test_when_a_failed_archive_is_tried_again_is_known(tmp_path: Path) -> None:
    """After half a second, then after twice as long each time; and how often it has failed."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        await chat.ask("x")
        with pytest.raises(JournalUnavailableError):
            await chat.module.end_session(A1)
        archiver = chat.module._life.archiver
        for tries, pause_s in enumerate((0.5, 1, 2), 2):  # the call itself has tried twice
            await chat.until(0)
            assert [ending.tries for ending in archiver.endings()] == [tries]
            assert archiver.retry_ms("a1") == chat.clock.now_ms() + pause_s * 1000
            await chat.until(pause_s)
        journal.failing = False


async def test_without_a_departure_a_failed_archive_is_tried_again_by_itself(tmp_path: Path) -> None:
    """No hook repeats it: the session ended by inactivity."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        await chat.ask("x")
        await chat.until(331)
        assert journal.tries
        journal.failing = False
        await chat.until(61)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


async def test_a_pending_archive_is_finished_before_a_new_session_writes(tmp_path: Path) -> None:
    """While it can't be, the call is refused; then both dialogs are whole, each with its own reason."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("old")
        await chat.context.disconnect(connection)
        await chat.until(6)
        await chat.context.connect("a1")
        assert (await chat.begin("new").problem()).status == 503
        assert (await chat.module.get_conversation(A1)).messages == ()
        journal.failing = False
        await chat.ask("new")
        (dialog,) = await chat.archives()
        assert (dialog.reason, texts(dialog)) == (Reason.DISCONNECT, ["old", "old"])
        assert await chat.open_texts() == ["new", "new"]


async def test_end_session_archives_now_and_tells_open_connections(tmp_path: Path) -> None:
    """Once; a further one has nothing to end."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        reply = await chat.ask("x")
        ended = await chat.module.end_session(A1)
        assert ended.conversation_id == reply.conversation_id
        assert chat.context.events("a1", "archived") == [
            {"id": ended.archive_id, "reason": "request", "conversation": reply.conversation_id}
        ]
        nothing = await chat.module.end_session(A1)
        assert (nothing.conversation_id, nothing.archive_id) == (None, None)
        await chat.context.disconnect(connection)
        await chat.until(5)
        assert reasons(await chat.archives()) == [Reason.REQUEST]


async def test_end_session_says_when_the_archive_fails(tmp_path: Path) -> None:
    """503, and the archive is finished later."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        await chat.ask("x")
        with pytest.raises(JournalUnavailableError):
            await chat.module.end_session(A1)
        journal.failing = False
        await chat.until(61)
        assert reasons(await chat.archives()) == [Reason.REQUEST]


async def test_archives_of_users_without_connections_tell_nobody(tmp_path: Path) -> None:
    """`archived` is for connections that are open."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.ask("x")
        await chat.module.end_session(A1)
        assert chat.context.events("a1", "archived") == []


async def test_another_conversation_that_has_to_begin_supersedes(tmp_path: Path) -> None:
    """`start_user_session` with a conversation of its own; with the same one it changes nothing."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.ask("x")
        session = await chat.module.start_user_session("a1", "sse-1-mine")
        assert session.conversation.id == "sse-1-mine"
        assert await chat.module.start_user_session("a1", "sse-1-mine") == session
        assert await chat.module.start_user_session("a1") == session
        await chat.ask("y")
        (dialog,) = await chat.archives()
        assert (dialog.reason, texts(dialog)) == (Reason.SUPERSEDED, ["x", "x"])
        assert chat.module.user_sessions["a1"].conversation.id == "sse-1-mine"


async def test_the_names_of_the_first_description_work_together(tmp_path: Path) -> None:
    """start_user_session, update_user_activity, end_user_session, archive_user_dialog."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.module.start_user_session("a1")
        await chat.ask("x")
        await chat.until(200)
        chat.module.update_user_activity("a1")
        await chat.until(200)
        assert await chat.module.get_active_session_count() == 1
        assert await chat.module.archive_user_dialog("a1") is None, "an active session stays as it is"
        archive_id = (await chat.module.end_user_session("a1")).archive_id
        assert archive_id is not None
        assert (await chat.module.end_user_session("a1")).archive_id is None
        assert dict(chat.module.user_sessions) == {}


# Shutdown


async def test_shutdown_archives_every_session(tmp_path: Path) -> None:
    """All at the same time, reason `shutdown`; a second start finds nothing to recover."""
    clock = ManualClock()
    settings = {"journal": {"fsync": "never"}}
    users = [User(f"u{number}") for number in range(100)]
    async with Chat(tmp_path, clock=clock, settings=settings) as chat:
        await asyncio.gather(*(chat.context.connect(user.id) for user in users))
        await asyncio.gather(*(chat.ask(f"I am {user.id}", user=user) for user in users))
        assert await chat.context.stop(chat.module) == []
        assert chat.module.unfinished == 0
    (line,) = chat.context.logged("shutting down, archiving all active sessions")
    assert (line["logger"], line["log_level"], line["sessions"]) == ("session", "info", 100)
    async with Chat(tmp_path, clock=clock, settings=settings) as again:
        assert (await again.module.health_fields())["dialogsLeftOpen"] == 0
        for user in users:
            (dialog,) = await again.archives(user)
            assert dialog.reason is Reason.SHUTDOWN
            assert texts(dialog) == [f"I am {user.id}"] * 2


async def test_shutdown_finishes_the_reply_in_flight_and_refuses_what_waits(tmp_path: Path) -> None:
    """Queued calls and new ones get 503; nothing of them is kept."""
    led = LedResponder()
    chat = Chat.in_memory(tmp_path, responder=led)
    await chat.context.start(chat.module)
    await chat.context.connect("a1")
    running, waiting = chat.begin("1"), chat.begin("2")
    await settle()
    stopping = asyncio.create_task(chat.context.stop(chat.module))
    await settle()
    new = chat.begin("3")
    led.answer("whole")
    assert (await running.answer()).reply == "whole"
    assert (await waiting.problem()).status == 503
    assert (await new.problem()).status == 503
    assert await stopping == []
    assert chat.context.logged("session ended")[-1]["reason"] == "shutdown"
    assert [line["messages"] for line in chat.context.logged("conversation archived")] == [2]


async def test_shutdown_keeps_a_reply_that_takes_too_long_as_far_as_it_got(tmp_path: Path) -> None:
    """Within its time: the caller is answered, the message is marked as interrupted, all is archived."""
    led, clock = LedResponder(), ManualClock()
    settings = {"journal": {"fsync": "never"}}
    chat = Chat(tmp_path, responder=led, clock=clock, settings=settings, shutdown_timeout_s=30)
    await chat.context.start(chat.module)
    running = chat.begin("1")
    await until(lambda: led.asked)
    led.say("so far")
    await settle()
    stopping = asyncio.create_task(chat.context.stop(chat.module))
    await chat.until(20.6)  # three quarters of what the server leaves of the 30 s
    assert not running.task.done()
    await chat.until(0.1)
    reply = await running.answer()
    assert (reply.reply, reply.finish_reason) == ("so far", "shutdown")
    assert await stopping == []
    async with Chat(tmp_path, clock=clock, settings=settings) as again:
        (dialog,) = await again.archives()
        assert dialog.reason is Reason.SHUTDOWN
        assert (dialog.messages[1].content, dialog.messages[1].interrupted) == ("so far", True)


async def test_a_short_shutdown_gives_most_of_its_time_to_replies(tmp_path: Path) -> None:
    """Of 4 s the server takes 2.5 s, and the archives keep half a second."""
    led = LedResponder()
    chat = Chat.in_memory(tmp_path, responder=led, shutdown_timeout_s=4)
    await chat.context.start(chat.module)
    running = chat.begin("1")
    await settle()
    stopping = asyncio.create_task(chat.context.stop(chat.module))
    await chat.until(0.9)
    led.answer("whole")
    assert (await running.answer()).reply == "whole"
    assert await stopping == []


async def test_a_reply_without_a_word_at_shutdown_is_503_and_the_key_stays_good(tmp_path: Path) -> None:
    """No empty message is kept; the next server completes the call."""
    led, clock = LedResponder(), ManualClock()
    settings = {"journal": {"fsync": "never"}}
    chat = Chat(tmp_path, responder=led, clock=clock, settings=settings)
    await chat.context.start(chat.module)
    running = chat.begin("1", key="k")
    async with asyncio.timeout(10):
        while not led.asked:
            await asyncio.sleep(0.01)
    stopping = asyncio.create_task(chat.context.stop(chat.module))
    await chat.until(21)
    problem = await running.problem()
    assert (problem.status, problem.retry_after_s) == (503, 1)
    assert "Your message is kept" in problem.detail
    assert await stopping == []
    async with Chat(tmp_path, responder=led, clock=clock, settings=settings) as again:
        (dialog,) = await again.archives()
        assert [each.content for each in dialog.messages] == ["1"]
        led.answer("completed")
        assert (await again.ask("1", key="k")).reply == "completed"


async def test_a_call_behind_an_archive_that_fails_is_told_that_it_was_not_kept(tmp_path: Path) -> None:
    """The problem is about the caller's message, not only about the older dialog."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat:
        await chat.ask("x")
        with pytest.raises(JournalUnavailableError):
            await chat.module.end_session(A1)
        problem = await chat.begin("y").problem()
        assert problem.status == 503
        assert "This message was not kept" in problem.detail
        journal.failing = False


async def test_ends_at_once_all_name_what_ended(tmp_path: Path) -> None:
    """Each caller gets the conversation and its archive, whoever was first."""
    async with Chat(tmp_path) as chat:
        conversation_id = (await chat.ask("x")).conversation_id
        ended = await asyncio.gather(*(chat.module.end_session(A1) for _ in range(4)))
        (page,) = (await chat.module.list_archives(A1)).archives
        assert {(each.conversation_id, each.archive_id) for each in ended} == {(conversation_id, page.id)}


async def test_shutdown_says_when_something_is_left(tmp_path: Path) -> None:
    """The server's exit status then is 1."""
    chat, _ = chat_with_failing_archive(tmp_path)
    async with chat:
        await chat.ask("x")
        with pytest.raises(UnfinishedError, match="1 dialogs are left"):
            await chat.context.stop(chat.module)
        assert chat.module.unfinished == 1


async def asked(chat: Chat, led: LedResponder) -> Asked:
    """Says something; returns the call once the responder has it."""
    call = chat.begin("x")
    while not led.asked:
        await settle()
    return call


async def test_a_dialog_of_which_not_all_was_told_is_left_open_by_a_stop(tmp_path: Path) -> None:
    """The engine is away: in an archive nobody would look for what is to be told yet."""
    led = LedResponder()
    async with Chat(tmp_path, responder=led) as chat:
        call = await asked(chat, led)
        chat.context.away = True
        led.answer("untold")
        assert (await call.answer()).reply == "untold"
        with pytest.raises(UnfinishedError, match="1 dialogs are left"):
            await chat.context.stop(chat.module)
    async with Chat(tmp_path) as chat:
        await chat.ask("more")
        assert await chat.open_texts() == ["x", "untold", "more", "more"]


async def test_what_was_not_told_is_before_the_archive(tmp_path: Path) -> None:
    """Whoever comes back with an id from before is told of a gap, though nobody is connected at a stop."""
    led = LedResponder()
    async with Chat(tmp_path, responder=led) as chat:
        call = await asked(chat, led)
        await chat.context.publish("a1", Event("note"))
        before = (await chat.context.engine.replay("a1", None)).resume_id
        chat.context.away = True
        led.answer("untold")
        await call.answer()
        chat.context.away = False
        await chat.context.stop(chat.module)
        assert (await chat.context.engine.replay("a1", str(before))).gap
        assert chat.module.unfinished == 0


async def test_a_departure_during_shutdown_finds_nothing(tmp_path: Path) -> None:
    """Clients that close when they are told do not change the reason."""
    led = LedResponder()
    chat = Chat.in_memory(tmp_path, responder=led, grace_ms=0)
    await chat.context.start(chat.module)
    connection, _ = await chat.context.connect("a1")
    running = chat.begin("x")
    await settle()
    stopping = asyncio.create_task(chat.context.stop(chat.module))
    await settle()
    await chat.context.disconnect(connection)
    await chat.until(0.1)
    led.answer("y")
    await running.answer()
    await stopping
    assert [line["reason"] for line in chat.context.logged("session ended")] == ["shutdown"]
    assert [line["reason"] for line in chat.context.logged("dialog archived")] == ["shutdown"]
