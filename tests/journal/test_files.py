"""The folder: who owns it, who may read it, what else may lie in it, and what outside hands do to it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    ConversationEndedError,
    JournalError,
    Message,
    Reason,
)
from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from modules.chat_server.journal.disk import Disk
from potoserver import User
from tests.faults.disk import FaultyDisk
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    load,
    make_journal,
    message,
    opened,
)
from tests.support.clock import ManualClock


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177, 0o277])
async def test_folders_and_files_are_the_owners_alone(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, folders are 0700 and files 0600."""
    data = tmp_path / "deep" / "data"
    before = os.umask(umask)
    try:
        async with opened(data) as journal:
            await journal.add_message(USER, message(0), FIRST)
            await journal.archive_conversation(USER)
            (dialogs_of(data) / "current.yaml").write_bytes(b"junk")
            await journal.add_message(USER, message(2), SECOND)
    finally:
        os.umask(before)
    found = [tmp_path / "deep", data, *data.rglob("*")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()}
    assert modes == {0o700}
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in found
        if path.is_file() and "unreadable" not in path.name  # that one was written by this test
    }
    assert modes == {0o600}


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """While a journal holds the folder, another one's start says who is in the way."""
    async with opened(tmp_path / "data") as journal:
        second = make_journal(tmp_path / "data")
        with pytest.raises(JournalError, match="another potoserver process"):
            await second.start()
        await second.close()
        await journal.add_message(USER, message(0), FIRST)
    async with opened(tmp_path / "data") as journal:
        assert len(await journal.get_conversation(USER)) == 1


async def test_another_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    """The lock is the kernel's: it keeps another process out, and ends with a killed one."""
    script = (
        "import fcntl, os, sys\n"
        "lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        journal = make_journal(tmp_path)
        with pytest.raises(JournalError, match="another potoserver process"):
            await journal.start()
        process.kill()
        process.wait()
        assert list(await journal.start()) == []
        await journal.close()


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A path that is no folder stops the start with a sentence that names it."""
    (tmp_path / "data").write_text("a file")
    journal = make_journal(tmp_path / "data")
    with pytest.raises(JournalError, match="can't be used: Not a directory") as caught:
        await journal.start()
    assert str(tmp_path / "data") in caught.value.detail
    await journal.close()


async def test_start_looks_at_no_user(tmp_path: Path) -> None:
    """The start's calls don't grow with the users that exist."""
    async with opened(tmp_path) as journal:
        for number in range(20):
            await journal.add_message(User(f"u{number}"), message(0), FIRST)
            await journal.archive_conversation(User(f"u{number}"))
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk):
        assert not [target for _, target in disk.calls if f"{tmp_path}/users/" in target]


async def test_every_file_stays_in_its_users_folder(tmp_path: Path) -> None:
    """Ids that look like paths make a folder of their own right under `users`, and touch nothing else."""
    ids = ["../../etc/passwd", "/etc", "..", ".", "a/b", "a", "A", "a\0b", "~", "x" * 200, "con ", "é"]
    async with opened(tmp_path / "data") as journal:
        for user_id in ids:
            await journal.add_message(User(user_id), message(0), FIRST)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    folders = [path.name for path in (tmp_path / "data" / "users").iterdir()]
    assert len(folders) == len(ids)
    assert len({name.casefold() for name in folders}) == len(ids)
    for name in folders:
        assert load(dialogs_of(tmp_path / "data", name) / "current.yaml")["user"] in ids


async def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    """Whatever stands under an archive's name, the next free suffix is used."""
    archived = dialogs_of(tmp_path) / "archived"
    archived.mkdir(parents=True)
    (archived / "2024-01-15-10-12-03.yaml").write_text("mine")
    (archived / "2024-01-15-10-12-03-2.yaml").mkdir()
    (archived / "2024-01-15-10-12-03-3.yaml").symlink_to("nowhere")
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        assert await journal.archive_conversation(USER) == "2024-01-15-10-12-03-4"
    assert (archived / "2024-01-15-10-12-03.yaml").read_text() == "mine"


async def test_foreign_files_among_the_archives_are_passed_over(tmp_path: Path) -> None:
    """Names that are no archive's are skipped; an archive that can't be read is skipped and reported once."""
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(0, idempotency_key="k"), FIRST)
        await journal.archive_conversation(USER)
        archived = dialogs_of(tmp_path) / "archived"
        for name in (
            "notes.txt",
            "x.yaml",
            "2024-01-15.yaml",
            "2024-01-15-10-12-03-1.yaml",
            "2024-01-15-10-12-03.yml",
        ):
            (archived / name).write_text("k")
        (archived / "2024-01-16-00-00-00.yaml").write_text("k: junk [")
        (archived / "2024-01-17-00-00-00.yaml").write_bytes(b"")
        for _ in range(2):
            page = await journal.list_archives(USER, 10, None)
            assert [each.id for each in page.archives] == ["2024-01-15-10-12-03"]
        assert await journal.get_archive(USER, "2024-01-16-00-00-00") is None
        assert await journal.find_keyed(USER, "k", 0) is not None
        page = await journal.list_archives(USER, 1, None)
        assert [each.id for each in page.archives] == ["2024-01-15-10-12-03"]
    warnings = [entry for entry in log.entries if entry["event"] == "archive can't be read"]
    assert sorted(Path(entry["file"]).stem for entry in warnings) == [
        "2024-01-16-00-00-00",
        "2024-01-17-00-00-00",
    ]


async def test_a_list_reads_heads_and_tails_alone(tmp_path: Path) -> None:
    """A page's cost doesn't grow with the dialogs' length."""
    disk = FaultyDisk()
    sizes: list[int] = []
    original = disk.read

    def read(path: Path, size: int, offset: int = 0) -> bytes:
        data = original(path, size, offset)
        sizes.append(len(data))
        return data

    disk.read = read  # type: ignore[method-assign]
    async with opened(tmp_path, disk=disk) as journal:
        for number in range(20):
            await journal.add_message(USER, message(number, "x" * 50_000), FIRST)
        await journal.archive_conversation(USER)
        sizes.clear()
        page = await journal.list_archives(USER, 10, None)
    assert page.archives[0].message_count == 20
    assert sum(sizes) < 10_000


async def test_an_archive_that_a_person_edited_is_read(tmp_path: Path) -> None:
    """Comments and another layout don't hide an archive."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        archive_id = await journal.archive_conversation(USER, reason=Reason.TIMEOUT)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_text("# mine\n" + path.read_text().replace('"text 0"', "'edited'") + "# end\n" * 500)
        page = await journal.list_archives(USER, 10, None)
        assert [(each.id, each.reason, each.message_count) for each in page.archives] == [
            (archive_id, Reason.TIMEOUT, 1)
        ]
        dialog = await journal.get_archive(USER, page.archives[0].id)
        assert dialog is not None
        assert dialog.messages[0].content == "edited"


def head_and(*messages: Message, conversation: Conversation = FIRST) -> bytes:
    return emit_head(conversation, "a1") + b"".join(map(emit_message, messages))


async def test_an_outside_edit_that_is_whole_goes_on(tmp_path: Path) -> None:
    """A dialog edited by hand is taken as it now stands, and grows from there."""
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        await journal.add_message(USER, message(1), FIRST)
        current.unlink()
        current.write_bytes(head_and(message(8, "edited")))
        kept = await journal.add_message(USER, message(2), FIRST)
        assert kept.timestamp_ms == message(8).timestamp_ms
        assert [each.content for each in await journal.get_conversation(USER)] == ["edited", "text 2"]
        archive_id = await journal.archive_conversation(USER)
    assert load(dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml")["message_count"] == 2
    assert list(dialogs_of(tmp_path).glob("current.*-*")) == []


@pytest.mark.parametrize(
    "edited",
    [
        b"junk",
        head_and(message(0), message(1), conversation=SECOND),
        b"[" * 100_000,
    ],
)
async def test_any_other_outside_edit_is_set_aside(tmp_path: Path, edited: bytes) -> None:
    """What somebody put in the dialog's place is kept aside and reported, and the conversation goes on."""
    log = LogRecord()
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        current.write_bytes(edited)
        await journal.add_message(USER, message(2), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-2"]
    assert [path.read_bytes() for path in dialogs_of(tmp_path).glob("current.unreadable-*")] == [edited]
    assert log.events()[1:3] == ["open dialog was changed from outside", "file set aside"]
    assert (log.entries[1]["user"], log.entries[1]["conversation"]) == ("a1", FIRST.id)


async def test_another_conversation_in_the_dialogs_place_is_said_to_be_that(tmp_path: Path) -> None:
    """It is a dialog, so nothing else would tell why it was set aside."""
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        data = head_and(message(0), message(1), conversation=SECOND)
        (dialogs_of(tmp_path) / "current.yaml").write_bytes(data)
        await journal.add_message(USER, message(2), FIRST)
    assert log.entries[2]["why"] == "it is another conversation"


async def test_no_message_comes_behind_a_footer_written_from_outside(tmp_path: Path) -> None:
    """The dialog has ended, as by the server itself."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        with (dialogs_of(tmp_path) / "current.yaml").open("ab") as file:
            file.write(emit_footer(FIRST.started_ms + 9000, Reason.REQUEST, 1))
        with pytest.raises(ConversationEndedError):
            await journal.add_message(USER, message(1), FIRST)
        (archive,) = (await journal.list_archives(USER, 10, None)).archives
        assert archive.message_count == 1


async def test_a_file_changed_in_place_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    """Bytes overwritten at the same length are not taken for a dialog."""
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        current.write_bytes(b"[" * current.stat().st_size)
        assert await journal.get_conversation(USER) == []
        await journal.add_message(USER, message(2), FIRST)


@pytest.mark.parametrize("how", ["removed", "emptied", "folder removed"])
async def test_a_dialog_that_somebody_removed_begins_anew(tmp_path: Path, how: str) -> None:
    """A missing file is reported, and the next message is kept as the first."""
    log = LogRecord()
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path, log=log) as journal:
        await journal.add_message(USER, message(0), FIRST)
        if how == "emptied":
            current.write_bytes(b"")
        else:
            current.unlink()
        if how == "folder removed":
            (dialogs_of(tmp_path) / "archived").rmdir()
            dialogs_of(tmp_path).rmdir()
            (tmp_path / "users" / "a1").rmdir()
        assert await journal.archive_conversation(USER, FIRST.id) is None
        assert list((tmp_path / "open").iterdir()) == []
        await journal.add_message(USER, message(2), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-2"]
        assert await journal.archive_conversation(USER, FIRST.id) is not None
    assert "open dialog was changed from outside" in log.events()


async def test_a_footer_written_from_outside_ends_the_dialog(tmp_path: Path) -> None:
    """A person who ends a dialog by hand gets it archived with what was written."""
    current = dialogs_of(tmp_path) / "current.yaml"
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        with current.open("ab") as file:
            file.write(emit_footer(FIRST.started_ms + 9000, Reason.REQUEST, 1))
        assert await journal.archive_conversation(USER, FIRST.id) == "2024-01-15-10-12-12"


async def test_a_dialog_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dialog at its limit takes no more, says so, and can be archived."""
    monkeypatch.setattr("modules.chat_server.journal.user_dialogs.MAX_FILE_BYTES", 4000)
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0, "x" * 2000), FIRST)
        with pytest.raises(JournalError, match="largest size"):
            await journal.add_message(USER, message(1, "x" * 2000), FIRST)
        assert len(await journal.get_conversation(USER)) == 1
        assert await journal.archive_conversation(USER) is not None
        with pytest.raises(JournalError, match="largest size"):
            await journal.add_message(USER, message(2, "x" * 5000), SECOND)
    assert list((tmp_path / "open").iterdir()) == []


async def test_a_dialog_may_grow_to_the_last_byte_of_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept free is the footer's; a dialog that would begin beyond that begins not at all."""
    size = len(emit_head(FIRST, "a1") + emit_message(message(0)))
    limit = "modules.chat_server.journal.user_dialogs.MAX_FILE_BYTES"
    async with opened(tmp_path) as journal:
        monkeypatch.setattr(limit, size + 1023)
        with pytest.raises(JournalError, match="largest size"):
            await journal.add_message(USER, message(0), FIRST)
        monkeypatch.setattr(limit, size + 1024)
        await journal.add_message(USER, message(0), FIRST)


async def test_an_archive_is_named_for_its_end(tmp_path: Path) -> None:
    """The name is the UTC second of the end, whatever the zone and the time it was written."""
    clock = ManualClock(start_ms=1_705_314_600_999)
    async with opened(tmp_path, clock=clock) as journal:
        await journal.add_message(USER, message(0), FIRST)
        assert await journal.archive_conversation(USER) == "2024-01-15-10-30-00"
    loaded = load(dialogs_of(tmp_path) / "archived" / "2024-01-15-10-30-00.yaml")
    assert list(loaded) == ["conversation", "user", "started", "messages", "ended", "reason", "message_count"]
    assert loaded["ended"] == "2024-01-15T10:30:00.999Z"


@pytest.mark.parametrize("torn", [False, True])
async def test_what_the_user_was_told_outlives_a_restart(tmp_path: Path, torn: bool) -> None:
    """In a file of its own, for the owner alone; where that is torn, the archive is told again."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        archive_id = await journal.archive_conversation(USER)
        assert archive_id is not None
        await journal.mark_told(USER, archive_id)
    told = tmp_path / "users" / "a1" / ".told"
    assert told.read_text() == f"{archive_id}\n"
    assert told.stat().st_mode & 0o777 == 0o600
    if torn:
        told.write_text(archive_id[:7])
    async with opened(tmp_path) as journal:
        assert (await journal.untold_archive(USER) is not None) == torn


async def test_garbage_written_behind_an_open_dialog_is_cut_and_its_messages_stay(tmp_path: Path) -> None:
    """As after a crash: the whole messages go on, the rest lies aside."""
    log = LogRecord()
    dialogs = dialogs_of(tmp_path)
    async with opened(tmp_path, log=log) as journal:
        for number in (0, 1):
            await journal.add_message(USER, message(number), FIRST)
        with (dialogs / "current.yaml").open("ab") as file:
            file.write(b"garbage: [\n")
        await journal.add_message(USER, message(2), FIRST)
        kept = await journal.get_conversation(USER)
        assert [each.id for each in kept] == ["m-0", "m-1", "m-2"]
    assert [path.read_bytes() for path in dialogs.glob("current.torn-*")] == [b"garbage: [\n"]
    assert "file set aside" in log.events()


class NotOurs(Disk):
    """Refuses to read one file, as the system does for another user's."""

    name = ""

    @override
    def read(self, path: Path, size: int, offset: int = 0) -> bytes:
        if path.name == self.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return super().read(path, size, offset)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "unreadable"])
async def test_an_odd_entry_among_the_archives_is_passed_over(tmp_path: Path, kind: str) -> None:
    """The archives beside it are listed, keys are found, it is no archive, and it is reported once."""
    log, disk = LogRecord(), NotOurs(fsync=True)
    odd = "2030-11-23-14-00-00"
    async with opened(tmp_path, log=log, disk=disk) as journal:
        await journal.add_message(USER, message(0, idempotency_key="k"), FIRST)
        archive_id = await journal.archive_conversation(USER)
        path = dialogs_of(tmp_path) / "archived" / f"{odd}.yaml"
        if kind == "link":
            path.symlink_to(path.with_name(f"{archive_id}.yaml"))
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"secret")
            disk.name = path.name
        for _ in range(2):
            page = await journal.list_archives(USER, 10, None)
            assert [each.id for each in page.archives] == [archive_id]
            found = await journal.find_keyed(USER, "k", 0)
            assert found is not None and found.question.id == "m-0"
            assert await journal.get_archive(USER, odd) is None
    assert [entry["file"] for entry in log.entries if entry["level"] == "warning"] == [str(path)]


@pytest.mark.parametrize("filled", [False, True])
async def test_a_folder_in_a_markers_place_is_reported_once_and_harms_nobody(
    tmp_path: Path, filled: bool
) -> None:
    """The user is served, and nothing is left open by it."""
    log = LogRecord()
    folder = tmp_path / "open" / "a1"
    folder.mkdir(parents=True)
    if filled:
        (folder / "x").touch()
    async with opened(tmp_path, log=log) as journal:
        assert await journal.recover(USER) is None
        await journal.add_message(USER, message(0), FIRST)
        assert await journal.archive_conversation(USER) is not None
        await journal.add_message(USER, message(1), SECOND)
    (warning,) = [entry for entry in log.entries if entry["level"] == "warning"]
    assert (warning["event"], warning["file"]) == ("folder in a marker's place", str(folder))
    assert folder.is_dir()
