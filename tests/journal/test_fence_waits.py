"""Another node is in at a user's dialogs: who waits, for how long, and who does not."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from modules.chat_server.journal import (
    Conversation,
    JournalUnavailableError,
)
from modules.chat_server.journal.errors import HeldElsewhereError
from modules.chat_server.journal.patience import HELD_WAIT_S
from potoserver import User
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.fence_support import lock_of, locked, snapshot, waited_out
from tests.journal.support import (
    FIRST,
    USER,
    assert_each_once,
    dialogs_of,
    message,
    opened,
)
from tests.support.clock import ManualClock

OTHER = User("b2")
OTHERS = Conversation("sse-1705313523122-ddddddddd", FIRST.started_ms)


async def seen_held(clock: ManualClock) -> None:
    """A call has seen that another node is in, and waits."""
    while not clock._timers:
        await asyncio.sleep(0.001)


async def test_who_finds_another_in_waits_until_it_is_out(tmp_path: Path) -> None:
    """With no thread that waits."""
    clock = ManualClock()
    async with opened(tmp_path, shared=True, clock=clock) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        with locked(lock_of(tmp_path)):
            calls = [
                asyncio.create_task(journal.add_message(USER, message(1), FIRST)),
                asyncio.create_task(journal.get_conversation(USER)),
            ]
            await seen_held(clock)
            await clock.advance(HELD_WAIT_S / 2)
            assert not any(call.done() for call in calls)
        for call in calls:
            await waited_out(clock, call)
        assert (await calls[0]).id == "m-1"
        assert [each.id for each in await calls[1]] == ["m-0", "m-1"]
        # The next one that waits begins to count anew.
        with locked(lock_of(tmp_path)):
            call = asyncio.create_task(journal.recover(USER))
            begun_s = clock.monotonic_s()
            await waited_out(clock, call)
            with pytest.raises(HeldElsewhereError):
                await call
        assert clock.monotonic_s() - begun_s >= HELD_WAIT_S


async def test_who_finds_another_in_for_too_long_is_told(tmp_path: Path) -> None:
    """A node that stands still keeps calls for some seconds; those that queue up don't wait as long again."""
    clock = ManualClock()
    async with opened(tmp_path, shared=True, clock=clock) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        before = snapshot(tmp_path)
        with locked(lock_of(tmp_path)):
            calls = [asyncio.create_task(journal.add_message(USER, message(n), FIRST)) for n in range(1, 6)]
            await seen_held(clock)
            begun_s = clock.monotonic_s()
            for call in calls:
                await waited_out(clock, call)
                with pytest.raises(HeldElsewhereError) as refused:
                    await call
                assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
            assert HELD_WAIT_S <= clock.monotonic_s() - begun_s < 2 * HELD_WAIT_S
            assert snapshot(tmp_path) == before
        await journal.add_message(USER, message(1), FIRST)
        assert len(await journal.get_conversation(USER)) == 2


async def test_nobody_else_waits_for_who_finds_another_in(tmp_path: Path) -> None:
    """Not even those of the same batch."""
    clock = ManualClock()
    users = [User(f"u{number}") for number in range(20)]
    async with opened(tmp_path, shared=True, clock=clock) as journal:
        for user in (USER, *users):
            await journal.take(user, 1)
            await journal.add_message(user, message(0), FIRST)
        with locked(lock_of(tmp_path)):
            held = asyncio.create_task(journal.add_message(USER, message(1), FIRST))
            async with asyncio.timeout(20):
                await asyncio.gather(*(journal.add_message(user, message(1), FIRST) for user in users))
            assert not held.done()
        await waited_out(clock, held)
        await held
    assert_each_once(tmp_path / "users" / "a1", {"m-0", "m-1"})


async def test_a_lock_is_held_until_the_flush_is_done(tmp_path: Path) -> None:
    """Else another node would see bytes that are taken back."""
    disk = FaultyDisk()
    current = str(dialogs_of(tmp_path) / "current.yaml")
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault("flush", current, hold=True))
        call = asyncio.create_task(journal.add_message(USER, message(1), FIRST))
        while not disk.faults.reached:
            await asyncio.sleep(0.001)
        try:
            with pytest.raises(BlockingIOError), locked(lock_of(tmp_path)):
                pass
        finally:
            disk.faults.set()
        await call
        with locked(lock_of(tmp_path)):
            pass


@pytest.mark.parametrize("call", ["write", "flush"])
async def test_a_failed_append_gives_the_lock_back(tmp_path: Path, call: str) -> None:
    """And other nodes find the dialog as it was before."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        before = snapshot(tmp_path)
        disk.faults.set(Fault(call, "*/current.yaml", error=errno.EIO, how="half"))
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(1), FIRST)
        with locked(lock_of(tmp_path)):
            assert snapshot(tmp_path) == before


async def test_what_was_kept_stays_so_though_the_lock_can_t_be_given_back(tmp_path: Path) -> None:
    """The file is closed then, which gives it back too."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        disk.faults.set(Fault("unlock", error=errno.EIO, times=0))
        assert (await journal.add_message(USER, message(0), FIRST)).id == "m-0"
        with locked(lock_of(tmp_path)):
            pass
        disk.faults.set()
        await journal.add_message(USER, message(1), FIRST)
