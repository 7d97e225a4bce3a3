"""What one user, or very many, can make the chat hold: each bound, and what is said at it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import JournalUnavailableError, MemoryDialogueJournal, Reason
from potoserver import ProblemError, UnavailableError, User

from ..support.clock import ManualClock, settle
from .support import A1, Chat, LedResponder, reasons, texts

USER_BYTES = 100_000


def alarms(chat: Chat) -> list[str]:
    return [alarm.name for alarm in chat.context.alarms.on()]


# What one user's dialogs may take


async def test_a_user_who_has_taken_all_room_is_told_so_and_keeps_what_there_is(tmp_path: Path) -> None:
    """507 that names the limit and the way out, and an alarm; nothing of the message is kept or told."""
    async with Chat(tmp_path, user_bytes=USER_BYTES) as chat:
        await chat.ask("x" * 40_000)
        events = len(chat.context.published)
        problem = await chat.begin("y" * 40_000, key="k").problem()
        assert problem.status == 507
        assert "limits.user_bytes, 100000 bytes" in problem.detail
        assert "not kept" in problem.detail and "delete archives" in problem.detail
        assert alarms(chat) == ["user-full"]
        (line,) = chat.context.logged("alarm on")
        assert (line["alarm"], line["user"]) == ("user-full", "a1")
        assert len(chat.context.published) == events
        assert len(await chat.open_texts()) == 2
        assert (await chat.ask("z" * 40_000, user=User("b2"))).reply, "other users feel nothing"
        await chat.module.end_session(A1)
        (dialog,) = await chat.archives()
        assert len(dialog.messages) == 2
        await chat.until(60)
        assert alarms(chat) == []


async def test_a_reply_never_fails_for_the_users_limit(tmp_path: Path) -> None:
    """Its question was kept, so it is: also the one to a question that an earlier call has left."""
    led = LedResponder()
    async with Chat(tmp_path, user_bytes=USER_BYTES, responder=led) as chat:
        led.answer("y" * 2 * USER_BYTES)
        assert len((await chat.ask("x")).reply) == 2 * USER_BYTES
        assert (await chat.begin("x").problem()).status == 507
    async with Chat(tmp_path, user_bytes=USER_BYTES, responder=led) as chat:
        assert (await chat.begin("x").problem()).status == 507, "after a restart too"


async def test_a_question_that_was_kept_is_answered_though_the_user_is_full_by_then(tmp_path: Path) -> None:
    """By a repeat of the call with its key."""
    led = LedResponder()
    async with Chat(tmp_path, user_bytes=USER_BYTES, responder=led) as chat:
        led.fail(RuntimeError("model"))
        assert (await chat.begin("x", key="k").problem()).status == 502
        led.answer("y" * USER_BYTES)
        assert await chat.ask("fills it")
        led.answer("late")
        assert (await chat.ask("x", key="k")).reply == "late"


async def test_who_deletes_archives_can_go_on(tmp_path: Path) -> None:
    """Without a restart, at once."""
    async with Chat(tmp_path, user_bytes=USER_BYTES) as chat:
        await chat.ask("x" * 60_000)
        archive_id = (await chat.module.end_session(A1)).archive_id
        assert (await chat.begin("y").problem()).status == 507
        (chat.context.data_dir / f"users/a1/dialogs/archived/{archive_id}.yaml").unlink()
        assert (await chat.ask("y")).reply == "y"


# How many sessions there may be


async def test_a_call_that_would_need_one_session_more_is_told_to_come_back(tmp_path: Path) -> None:
    """503 with Retry-After and an alarm; the sessions that there are go on, and one that ends makes room."""
    async with Chat.in_memory(tmp_path, settings={"max_sessions": 2}) as chat:
        for user in ("a1", "b2"):
            await chat.ask("x", user=User(user))
        problem = await chat.begin("x", user=User("c3")).problem()
        assert (problem.status, problem.retry_after_s) == (503, 5)
        assert "chat.max_sessions, 2" in problem.detail
        assert alarms(chat) == ["sessions-full"]
        (line,) = chat.context.logged("alarm on")
        assert (line["alarm"], line["limit"]) == ("sessions-full", 2)
        assert len(chat.module.user_sessions) == 2
        await chat.ask("y")
        with pytest.raises(UnavailableError):
            await chat.module.start_user_session("c3")
        await chat.module.end_session(A1)
        assert (await chat.ask("x", user=User("c3"))).reply == "x"
        await chat.until(60)
        assert alarms(chat) == []


async def test_a_connection_opens_without_a_conversation_when_there_is_no_room(tmp_path: Path) -> None:
    """Its user's call begins one as soon as there is, and the user's departure ends that."""
    async with Chat.in_memory(tmp_path, settings={"max_sessions": 1}) as chat:
        await chat.ask("x", user=User("b2"))
        connection, fields = await chat.context.connect("a1")
        assert fields == {"conversation": None, "archived": None}
        assert alarms(chat) == ["sessions-full"]
        assert (await chat.module.get_conversation(A1)).conversation_id is None
        await chat.module.end_session(User("b2"))
        reply = await chat.ask("x")
        assert (await chat.context.connect("b2"))[1]["conversation"] is None
        await chat.context.disconnect(connection)
        await chat.until(5)
        (dialog,) = await chat.archives()
        assert (dialog.conversation.id, dialog.reason) == (reply.conversation_id, Reason.DISCONNECT)


async def test_a_return_and_a_newer_generation_need_no_room(tmp_path: Path) -> None:
    """Whoever has a session keeps it, or the one in its place, however full it is."""
    async with Chat.in_memory(tmp_path, settings={"max_sessions": 1}) as chat:
        connection, before = await chat.context.connect("a1")
        await chat.context.disconnect(connection)
        await chat.until(4)
        _, after = await chat.context.connect("a1")
        assert after["conversation"] == before["conversation"] is not None
        session = await chat.module.start_user_session("a1", "sse-1-another00")
        assert session.conversation.id == "sse-1-another00"
        await chat.module.end_session(A1)
        old = chat.module._life.sessions.start("a1", chat.module._life._now(), generation=0)
        _, fields = await chat.context.connect("a1")
        assert fields["conversation"] not in {None, old.conversation.id}


async def test_what_a_crash_left_open_is_adopted_however_full_it_is(tmp_path: Path) -> None:
    """A lower limit than the last life's loses no dialog."""
    async with Chat(tmp_path) as chat:
        for user in ("a1", "b2", "c3"):
            await chat.ask("x", user=User(user))
        await chat.context.crash()
        await chat.module.dialogue_journal.close()
    async with Chat(tmp_path, settings={"max_sessions": 1}) as chat:
        await chat.quiet()
        assert len(chat.module.user_sessions) == 3
        assert (await chat.ask("y")).reply == "y"
        assert (await chat.begin("y", user=User("d4")).problem()).status == 503


async def test_without_a_limit_there_are_as_many_sessions_as_users(tmp_path: Path) -> None:
    """`chat.max_sessions: 0`."""
    async with Chat.in_memory(tmp_path, settings={"max_sessions": 0}) as chat:
        for number in range(50):
            await chat.ask("x", user=User(f"u{number}"))
        assert len(chat.module.user_sessions) == 50


async def test_many_sessions_that_end_at_once_hold_nobody_up(tmp_path: Path) -> None:
    """The fallback lets others have their turn while it ends them."""
    settings = {"session_check_interval_ms": 3_600_000}
    async with Chat.in_memory(tmp_path, settings=settings) as chat:
        life = chat.module._life
        for number in range(1000):
            life.sessions.start(f"u{number}", life._now())
        await chat.clock.advance(301)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += len(life.sessions) > 0

        counting = asyncio.create_task(others())
        await life.end_idle()
        counting.cancel()
        assert turns >= 5
        assert not life.sessions


# Sessions that have ended and wait


class NoArchives(MemoryDialogueJournal):
    """Can't archive while told so."""

    failing = True

    @override
    async def archive_conversation(self, *args: Any, **options: Any) -> str | None:
        if self.failing:
            raise JournalUnavailableError
        return await super().archive_conversation(*args, **options)


async def test_coming_and_going_while_the_disk_fails_piles_nothing_up(tmp_path: Path) -> None:
    """Each visit begins a session only while few of the user's wait; then all is as it was."""
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock, grace_ms=0)
    journal = NoArchives(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    async with chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        for _ in range(100):
            await chat.context.disconnect(connection)
            await chat.clock.advance(0)
            connection, fields = await chat.context.connect("a1")
        assert fields["conversation"] is None
        assert (await chat.module.health_fields())["pendingArchives"] == 17
        assert (await chat.begin("y").problem()).status == 503
        journal.failing = False
        await chat.until(61)
        assert (await chat.module.health_fields())["pendingArchives"] == 0
        assert (await chat.ask("y")).reply == "y"
        assert [texts(dialog) for dialog in await chat.archives()] == [["x", "x"]]


async def test_coming_and_going_behind_a_slow_reply_piles_nothing_up(tmp_path: Path) -> None:
    """The endings wait for their turn behind it; the call still ends up in one archive."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, grace_ms=0, responder=led) as chat:
        connection, _ = await chat.context.connect("a1")
        slow = chat.begin("slow")
        await settle()
        for _ in range(100):
            await chat.context.disconnect(connection)
            await chat.clock.advance(0)
            connection, _ = await chat.context.connect("a1")
        assert chat.module._life.archiver.pending == 17
        assert chat.module._lanes.length("a1") == 18
        led.answer("done")
        await slow.answer()
        await chat.until(1)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]
        assert chat.module._lanes._by_user == {}


async def test_sessions_that_wait_for_their_archive_count(tmp_path: Path) -> None:
    """While the disk fails, users who come and go can't pile up more than there may be sessions."""
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock, settings={"max_sessions": 3})
    journal = NoArchives(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    async with chat:
        refused = 0
        for number in range(10):
            user = User(f"u{number}")
            try:
                await chat.ask("x", user=user)
            except ProblemError:
                refused += 1
                continue
            ending = asyncio.create_task(chat.module.end_session(user))
            await asyncio.wait([ending])
            assert isinstance(ending.exception(), JournalUnavailableError)
        assert refused == 7
        assert (await chat.module.health_fields())["pendingArchives"] == 3
        journal.failing = False


# Calls that wait


async def test_callers_that_go_away_free_no_place(tmp_path: Path) -> None:
    """A turn waits in its user's lane whether anybody follows it or not, and past the limit it is 429."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led, settings={"pending_calls_per_user": 5}) as chat:
        calls = [chat.begin(f"n{number}") for number in range(5)]
        await settle()
        for call in calls:
            call.task.cancel()
        await settle()
        assert (await chat.begin("one more").problem()).status == 429
        for _ in calls:
            led.answer("y")
        await chat.quiet()
        assert len(await chat.open_texts()) == 10
        assert chat.module._turns._running._streams == {}
        assert chat.module._lanes._by_user == {}
