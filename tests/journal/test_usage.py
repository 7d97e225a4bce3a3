"""What one user's dialogs may take on the disk: how it is counted, and when it is counted again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server.journal import Conversation, JournalUnavailableError, UserFullError
from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.layout import Layout
from modules.chat_server.journal.usage import BLOCK_BYTES, Usage
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.support import FIRST, SECOND, USER, dialogs_of, message, opened
from tests.support.clock import ManualClock

LIMIT = 10 * BLOCK_BYTES


class CountingDisk(Disk):
    """Counts how often a user's folder was measured; each takes a second of the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(fsync=False)
        self.measured = 0
        self._clock = clock

    def sizes(self, folder: Path, leaving_out: str = "") -> list[int]:
        if leaving_out:
            self.measured += 1
            self._clock._elapsed_s += 1.0
        return super().sizes(folder, leaving_out)


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def old_files(data: Path, size: int) -> Path:
    """A file of a user whom no journal has seen yet."""
    path = dialogs_of(data) / "archived" / "2020-01-01-00-00-00.yaml"
    put(path, size)
    return path


async def test_what_was_there_before_counts(tmp_path: Path) -> None:
    """Archives and what was set aside, each in whole blocks; nothing but ordinary files in both folders."""
    folder = dialogs_of(tmp_path)
    for number in range(7):
        put(folder / "archived" / f"2020-01-01-00-00-0{number}.yaml", 10)
    put(folder / "current.torn-2020-01-01-00-00-00", BLOCK_BYTES + 1)
    elsewhere = tmp_path / "elsewhere"
    put(elsewhere / "big", LIMIT)
    (folder / "linked").symlink_to(elsewhere / "big")
    (folder / "archived" / "linked.yaml").symlink_to(elsewhere / "big")
    put(folder / "archived" / "kept by hand" / "big.yaml", LIMIT)
    os.mkfifo(folder / "archived" / "pipe.yaml")
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        await journal.add_message(USER, message(0, "x" * (BLOCK_BYTES - 1000)), FIRST)
        with pytest.raises(UserFullError):
            await journal.add_message(USER, message(2, "x" * 1000), FIRST)
        (folder / "current.torn-2020-01-01-00-00-00").unlink()
        await journal.add_message(USER, message(2, "x" * 1000), FIRST)


def test_a_linked_folder_is_not_looked_into(tmp_path: Path) -> None:
    """A link in the place of `archived` could lead to all of the machine."""
    put(tmp_path / "elsewhere" / "big.yaml", LIMIT)
    (tmp_path / "archived").symlink_to(tmp_path / "elsewhere")
    assert Disk(fsync=False).sizes(tmp_path / "elsewhere") == [LIMIT]
    assert Disk(fsync=False).sizes(tmp_path / "archived") == []
    assert Disk(fsync=False).sizes(tmp_path / "nowhere") == []


async def test_a_folder_is_measured_once_and_then_kept_in_step(tmp_path: Path) -> None:
    """Appends and archives are counted as they come, exactly as measuring would find them."""
    clock = ManualClock()
    disk = CountingDisk(clock)
    async with opened(tmp_path, user_bytes=LIMIT, disk=disk, clock=clock) as journal:
        for number in range(10):
            conversation = Conversation(f"sse-1-{number:09d}", FIRST.started_ms)
            await journal.add_message(USER, message(0), conversation)
            await journal.add_message(USER, message(1), conversation)
            await journal.archive_conversation(USER)
        assert disk.measured == 1
        with pytest.raises(UserFullError):
            await journal.add_message(USER, message(0), FIRST)
        measured = Usage(LIMIT, disk, Layout(tmp_path), clock)
        measured.measure("a1")
        assert measured._by_user["a1"].others_bytes == LIMIT
        assert journal._tools.usage._by_user["a1"].others_bytes == LIMIT


async def test_an_archive_counts_with_its_footer(tmp_path: Path) -> None:
    """It may take a block more than the dialog did."""
    without_text = len(emit_head(FIRST, "a1") + emit_message(message(0, "")))
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        await journal.add_message(USER, message(0, "x" * (BLOCK_BYTES - without_text)), FIRST)
        assert (dialogs_of(tmp_path) / "current.yaml").stat().st_size == BLOCK_BYTES
        await journal.archive_conversation(USER)
        assert journal._tools.usage._by_user["a1"].others_bytes == 2 * BLOCK_BYTES


async def test_a_deleted_archive_takes_no_room(tmp_path: Path) -> None:
    """Nobody needs to measure the folder for that."""
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        ids = []
        for conversation in (FIRST, SECOND):
            await journal.add_message(USER, message(0, "x" * BLOCK_BYTES), conversation)
            ids.append(await journal.archive_conversation(USER))
        for archive_id, left in zip(ids, (2 * BLOCK_BYTES, 0), strict=True):
            assert await journal.delete_archive(USER, archive_id or "")
            assert journal._tools.usage._by_user["a1"].others_bytes == left


async def test_who_deletes_files_needs_no_restart(tmp_path: Path) -> None:
    """A folder that seems full is measured again before anybody is refused."""
    old = old_files(tmp_path, LIMIT)
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        with pytest.raises(UserFullError):
            await journal.add_message(USER, message(0), FIRST)
        assert not (dialogs_of(tmp_path) / "current.yaml").exists(), "nothing was begun"
        assert list((tmp_path / "open").iterdir()) == []
        old.unlink()
        await journal.add_message(USER, message(0), FIRST)


async def test_measuring_takes_a_bounded_share_of_the_time(tmp_path: Path) -> None:
    """A full user who tries again and again is measured once in twenty times of what that takes."""
    old_files(tmp_path, LIMIT)
    clock = ManualClock()
    disk = CountingDisk(clock)
    async with opened(tmp_path, user_bytes=LIMIT, disk=disk, clock=clock) as journal:
        for _ in range(50):
            with pytest.raises(UserFullError):
                await journal.add_message(USER, message(0), FIRST)
            await clock.advance(1)
        assert disk.measured == 3
    usage = Usage(LIMIT, disk, Layout(tmp_path), clock)
    assert [usage.measure_again("a1") for _ in range(2)] == [True, False]
    await clock.advance(20)
    assert usage.measure_again("a1")


async def test_the_open_dialog_counts_once(tmp_path: Path) -> None:
    """By its own size, also where it was there before the folder was measured."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0, "x" * 4 * BLOCK_BYTES), FIRST)
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        await journal.add_message(USER, message(2, "x" * 4 * BLOCK_BYTES), FIRST)


async def test_what_is_set_aside_counts(tmp_path: Path) -> None:
    """A torn tail, or a file that somebody has spoiled, takes room like any other."""
    async with opened(tmp_path, user_bytes=LIMIT) as journal:
        await journal.add_message(USER, message(0), FIRST)
        with (dialogs_of(tmp_path) / "current.yaml").open("ab") as file:
            file.write(b"x" * LIMIT)
        await journal.get_conversation(USER)
        with pytest.raises(UserFullError):
            await journal.add_message(USER, message(2), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0"]


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.EACCES])
async def test_a_folder_that_can_not_be_measured_refuses_and_service_resumes(
    tmp_path: Path, error: int
) -> None:
    """503, nothing is kept, and the next message is."""
    disk = FaultyDisk(Fault("sizes", error=error))
    async with opened(tmp_path, user_bytes=LIMIT, disk=disk) as journal:
        with pytest.raises(JournalUnavailableError) as refused:
            await journal.add_message(USER, message(0), FIRST)
        assert refused.value.detail == "Your dialogs can't be measured now, so the message was not kept."
        assert await journal.get_conversation(USER) == []
        await journal.add_message(USER, message(0), FIRST)
        await journal.add_message(USER, message(1), SECOND)


async def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """The user asked about least lately is forgotten, and measured when it is needed."""
    usage = Usage(LIMIT, Disk(fsync=False), Layout(tmp_path), ManualClock(), remembered=2)
    for user in ("a", "b"):
        usage.measure(user)
    usage.check("a", 1)
    usage.measure("c")
    assert [usage.knows(user) for user in "abc"] == [True, False, True]
    usage.check("b", LIMIT + 1)  # forgotten just now: let through, once


async def test_without_a_limit_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`limits.user_bytes: 0`."""

    def fail(*_: Any, **__: Any) -> list[int]:
        raise AssertionError("measured")

    monkeypatch.setattr(Disk, "sizes", fail)
    old_files(tmp_path, LIMIT)
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        await journal.archive_conversation(USER)
