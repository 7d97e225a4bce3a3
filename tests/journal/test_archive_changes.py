"""Titles, pins and deletion of archives, by every journal; on disk nothing else is touched."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from modules.chat_server.journal import (
    ArchiveSummary,
    Conversation,
    DialogueJournal,
    JournalError,
    JournalUnavailableError,
    Reason,
    UserFullError,
    archive_changes,
)
from modules.chat_server.journal.errors import ArchiveLaidOutError, DialogFullError
from modules.chat_server.journal.records import Dialog, ImportedDialog
from potoserver import User
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.readers import python_readers
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    message,
    opened,
    yaml_files,
)

OTHER = User("b2")


async def archived(journal: DialogueJournal, conversation: Conversation = FIRST, number: int = 0) -> str:
    """An archive of two messages."""
    await journal.add_message(
        USER, message(number, f"text {number}", idempotency_key=f"k-{number}"), conversation
    )
    await journal.add_message(USER, message(number + 1), conversation)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    return archive_id


async def listed(journal: DialogueJournal, **options: bool) -> list[ArchiveSummary]:
    return list((await journal.list_archives(USER, 100, None, **options)).archives)


async def test_a_title_is_given_and_taken_away(journal: DialogueJournal) -> None:
    """Everything else of the archive stays, and without a title it is called by its first words."""
    archive_id = await archived(journal)
    before = await journal.get_archive(USER, archive_id)
    named = await journal.rename_archive(USER, archive_id, 'Trees: "old" ones 🌳')
    assert named is not None
    assert (named.title, named.shown_title) == ('Trees: "old" ones 🌳',) * 2
    assert await listed(journal) == [named]
    again = await journal.rename_archive(USER, archive_id, "Woods")
    assert again is not None
    assert again.shown_title == "Woods"
    plain = await journal.rename_archive(USER, archive_id, None)
    assert plain is not None
    assert (plain.title, plain.shown_title) == (None, "text 0")
    assert await journal.get_archive(USER, archive_id) == before


async def test_a_title_may_be_meant_for_an_archive_without_one_alone(journal: DialogueJournal) -> None:
    """What its user has called it stays."""
    archive_id = await archived(journal)
    named = await journal.rename_archive(USER, archive_id, "Trees", only_untitled=True)
    assert named is not None
    assert named.title == "Trees"
    assert await journal.rename_archive(USER, archive_id, "Woods", only_untitled=True) is None
    assert await listed(journal) == [named]


async def test_a_pin_is_set_and_taken_away_and_can_be_listed(journal: DialogueJournal) -> None:
    """Alone or without the pinned ones, page by page."""
    ids = [
        await archived(journal, Conversation(f"sse-{number}-aaaaaaaaa", FIRST.started_ms), number)
        for number in (0, 2, 4, 6)
    ]
    for archive_id in ids[1:3]:
        pinned = await journal.pin_archive(USER, archive_id, pinned=True)
        assert pinned is not None
        assert pinned.pinned
    assert [each.id for each in await listed(journal, pinned=True)] == [ids[2], ids[1]]
    assert [each.id for each in await listed(journal, pinned=False)] == [ids[3], ids[0]]
    assert [each.pinned for each in await listed(journal)] == [False, True, True, False]
    first = await journal.list_archives(USER, 1, None, pinned=True)
    assert first.cursor is not None
    second = await journal.list_archives(USER, 1, first.cursor, pinned=True)
    assert [each.id for each in (*first.archives, *second.archives)] == [ids[2], ids[1]]
    await journal.pin_archive(USER, ids[1], pinned=False)
    assert [each.id for each in await listed(journal, pinned=True)] == [ids[2]]


async def test_title_and_pin_do_not_touch_each_other(journal: DialogueJournal) -> None:
    """In whatever order they are set."""
    archive_id = await archived(journal)
    await journal.pin_archive(USER, archive_id, pinned=True)
    await journal.rename_archive(USER, archive_id, "Trees")
    await journal.pin_archive(USER, archive_id, pinned=False)
    await journal.pin_archive(USER, archive_id, pinned=True)
    (summary,) = await listed(journal)
    assert (summary.title, summary.pinned) == ("Trees", True)


async def test_a_deleted_archive_is_gone(journal: DialogueJournal) -> None:
    """The others stay; a page goes on behind it; a repeat finds nothing."""
    ids = [await archived(journal), await archived(journal, SECOND, 2)]
    page = await journal.list_archives(USER, 1, None)
    assert page.cursor == ids[1]
    assert await journal.delete_archive(USER, ids[1]) is True
    assert await journal.get_archive(USER, ids[1]) is None
    assert await journal.delete_archive(USER, ids[1]) is False
    rest = await journal.list_archives(USER, 10, page.cursor)
    assert [each.id for each in rest.archives] == [ids[0]] == [each.id for each in await listed(journal)]


async def test_no_other_archive_gets_the_id_of_one_that_is_gone(journal: DialogueJournal) -> None:
    """Of a deleted one, or of one that was restored: who still shows it would hit the other. Its own may."""
    first = await archived(journal)
    assert await journal.delete_archive(USER, first)
    second = await archived(journal, SECOND, 2)
    assert (second, await journal.get_archive(USER, first)) == (f"{first}-2", None)
    third = await archived(journal, Conversation("c-3", FIRST.started_ms), 4)
    assert await journal.restore_archive(USER, second)
    given = [
        ImportedDialog(Dialog(each, USER.id, (message(6),), FIRST.started_ms + 6, Reason.REQUEST), first, "x")
        for each in (Conversation("c-4", FIRST.started_ms), FIRST)
    ]
    imported = (await journal.import_archives(USER, given)).imported
    ids = {each.conversation.id: each.id for each in imported}
    assert (third, ids) == (f"{first}-3", {"c-4": f"{first}-4", FIRST.id: first})
    assert await journal.archive_conversation(USER) == second


async def test_a_key_of_a_deleted_archive_is_new_again(journal: DialogueJournal) -> None:
    """Also when its conversation is imported and has its id again: an import brings no keys."""
    archive_id = await archived(journal)
    assert await journal.find_keyed(USER, "k-0", 0) is not None
    await journal.delete_archive(USER, archive_id)
    assert await journal.find_keyed(USER, "k-0", 0) is None
    again = Dialog(FIRST, USER.id, (message(0), message(1)), FIRST.started_ms + 1, Reason.REQUEST)
    imported = (await journal.import_archives(USER, [ImportedDialog(again, archive_id, "x")])).imported
    assert [each.id for each in imported] == [archive_id]
    assert await journal.find_keyed(USER, "k-0", 0) is None


@pytest.mark.parametrize(
    "archive_id", ["2024-01-15-10-12-03-2", "../current", "", ".anew", "2024-01-15-10-12-03/"]
)
async def test_what_is_no_archive_is_not_changed(journal: DialogueJournal, archive_id: str) -> None:
    """Nor is another user's."""
    kept = await archived(journal)
    before = await journal.get_archive(USER, kept)
    for user, wanted in ((USER, archive_id), (OTHER, kept)):
        assert await journal.rename_archive(user, wanted, "x") is None
        assert await journal.pin_archive(user, wanted, pinned=True) is None
        assert await journal.delete_archive(user, wanted) is False
    assert await journal.get_archive(USER, kept) == before


async def test_each_change_is_logged_with_its_subject(tmp_path: Path) -> None:
    """Which archive of whom, and what it is now; a title's words are not told."""
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        archive_id = await archived(journal)
        log.entries.clear()
        await journal.rename_archive(USER, archive_id, "Trees")
        await journal.pin_archive(USER, archive_id, pinned=True)
        await journal.rename_archive(USER, archive_id, None)
        await journal.delete_archive(USER, archive_id)
    about = {"logger": "journal:archive", "level": "info", "user": "a1", "archive": archive_id}
    marked = {**about, "event": "archive marked"}
    assert log.entries == [
        {**marked, "pinned": False, "titled": True},
        {**marked, "pinned": True, "titled": True},
        {**marked, "pinned": True, "titled": False},
        {**about, "event": "archive deleted"},
    ]


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (errno.ENOSPC, 507, "The disk is full, so the archive was not changed."),
        (errno.EIO, 503, "The archive can't be changed at the moment; it is as it was."),
    ],
)
async def test_a_failing_disk_is_told(tmp_path: Path, error: int, status: int, told: str) -> None:
    """And the archive is as it was."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        archive_id = await archived(journal)
        disk.faults.set(Fault("write", error=error))
        with pytest.raises(JournalError) as failed:
            await journal.rename_archive(USER, archive_id, "Trees")
        assert (failed.value.status, failed.value.detail) == (status, told)
        assert [archive.title for archive in await listed(journal)] == [None]


async def test_a_title_may_take_the_last_byte_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused, and the archive is as it was."""
    async with opened(tmp_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        size = path.stat().st_size + len('title: "Trees"\n')
        monkeypatch.setattr(archive_changes, "MAX_FILE_BYTES", size)
        with pytest.raises(DialogFullError, match="no room for the title"):
            await journal.rename_archive(USER, archive_id, "Trees!")
        assert b"title" not in path.read_bytes()
        await journal.rename_archive(USER, archive_id, "Trees")
        assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("before", "keep", "expired"),
    [
        (None, None, ""),
        (3, None, "ba"),
        (3.001, None, "edba"),
        (99, None, "edba"),
        (None, 0, "edba"),
        (None, 1, "dba"),
        (None, 2, "ba"),
        (None, 3, "a"),
        (None, 4, ""),
        (None, 9, ""),
        (1.001, 2, "ba"),
        (2, 2, "ba"),
        (1.001, 9, "a"),
        (3, 1, "dba"),
    ],
)
async def test_archives_expire_by_age_and_by_number(
    journal: DialogueJournal, before: float | None, keep: int | None, expired: str
) -> None:
    """The newest stay, as many as are asked for, and those that have ended since; a pinned one always."""
    began_ms = FIRST.started_ms + 1000
    names: dict[str, str] = {}
    for name, ended_s in (("a", 1), ("b", 2), ("c", 2.5), ("d", 3), ("e", 3)):
        await journal.add_message(USER, message(0), Conversation(f"sse-{name}", FIRST.started_ms))
        archive_id = await journal.archive_conversation(USER, ended_ms=began_ms + round(ended_s * 1000))
        assert archive_id is not None
        names[archive_id] = name
        if name == "c":
            await journal.pin_archive(USER, archive_id, pinned=True)
    before_ms = None if before is None else began_ms + round(before * 1000)
    found = await journal.expired_archives(USER, before_ms, keep)
    assert "".join(names[archive.id] for archive in found) == expired
    assert await journal.expired_archives(OTHER, 0, 0) == []


async def test_what_can_not_be_read_expires_not_and_counts_for_nothing(tmp_path: Path) -> None:
    """A person has to look at it: it is not deleted either. Once the journal is closed nothing expires."""
    async with opened(tmp_path) as journal:
        ids = []
        for number in range(3):
            await journal.add_message(USER, message(0), Conversation(f"sse-{number}", FIRST.started_ms))
            ids.append(await journal.archive_conversation(USER))
        spoiled = dialogs_of(tmp_path) / "archived" / f"{ids[2]}.yaml"
        spoiled.write_bytes(b"?")
        expired = await journal.expired_archives(USER, None, 1)
        assert not await journal.delete_archive(USER, spoiled.stem)
        assert spoiled.read_bytes() == b"?"
    assert [archive.id for archive in expired] == ids[:1]
    with pytest.raises(JournalUnavailableError):
        await journal.expired_archives(USER, None, 1)


async def test_whoever_has_anything_is_a_user(journal: DialogueJournal) -> None:
    """Whatever the id is made of; once."""
    assert list(await journal.stored_users()) == []
    for user in (OTHER, User("a/b ü"), USER):
        await journal.add_message(user, message(0), Conversation(f"sse-{user.id}", FIRST.started_ms))
    await journal.archive_conversation(USER)
    assert sorted(await journal.stored_users()) == ["a/b ü", "a1", "b2"]


async def test_deleting_makes_room(tmp_path: Path) -> None:
    """Who is refused for `limits.user_bytes` deletes an archive and goes on, with nothing measured again."""
    async with opened(tmp_path, user_bytes=3 * 4096) as journal:
        ids = [await archived(journal), await archived(journal, SECOND, 2)]
        third = Conversation("sse-3-ccccccccc", FIRST.started_ms)
        await journal.add_message(USER, message(4), third)
        with pytest.raises(UserFullError, match="delete archives"):
            await journal.add_message(USER, message(6, "x" * 5000), third)
        await journal.delete_archive(USER, ids[0])
        await journal.add_message(USER, message(6, "x" * 5000), third)


async def test_every_other_byte_and_the_mode_stay(tmp_path: Path) -> None:
    """Only lines of the head come and go."""
    async with opened(tmp_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.chmod(0o640)
        before = path.read_bytes()
        await journal.rename_archive(USER, archive_id, "Trees")
        await journal.pin_archive(USER, archive_id, pinned=True)
        assert path.read_bytes() == before.replace(
            b"messages:\n", b'title: "Trees"\npinned: true\nmessages:\n', 1
        )
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        await journal.rename_archive(USER, archive_id, None)
        await journal.pin_archive(USER, archive_id, pinned=False)
        assert path.read_bytes() == before
        assert sorted(each.name for each in path.parent.iterdir()) == [path.name]


EDITED = """\
# my notes on this one
conversation: sse-1705313523120-aaaaaaaaa
started: 2024-01-15T10:12:03.120Z  # a time that YAML would take for one is quoted below
user: a1
pinned: true
messages:
  - {role: user, content: "Hello!", id: m-0, timestamp: "2024-01-15T10:12:04.001Z"}
ended: "2024-01-15T10:30:00.000Z"
reason: request
message_count: 1
""".replace("started: 2024-01-15T10:12:03.120Z", 'started: "2024-01-15T10:12:03.120Z"')


async def test_what_a_person_has_written_into_a_file_stays(tmp_path: Path) -> None:
    """Comments, another order and another style survive a change of the title."""
    async with opened(tmp_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_text(EDITED)
        named = await journal.rename_archive(USER, archive_id, "Trees")
        assert named is not None
        assert (named.title, named.pinned) == ("Trees", True)
        assert path.read_text() == EDITED.replace(
            "pinned: true\nmessages:", 'title: "Trees"\npinned: true\nmessages:'
        )


@pytest.mark.parametrize("added", ['title: "Mine"\n', "pinned: false\ntitle: Mine", '"title": "Mine"\n'])
async def test_a_title_that_a_person_has_added_at_the_end_is_there_once(tmp_path: Path, added: str) -> None:
    """Readers of YAML 1.2 refuse a file in which a name is there twice; so it moves to its place."""
    async with opened(tmp_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_text(path.read_text() + added)
        pinned = await journal.pin_archive(USER, archive_id, pinned=True)
        assert pinned is not None
        assert (pinned.title, pinned.pinned) == ("Mine", True)
        for read in python_readers().values():
            loaded = read(path.read_text())
            assert (loaded["title"], loaded["pinned"], len(loaded["messages"])) == ("Mine", True, 2)
        named = await journal.rename_archive(USER, archive_id, None)
        assert named is not None and named.title is None
        assert "Mine" not in path.read_text()


async def test_pinned_archives_are_not_looked_for_in_a_folder_that_has_not_changed(tmp_path: Path) -> None:
    """Ten thousand archives are looked through once, not at each view of a page; a pin is seen at once."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        ids = [await archived(journal), await archived(journal, SECOND, 2)]
        folder = dialogs_of(tmp_path) / "archived"

        async def looked_into(settled: bool) -> tuple[list[str], int]:
            if settled:
                os.utime(folder, (1_700_000_000, 1_700_000_000 + len(disk.calls)))
            disk.calls.clear()
            page = await journal.list_archives(USER, 10, None, pinned=True)
            return [each.id for each in page.archives], len(set(disk.targets("read")))

        assert await looked_into(settled=True) == ([], 2)
        assert await looked_into(settled=False) == ([], 0)
        await journal.pin_archive(USER, ids[0], pinned=True)
        assert await looked_into(settled=False) == ([ids[0]], 2)
        assert await looked_into(settled=True) == ([ids[0]], 2)
        assert await looked_into(settled=False) == ([ids[0]], 1)
        await journal.pin_archive(USER, ids[0], pinned=False)
        assert await looked_into(settled=False) == ([], 2)


async def test_a_layout_that_cannot_be_changed_is_told_and_left(tmp_path: Path) -> None:
    """A file in which there is no line for it is 409, byte for byte as it was."""
    inline = (
        '{conversation: "c", user: "a1", started: "2024-01-15T10:12:03.120Z", messages: [{role: user, '
        'content: "x", id: "m", timestamp: "2024-01-15T10:12:03.120Z"}], '
        'ended: "2024-01-15T10:12:03.120Z", reason: request, message_count: 1}\n'
    )
    async with opened(tmp_path) as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_text(inline)
        with pytest.raises(ArchiveLaidOutError) as caught:
            await journal.rename_archive(USER, archive_id, "Trees")
        assert caught.value.status == 409
        assert path.read_text() == inline


async def test_a_full_archive_can_be_pinned_and_named(tmp_path: Path) -> None:
    """The room that each dialog leaves for its end is enough for its marks."""
    async with opened(tmp_path) as journal:
        size = 16 * 1024 * 1024 - 1400
        await journal.add_message(USER, message(0, "x" * size), FIRST)
        with pytest.raises(JournalError, match="largest size"):
            await journal.add_message(USER, message(1, "x" * 500), FIRST)
        archive_id = await journal.archive_conversation(USER)
        assert archive_id is not None
        await journal.rename_archive(USER, archive_id, "🌳" * 200)
        await journal.pin_archive(USER, archive_id, pinned=True)
        (summary,) = await listed(journal)
    assert (summary.title, summary.pinned) == ("🌳" * 200, True)


async def test_what_a_crash_left_of_a_change_is_no_archive_and_goes(tmp_path: Path) -> None:
    """Half a file beside the archives is never read, and the next change of the user clears it."""
    async with opened(tmp_path) as journal:
        ids = [await archived(journal), await archived(journal, SECOND, 2)]
        left = dialogs_of(tmp_path) / "archived" / ".anew"
        left.write_bytes(b'conversation: "half')
        assert len(await listed(journal)) == 2
        await journal.pin_archive(USER, ids[0], pinned=True)
        assert not left.exists()
        left.write_bytes(b"secret")
        await journal.delete_archive(USER, ids[1])
        assert not left.exists()
    assert len(yaml_files(tmp_path)) == 1


async def test_something_odd_in_the_place_of_half_a_change(tmp_path: Path) -> None:
    """A link there is replaced, not followed; with a folder there titles wait, and nothing else does."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    async with opened(tmp_path / "data") as journal:
        archive_id = await archived(journal)
        odd = dialogs_of(tmp_path / "data") / "archived" / ".anew"
        odd.symlink_to(secret)
        assert await journal.rename_archive(USER, archive_id, "Trees") is not None
        assert secret.read_bytes() == b"secret"
        odd.mkdir()
        with pytest.raises(JournalError) as caught:
            await journal.rename_archive(USER, archive_id, "Woods")
        assert caught.value.status == 503
        assert [each.title for each in await listed(journal)] == ["Trees"]
        await journal.add_message(USER, message(2), SECOND)


async def test_a_link_in_an_archives_place_is_not_changed(tmp_path: Path) -> None:
    """Nor what it leads to."""
    secret = tmp_path / "secret.yaml"
    async with opened(tmp_path / "data") as journal:
        archive_id = await archived(journal)
        path = dialogs_of(tmp_path / "data") / "archived" / f"{archive_id}.yaml"
        path.rename(secret)
        path.symlink_to(secret)
        before = secret.read_bytes()
        assert await journal.rename_archive(USER, archive_id, "x") is None
        assert await journal.delete_archive(USER, archive_id) is False
        assert path.is_symlink()
        assert secret.read_bytes() == before
