"""What admins see of the sessions, live, and how they end one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modules.chat_server.watched import SessionsSeen, SessionState
from potoserver import Cause, User, iso_utc
from tests.support.clock import settle

from .support import A1, Chat, LedResponder, texts
from .test_archiving import chat_with_failing_archive
from .test_session_life import left_open
from .test_wire import CHAT, Serving, serving

__all__ = ["serving"]


class Watcher:
    """One who watches: every item, and the table as a page would have it."""

    def __init__(self) -> None:
        self.items: list[SessionsSeen] = []
        self.rows: dict[str, SessionState] = {}

    def take(self, item: SessionsSeen) -> None:
        if item.snapshot:
            self.rows.clear()
        self.rows.update({each.conversation_id: each for each in item.sessions})
        for gone in item.gone:
            del self.rows[gone]
        self.items.append(item)

    @property
    def waits(self) -> dict[str, tuple[str | None, str | None]]:
        """What each user's session waits for, and until when."""
        return {each.user_id: (each.waiting_for, each.waiting_until) for each in self.rows.values()}

    @property
    def archived(self) -> list[Any]:
        return [event for item in self.items for event in item.archived]


@asynccontextmanager
async def watching(chat: Chat, search: str = "", limit: int = 200) -> AsyncIterator[Watcher]:
    watcher = Watcher()

    async def follow() -> None:
        async for item in chat.module.watch_sessions(search, limit):
            watcher.take(item)

    task = asyncio.create_task(follow())
    await settle()
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_session_is_seen_from_its_beginning_to_its_archive(tmp_path: Path) -> None:
    """There, in the grace with its end, archived with reason and cause; each once."""
    async with Chat.in_memory(tmp_path) as chat, watching(chat) as watcher:
        (first,) = watcher.items
        assert (first.snapshot, first.active, first.sessions, first.archived) == (True, 0, (), ())
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.until(1)
        (row,) = watcher.rows.values()
        assert (row.user_id, row.connections, row.waiting_for, row.is_active) == ("a1", 1, None, True)
        assert row.conversation_id == chat.module.user_sessions["a1"].conversation.id
        left_ms = chat.clock.now_ms()
        await chat.context.disconnect(connection, Cause.RESET)
        await chat.until(1)
        assert watcher.waits == {"a1": ("grace", iso_utc(left_ms + 5000))}
        assert watcher.archived == []
        await chat.until(5)
        assert watcher.rows == {}
        (event,) = watcher.archived
        assert (event.user_id, event.reason, event.cause, event.message_count) == (
            "a1",
            "disconnect",
            "reset",
            2,
        )
        assert (event.conversation_id, event.ended_at) == (row.conversation_id, iso_utc(left_ms + 5000))
        last = watcher.items[-1]
        assert last.archive_seconds is not None
        assert (last.archive_seconds.count, last.archive_seconds.p99) == (1, 0.0)
        assert sum(item.rates.messages_per_s for item in watcher.items if item.rates) == 2
        assert [item.snapshot for item in watcher.items[1:]].count(True) == 0
        async with watching(chat) as late:
            assert late.archived == [event], "who comes later is told what was archived last"


async def test_only_what_has_changed_is_told(tmp_path: Path) -> None:
    """And every five seconds that nothing has."""
    async with Chat.in_memory(tmp_path) as chat:
        for user in ("a1", "a2"):
            await chat.context.connect(user)
        await settle()
        async with watching(chat) as watcher:
            assert set(watcher.waits) == {"a1", "a2"}
            await chat.until(2)
            await chat.ask("x")
            await chat.until(1)
            told = [item for item in watcher.items[1:] if item.sessions]
            assert [[each.user_id for each in item.sessions] for item in told] == [["a1"]]
            count = len(watcher.items)
            await chat.until(20)
            assert 3 <= len(watcher.items) - count <= 6
            assert not any(item.sessions or item.gone for item in watcher.items[count:])


async def test_a_reply_in_flight_is_seen_and_an_ending_that_waits_for_it(tmp_path: Path) -> None:
    """With the latest moment of its end."""
    responder = LedResponder()
    async with Chat.in_memory(tmp_path, responder=responder) as chat, watching(chat) as watcher:
        asked = chat.begin("x")
        await settle()
        until = iso_utc(chat.clock.now_ms() + 120_000)
        await chat.until(1)
        assert watcher.waits == {"a1": ("reply", until)}
        ending = asyncio.create_task(chat.module.end_user_session("a1"))
        await chat.until(1)
        (row,) = watcher.rows.values()
        assert (row.waiting_for, row.waiting_until, row.is_active) == ("archive", until, False)
        assert row.detail == "behind the reply in flight"
        responder.answer("y")
        await asked.answer()
        assert (await ending).conversation_id == row.conversation_id
        await chat.until(1)
        assert watcher.rows == {}
        assert [(each.reason, each.cause) for each in watcher.archived] == [("request", None)]


async def test_an_archive_that_fails_is_seen_with_its_error_and_next_try(tmp_path: Path) -> None:
    """Until it is done."""
    chat, journal = chat_with_failing_archive(tmp_path)
    async with chat, watching(chat) as watcher:
        await chat.ask("x")
        session = chat.module.user_sessions["a1"]
        ending = asyncio.create_task(chat.module.end_user_session("a1"))
        await chat.until(3)
        await asyncio.wait([ending])
        assert ending.exception() is not None
        (row,) = watcher.rows.values()
        assert (row.conversation_id, row.waiting_for, row.is_active) == (
            session.conversation.id,
            "archive",
            False,
        )
        assert row.detail is not None and row.waiting_until is not None
        assert row.detail.startswith("tried ") and "JournalUnavailableError" in row.detail
        assert row.waiting_until > iso_utc(chat.clock.now_ms() - 1000)
        assert watcher.items[-1].pending_archives == 1
        journal.failing = False
        await chat.until(65)
        assert watcher.rows == {}
        assert len(watcher.archived) == 1


async def test_a_session_without_a_connection_waits_for_its_time(tmp_path: Path) -> None:
    """Begun by a call; or kept by one in the grace, which then does not end it."""
    async with Chat.in_memory(tmp_path) as chat, watching(chat) as watcher:
        await chat.ask("x")
        called_ms = chat.clock.now_ms()
        connection, _ = await chat.context.connect("a2")
        await chat.until(1)
        await chat.context.disconnect(connection)
        await chat.until(1)
        await chat.ask("y", user=User("a2"))
        kept_ms = chat.clock.now_ms()
        await chat.until(1)
        assert watcher.waits == {
            "a1": ("timeout", iso_utc(called_ms + 300_000)),
            "a2": ("timeout", iso_utc(kept_ms + 300_000)),
        }


async def test_an_adopted_session_is_seen_with_the_end_of_its_time(tmp_path: Path) -> None:
    """A crash had left it open."""
    clock = await left_open(tmp_path, "before")
    async with Chat(tmp_path, clock=clock) as chat:
        await chat.quiet()
        async with watching(chat) as watcher:
            assert watcher.waits == {"a1": ("adoption", iso_utc(clock.now_ms() + 5000))}


async def test_many_sessions_are_shown_in_part_and_found(tmp_path: Path) -> None:
    """The newest ones, and the count of all."""
    async with Chat.in_memory(tmp_path) as chat:
        for number in range(5):
            await chat.context.connect(f"a{number}")
            await settle()
        async with watching(chat, limit=2) as some, watching(chat, search="a1") as found:
            assert (set(some.waits), some.items[0].active) == ({"a4", "a3"}, 5)
            assert (set(found.waits), found.items[0].active) == ({"a1"}, 5)


async def test_an_admin_ends_a_session_by_its_name(tmp_path: Path) -> None:
    """What was seen a while ago ends no newer conversation."""
    async with Chat.in_memory(tmp_path) as chat:
        old = await chat.ask("old")
        await chat.module.end_user_session("a1")
        new = await chat.ask("new")
        ended = await chat.module.end_user_session("a1", old.conversation_id)
        assert (ended.conversation_id, ended.archive_id) == (None, None)
        await chat.quiet()
        assert chat.module.user_sessions["a1"].conversation.id == new.conversation_id
        assert await chat.open_texts(A1) == ["new", "new"]
        ended = await chat.module.end_user_session("a1", new.conversation_id)
        assert ended.conversation_id == new.conversation_id
        assert [texts(each) for each in await chat.archives()] == [["old", "old"], ["new", "new"]]


async def test_sessions_are_listed_page_by_page(tmp_path: Path) -> None:
    """By user id, each once; without a limit all at once."""
    async with Chat.in_memory(tmp_path) as chat:
        for number in (3, 0, 2, 4, 1):
            await chat.ask("x", user=User(f"a{number}"))
        every = await chat.module.list_sessions()
        assert [each.user_id for each in every] == ["a0", "a1", "a2", "a3", "a4"]
        page = await chat.module.list_sessions(2)
        assert page == every[:2]
        assert await chat.module.list_sessions(2, page[-1].user_id) == every[2:4]
        assert await chat.module.list_sessions(2, "a4") == []


async def test_watching_and_ending_are_for_admins_alone(tmp_path: Path, serving: Serving) -> None:
    """Over HTTP; without asking for a stream it is one look."""
    async with serving(tmp_path) as running:
        await running.call(f"{CHAT}/chatWithHistory", {"message": "x"})
        for method in ("watchSessions", "endUserSession"):
            assert (await running.call(f"{CHAT}/{method}", {"userId": "a1"}))[0] == 403
        status, (look,) = await running.call(f"{CHAT}/watchSessions", token="admin-token")
        assert (status, look["snapshot"], look["active"]) == (200, True, 1)
        assert look["sessions"][0]["waitingFor"] == "timeout"
        status, ended = await running.call(f"{CHAT}/endUserSession", {"userId": "a1"}, token="admin-token")
        assert (status, ended["conversationId"]) == (200, look["sessions"][0]["conversationId"])
        assert ended["archiveId"]
