"""An open dialog that somebody edits, and what callers are told when the disk fails."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    ConversationEndedError,
    Dialog,
    FileSystemDialogueJournal,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    Reason,
)
from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from modules.chat_server.journal.disk import Disk, Handle
from modules.chat_server.journal.records import ImportedDialog
from modules.chat_server.journal.tools import FormerIds, RecentArchives
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.fence_support import open_files

from .support import FIRST, SECOND, USER, LogRecord, dialogs_of, load, message, opened

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
    """The file is cut once, there and then."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        current = dialogs_of(tmp_path) / "current.yaml"
        before = current.read_bytes()
        disk.faults.set(Fault("write", error=errno.EIO, how="half"))
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(1), FIRST)
        assert current.read_bytes() == before
        for number in (2, 3):
            await journal.add_message(USER, message(number), FIRST)
        assert len(disk.targets("truncate")) == 1
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-2", "m-3"]


async def test_a_failed_write_gives_its_file_back_and_is_told_whatever_follows(tmp_path: Path) -> None:
    """No descriptor stays open; and neither a failing close nor a failing cut hides a full disk."""
    disk, log = FaultyDisk(), LogRecord()
    async with opened(tmp_path, disk=disk, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        descriptors = open_files()
        disk.faults.set(
            Fault("write", error=errno.ENOSPC, how="half"),
            Fault("close", error=errno.EIO),
            Fault("truncate", error=errno.EIO),
        )
        with pytest.raises(JournalFullError):
            await journal.add_message(USER, message(1), FIRST)
        assert open_files() == descriptors
        await journal.add_message(USER, message(1), FIRST)
    (warning,) = [entry for entry in log.entries if entry["event"] == "message not kept"]
    assert warning == {
        "logger": "journal:append",
        "level": "warning",
        "event": "message not kept",
        "user": "a1",
        "conversation": FIRST.id,
        "message": "m-1",
        "role": "assistant",
        "error": "OSError(28, 'No space left on device')",
    }
    loaded = load(dialogs_of(tmp_path) / "current.yaml")
    assert [each["id"] for each in loaded["messages"]] == ["m-0", "m-1"]


async def test_nothing_is_written_behind_a_footer(tmp_path: Path) -> None:
    """A message that comes while an archive is half done finds the dialog ended, and it is."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault("rename", error=errno.EIO))
        with pytest.raises(JournalUnavailableError):
            await journal.archive_conversation(USER)
        with pytest.raises(ConversationEndedError):
            await journal.add_message(USER, message(1), FIRST)
        (archive,) = (await journal.list_archives(USER, 2, None)).archives
        assert archive.message_count == 1


def archive(journal: FileSystemDialogueJournal) -> Awaitable[object]:
    return journal.archive_conversation(USER)


def append(journal: FileSystemDialogueJournal) -> Awaitable[object]:
    return journal.add_message(USER, message(1), FIRST)


def begin_another(journal: FileSystemDialogueJournal) -> Awaitable[object]:
    return journal.add_message(USER, message(1), SECOND)


@pytest.mark.parametrize(
    ("name", "error", "call", "told"),
    [
        (
            "read",
            errno.EIO,
            lambda journal: journal.get_conversation(USER),
            "The dialog can't be read at the moment.",
        ),
        (
            "names",
            errno.EIO,
            lambda journal: journal.list_archives(USER, 1, None),
            "The dialogs can't be read at the moment.",
        ),
        (
            "put",
            errno.EIO,
            lambda journal: journal.mark_told(USER, "x"),
            "What the user was told can't be kept at the moment.",
        ),
        (
            "write",
            errno.EIO,
            append,
            "The dialog can't be written at the moment; the message was not kept.",
        ),
        ("write", errno.ENOSPC, append, "The disk is full; the message was not kept. Try again later."),
        (
            "write",
            errno.EIO,
            archive,
            "The dialog could not be archived at the moment. Nothing of it is lost.",
        ),
        (
            "write",
            errno.ENOSPC,
            archive,
            "The disk is full; the dialog could not be archived yet. Nothing of it is lost.",
        ),
        (
            "write",
            errno.EIO,
            begin_another,
            "An earlier dialog can't be archived at the moment, so the message was not kept.",
        ),
        (
            "write",
            errno.ENOSPC,
            begin_another,
            "The disk is full: an earlier dialog could not be archived yet, so the message was not kept.",
        ),
    ],
)
async def test_a_failing_disk_is_told_by_what_could_not_be_done(
    tmp_path: Path, name: str, error: int, call: Call, told: str
) -> None:
    """503, or 507 where it is full, with a text for the user, who has not asked about disks."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault(name, error=error, times=0))
        with pytest.raises(JournalError) as failed:
            await call(journal)
        disk.faults.set()
    assert failed.value.status == (507 if error == errno.ENOSPC else 503)
    assert failed.value.detail == told


async def test_how_the_disk_does_is_told(tmp_path: Path) -> None:
    """What came to be on it, and each failure; reading tells of failures alone."""
    told: list[object] = []

    class Watch:
        def wrote(self) -> None:
            told.append("wrote")

        def failed(self, error: OSError) -> None:
            told.append(error.errno)

    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk, watch=Watch()) as journal:
        await journal.add_message(USER, message(0), FIRST)
        await journal.get_conversation(USER)
        disk.faults.set(Fault("read", error=errno.EIO), Fault("rename", error=errno.ENOSPC))
        with pytest.raises(JournalUnavailableError):
            await journal.get_conversation(USER)
        with pytest.raises(JournalError):
            await journal.archive_conversation(USER)
        archive_id = await journal.archive_conversation(USER)
        await journal.list_archives(USER, 1, None)
        await journal.pin_archive(USER, archive_id or "", pinned=True)
        await journal.restore_archive(USER, archive_id or "")
        for _ in range(2):  # the second time it is there
            ended = Dialog(SECOND, "a1", (message(0),), SECOND.started_ms, Reason.REQUEST)
            await journal.import_archives(USER, [ImportedDialog(ended, None, "archives.0")])
    assert told == ["wrote", errno.EIO, errno.ENOSPC, "wrote", "wrote", "wrote", "wrote"]


async def test_a_rename_that_took_effect_though_it_failed_is_no_second_archive(tmp_path: Path) -> None:
    """The next try finds the archive that it made."""
    log = LogRecord()
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault("rename", error=errno.EIO, how="after"))
        with pytest.raises(JournalUnavailableError):
            await journal.archive_conversation(USER)
        archive_id = await journal.archive_conversation(USER)
        assert archive_id is not None
        assert [path.stem for path in (dialogs_of(tmp_path) / "archived").iterdir()] == [archive_id]
        assert await journal.archive_conversation(USER, FIRST.id) == archive_id
    assert "open dialog is gone" not in log.events()


async def test_a_dialog_that_is_taken_away_in_mid_archive_is_reported_as_gone(tmp_path: Path) -> None:
    """There is no archive of it, and the user goes on."""
    log = LogRecord()
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(Fault("rename", error=errno.EIO))
        with pytest.raises(JournalUnavailableError):
            await journal.archive_conversation(USER)
        (dialogs_of(tmp_path) / "current.yaml").unlink()
        assert await journal.archive_conversation(USER) is None
        await journal.add_message(USER, message(1), SECOND)
    assert log.entries[-2] == {
        "logger": "journal:recovery",
        "level": "warning",
        "event": "open dialog is gone",
        "user": "a1",
        "conversation": FIRST.id,
    }


async def test_a_dialog_put_there_at_the_last_moment_is_found_by_the_next_call(tmp_path: Path) -> None:
    """The call in whose way it came is refused; nothing of the dialog is lost."""
    current = dialogs_of(tmp_path) / "current.yaml"

    class Planting(FaultyDisk):
        planted = False

        @override
        def open(self, path: Path, *, create: bool = False, exclusive: bool = False) -> Handle:
            if path == current and create and not self.planted:
                self.planted = True
                current.write_bytes(emit_head(SECOND, "a1") + emit_message(message(8)))
            return super().open(path, create=create, exclusive=exclusive)

    async with opened(tmp_path, disk=Planting()) as journal:
        refused, kept = await asyncio.gather(
            journal.add_message(USER, message(0), FIRST),
            journal.add_message(USER, message(1), FIRST),
            return_exceptions=True,
        )
        assert isinstance(refused, JournalUnavailableError)
        assert kept == message(1)
        (archive,) = (await journal.list_archives(USER, 10, None)).archives
        assert (archive.conversation, archive.reason) == (SECOND, Reason.SUPERSEDED)


async def test_what_is_no_file_in_a_markers_place_makes_room_for_the_marker(tmp_path: Path) -> None:
    """So that the next start finds the dialog; where one begins, and where one goes on."""
    marker = tmp_path / "open" / "a1"
    marker.parent.mkdir()
    marker.symlink_to("nowhere")
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        assert marker.is_file() and not marker.is_symlink()
    marker.unlink()
    marker.symlink_to("nowhere")
    async with opened(tmp_path) as journal:
        assert await journal.recover(USER) is not None
        assert marker.is_file() and not marker.is_symlink()


def test_the_last_archives_are_remembered() -> None:
    """As many as may be; the oldest go first."""
    recent = RecentArchives(limit=2)
    for number in range(3):
        recent.add("a1", f"c{number}", f"archive {number}")
    assert [recent.find("a1", f"c{number}") for number in range(3)] == [None, "archive 1", "archive 2"]


def test_the_last_ids_that_are_gone_are_remembered() -> None:
    """As many as may be; a user's own, each for its conversation."""
    former = FormerIds(limit=2)
    for number in range(3):
        former.add("a1", f"archive {number}", f"c{number}")
    assert [former.is_of_another("a1", f"archive {number}", "c9") for number in range(3)] == [
        False,
        True,
        True,
    ]
    assert not former.is_of_another("a1", "archive 2", "c2")
    assert not former.is_of_another("b2", "archive 2", "c9")


def test_just_the_bytes_that_were_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the system gives at a time."""
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    disk = Disk(fsync=False)
    assert disk.read(path, 10, 5) == bytes(range(5, 15))
    read_some = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read_some(file, min(size, 3), at))
    assert disk.read(path, 10, 5) == bytes(range(5, 15))
    assert disk.read(path, 1000, 95) == bytes(range(95, 100))


def test_a_file_that_is_gone_is_not_made_by_appending(tmp_path: Path) -> None:
    """It would be a dialog without its head."""
    with pytest.raises(FileNotFoundError):
        Disk(fsync=False).open(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_file_that_is_to_be_new_is_no_other_one(tmp_path: Path) -> None:
    """What somebody has put there stays as it is."""
    (tmp_path / "there").write_text("theirs")
    with pytest.raises(FileExistsError):
        Disk(fsync=False).open(tmp_path / "there", exclusive=True)
    assert (tmp_path / "there").read_text() == "theirs"


def test_what_is_no_folder_is_flushed_as_none(tmp_path: Path) -> None:
    """Its names are not durable by that."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Disk(fsync=True).sync_folder(tmp_path / "file")


def test_nothing_is_put_into_what_somebody_was_quick_to_place_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the removal of a file and its making."""
    other, place = tmp_path / "other", tmp_path / "place"
    other.write_text("theirs")
    monkeypatch.setattr(Path, "unlink", lambda path: os.link(other, path))
    with pytest.raises(FileExistsError):
        Disk(fsync=False).put(place, b"ours")
    assert other.read_text() == "theirs"
