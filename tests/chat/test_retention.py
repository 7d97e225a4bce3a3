"""Retention: what is too old or too many goes, pinned archives stay, and a dry run only tells."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import MemoryDialogueJournal
from modules.chat_server.journal.errors import JournalUnavailableError
from modules.chat_server.journal.records import ArchiveSummary
from modules.chat_server.settings import ChatSettings
from potoserver import User
from tests.support.clock import ManualClock, settle

from ..journal.support import FIRST, USER, dialogs_of, message, opened
from .support import A1, Chat

DAY_S = 24 * 3600.0
B2 = User("b2")


def kept(**retention: Any) -> dict[str, Any]:
    return {"retention": retention}


async def archive(chat: Chat, text: str, user: User = A1) -> str:
    await chat.ask(text, user=user)
    archive_id = (await chat.module.end_user_session(user.id)).archive_id
    assert archive_id is not None
    return archive_id


def counted(chat: Chat, outcome: str) -> float | None:
    return chat.context.registry.get_sample_value("potoserver_retention_archives_total", {"outcome": outcome})


async def left(chat: Chat, user: User = A1) -> list[str]:
    return [dialog.messages[0].content for dialog in await chat.archives(user)]


async def test_old_archives_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    """Each day, of every user; those that are not old enough stay."""
    async with Chat.in_memory(tmp_path, settings=kept(max_age_days=3, dry_run=False)) as chat:
        pinned = await archive(chat, "pinned")
        await chat.module.pin_archive(A1, pinned, True)
        await archive(chat, "old")
        await archive(chat, "old", B2)
        for _ in range(2):
            await chat.until(DAY_S)
        await archive(chat, "newer")
        assert await left(chat) == ["pinned", "old", "newer"]
        for _ in range(2):
            await chat.until(DAY_S)
        assert await left(chat) == ["pinned", "newer"]
        assert await left(chat, B2) == []
        assert len(chat.context.logged("retention deleted archive")) == 2
        assert counted(chat, "deleted") == 2


async def test_a_clock_that_jumps_ahead_makes_nothing_old_at_once(tmp_path: Path) -> None:
    """There is a day to set it right; else it is believed. What is too many goes meanwhile."""
    limits = kept(max_age_days=3, max_count=2, dry_run=False)
    async with Chat.in_memory(tmp_path, settings=limits) as chat:
        for text in ("a", "b", "c"):
            await archive(chat, text)
        chat.clock.step_wall(int(365 * DAY_S * 1000) + 999)
        await chat.until(DAY_S)
        assert await left(chat) == ["b", "c"]
        assert [each["clock_ahead_s"] for each in chat.context.logged("retention by age put off")] == [
            365 * 24 * 3600
        ]
        chat.clock.step_wall(-int(365 * DAY_S * 1000))
        await chat.until(DAY_S)
        assert await left(chat) == ["b", "c"]
        chat.clock.step_wall(int(365 * DAY_S * 1000))
        await chat.until(DAY_S)
        assert await left(chat) == ["b", "c"]
        await chat.until(DAY_S)
        assert await left(chat) == []


async def test_a_clock_that_is_set_ahead_by_a_day_is_believed(tmp_path: Path) -> None:
    """A time zone mended by hand is no reason to keep what the operator wants gone."""
    async with Chat.in_memory(tmp_path, settings=kept(max_age_days=1, dry_run=False)) as chat:
        await archive(chat, "old")
        chat.clock.step_wall(int(DAY_S * 1000))
        await chat.until(DAY_S)
        assert await left(chat) == []


async def test_the_newest_so_many_stay_pinned_ones_beside_them(tmp_path: Path) -> None:
    """Pinned archives are not counted."""
    async with Chat.in_memory(tmp_path, settings=kept(max_count=2, dry_run=False)) as chat:
        for text in ("one", "two", "three", "four"):
            archive_id = await archive(chat, text)
            if text == "two":
                await chat.module.pin_archive(A1, archive_id, True)
        await chat.until(DAY_S)
        assert await left(chat) == ["two", "three", "four"]


async def test_a_dry_run_only_tells(tmp_path: Path) -> None:
    """That is what limits alone give: nothing goes before the operator has seen what would."""
    async with Chat.in_memory(tmp_path, settings=kept(max_count=1)) as chat:
        first = await archive(chat, "one")
        await archive(chat, "two")
        conversation = (await chat.archives())[0].conversation.id
        await chat.until(DAY_S)
        assert await left(chat) == ["one", "two"]
        (line,) = chat.context.logged("retention would delete archive")
        assert (line["user"], line["archive"], line["conversation"]) == ("a1", first, conversation)
        assert counted(chat, "would") == 1


async def test_without_limits_nothing_is_looked_at(tmp_path: Path) -> None:
    """Off by default."""
    async with Chat.in_memory(tmp_path) as chat:
        await archive(chat, "one")
        await chat.until(2 * DAY_S)
        assert await left(chat) == ["one"]
        assert chat.context.logged("retention finished") == []


async def test_it_runs_after_the_start(tmp_path: Path) -> None:
    """Also what went beyond the limits while the server was down or had others is found."""
    async with Chat(tmp_path) as chat:
        for text in ("one", "two"):
            await archive(chat, text)
    async with Chat(tmp_path, settings=kept(max_count=1, dry_run=False)) as chat:
        await chat.quiet()
        assert await left(chat) == ["two"]


async def test_connections_are_told_and_nobody_is_told_of_what_has_gone(tmp_path: Path) -> None:
    """As when the user deletes it."""
    async with Chat.in_memory(tmp_path, settings=kept(max_age_days=1, dry_run=False)) as chat:
        archive_id = await archive(chat, "old")
        await archive(chat, "old", B2)
        await chat.context.connect(A1.id)
        await chat.until(DAY_S)
        await chat.until(DAY_S)
        assert await left(chat) == []
        change = {"change": "deleted", "id": archive_id, "title": None, "pinned": None}
        assert chat.context.events(A1.id, "archives") == [change]
        assert chat.context.events(B2.id, "archives") == []
        assert (await chat.module.connected_fields(B2.id))["archived"] is None


class FailsForOne(MemoryDialogueJournal):
    """Can't read the archives of `a1`."""

    @override
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> list[ArchiveSummary]:
        if user.id == A1.id:
            raise JournalUnavailableError from OSError(errno.EIO, "broken")
        return list(await super().expired_archives(user, before_ms, keep))


async def test_a_user_at_whom_it_fails_holds_up_no_other(tmp_path: Path) -> None:
    """It is told, and tried again the next day."""
    async with Chat.in_memory(tmp_path, FailsForOne, settings=kept(max_count=1, dry_run=False)) as chat:
        for user in (A1, B2):
            for text in ("one", "two"):
                await archive(chat, text, user)
        await chat.until(DAY_S)
        assert await left(chat, B2) == ["two"]
        assert await left(chat) == ["one", "two"]
        assert [(line["user"], line["error"]) for line in chat.context.logged("retention failed")] == [
            ("a1", "OSError(5, 'broken')")
        ]
        assert counted(chat, "failed") == 1


class KnowsNobodyAtFirst(MemoryDialogueJournal):
    """Can't tell whose archives there are, twice."""

    failures = 2

    @override
    async def stored_users(self) -> Sequence[str]:
        self.failures -= 1
        if self.failures >= 0:
            raise JournalUnavailableError from OSError(errno.EIO, "broken")
        return await super().stored_users()


async def test_where_the_users_can_not_be_read_it_is_told_and_tried_the_next_day(tmp_path: Path) -> None:
    """With what the disk said."""
    limits = kept(max_count=1, dry_run=False)
    async with Chat.in_memory(tmp_path, KnowsNobodyAtFirst, settings=limits) as chat:
        for text in ("one", "two"):
            await archive(chat, text)
        await chat.until(DAY_S)
        assert await left(chat) == ["one", "two"]
        assert [line["error"] for line in chat.context.logged("retention failed")] == [
            "OSError(5, 'broken')"
        ] * 2
        await chat.until(DAY_S)
        assert await left(chat) == ["two"]


class TakesItsTime(MemoryDialogueJournal):
    """Takes five eighths of a second to look at a user."""

    @override
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> list[ArchiveSummary]:
        assert isinstance(self._clock, ManualClock)
        self._clock.pass_time(0.625)
        return list(await super().expired_archives(user, before_ms, keep))


@pytest.mark.parametrize("dry_run", [True, False])
async def test_each_run_is_told_with_what_it_came_to(tmp_path: Path, dry_run: bool) -> None:
    """How many users and archives, whether it was in earnest, and how long it took."""
    limits = kept(max_count=1, dry_run=dry_run)
    async with Chat.in_memory(tmp_path, TakesItsTime, settings=limits) as chat:
        for user, count in ((A1, 3), (B2, 2)):
            for _ in range(count):
                await archive(chat, "text", user)
        await chat.until(DAY_S)
        first, second = chat.context.logged("retention finished")
        assert {line["logger"] for line in (first, second)} == {"session:retention"}
        assert [first[each] for each in ("users", "archives", "s")] == [0, 0, 0]
        assert [second[each] for each in ("users", "archives", "dry_run", "s")] == [2, 3, dry_run, 1.2]
        assert counted(chat, "would" if dry_run else "deleted") == 3


class PinsMeanwhile(MemoryDialogueJournal):
    """Somebody pins the newest of those that have expired, once they were found."""

    @override
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> list[ArchiveSummary]:
        found = list(await super().expired_archives(user, before_ms, keep))
        if found:
            await self.pin_archive(user, found[0].id, pinned=True)
        return found


async def test_what_is_pinned_in_the_meantime_stays(tmp_path: Path) -> None:
    """Of many users it may be minutes between the look and the deletion."""
    limits = kept(max_count=1, dry_run=False)
    async with Chat.in_memory(tmp_path, PinsMeanwhile, settings=limits) as chat:
        for text in ("one", "two", "three"):
            await archive(chat, text)
        await chat.until(DAY_S)
        assert await left(chat) == ["two", "three"]
        assert len(chat.context.logged("retention deleted archive")) == 1


class StoppedMeanwhile(MemoryDialogueJournal):
    """The server stops while an archive is deleted."""

    stop: Callable[[], None]

    @override
    async def delete_archive(self, user: User, archive_id: str, *, unless_pinned: bool = False) -> bool:
        self.stop()
        return await super().delete_archive(user, archive_id, unless_pinned=unless_pinned)


async def test_a_stop_comes_before_the_next_archive(tmp_path: Path) -> None:
    """A hundred thousand may be left, and a stop has its limit; the next start goes on."""
    limits = kept(max_count=1, dry_run=False)
    async with Chat.in_memory(tmp_path, StoppedMeanwhile, settings=limits) as chat:
        assert isinstance(chat.journal, StoppedMeanwhile)
        chat.journal.stop = chat.module._retention.stop
        for text in ("one", "two", "three"):
            await archive(chat, text)
        for _ in range(2):
            await chat.until(DAY_S)
            assert await left(chat) == ["one", "three"]


async def test_a_server_that_fails_to_start_deletes_nothing(tmp_path: Path) -> None:
    """Nobody could look at what would go."""
    async with Chat.in_memory(tmp_path) as before:
        for text in ("one", "two"):
            await archive(before, text)
    chat = Chat(tmp_path, journal=before.journal, settings=kept(max_count=1, dry_run=False))
    await chat.context.start(chat.module, fails=True)
    await settle()
    assert await left(chat) == ["one", "two"]
    await chat.context.stop(chat.module)


async def test_only_what_may_have_expired_is_looked_at(tmp_path: Path) -> None:
    """What can't be read is never deleted, and what was pinned since it was looked at stays."""
    async with opened(tmp_path) as journal:
        ids = []
        for number in range(3):
            conversation = FIRST.__class__(f"c{number}", FIRST.started_ms)
            await journal.add_message(USER, message(2 * number), conversation)
            ended_ms = FIRST.started_ms + number * 86_400_000
            archive_id = await journal.archive_conversation(USER, ended_ms=ended_ms)
            assert archive_id is not None
            ids.append(archive_id)
        (dialogs_of(tmp_path) / "archived" / "2000-01-01-00-00-00.yaml").write_bytes(b"no dialog")
        now_ms = FIRST.started_ms + 86_400_000 + 1000
        assert [each.id for each in await journal.expired_archives(USER, now_ms, None)] == [ids[1], ids[0]]
        assert [each.id for each in await journal.expired_archives(USER, None, 1)] == [ids[1], ids[0]]
        assert await journal.expired_archives(USER, None, 4) == []
        await journal.pin_archive(USER, ids[1], pinned=True)
        assert [each.id for each in await journal.expired_archives(USER, now_ms, 1)] == [ids[0]]
        assert await journal.delete_archive(USER, ids[1], unless_pinned=True) is False
        assert await journal.stored_users() == ["a1"]


@pytest.mark.parametrize("key", ["max_age_days", "max_count"])
def test_a_limit_below_none_stops_the_start(key: str) -> None:
    """As any setting that is impossible."""
    with pytest.raises(ValueError, match=key):
        ChatSettings.model_validate({"retention": {key: -1}})
