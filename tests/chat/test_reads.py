"""Reading is rationed by the time that it takes, each user for themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import MemoryDialogueJournal, Message
from modules.chat_server.journal.spent import counting, spend
from modules.chat_server.reads import Reads
from potoserver import User

from ..support.clock import ManualClock, settle
from .support import A1, Chat


async def test_a_users_readings_rest_in_proportion_and_others_do_not_wait() -> None:
    """Four times what the one before took, five seconds at most; a short one is followed at once."""
    clock = ManualClock()
    reads = Reads(clock)
    begun: list[tuple[str, float]] = []

    async def read(user: str, takes_s: float) -> None:
        async with reads.turn(user):
            begun.append((user, round(clock.monotonic_s(), 3)))
            await clock.sleep(takes_s)
            spend(takes_s)

    calls = [
        asyncio.create_task(read(user, takes_s))
        for user, takes_s in (("a", 0.5), ("a", 3), ("a", 0.002), ("a", 0), ("b", 0.002), ("b", 0))
    ]
    await clock.advance(60)
    await asyncio.gather(*calls)
    assert begun == [("a", 0), ("b", 0), ("b", 0.002), ("a", 2.5), ("a", 10.5), ("a", 10.502)]
    assert reads._lanes._by_user == {}


async def test_waiting_is_not_charged() -> None:
    """A reading that waits for a busy disk, however long, is followed at once by the next one."""
    clock = ManualClock()
    reads = Reads(clock)
    done: list[float] = []

    async def read() -> None:
        async with reads.turn("a"):
            await clock.sleep(3)
            spend(0.002)
        done.append(clock.monotonic_s())

    calls = [asyncio.create_task(read()) for _ in range(3)]
    await clock.advance(60)
    await asyncio.gather(*calls)
    assert done == [3, 6, 9]


async def test_what_the_journals_threads_do_is_counted_for_who_asked(tmp_path: Path) -> None:
    """The parsing of a large dialog is; a turn that waits for an append of another call is not."""
    chat = Chat(tmp_path)
    async with chat:
        for _ in range(3):
            await chat.ask("word " * 40_000)
        journal = chat.module.dialogue_journal
        with counting() as spent:
            await journal.get_conversation(A1)
        assert spent.seconds > 0
        with counting() as other, counting() as nothing:
            pass
        await journal.get_conversation(A1)
        assert other.seconds == nothing.seconds == 0


async def test_a_reading_that_fails_or_is_cut_off_holds_nobody_up() -> None:
    """Waiting, or at it: its place is free for the next one."""
    clock = ManualClock()
    reads = Reads(clock)

    async def read() -> None:
        async with reads.turn("a"):
            await clock.sleep(1)
            spend(1)
            raise RuntimeError("disk")

    first, second, third = (asyncio.create_task(read()) for _ in range(3))
    await settle()
    second.cancel()
    await clock.advance(0.9)
    first.cancel()
    await clock.advance(60)
    assert first.cancelled() and second.cancelled()
    assert isinstance(third.exception(), RuntimeError)
    assert reads._lanes._by_user == {}


class SlowToRead(MemoryDialogueJournal):
    """Takes a second to read a dialog, or a page."""

    led: ManualClock

    @override
    async def get_conversation(self, user: User) -> list[Message]:
        await self.led.sleep(1)
        spend(1)
        return await super().get_conversation(user)

    @override
    async def get_archive(self, user: User, archive_id: str):  # type: ignore[no-untyped-def]  # as the base
        await self.led.sleep(1)
        spend(1)
        return await super().get_archive(user, archive_id)

    @override
    async def list_archives(self, user: User, limit: int, cursor: str | None, **options):  # type: ignore[no-untyped-def]  # as the base
        await self.led.sleep(1)
        spend(1)
        return await super().list_archives(user, limit, cursor, **options)


@pytest.mark.parametrize("method", ["get_conversation", "get_archive", "list_archives"])
async def test_a_user_who_reads_as_often_as_possible_takes_a_fifth_of_the_time(
    tmp_path: Path, method: str
) -> None:
    """Twenty calls at once of a second each: one every five seconds; another user's come at once."""
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock)
    journal = SlowToRead(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    journal.led = clock
    chat.module._given_journal = journal
    async with chat:
        done: list[User] = []
        arguments: Sequence[str] = ()
        for user in (A1, User("b2")):
            await chat.ask("x", user=user)
            if method == "get_archive":
                await chat.module.end_session(user)
                arguments = (next(iter(journal._users[user.id].archives)),)

        async def read(user: User) -> None:
            await getattr(chat.module, method)(user, *arguments)
            done.append(user)

        calls = [asyncio.create_task(read(A1)) for _ in range(20)]
        await chat.until(50)
        assert len(done) == 10
        calls.append(asyncio.create_task(read(User("b2"))))
        await chat.until(1.5)
        assert done.count(User("b2")) == 1
        await chat.until(60)
        await asyncio.gather(*calls)
