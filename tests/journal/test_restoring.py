"""An archive becomes the open dialog again: by every journal, and on disk with one copy at every moment."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    DialogFullError,
    DialogueJournal,
    JournalError,
    JournalUnavailableError,
    Reason,
)
from modules.chat_server.journal.dialog_yaml import (
    MAX_FILE_BYTES,
    MAX_MESSAGES,
    emit_footer,
    emit_head,
    emit_message,
)
from modules.chat_server.journal.errors import (
    ArchiveIsCurrentError,
    ArchiveLaidOutError,
    ConversationEndedError,
)
from potoserver import User
from tests.faults.disk import Fault, FaultyDisk, How, Stopped
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    assert_each_once,
    dialogs_of,
    load,
    make_journal,
    message,
    opened,
    yaml_files,
)

MOST_CALLS = 200
OLD = "2024-01-15-10-12-03"
"""The archive that is restored."""


async def archived(journal: DialogueJournal) -> str:
    """FIRST, archived with two messages, a title and a pin."""
    for number in (0, 1):
        await journal.add_message(USER, message(number, idempotency_key=f"k-{number}"), FIRST)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    await journal.rename_archive(USER, archive_id, "Trees")
    await journal.pin_archive(USER, archive_id, pinned=True)
    return archive_id


async def test_a_restored_dialog_goes_on_and_is_archived_once(journal: DialogueJournal) -> None:
    """Under its own conversation, with its title and its pin; as if it had never ended."""
    archive_id = await archived(journal)
    restored = await journal.restore_archive(USER, archive_id)
    assert restored is not None
    assert (restored.dialog.conversation, restored.dialog.messages, restored.superseded) == (FIRST, 2, None)
    assert (await journal.list_archives(USER, 10, None)).archives == ()
    assert await journal.get_archive(USER, archive_id) is None
    await journal.add_message(USER, message(2), FIRST)
    assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-1", "m-2"]
    again = await journal.archive_conversation(USER, FIRST.id, reason=Reason.DISCONNECT)
    assert again is not None
    (summary,) = (await journal.list_archives(USER, 10, None)).archives
    assert (summary.id, summary.title, summary.pinned) == (again, "Trees", True)
    assert (summary.message_count, summary.reason) == (3, Reason.DISCONNECT)
    assert await journal.archive_conversation(USER, FIRST.id) == again


async def test_what_was_current_is_archived_as_superseded(journal: DialogueJournal) -> None:
    """And a late message of it neither enters nor ends the restored one."""
    archive_id = await archived(journal)
    await journal.add_message(USER, message(2), SECOND)
    restored = await journal.restore_archive(USER, archive_id)
    assert restored is not None
    assert restored.superseded is not None
    superseded = await journal.get_archive(USER, restored.superseded)
    assert superseded is not None
    assert (superseded.conversation, superseded.reason) == (SECOND, Reason.SUPERSEDED)
    with pytest.raises(ConversationEndedError):
        await journal.add_message(USER, message(4), SECOND)
    assert len(await journal.get_conversation(USER)) == 2


async def test_what_cannot_be_restored_changes_nothing(journal: DialogueJournal) -> None:
    """No such archive, or another user's: what is current stays open."""
    archive_id = await archived(journal)
    await journal.add_message(USER, message(2), SECOND)
    for user, wanted in ((USER, "2000-01-01-00-00-00"), (USER, "../current"), (User("b2"), archive_id)):
        assert await journal.find_restorable(user, wanted) is None
        assert await journal.restore_archive(user, wanted) is None
    found = await journal.recover(USER)
    assert found is not None
    assert found.conversation == SECOND
    assert len((await journal.list_archives(USER, 10, None)).archives) == 1


async def test_a_key_is_found_in_a_restored_dialog(journal: DialogueJournal) -> None:
    """A repeat of an old call still gets its first answer, and once the dialog is archived again."""
    archive_id = await archived(journal)
    assert await journal.find_keyed(USER, "k-0", 0) is not None
    await journal.restore_archive(USER, archive_id)
    found = await journal.find_keyed(USER, "k-0", 0)
    assert found is not None
    assert found.reply is not None
    await journal.archive_conversation(USER)
    assert await journal.find_keyed(USER, "k-0", 0) == found


async def test_a_dialog_that_is_full_can_be_restored_but_not_added_to(memory_path: Path) -> None:
    """Its words can be read and it can be ended; a further message says why not."""
    async with opened(memory_path) as journal:
        await journal.add_message(USER, message(0, "x" * (16 * 1024 * 1024 - 1400)), FIRST)
        archive_id = await journal.archive_conversation(USER)
        assert archive_id is not None
        await journal.restore_archive(USER, archive_id)
        with pytest.raises(DialogFullError):
            await journal.add_message(USER, message(1, "x" * 1000), FIRST)
        assert await journal.archive_conversation(USER) is not None
    assert_each_once(memory_path, {"m-0"})


@pytest.mark.parametrize("fits", [True, False])
async def test_what_is_restored_has_room_for_its_next_end(memory_path: Path, fits: bool) -> None:
    """An import or a title may fill a file; a longer reason would make it larger than what is read."""
    begin = emit_head(FIRST, USER.id)
    room = len(emit_footer(0, Reason.SUPERSEDED, MAX_MESSAGES))
    more = MAX_FILE_BYTES - room - len(begin + emit_message(message(0, ""))) + (not fits)
    data = begin + emit_message(message(0, "x" * more)) + emit_footer(FIRST.started_ms, Reason.REQUEST, 1)
    async with opened(memory_path) as journal:
        await archived(journal)
        path = dialogs_of(memory_path) / "archived" / f"{OLD}.yaml"
        path.write_bytes(data)
        if fits:
            assert await journal.restore_archive(USER, OLD) is not None
            await journal.archive_conversation(USER, reason=Reason.SUPERSEDED)
        else:
            with pytest.raises(DialogFullError, match="can't go on"):
                await journal.restore_archive(USER, OLD)
            assert path.read_bytes() == data
        assert len((await journal.list_archives(USER, 10, None)).archives) == 1


async def test_restoring_is_not_held_up_by_a_users_limit(memory_path: Path) -> None:
    """It takes no room; and what it takes is counted once."""
    async with opened(memory_path, user_bytes=2 * 4096) as journal:
        archive_id = await archived(journal)
        await journal.add_message(USER, message(2), SECOND)
        restored = await journal.restore_archive(USER, archive_id)
        assert restored is not None
        await journal.add_message(USER, message(4), FIRST)


async def test_an_older_copy_of_what_is_current_is_refused(memory_path: Path) -> None:
    """Else the dialog would be there twice under one name."""
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
        folder = dialogs_of(memory_path) / "archived"
        copy = folder / "2020-01-01-00-00-00.yaml"
        shutil.copy(folder / f"{archive_id}.yaml", copy)
        await journal.restore_archive(USER, archive_id)
        for refused in (journal.find_restorable, journal.restore_archive):
            with pytest.raises(ArchiveIsCurrentError) as caught:
                await refused(USER, copy.stem)
            assert caught.value.status == 409
        assert copy.exists()
        assert len(await journal.get_conversation(USER)) == 2


async def test_an_archive_laid_out_by_hand_is_refused_and_left(memory_path: Path) -> None:
    """Where its end can't be cut off, nothing is touched, the current dialog least."""
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(memory_path) / "archived" / f"{archive_id}.yaml"
        data = path.read_bytes()
        end = data.index(b"ended: ")
        path.write_bytes(data[end:] + data[:end])
        await journal.add_message(USER, message(2), SECOND)
        for refused in (journal.find_restorable, journal.restore_archive):
            with pytest.raises(ArchiveLaidOutError):
                await refused(USER, archive_id)
        assert path.read_bytes() == data[end:] + data[:end]
        assert len(await journal.get_conversation(USER)) == 1


@pytest.mark.parametrize("added", [b'note: "mine"\n', b"# mine\n"])
async def test_what_a_person_has_added_behind_the_end_does_not_go_with_it(
    memory_path: Path, added: bytes
) -> None:
    """Restoring cuts the end off; what stands there of somebody's own would be lost, so it is refused."""
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(memory_path) / "archived" / f"{archive_id}.yaml"
        data = path.read_bytes() + added
        path.write_bytes(data)
        with pytest.raises(ArchiveLaidOutError):
            await journal.restore_archive(USER, archive_id)
        assert path.read_bytes() == data


async def test_what_would_swallow_the_next_message_is_refused_and_left(memory_path: Path) -> None:
    """All of the dialog is there, but before its end stands what a message can't follow."""
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(memory_path) / "archived" / f"{archive_id}.yaml"
        data = path.read_bytes().replace(b"\nended: ", b"\nnotes:\nended: ")
        path.write_bytes(data)
        with pytest.raises(ArchiveLaidOutError):
            await journal.restore_archive(USER, archive_id)
        assert path.read_bytes() == data


async def test_a_restore_that_was_done_though_it_seemed_to_fail_is_found_by_the_next_message(
    tmp_path: Path,
) -> None:
    """The conversation is open again, though it was archived lately and nobody has said otherwise."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        archive_id = await archived(journal)
        cut, look = (Fault(call, "*/current.yaml", error=errno.EIO) for call in ("flush", "read"))
        disk.faults.set(cut, look)
        with pytest.raises(JournalUnavailableError):
            await journal.restore_archive(USER, archive_id)
        assert disk.faults.reached == 2
        await journal.add_message(USER, message(2), FIRST)
        assert len(await journal.get_conversation(USER)) == 3


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
async def test_an_end_laid_out_in_another_way_is_cut_off_too(memory_path: Path, newline: bytes) -> None:
    """Other line ends, quotes, order and blank lines add nothing."""
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(memory_path) / "archived" / f"{archive_id}.yaml"
        data = path.read_bytes().replace(b'reason: "request"', b"reason: 'request'").replace(b"\n", newline)
        path.write_bytes(data + newline * 2)
        assert await journal.restore_archive(USER, archive_id) is not None
        await journal.add_message(USER, message(2), FIRST)
        assert len(await journal.get_conversation(USER)) == 3


async def test_a_backup_made_of_hard_links_keeps_what_it_held(memory_path: Path) -> None:
    """Archives never change under a backup; the restored dialog grows in a file of its own."""
    async with opened(memory_path / "data") as journal:
        archive_id = await archived(journal)
        path = dialogs_of(memory_path / "data") / "archived" / f"{archive_id}.yaml"
        backup = memory_path / "backup.yaml"
        os.link(path, backup)
        before = backup.read_bytes()
        await journal.restore_archive(USER, archive_id)
        await journal.add_message(USER, message(2), FIRST)
        await journal.archive_conversation(USER)
    assert backup.read_bytes() == before
    assert_each_once(memory_path / "data", {"m-0", "m-1", "m-2"})


async def test_what_somebody_puts_there_at_the_last_moment_is_not_replaced(memory_path: Path) -> None:
    """It is the dialog then, and the archive stays one."""
    current = dialogs_of(memory_path) / "current.yaml"

    class Planting(FaultyDisk):
        looked = 0

        @override
        def find(self, path: Path) -> os.stat_result | None:
            if path == current:
                self.looked += 1
                if self.looked == 2:
                    current.write_bytes(emit_head(SECOND, "a1") + emit_message(message(8)))
            return super().find(path)

    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
    async with opened(memory_path, disk=Planting()) as journal:
        with pytest.raises(JournalUnavailableError):
            await journal.restore_archive(USER, archive_id)
        assert await journal.get_conversation(USER) == [message(8)]
        assert await journal.get_archive(USER, archive_id) is not None


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (errno.ENOSPC, 507, "The disk is full; the archive could not be restored. Nothing of it is lost."),
        (errno.EIO, 503, "The archive can't be restored at the moment. Nothing of it is lost."),
    ],
)
async def test_a_failing_disk_is_told(memory_path: Path, error: int, status: int, told: str) -> None:
    """And the archive is one still, after a restart too; then it is restored."""
    disk = FaultyDisk()
    async with opened(memory_path) as journal:
        archive_id = await archived(journal)
    async with opened(memory_path, disk=disk) as journal:
        disk.faults.set(Fault("rename", error=error))
        with pytest.raises(JournalError) as failed:
            await journal.restore_archive(USER, archive_id)
        assert (failed.value.status, failed.value.detail) == (status, told)
        assert await journal.get_archive(USER, archive_id) is not None
        assert await journal.restore_archive(USER, archive_id) is not None


async def test_an_end_that_is_cut_off_though_a_call_failed_is_a_restoring(memory_path: Path) -> None:
    """What is found on the disk counts."""
    disk = FaultyDisk()
    async with opened(memory_path, disk=disk) as journal:
        archive_id = await archived(journal)
        disk.faults.set(Fault("flush", "*/current.yaml", error=errno.EIO, how="after"))
        restored = await journal.restore_archive(USER, archive_id)
        assert restored is not None
        assert restored.dialog.conversation == FIRST
        assert len(await journal.get_conversation(USER)) == 2


@pytest.mark.parametrize("killed", [False, True])
async def test_a_restoring_that_comes_to_nothing_gives_the_archive_its_old_name(
    memory_path: Path, killed: bool
) -> None:
    """Also where an earlier one of that second has gone meanwhile: it is another's id, in the user's eyes."""
    disk = FaultyDisk()
    journal = make_journal(memory_path, disk=disk)
    await journal.start()
    first = await archived(journal)
    await journal.add_message(USER, message(2), SECOND)
    second = await journal.archive_conversation(USER)
    assert second == f"{first}-2"
    await journal.delete_archive(USER, first)
    fault = Fault("truncate", "*/current.yaml", **({"stop": True} if killed else {"error": errno.EIO}))
    disk.faults.set(fault)
    with pytest.raises(Stopped if killed else JournalUnavailableError):
        await journal.restore_archive(USER, second)
    disk.faults.set()
    disk.faults.stopped = False
    await journal.close()
    async with opened(memory_path) as again:
        assert await again.recover(USER) is None
        assert await again.archive_ids(USER) == [second]


async def test_a_restoring_is_logged_with_its_subject(memory_path: Path) -> None:
    """Which archive became which conversation."""
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        archive_id = await archived(journal)
        await journal.restore_archive(USER, archive_id)
    assert log.entries[-1] == {
        "logger": "journal:archive",
        "level": "info",
        "event": "archive restored",
        "user": "a1",
        "archive": archive_id,
        "conversation": FIRST.id,
        "messages": 2,
    }


async def test_the_disk_is_asked_in_the_right_order(memory_path: Path) -> None:
    """The marker with the old name before the move, both names durable, and only then is the end cut off."""
    disk = FaultyDisk()
    changing = {"sync_folder", "open", "write", "flush", "rename", "remove", "truncate"}
    async with opened(memory_path, disk=disk) as journal:
        archive_id = await archived(journal)
        disk.calls.clear()
        await journal.restore_archive(USER, archive_id)
        dialogs = "users/a1/dialogs"
        assert [
            (name, target.removeprefix(f"{memory_path}/")) for name, target in disk.calls if name in changing
        ] == [
            ("open", "open/a1"),
            ("write", "open/a1"),
            ("flush", "open/a1"),
            ("sync_folder", "open"),
            ("rename", f"{dialogs}/current.yaml"),
            ("sync_folder", dialogs),
            ("sync_folder", f"{dialogs}/archived"),
            ("open", f"{dialogs}/current.yaml"),
            ("truncate", f"{dialogs}/current.yaml"),
            ("flush", f"{dialogs}/current.yaml"),
        ]


async def everything(journal: DialogueJournal, tries: int) -> list[JournalError]:
    """Restores over an open dialog, goes on, renames, pins, deletes; each repeated until it succeeds."""
    errors: list[JournalError] = []

    async def repeat(step, *arguments, **options):  # type: ignore[no-untyped-def]  # any of the journal's methods
        for _ in range(tries - 1):
            try:
                return await step(*arguments, **options)
            except JournalError as error:
                errors.append(error)
        return await step(*arguments, **options)

    if await repeat(journal.restore_archive, USER, OLD) is None:
        # An earlier try had failed when it was done, and so had looking whether it was.
        found = await journal.recover(USER)
        assert found is not None
        assert found.conversation == FIRST
    await repeat(journal.add_message, USER, message(4), FIRST)
    first = await repeat(journal.archive_conversation, USER, FIRST.id)
    await repeat(journal.rename_archive, USER, first, "Woods")
    await repeat(journal.pin_archive, USER, first, pinned=False)
    page = await repeat(journal.list_archives, USER, 10, None)
    (second,) = (each.id for each in page.archives if each.id != first)
    await repeat(journal.delete_archive, USER, second)
    return errors


async def lay(data: Path) -> None:
    """FIRST archived, SECOND open."""
    async with opened(data, disk=FaultyDisk()) as journal:
        await archived(journal)
        await journal.add_message(USER, message(2), SECOND)


@pytest.mark.parametrize(("how", "call"), [("before", ""), ("half", "write"), ("after", "")])
@pytest.mark.parametrize(
    ("error", "times"),
    [
        (errno.EIO, 1),
        pytest.param(errno.EIO, 4, marks=pytest.mark.long),
        pytest.param(errno.ENOSPC, 1, marks=pytest.mark.long),
        pytest.param(errno.ENOSPC, 4, marks=pytest.mark.long),
    ],
)
async def test_each_call_fails(memory_path: Path, error: int, how: How, call: str, times: int) -> None:
    """Whichever call of restore, rename, pin and delete fails: a repeat succeeds, and there is one of all."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        await lay(data)
        disk = FaultyDisk()
        async with opened(data, disk=disk) as journal:
            disk.faults.set(Fault(call, at=at, times=times, error=error, how=how))
            errors = await everything(journal, tries=times + 2)
            reached = disk.faults.reached > 0
            disk.faults.set()
        _check(data, finished=True)
        assert all(each.status == (507 if error == errno.ENOSPC else 503) for each in errors)
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("there are more calls than the loop allows")


@pytest.mark.parametrize(("how", "call"), [("half", "write"), ("after", "")])
async def test_the_process_ends_at_each_call(memory_path: Path, how: How, call: str) -> None:
    """Wherever it ends, every dialog is in one file, every file loads, and the user can do it again."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        await lay(data)
        disk = FaultyDisk()
        journal = make_journal(data, disk=disk)
        await journal.start()
        disk.faults.set(Fault(call, at=at, how=how, stop=True))
        try:
            await everything(journal, tries=1)
        except Stopped:
            reached = True
        else:
            reached = False
        disk.faults.set()
        disk.faults.stopped = False  # the kernel gives the lock back
        await journal.close()
        async with opened(data, disk=FaultyDisk()) as again:
            await again.recover(USER)
            _check(data, finished=not reached)
            for each in (await again.list_archives(USER, 10, None)).archives:
                if each.conversation == FIRST:
                    assert await again.restore_archive(USER, each.id) is not None
            await again.archive_conversation(USER)
            _check(data, finished=not reached)
            assert list((data / "open").iterdir()) == []
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("there are more calls than the loop allows")


def _check(data: Path, *, finished: bool) -> None:
    assert_each_once(data, {"m-0", "m-1"})
    if finished:
        (loaded,) = yaml_files(data).values()
        assert [each["id"] for each in loaded["messages"]] == ["m-0", "m-1", "m-4"]
        assert loaded["title"] == "Woods"
        assert "pinned" not in loaded
    for path in data.rglob("*.yaml"):
        load(path)
