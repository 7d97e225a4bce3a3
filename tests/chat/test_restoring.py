"""An archive becomes the current dialog: sessions, events, and the calls around it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import FileSystemDialogueJournal, MemoryDialogueJournal, Reason
from modules.chat_server.journal.errors import JournalUnavailableError
from modules.chat_server.journal.records import ArchiveSummary, Restored
from modules.chat_server.journal.spent import spend
from potoserver import ProblemError, UnavailableError, User
from tests.faults.disk import Fault, FaultyDisk
from tests.support.clock import settle

from .support import A1, Chat, LedResponder, archived, reasons, texts

B2 = User("b2", roles=frozenset({"user"}))

RESTED_S = 6
"""Any reading is rested from after that; on a busy machine a short one may need it."""


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat.in_memory(tmp_path) as chat:
        yield chat


def events(chat: Chat, kind: str) -> list[Any]:
    return [event.data for user, event in chat.context.published if (user, event.type) == (A1.id, kind)]


async def test_the_conversation_goes_on_where_it_stopped(chat: Chat) -> None:
    """Under the same id, with its messages, and it is archived as any other."""
    archive_id, conversation = await archived(chat)
    restored = await chat.module.restore_archive(A1, archive_id)
    assert (restored.conversation_id, restored.message_count, restored.superseded) == (conversation, 2, None)
    assert (await chat.ask("new")).conversation_id == conversation
    assert [each.content for each in (await chat.module.get_conversation(A1)).messages] == [
        *("old", "old"),
        *("new", "new"),
    ]
    await chat.module.end_user_session(A1.id)
    (dialog,) = await chat.archives()
    assert (texts(dialog), dialog.reason) == (["old", "old", "new", "new"], Reason.REQUEST)
    assert dialog.conversation.id == conversation


async def test_what_was_current_is_archived_first_and_told(chat: Chat) -> None:
    """As superseded; all connections are told of both, the archive before the restored one."""
    archive_id, conversation = await archived(chat)
    await chat.context.connect(A1.id)
    current = (await chat.ask("current")).conversation_id
    restored = await chat.module.restore_archive(A1, archive_id)
    (dialog,) = await chat.archives()
    assert (dialog.conversation.id, dialog.reason) == (current, Reason.SUPERSEDED)
    assert events(chat, "archived") == [
        {"id": restored.superseded, "reason": "superseded", "conversation": current}
    ]
    assert events(chat, "restored") == [
        {"id": archive_id, "conversation": conversation, "superseded": restored.superseded}
    ]
    kinds = [event.type for _, event in chat.context.published]
    assert kinds.index("archived") < kinds.index("restored")


async def test_who_clicks_twice_gets_the_same_answer(chat: Chat) -> None:
    """Also at once; and it is told and done once."""
    archive_id, _ = await archived(chat)
    await chat.ask("current")
    first, second = await asyncio.gather(
        chat.module.restore_archive(A1, archive_id), chat.module.restore_archive(A1, archive_id)
    )
    assert first == second == await chat.module.restore_archive(A1, archive_id)
    assert len(events(chat, "restored")) == 1
    assert reasons(await chat.archives()) == [Reason.SUPERSEDED]
    await chat.module.end_user_session(A1.id)
    with pytest.raises(ProblemError) as caught:
        await chat.module.restore_archive(A1, archive_id + "-99")
    assert caught.value.status == 404


async def test_what_was_restored_and_has_ended_is_restored_anew(chat: Chat) -> None:
    """Also where its archive has its old name again: the answer of then holds no longer."""
    archive_id, conversation = await archived(chat)
    await chat.module.restore_archive(A1, archive_id)
    assert (await chat.module.end_user_session(A1.id)).archive_id == archive_id
    current = (await chat.ask("current")).conversation_id
    restored = await chat.module.restore_archive(A1, archive_id)
    (dialog,) = await chat.archives()
    assert (restored.conversation_id, dialog.conversation.id) == (conversation, current)
    assert chat.module.user_sessions[A1.id].conversation.id == conversation


async def test_the_answers_of_those_who_restored_last_are_remembered(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there is room for; whose was forgotten learns that the archive is none any more."""
    monkeypatch.setattr("modules.chat_server.restorer._REMEMBERED_USERS", 2)
    users = [User(f"u{number}", roles=A1.roles) for number in range(3)]
    ids = []
    for user in users:
        ids.append((await archived(chat, user=user))[0])
        await chat.module.restore_archive(user, ids[-1])
    for user, archive_id in list(zip(users, ids, strict=True))[1:]:
        await chat.module.restore_archive(user, archive_id)
    with pytest.raises(ProblemError):
        await chat.module.restore_archive(users[0], ids[0])


async def test_what_is_not_there_changes_nothing(chat: Chat) -> None:
    """404 for an unknown archive and for another user's; the session and its dialog stay."""
    archive_id, _ = await archived(chat)
    current = (await chat.ask("current")).conversation_id
    for user, wanted in ((A1, "2000-01-01-00-00-00"), (A1, ""), (B2, archive_id)):
        with pytest.raises(ProblemError) as caught:
            await chat.module.restore_archive(user, wanted)
        assert caught.value.status == 404
    assert (await chat.ask("more")).conversation_id == current
    assert events(chat, "restored") == []
    assert "b2" not in chat.module.user_sessions


async def test_it_waits_for_the_calls_before_and_takes_those_behind(tmp_path: Path) -> None:
    """A reply in flight ends in its own dialog; what is asked after the click goes to the restored one."""
    responder = LedResponder()
    async with Chat.in_memory(tmp_path, responder=responder) as chat:
        responder.answer("old reply")
        archive_id, conversation = await archived(chat)
        before = chat.begin("before")
        await before_asked(responder, 2)
        restoring = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
        await asyncio.sleep(0)
        behind = chat.begin("behind")
        responder.answer("reply before")
        responder.answer("reply behind")
        current = (await before.answer()).conversation_id
        assert (await restoring).conversation_id == conversation != current
        assert (await behind.answer()).conversation_id == conversation
        (superseded,) = await chat.archives()
        assert texts(superseded) == ["before", "reply before"]
        assert await chat.open_texts() == ["old", "old reply", "behind", "reply behind"]
        await chat.quiet()
        assert not chat.module._life._left_behind


async def test_a_call_goes_on_with_what_is_restored_though_its_session_has_ended_meanwhile(
    tmp_path: Path,
) -> None:
    """Nothing that was sent is refused, and the dialog that ended is archived once, for its own reason."""
    responder = LedResponder()
    async with Chat.in_memory(tmp_path, responder=responder) as chat:
        responder.answer("old reply")
        archive_id, conversation = await archived(chat)
        await chat.context.connect(A1.id)
        before = chat.begin("before")
        await before_asked(responder, 2)
        restoring = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
        await asyncio.sleep(0)
        behind = chat.begin("behind")
        ending = asyncio.create_task(chat.module.end_user_session(A1.id))
        await asyncio.sleep(0)
        responder.answer("reply before")
        responder.answer("reply behind")
        ended = (await before.answer()).conversation_id
        restored = await restoring
        assert (await behind.answer()).conversation_id == conversation != ended
        (dialog,) = await chat.archives()
        assert (dialog.conversation.id, texts(dialog), dialog.reason) == (
            ended,
            ["before", "reply before"],
            Reason.REQUEST,
        )
        await chat.quiet()
        archive = {"id": restored.superseded, "reason": "request", "conversation": ended}
        assert ((await ending).archive_id, events(chat, "archived")) == (restored.superseded, [archive])


async def test_a_call_goes_on_with_what_is_restored_though_its_own_was_left_before(tmp_path: Path) -> None:
    """Back and forth from several tabs: that the first leaving is over says nothing of the second."""
    responder = LedResponder()
    async with Chat.in_memory(tmp_path, responder=responder) as chat:
        responder.answer("old reply")
        archive_id, conversation = await archived(chat)
        responder.answer("reply")
        await chat.ask("current")
        life = chat.module._life
        async with chat.module._lanes.join(A1.id):
            restoring = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
            await settle()
            life._left_behind.add(life.sessions[A1.id])
            behind = chat.begin("behind")
        responder.answer("reply behind")
        await restoring
        assert (await behind.answer()).conversation_id == conversation


async def before_asked(responder: LedResponder, times: int) -> None:
    async with asyncio.timeout(10):
        while len(responder.asked) < times:
            await asyncio.sleep(0)


async def test_a_departure_ends_what_was_restored(chat: Chat) -> None:
    """The restored dialog is its user's session like any other: gone with the last connection."""
    archive_id, conversation = await archived(chat)
    connection, _ = await chat.context.connect(A1.id)
    await chat.module.restore_archive(A1, archive_id)
    await chat.until(1)
    await chat.context.disconnect(connection)
    await chat.until(6)
    await chat.quiet()
    (dialog,) = await chat.archives()
    assert (dialog.conversation.id, dialog.reason) == (conversation, Reason.DISCONNECT)


async def test_without_a_connection_the_fallback_ends_it(chat: Chat) -> None:
    """As for a session that a call began."""
    archive_id, _ = await archived(chat)
    await chat.module.restore_archive(A1, archive_id)
    assert chat.module.user_sessions[A1.id].generation is None
    await chat.until(340)
    await chat.quiet()
    assert reasons(await chat.archives()) == [Reason.TIMEOUT]


async def test_who_finds_the_dialog_archived_undoes_that_in_one_step(chat: Chat) -> None:
    """`connected.archived` names it; the session that began without a word leaves no trace."""
    connection, _ = await chat.context.connect(A1.id)
    conversation = (await chat.ask("old")).conversation_id
    await chat.until(1)
    await chat.context.disconnect(connection)
    await chat.until(6)
    await chat.quiet()
    _, fields = await chat.context.connect(A1.id)
    told = fields["archived"]
    assert told["conversation"] == conversation
    restored = await chat.module.restore_archive(A1, told["id"])
    assert (restored.conversation_id, restored.superseded) == (conversation, None)
    assert await chat.archives() == []
    fields = await chat.module.connected_fields(A1.id)
    assert fields == {"conversation": conversation, "archived": None}


async def test_nobody_is_told_of_an_archive_that_was_restored(chat: Chat) -> None:
    """It is none any more."""
    archive_id, conversation = await archived(chat)
    await chat.module.restore_archive(A1, archive_id)
    assert await chat.module.connected_fields(A1.id) == {"conversation": conversation, "archived": None}


async def test_where_there_is_no_room_for_a_session_it_is_503_and_an_archive_still(tmp_path: Path) -> None:
    """Who has a session can restore all the same."""
    async with Chat.in_memory(tmp_path, settings={"max_sessions": 1}) as chat:
        archive_id, _ = await archived(chat)
        await chat.ask("first", user=B2)
        with pytest.raises(UnavailableError):
            await chat.module.restore_archive(A1, archive_id)
        assert len(await chat.archives()) == 1
        await chat.module.end_user_session("b2")
        await chat.ask("current")
        await chat.module.restore_archive(A1, archive_id)


async def test_a_server_that_hands_over_restores_nothing(chat: Chat) -> None:
    """Before its sessions have ended, too: the next server does it."""
    archive_id, _ = await archived(chat)
    chat.context._draining = True
    with pytest.raises(UnavailableError):
        await chat.module.restore_archive(A1, archive_id)
    chat.context._draining = False
    assert len(await chat.archives()) == 1
    assert await chat.module._life.supersede(A1.id) is None


class FailsOnce(MemoryDialogueJournal):
    """Fails the first restore, when the dialog that was open is archived already."""

    failed = False

    @override
    async def restore_archive(self, user: User, archive_id: str) -> Restored | None:
        if not self.failed:
            self.failed = True
            raise JournalUnavailableError
        return await super().restore_archive(user, archive_id)


async def test_a_failed_restore_loses_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    """What was current is archived, the archive is one still; calls meanwhile begin their own dialog."""
    async with Chat.in_memory(tmp_path, FailsOnce) as chat:
        archive_id, conversation = await archived(chat)
        await chat.ask("current")
        with pytest.raises(JournalUnavailableError):
            await chat.module.restore_archive(A1, archive_id)
        assert reasons(await chat.archives()) == [Reason.REQUEST, Reason.SUPERSEDED]
        await chat.ask("meanwhile")
        restored = await chat.module.restore_archive(A1, archive_id)
        assert restored.conversation_id == conversation
        assert [texts(each)[0] for each in await chat.archives()] == ["current", "meanwhile"]


async def test_a_restore_that_was_done_though_it_seemed_to_fail_is_answered_when_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no 404: the dialog goes on, and what was archived for it is named, whatever failed since."""
    disk = FaultyDisk()
    journal = partial(FileSystemDialogueJournal, disk=disk)
    monkeypatch.setattr("modules.chat_server.module.FileSystemDialogueJournal", journal)
    async with Chat(tmp_path) as chat:
        archive_id, conversation = await archived(chat)
        await chat.ask("current")
        # The footer of what is current is flushed; the cut of the other one is not, nor can it be looked at.
        flush = Fault("flush", "*/current.yaml", at=2, error=errno.EIO)
        disk.faults.set(flush, Fault("read", "*/current.yaml", times=2, error=errno.EIO))
        for _ in range(2):
            with pytest.raises(JournalUnavailableError):
                await chat.module.restore_archive(A1, archive_id)
            await chat.clock.advance(RESTED_S)
        assert disk.faults.reached == 3
        restored = await chat.module.restore_archive(A1, archive_id)
        await chat.clock.advance(RESTED_S)
        assert (restored.conversation_id, restored.message_count) == (conversation, 2)
        (superseded,) = (await chat.module.list_archives(A1)).archives
        assert (superseded.id, superseded.reason) == (restored.superseded, "superseded")
        assert (await chat.ask("more")).conversation_id == conversation
        await chat.clock.advance(RESTED_S)
        with pytest.raises(ProblemError) as caught:
            await chat.module.restore_archive(A1, f"{archive_id}-9")
        assert caught.value.status == 404


async def test_no_message_waits_for_a_restore_that_waits_for_an_export(chat: Chat) -> None:
    """It takes its place in the lane when the user's reading is done."""
    archive_id, conversation = await archived(chat)
    async with chat.module._reads.turn(A1.id):
        restoring = asyncio.create_task(chat.module.restore_archive(A1, archive_id))
        await settle()
        current = (await chat.ask("meanwhile")).conversation_id
        assert not restoring.done()
    assert (await restoring).conversation_id == conversation != current
    (superseded,) = await chat.archives()
    assert (superseded.conversation.id, texts(superseded)) == (current, ["meanwhile", "meanwhile"])


async def test_a_restore_is_rested_from_as_other_readings_are(tmp_path: Path) -> None:
    """Who restores again and again takes no more of a thread than who reads."""

    class Costly(MemoryDialogueJournal):
        async def find_restorable(self, user: User, archive_id: str) -> ArchiveSummary | None:
            spend(0.5)
            return await super().find_restorable(user, archive_id)

    async with Chat.in_memory(tmp_path, Costly) as chat:
        archive_id, _ = await archived(chat)
        await chat.module.restore_archive(A1, archive_id)
        listing = asyncio.create_task(chat.module.list_archives(A1))
        await chat.until(1.9)
        assert not listing.done()
        assert (await chat.ask("meanwhile")).reply == "meanwhile"
        await chat.until(2.1)
        await listing
