"""Who connects for the first time costs the journal next to nothing."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.errors import JournalUnavailableError
from potoserver import User
from tests.journal.support import FIRST, USER, make_journal, message, opened


class SlowDisk(Disk):
    """One that takes its time with the first look for a folder, and counts the threads that look."""

    def __init__(self) -> None:
        super().__init__(fsync=True)
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.error: OSError | None = None
        self.looks: list[str] = []

    def _call(self, name: str, function: object, *arguments: object) -> object:
        path = arguments[0] if arguments else None
        if name == "find" and isinstance(path, Path) and path.parent.name == "users":
            self.looks.append(path.name)
            self.begun.set()
            assert self.go_on.wait(10)
            if self.error is not None:
                raise self.error
        return super()._call(name, function, *arguments)  # type: ignore[arg-type]


async def test_those_who_come_while_one_is_looked_for_are_looked_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread is called for all of them, each is looked for once, and nothing is kept of anybody."""
    disk = SlowDisk()
    async with opened(tmp_path, disk=disk) as journal:
        called: list[object] = []
        run = journal._threads.run

        async def counting(function: object, *arguments: object) -> object:
            called.append(function)
            return await run(function, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(journal._threads, "run", counting)
        first = asyncio.create_task(journal.untold_archive(User("u0")))
        assert await asyncio.to_thread(disk.begun.wait, 10)
        others = [asyncio.create_task(journal.untold_archive(User(f"u{n % 50}"))) for n in range(100)]
        await asyncio.sleep(0)
        others[7].cancel()
        disk.go_on.set()
        assert await first is None
        told = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(told.pop(7), asyncio.CancelledError)
        assert told == [None] * 99
        assert len(called) == 2
        assert sorted(disk.looks) == sorted(["u0", *(f"u{n}" for n in range(50))])
        assert not journal._calls.in_use


async def test_who_has_been_here_is_told_as_ever(tmp_path: Path) -> None:
    """Among newcomers, also at the same look."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        archive_id = await journal.archive_conversation(USER)
        others = [journal.untold_archive(User(f"u{n}")) for n in range(20)]
        found, *nothing = await asyncio.gather(journal.untold_archive(USER), *others)
        assert found is not None
        assert found.id == archive_id
        assert nothing == [None] * 20


async def test_a_look_that_fails_is_told_to_all_who_wait_and_the_next_one_is_made(tmp_path: Path) -> None:
    """Nobody is taken for a newcomer because the disk can't be read."""
    disk = SlowDisk()
    disk.go_on.set()
    async with opened(tmp_path, disk=disk) as journal:
        disk.error = OSError(5, "Input/output error")
        asked = [journal.untold_archive(User(f"u{n}")) for n in range(3)]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, JournalUnavailableError)
        disk.error = None
        assert await journal.untold_archive(User("u1")) is None


async def test_a_journal_that_is_closed_looks_for_nobody(tmp_path: Path) -> None:
    """It says so to each who asks."""
    journal = make_journal(tmp_path)
    await journal.start()
    await journal.close()
    for number in range(2):
        with pytest.raises(JournalUnavailableError):
            await asyncio.wait_for(journal.untold_archive(User(f"u{number}")), 10)
