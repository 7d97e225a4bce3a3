"""Restores that are under way when others come, or when the server stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import MemoryDialogueJournal, Reason
from modules.chat_server.journal.errors import JournalUnavailableError
from modules.chat_server.journal.records import Restored
from modules.chat_server.module import UnfinishedError
from potoserver import UnavailableError, User
from tests.support.clock import settle

from .support import A1, Chat, archived, reasons

B2 = User("b2", roles=frozenset({"user"}))


class Held(MemoryDialogueJournal):
    """Restores as often as the test lets it go; fails to archive of those who are `failing`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun, self.go = asyncio.Semaphore(0), asyncio.Semaphore(0)
        self.failing: set[str] = set()

    @override
    async def restore_archive(self, user: User, archive_id: str) -> Restored | None:
        self.begun.release()
        await self.go.acquire()
        return await super().restore_archive(user, archive_id)

    @override
    async def archive_conversation(self, user: User, *which: Any, **how: Any) -> str | None:
        if user.id in self.failing:
            raise JournalUnavailableError
        return await super().archive_conversation(user, *which, **how)


def held_by(chat: Chat) -> Held:
    assert isinstance(chat.journal, Held)
    return chat.journal


async def test_a_stop_in_the_middle_of_a_restore_ends_what_it_restores(tmp_path: Path) -> None:
    """The stop waits for it; nothing is left open for the next start, and no other one begins."""
    async with Chat.in_memory(tmp_path, Held) as chat:
        journal = held_by(chat)
        archive_id, conversation = await archived(chat)
        await chat.ask("current")
        restoring = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
        await journal.begun.acquire()
        stopping = asyncio.create_task(chat.context.stop(chat.module))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            waiting = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
            await asyncio.sleep(0)
            journal.go.release()
            await waiting
        assert (await restoring).conversation_id == conversation
        await stopping
        await journal.start()
        assert set(reasons(await chat.archives())) == {Reason.SUPERSEDED, Reason.SHUTDOWN}
        assert await chat.open_texts() == []


async def test_a_stop_waits_for_each_of_a_users_restores(tmp_path: Path) -> None:
    """That one of them is over says nothing of the next; and of who has restored nothing is kept."""
    async with Chat.in_memory(tmp_path, Held) as chat:
        journal = held_by(chat)
        (first_id, _), (second_id, _) = await archived(chat, "one"), await archived(chat, "two")
        first, second = (
            asyncio.create_task(chat.module.restore_archive(A1, each)) for each in (first_id, second_id)
        )
        await journal.begun.acquire()
        await settle()
        journal.go.release()
        await first
        await journal.begun.acquire()
        stopping = asyncio.create_task(chat.context.stop(chat.module))
        await settle()
        assert not stopping.done()
        journal.go.release()
        await second
        await stopping
        assert not chat.module._restorer._users
        await journal.start()
        assert set(reasons(await chat.archives())) == {Reason.SUPERSEDED, Reason.SHUTDOWN}


async def test_of_more_restores_at_once_than_are_remembered_each_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for a repeat is kept of some; the restore itself needs none of it."""
    monkeypatch.setattr("modules.chat_server.restorer._REMEMBERED_USERS", 1)
    async with Chat.in_memory(tmp_path, Held) as chat:
        journal = held_by(chat)
        conversations, restoring = [], []
        for user in (A1, B2):
            archive_id, conversation = await archived(chat, user=user)
            conversations.append(conversation)
            restoring.append(asyncio.create_task(chat.module.restore_archive(user, archive_id)))
            await journal.begun.acquire()
        for _ in restoring:
            journal.go.release()
        assert [each.conversation_id for each in await asyncio.gather(*restoring)] == conversations


async def test_a_stop_ends_all_that_is_restored_though_one_of_them_can_not_be_archived(
    tmp_path: Path,
) -> None:
    """It waits for the others, and says in the end that something is left."""
    async with Chat.in_memory(tmp_path, Held) as chat:
        journal = held_by(chat)
        restoring = []
        for user in (A1, B2):
            archive_id, _ = await archived(chat, user=user)
            restoring.append(asyncio.create_task(chat.module.restore_archive(user, archive_id)))
        await settle()
        journal.failing.add(A1.id)
        stopping = asyncio.create_task(chat.context.stop(chat.module))
        await settle()
        for _ in restoring:
            journal.go.release()
        with pytest.raises(UnfinishedError):
            await stopping
        await asyncio.gather(*restoring)
        await journal.start()
        assert (await chat.archives(), reasons(await chat.archives(B2))) == ([], [Reason.SHUTDOWN])


async def test_a_stop_ends_what_was_restored(tmp_path: Path) -> None:
    """As it does every session."""
    async with Chat.in_memory(tmp_path) as chat:
        archive_id, _ = await archived(chat)
        await chat.module.restore_archive(A1, archive_id)
        await chat.context.stop(chat.module)
        await chat.journal.start()  # type: ignore[union-attr]  # to look
        assert reasons(await chat.archives()) == [Reason.SHUTDOWN]
