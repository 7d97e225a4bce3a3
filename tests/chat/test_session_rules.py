"""Sessions where events come late, twice or at the same moment, and archives that fail in odd ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server import notices
from modules.chat_server.journal import (
    ArchiveSummary,
    JournalUnavailableError,
    MemoryDialogueJournal,
    OpenDialog,
    Reason,
)
from potoserver import Cause, Departure, User

from ..support.clock import ManualClock, settle
from .support import A1, Chat, LedResponder, conversation, question, reasons
from .test_session_life import restarted


class OddJournal(MemoryDialogueJournal):
    """Fails as told, and remembers what it was asked.

    Attributes:
        archive_fails: `before` anything is done, or `after` it was.
        recover_fails: The users whose next recovery fails, once.
        tries_s: When each archive was tried.
        asked_untold: The users whose newest archive was asked for.
    """

    archive_fails: str | None = None

    def __init__(self, clock: ManualClock, **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self.clock = clock
        self.recover_fails: set[str] = set()
        self.tries_s: list[float] = []
        self.asked_untold: list[str] = []

    @override
    async def archive_conversation(self, *args: Any, **options: Any) -> str | None:
        self.tries_s.append(self.clock.monotonic_s())
        if self.archive_fails == "before":
            raise JournalUnavailableError
        archive_id = await super().archive_conversation(*args, **options)
        if self.archive_fails == "after":
            raise JournalUnavailableError from OSError("cut off")
        return archive_id

    @override
    async def recover(self, user: User) -> OpenDialog | None:
        if user.id in self.recover_fails:
            self.recover_fails.discard(user.id)
            raise JournalUnavailableError from OSError("no such luck")
        return await super().recover(user)

    @override
    async def untold_archive(self, user: User) -> ArchiveSummary | None:
        self.asked_untold.append(user.id)
        return await super().untold_archive(user)

    @override
    async def mark_told(self, user: User, archive_id: str) -> None:
        raise JournalUnavailableError from OSError("read-only")


def odd_chat(tmp_path: Path, **options: Any) -> tuple[Chat, OddJournal]:
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock, **options)
    journal = OddJournal(clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    return chat, journal


def reported(chat: Chat, event: str) -> list[dict[str, Any]]:
    """The fields of each such line."""
    return [
        {name: value for name, value in line.items() if name != "event"}
        for line in chat.context.logged(event)
    ]


# What the log says


async def test_each_line_of_a_users_life_names_user_and_conversation(tmp_path: Path) -> None:
    """So that the lines of one session can be found; the ends name the reason, the starts the generation."""
    chat, _ = odd_chat(tmp_path)
    async with chat:
        connection, fields = await chat.context.connect("a1")
        await chat.context.disconnect(connection)
        await settle()
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(5)
        (archive,) = (await chat.module.list_archives(A1)).archives
    about = {"log_level": "info", "user": "a1", "conversation": fields["conversation"]}
    life = {**about, "logger": "session:lifecycle"}
    assert reported(chat, "session started") == [{**life, "generation": connection.generation}]
    assert reported(chat, "session continued") == [{**life, "generation": connection.generation}]
    assert reported(chat, "session activity updated") == [{**about, "logger": "session:activity"}]
    assert reported(chat, "session ended") == [{**life, "reason": "disconnect"}]
    assert reported(chat, "dialog archived") == [
        {**about, "logger": "session:archive", "reason": "disconnect", "archive": archive.id}
    ]


async def test_a_failure_is_reported_with_its_subject_and_cause(tmp_path: Path) -> None:
    """At archiving, and where a telling can't be noted."""
    chat, journal = odd_chat(tmp_path)
    async with chat:
        reply = await chat.ask("x")
        journal.archive_fails = "after"
        with pytest.raises(JournalUnavailableError):
            await chat.module.end_session(A1)
        journal.archive_fails = "before"
        await chat.until(1)
        journal.archive_fails = None
        await chat.until(60)
        await chat.context.connect("a1")
        await settle()
    about = {"logger": "session:archive", "user": "a1"}
    failed = {**about, "log_level": "error", "conversation": reply.conversation_id, "reason": "request"}
    by_cause, by_itself = (
        reported(chat, "dialog archive failed")[:1],
        reported(chat, "dialog archive failed")[-1:],
    )
    assert by_cause == [{**failed, "error": "OSError('cut off')"}]
    assert by_itself[0]["error"].startswith("JournalUnavailableError(")
    assert reported(chat, "archive told, but not noted") == [
        {**about, "log_level": "warning", "error": "OSError('read-only')"}
    ]


# Events that come late


async def test_a_late_connect_hook_begins_nothing(tmp_path: Path) -> None:
    """When it comes, the user has gone; or the server stops."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.module.on_sse_connect("a1")
        assert not chat.module.user_sessions
        await chat.context.connect("a2")
        await chat.context.engine.attach("a3", "c9")
        chat.module._life.stop(hand_over=False)
        await chat.module.on_sse_connect("a3")
        assert not chat.module.user_sessions


async def test_a_further_tab_is_no_return_though_another_was_closed(tmp_path: Path) -> None:
    """Only who had no connection left comes back."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.context.connect("a1")
        second, _ = await chat.context.connect("a1")
        await chat.context.disconnect(second)
        await settle()
        await chat.context.connect("a1")
        assert chat.context.logged("session continued") == []


async def test_the_end_is_the_departures_however_late_its_hook_comes(tmp_path: Path) -> None:
    """The archive says when the grace had passed, not when the hook ran."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        departed_ms = chat.clock.now_ms() + 5000
        await chat.until(60)
        departure = Departure(
            "d-1", "a1", connection.generation, Cause.CLOSED, departed_ms - 5000, departed_ms
        )
        await chat.module.on_sse_disconnect("a1", departure)
        (dialog,) = await chat.archives()
        assert dialog.ended_ms == departed_ms


async def test_an_end_archives_its_own_conversation_and_no_other(tmp_path: Path) -> None:
    """Also where another one has taken its place in the journal."""
    async with Chat.in_memory(tmp_path) as chat:
        reply = await chat.ask("x")
        await chat.module.dialogue_journal.add_message(
            A1, question("y", chat.clock), conversation(chat.clock, "another")
        )
        await chat.module.end_session(A1)
        assert await chat.open_texts() == ["y"]
        (dialog,) = await chat.archives()
        assert dialog.conversation.id == reply.conversation_id


# The fallback


async def test_a_call_that_still_runs_keeps_nobody_elses_session(tmp_path: Path) -> None:
    """The fallback looks at every user."""
    led = LedResponder()
    settings = {"session_timeout_ms": 1000, "session_check_interval_ms": 500}
    async with Chat.in_memory(tmp_path, responder=led, settings=settings) as chat:
        chat.begin("x")
        await settle()
        for number in range(2, 5):
            await chat.module.start_user_session(f"a{number}")
        await chat.until(2)
        assert list(chat.module.user_sessions) == ["a1"]
        led.answer("y")


async def test_the_fallback_waits_for_the_whole_time(tmp_path: Path) -> None:
    """`chat.session_timeout_ms`, to the look."""
    settings = {"session_timeout_ms": 1_001_000, "session_check_interval_ms": 1000}
    async with Chat.in_memory(tmp_path, settings=settings) as chat:
        await chat.module.start_user_session("a1")
        await chat.until(1000.5)
        assert chat.module.user_sessions
        await chat.until(0.6)
        assert not chat.module.user_sessions


async def test_one_look_ends_all_who_are_idle(tmp_path: Path) -> None:
    """However many they are, none waits for the next one; and says how many it has ended."""
    async with Chat.in_memory(tmp_path) as chat:
        for number in range(250):
            await chat.module.start_user_session(f"u{number}")
        await chat.until(300)
        assert not chat.module.user_sessions
        look = reported(chat, "sessions checked")[-1]
        assert (look["logger"], look["ended"]) == ("session:monitoring", 250)


# Archives that fail


async def test_a_failed_archive_is_tried_again_at_growing_intervals_up_to_a_minute(tmp_path: Path) -> None:
    """By one repetition, however many of the user's endings fail; and again when a later one does."""
    chat, journal = odd_chat(tmp_path)
    async with chat:
        for _ in range(2):
            journal.archive_fails = None
            await chat.ask("x")
            journal.archive_fails = "before"
            journal.tries_s.clear()
            with pytest.raises(JournalUnavailableError):
                await chat.module.end_session(A1)
            await chat.module.start_user_session("a1")
            chat.module._life.end(chat.module.user_sessions["a1"], Reason.REQUEST)
            await settle()
            journal.tries_s[:] = journal.tries_s[-1:]
            await chat.until(250)
            pauses_s = [
                later - before for before, later in zip(journal.tries_s, journal.tries_s[1:], strict=False)
            ]
            assert pauses_s == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
            journal.archive_fails = None
            await chat.until(60)
            archiver = chat.module._life.archiver
            assert not archiver.pending_users and archiver.pending_of("a1") == 0
        assert reasons(await chat.archives()) == [Reason.REQUEST, Reason.REQUEST]


async def test_an_archive_that_was_made_though_it_failed_is_told(tmp_path: Path) -> None:
    """A further try finds it by its conversation."""
    chat, journal = odd_chat(tmp_path)
    async with chat:
        reply = await chat.ask("x")
        journal.archive_fails = "after"
        with pytest.raises(JournalUnavailableError):
            await chat.module.end_session(A1)
        journal.archive_fails = None
        await chat.until(61)
        _, fields = await chat.context.connect("a1")
        (archive,) = (await chat.module.list_archives(A1)).archives
        assert fields["archived"] == {
            "id": archive.id,
            "reason": "request",
            "conversation": reply.conversation_id,
        }


# After a crash


async def test_one_dialog_that_cant_be_recovered_keeps_back_no_other(tmp_path: Path) -> None:
    """However many fail at first, all are adopted in the end; each failure and each adoption is reported."""
    chat, journal = odd_chat(tmp_path)
    await journal.start()
    users = [f"u{number}" for number in range(20)]
    for user in users:
        await journal.add_message(
            User(user), question("x", chat.clock), conversation(chat.clock, f"of-{user}")
        )
    journal.recover_fails = set(users[:10])
    async with chat:
        await settle(200)
        assert sorted(chat.module.user_sessions) == sorted(users[10:])
        await chat.until(4.9)
        assert len(chat.module.user_sessions) == 10
        assert (await chat.module.health_fields())["dialogsLeftOpen"] == 10
        await chat.until(0.1)
        assert sorted(line["user"] for line in chat.context.logged("session adopted")) == sorted(users)
    about = {"logger": "session:recovery", "user": "u0"}
    failed, adopted = reported(chat, "dialog not recovered"), reported(chat, "session adopted")
    assert len(failed) == 10
    assert {**about, "log_level": "error", "error": "OSError('no such luck')"} in failed
    assert {**about, "log_level": "info", "conversation": "of-u0", "messages": 1} in adopted


# What the next connection is told


async def test_after_a_restart_a_user_is_told_all_of_the_last_archive(tmp_path: Path) -> None:
    """Its id, reason and conversation, as without the restart."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        reply = await chat.ask("x")
    async with restarted(tmp_path, clock) as chat:
        _, fields = await chat.context.connect("a1")
        (archive,) = (await chat.module.list_archives(A1)).archives
    assert fields["archived"] == {
        "id": archive.id,
        "reason": "shutdown",
        "conversation": reply.conversation_id,
    }


async def test_of_very_many_users_the_longest_unseen_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is asked about those again, and about nobody else."""
    monkeypatch.setattr(notices, "_REMEMBERED_USERS", 2)
    chat, journal = odd_chat(tmp_path)
    async with chat:
        for user in ("a1", "a2", "a1", "a3", "a1", "a2"):
            await chat.context.connect(user)
        assert journal.asked_untold == ["a1", "a2", "a3", "a2"]
