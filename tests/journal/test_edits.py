"""An open dialog that somebody edits, and what callers are told when the disk fails."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from modules.chat_server.journal import FileSystemDialogueJournal, JournalUnavailableError
from tests.faults.disk import Fault, FaultyDisk

from .support import FIRST, USER, LogRecord, dialogs_of, message, opened

Call = Callable[[FileSystemDialogueJournal], Awaitable[object]]


async def test_what_is_damaged_in_place_is_set_aside_and_the_whole_messages_stay(tmp_path: Path) -> None:
    """At the next reading, though the length is the same; and the dialog goes on."""
    log = LogRecord()
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        await journal.add_message(USER, message(1), FIRST)
        current.write_bytes(current.read_bytes().replace(b'  id: "m-1"', b'  iX: "m-1"'))
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0"]
        (line,) = [entry for entry in log.entries if entry["event"] == "file set aside"]
        assert line["why"] == "`id` is missing or no text"
        await journal.add_message(USER, message(2), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-2"]


async def test_a_missing_last_newline_is_added_and_no_edit_is_seen_in_it(tmp_path: Path) -> None:
    """After that the file is as long as is known."""
    log = LogRecord()
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
    current.write_bytes(current.read_bytes().removesuffix(b"\n"))
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(1), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-1"]
    assert "open dialog was changed from outside" not in log.events()


async def test_a_write_that_was_taken_back_once_costs_later_ones_nothing(tmp_path: Path) -> None:
    """The file is cut once."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault("write", error=errno.EIO, how="half"))
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(1), FIRST)
        for number in (2, 3):
            await journal.add_message(USER, message(number), FIRST)
        assert len(disk.targets("truncate")) == 1
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-2", "m-3"]


@pytest.mark.parametrize(
    ("name", "call", "told"),
    [
        ("read", lambda journal: journal.get_conversation(USER), "The dialog can't be read at the moment."),
        (
            "names",
            lambda journal: journal.list_archives(USER, 1, None),
            "The dialogs can't be read at the moment.",
        ),
        ("names", lambda journal: journal.untold_archive(USER), "The dialogs can't be read at the moment."),
        (
            "put",
            lambda journal: journal.mark_told(USER, "x"),
            "What the user was told can't be kept at the moment.",
        ),
        (
            "write",
            lambda journal: journal.add_message(USER, message(1), FIRST),
            "The dialog can't be written at the moment; the message was not kept.",
        ),
        (
            "write",
            lambda journal: journal.archive_conversation(USER),
            "The dialog could not be archived at the moment. Nothing of it is lost.",
        ),
    ],
)
async def test_a_failing_disk_is_told_by_what_could_not_be_done(
    tmp_path: Path, name: str, call: Call, told: str
) -> None:
    """503 with a text for the user, who has not asked about disks."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault(name, error=errno.EIO, times=0))
        with pytest.raises(JournalUnavailableError) as failed:
            await call(journal)
        disk.faults.set()
    assert (failed.value.status, failed.value.detail) == (503, told)
