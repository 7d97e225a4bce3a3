"""Appends of many users at once: grouped, off the loop, finished though the caller has gone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    FileSystemDialogueJournal,
    JournalUnavailableError,
    Message,
    Reason,
)
from modules.chat_server.journal.disk import Disk, Handle
from modules.chat_server.journal.filesystem import APPEND_THREADS
from modules.chat_server.journal.user_dialogs import UserDialogs
from potoserver import User
from tests.journal.support import (
    FIRST,
    USER,
    LogRecord,
    assert_each_once,
    dialogs_of,
    make_journal,
    message,
    opened,
    yaml_files,
)
from tests.support.clock import ManualClock, settle


class SlowDisk(Disk):
    """Holds every flush until it is let go."""

    def __init__(self) -> None:
        super().__init__(fsync=True)
        self.held = threading.Event()
        self.reached = threading.Semaphore(0)
        self.order: list[str] = []

    @override
    def write_all(self, handle: Handle, data: bytes) -> None:
        self.order.append("write")
        super().write_all(handle, data)

    @override
    def flush(self, handle: Handle) -> None:
        self.reached.release()
        self.held.wait(60)
        self.order.append("flush")
        super().flush(handle)


async def flush_reached(disk: SlowDisk) -> None:
    assert await asyncio.to_thread(disk.reached.acquire, timeout=10)


async def test_calls_of_one_user_never_meet(tmp_path: Path) -> None:
    """Whenever each comes: while another works, while others wait, when the last one has just gone."""
    inside, most = 0, 0

    async def work(_: UserDialogs) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await settle(5)
        inside -= 1

    async def call(journal: FileSystemDialogueJournal, turns: int) -> None:
        await settle(turns)
        await journal._calls.alone(USER, work)

    async with opened(tmp_path) as journal:
        await asyncio.gather(*(call(journal, turns) for turns in range(20)))
        assert most == 1
        assert not journal._calls.in_use


async def test_nothing_is_done_before_the_start_and_after_the_end(tmp_path: Path) -> None:
    """Nor read: the folder is not this process's then, and another one may be at work in it."""
    journal = make_journal(tmp_path)
    with pytest.raises(JournalUnavailableError, match="closed"):
        await journal.get_conversation(USER)
    await journal.start()
    await journal.close()
    with pytest.raises(JournalUnavailableError, match="closed"):
        await journal.get_conversation(USER)


async def test_an_append_is_not_acknowledged_before_its_flush(tmp_path: Path) -> None:
    """The call returns only after the flush, and the loop runs on meanwhile."""
    disk = SlowDisk()
    async with opened(tmp_path, disk=disk) as journal:
        task = asyncio.create_task(journal.add_message(USER, message(0), FIRST))
        await flush_reached(disk)
        assert not task.done()
        disk.held.set()
        await task


async def test_what_keeps_the_loops_threads_busy_delays_no_message(tmp_path: Path) -> None:
    """The journal has its own."""
    loop, done = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    async with opened(tmp_path) as journal:
        busy = loop.run_in_executor(None, done.wait)
        try:
            async with asyncio.timeout(10):
                await journal.add_message(USER, message(0), FIRST)
                assert await journal.get_conversation(USER) == [message(0)]
        finally:
            done.set()
            await busy


async def test_a_cancelled_caller_stops_nothing(tmp_path: Path) -> None:
    """An append whose caller has gone is finished, and close waits for it."""
    disk = SlowDisk()
    async with opened(tmp_path, disk=disk) as journal:
        task = asyncio.create_task(journal.add_message(USER, message(0), FIRST))
        await flush_reached(disk)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        archive = asyncio.create_task(journal.archive_conversation(USER))
        await asyncio.sleep(0)
        archive.cancel()
        disk.held.set()
    files = yaml_files(tmp_path)
    assert [loaded["message_count"] for loaded in files.values()] == [1]
    assert (dialogs_of(tmp_path) / "current.yaml").read_bytes() == b""


async def test_waiting_appends_are_grouped(tmp_path: Path) -> None:
    """What waits while the threads are busy becomes few batches: all writes, then all flushes."""
    disk = SlowDisk()
    users = [User(f"u{number}") for number in range(40)]
    async with opened(tmp_path, disk=disk) as journal:
        tasks = []
        for user in users[:APPEND_THREADS]:
            tasks.append(asyncio.create_task(journal.add_message(user, message(0), FIRST)))
            await flush_reached(disk)
        tasks += [
            asyncio.create_task(journal.add_message(user, message(0), FIRST))
            for user in users[APPEND_THREADS:]
        ]
        while len(journal._appends._waiting) < len(users) - APPEND_THREADS:
            await asyncio.sleep(0.001)
        disk.order.clear()
        disk.held.set()
        await asyncio.gather(*tasks)
    longest = max(len(run) for run in "".join(each[0] for each in disk.order).split("f"))
    assert longest >= 4
    assert len(yaml_files(tmp_path)) == 40


class HeldWrites(Disk):
    """Without flushes; holds every write until it is let go."""

    def __init__(self) -> None:
        super().__init__(fsync=False)
        self.held = threading.Event()
        self.reached = threading.Semaphore(0)
        self.threads: set[str] = set()

    @override
    def write_all(self, handle: Handle, data: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        self.reached.release()
        self.held.wait(30)
        super().write_all(handle, data)


async def test_without_a_flush_what_waits_is_written_by_one_thread(tmp_path: Path) -> None:
    """Nothing but the system's own memory is waited for: more of them would only be in each other's way."""
    disk = HeldWrites()
    users = [User(f"u{number}") for number in range(10)]
    async with opened(tmp_path, disk=disk) as journal:
        tasks = [asyncio.create_task(journal.add_message(users[0], message(0), FIRST))]
        assert await asyncio.to_thread(disk.reached.acquire, timeout=10)
        tasks += [asyncio.create_task(journal.add_message(user, message(0), FIRST)) for user in users[1:]]
        async with asyncio.timeout(10):
            while len(journal._appends._waiting) < len(users) - 1:
                await asyncio.sleep(0.001)
        disk.held.set()
        await asyncio.gather(*tasks)
    assert len(disk.threads) == 1
    assert len(yaml_files(tmp_path)) == 10


async def test_who_is_cancelled_leaves_the_others_of_the_batch_their_answers(tmp_path: Path) -> None:
    """A batch is told of one by one; what nobody asks for any more is kept all the same."""
    disk = SlowDisk()
    disk.held.set()
    users = [User(f"u{number}") for number in range(3)]
    async with opened(tmp_path, disk=disk) as journal:
        for user in users:
            await journal.add_message(user, message(0), FIRST)
            await flush_reached(disk)
        disk.held.clear()
        calls = [asyncio.create_task(journal.add_message(user, message(1), FIRST)) for user in users]
        await flush_reached(disk)
        calls[0].cancel()
        await settle()
        assert calls[0].cancelled()
        after = asyncio.create_task(journal.get_conversation(users[0]))
        disk.held.set()
        async with asyncio.timeout(10):
            assert await asyncio.gather(*calls[1:]) == [message(1), message(1)]
            assert await after == [message(0), message(1)]


async def test_a_message_of_an_open_dialog_is_appended_without_a_task(tmp_path: Path) -> None:
    """And what comes in one turn of the loop goes to a thread together."""
    disk = SlowDisk()
    disk.held.set()
    users = [User(f"u{number}") for number in range(20)]
    async with opened(tmp_path, disk=disk) as journal:
        for user in users:
            await journal.add_message(user, message(0), FIRST)
        disk.order.clear()
        tasks = asyncio.all_tasks()
        calls = [asyncio.create_task(journal.add_message(user, message(1), FIRST)) for user in users]
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - tasks == set(calls)
        await asyncio.gather(*calls)
    assert disk.order == ["write"] * 20 + ["flush"] * 20


async def test_many_users_at_once(tmp_path: Path) -> None:
    """A hundred users' dialogs, appended and archived at once, are each whole; nothing is left in memory."""
    async with opened(tmp_path) as journal:

        async def live(number: int) -> None:
            user = User(f"u{number}")
            conversation = Conversation(f"c-{number}", FIRST.started_ms)
            for each in range(4):
                await journal.add_message(user, message(each), conversation)
            await journal.archive_conversation(user, reason=Reason.SHUTDOWN)

        await asyncio.gather(*map(live, range(100)))
        assert journal._calls.in_use == {}
    files = yaml_files(tmp_path)
    assert len(files) == 100
    assert all(loaded["message_count"] == 4 == len(loaded["messages"]) for loaded in files.values())


async def test_nothing_is_kept_for_users_without_a_dialog(tmp_path: Path) -> None:
    """Asking about users leaves nothing behind in memory."""
    async with opened(tmp_path) as journal:
        for number in range(50):
            user = User(f"u{number}")
            await journal.recover(user)
            await journal.get_conversation(user)
            await journal.list_archives(user, 1, None)
        assert journal._calls.in_use == {}
    assert list((tmp_path / "users").iterdir()) == []


async def test_appends_and_archives_race(tmp_path: Path) -> None:
    """Appends and an archive at the same moment leave every acknowledged message in one file."""
    async with opened(tmp_path) as journal:
        calls: list[Any] = [journal.add_message(USER, message(number), FIRST) for number in range(20)]
        calls.insert(10, journal.archive_conversation(USER, FIRST.id))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    kept = {outcome.id for outcome in outcomes if isinstance(outcome, Message)}
    assert len(kept) == 10
    assert_each_once(tmp_path, kept)


async def test_without_fsync_nothing_is_flushed(tmp_path: Path) -> None:
    """`never` writes the same files and asks for no flush."""
    called: list[str] = []

    class Watched(Disk):
        @override
        def _call(self, name: str, function: Any, *arguments: Any) -> Any:
            called.append(name)
            return super()._call(name, function, *arguments)

    async with opened(tmp_path, disk=Watched(fsync=False)) as journal:
        await journal.add_message(USER, message(0), FIRST)
        await journal.archive_conversation(USER)
    assert "write" in called
    assert not {"flush", "sync_folder"} & set(called)


async def test_what_is_measured(tmp_path: Path) -> None:
    """Appends and flushes are timed; archives by reason, recoveries and what is set aside are counted."""
    clock, registry = ManualClock(), CollectorRegistry()
    clock.pass_time(100)

    class Slow(Disk):
        @override
        def flush(self, handle: Handle) -> None:
            super().flush(handle)
            clock.pass_time(2)

    journal = FileSystemDialogueJournal(
        tmp_path, clock=clock, fsync=True, logger=LogRecord(), registry=registry, disk=Slow(fsync=True)
    )
    await journal.start()
    await journal.add_message(USER, message(0), FIRST)
    await journal.archive_conversation(USER, reason=Reason.TIMEOUT)
    (dialogs_of(tmp_path) / "current.yaml").write_bytes(b"junk")
    await journal.recover(USER)
    await journal.close()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"potoserver_{name}", labels)

    assert (value("journal_append_seconds_count"), value("journal_append_seconds_sum")) == (1, 2)
    assert (value("journal_flush_seconds_count"), value("journal_flush_seconds_sum")) == (2, 4)
    assert value("archives_total", reason="timeout") == 1
    assert value("set_aside_total") == 1
    assert value("recovered_dialogs_total") == 0
