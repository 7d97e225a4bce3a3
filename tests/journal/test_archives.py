"""Archives to the last one: where pages end, what is read at all, and what is told of each."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from pathlib import Path

import pytest

from modules.chat_server.journal import Conversation, JournalUnavailableError, archives, pins
from modules.chat_server.journal.layout import last_ms_of
from modules.chat_server.journal.pins import PinIndex
from modules.chat_server.journal.references import ReferenceIndex
from modules.chat_server.journal.stored import StoredArchive
from potoserver import User
from tests.faults.disk import Fault, FaultyDisk
from tests.support.clock import ManualClock

from .support import FIRST, SECOND, USER, LogRecord, dialogs_of, message, opened


async def archived(data: Path, count: int, clock: ManualClock, **options: object) -> list[str]:
    """Makes archives a minute apart; their ids, oldest first."""
    ids = []
    async with opened(data, clock=clock, **options) as journal:
        for number in range(count):
            await journal.add_message(USER, message(0), Conversation(f"c-{number}", FIRST.started_ms))
            archive_id = await journal.archive_conversation(USER)
            assert archive_id is not None
            ids.append(archive_id)
            await clock.advance(60)
    return ids


@pytest.mark.parametrize(("limit", "last_of_page"), [(1, 2), (2, 1), (3, None), (4, None)])
async def test_only_a_page_that_others_follow_has_a_cursor(
    tmp_path: Path, limit: int, last_of_page: int | None
) -> None:
    """It is the last id of the page; a page that ends with the oldest archive has none."""
    ids = await archived(tmp_path, 3, ManualClock())
    async with opened(tmp_path) as journal:
        page = await journal.list_archives(USER, limit, None)
    assert page.cursor == (None if last_of_page is None else ids[last_of_page])


async def test_archives_of_one_second_are_in_the_order_of_their_suffixes(tmp_path: Path) -> None:
    """As numbers; and what bears the name of an archive without being a file of one is none."""
    (archive_id,) = await archived(tmp_path, 1, ManualClock())
    folder = dialogs_of(tmp_path) / "archived"
    for number in range(2, 12):
        (folder / f"{archive_id}-{number}.yaml").write_bytes((folder / f"{archive_id}.yaml").read_bytes())
    (folder / archive_id).mkdir()
    newest_first = [*(f"{archive_id}-{number}" for number in range(11, 1, -1)), archive_id]
    async with opened(tmp_path) as journal:
        assert await journal.archive_ids(USER) == newest_first
        page = await journal.list_archives(USER, 100, None)
        assert [archive.id for archive in page.archives] == newest_first


async def test_archives_from_before_are_not_even_read(tmp_path: Path) -> None:
    """A search since a moment looks only at what ended in that second or later."""
    clock = ManualClock()
    ids = await archived(tmp_path, 4, clock)
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk, clock=clock) as journal:
        await journal.find_keyed(USER, "k", clock.now_ms() - 120_000)
    read = [Path(path).stem for name, path in disk.calls if name == "read" and "archived" in path]
    assert read == [ids[3], ids[2]]


async def test_a_told_mark_of_strange_bytes_tells_again(tmp_path: Path) -> None:
    """Whatever a crash has left there."""
    ids = await archived(tmp_path, 1, ManualClock())
    (tmp_path / "users" / "a1" / ".told").write_bytes(b"\xff\xfe\x00")
    async with opened(tmp_path) as journal:
        untold = await journal.untold_archive(USER)
        assert untold is not None
        assert untold.id == ids[0]


async def test_a_told_mark_holds_the_last_id_alone(tmp_path: Path) -> None:
    """Also where the one before was longer."""
    clock = ManualClock()
    ids = await archived(tmp_path, 1, clock)
    async with opened(tmp_path, clock=clock) as journal:
        await journal.mark_told(USER, f"{ids[0]}-123456")
        await journal.mark_told(USER, ids[0])
        assert await journal.untold_archive(USER) is None


async def test_a_told_mark_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    """What it points to is neither read nor written."""
    data, other = tmp_path / "data", tmp_path / "other"
    ids = await archived(data, 1, ManualClock())
    other.write_text(ids[0])
    (data / "users" / "a1" / ".told").symlink_to(other)
    async with opened(data) as journal:
        assert await journal.untold_archive(USER) is not None
        await journal.mark_told(USER, f"{ids[0]}-2")
    assert other.read_text() == ids[0]


async def test_an_archive_that_cant_be_read_is_reported_with_the_reason(tmp_path: Path) -> None:
    """So that a person can mend it."""
    await archived(tmp_path, 1, ManualClock())
    (path,) = (dialogs_of(tmp_path) / "archived").iterdir()
    path.write_bytes(path.read_bytes().replace(b"  content:", b"  contents:"))
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        assert await journal.get_archive(USER, path.stem) is None
    assert log.entries[-1] == {
        "logger": "journal:archive",
        "level": "warning",
        "event": "archive can't be read",
        "file": str(path),
        "why": "`content` is missing or no text",
    }


@pytest.mark.parametrize("error", [errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM])
async def test_what_can_not_be_opened_is_no_archive(tmp_path: Path, error: int) -> None:
    """Something odd stands in its place; the disk does well, so the user is not told to come again."""
    (archive_id,) = await archived(tmp_path, 1, ManualClock())
    disk = FaultyDisk(Fault("read", path="*archived/*", error=error))
    async with opened(tmp_path, disk=disk) as journal:
        assert await journal.get_archive(USER, archive_id) is None
        assert await journal.get_archive(USER, archive_id) is not None


async def test_each_archive_that_cant_be_read_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many, the one reported longest ago is reported again."""
    monkeypatch.setattr(archives, "_REPORTED_LIMIT", 2)
    one, two, three = await archived(tmp_path, 3, ManualClock())
    for path in (dialogs_of(tmp_path) / "archived").iterdir():
        path.write_bytes(b"?")
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        for archive_id in (one, two, one, two, three, two, three, one):
            assert await journal.get_archive(USER, archive_id) is None
    assert [Path(entry["file"]).stem for entry in log.entries] == [one, two, three, one]


async def test_a_reply_is_found_with_the_conversation_that_it_stands_in(tmp_path: Path) -> None:
    """The question's own, or a later one; none while there is no reply."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0, idempotency_key="own"), FIRST)
        await journal.add_message(USER, message(1), FIRST)
        await journal.add_message(USER, message(2, idempotency_key="late"), FIRST)
        found = await journal.find_keyed(USER, "late", 0)
        assert found is not None
        assert (found.conversation, found.reply, found.replied_in) == (FIRST, None, None)
        await journal.archive_conversation(USER)
        await journal.add_message(USER, message(3, reply_to="m-2"), SECOND)
        for key, where in (("own", FIRST), ("late", SECOND)):
            found = await journal.find_keyed(USER, key, 0)
            assert found is not None
            assert (found.conversation, found.replied_in) == (FIRST, where)
            assert found.reply is not None


async def test_a_clock_that_is_behind_ends_at_the_last_archives_very_moment(tmp_path: Path) -> None:
    """Not at the end of its second, however large that archive is."""
    clock = ManualClock()
    async with opened(tmp_path, clock=clock) as journal:
        await journal.add_message(USER, message(0, "x" * 5000), FIRST)
        first = await journal.archive_conversation(USER)
        ended_ms = clock.now_ms()
    async with opened(tmp_path, clock=ManualClock(ended_ms - 60_000)) as journal:
        await journal.add_message(USER, message(0), Conversation(SECOND.id, ended_ms - 60_000))
        second = await journal.archive_conversation(USER)
        assert second == f"{first}-2"
        dialog = await journal.get_archive(USER, second)
        assert dialog is not None
        assert dialog.ended_ms == ended_ms


@pytest.mark.parametrize(
    ("archive_id", "last_ms"),
    [
        ("1970-01-01-00-01-00", 60_999),
        ("1970-01-01-00-01-00-12", 60_999),
        ("2024-01-15-10-12-03", 1_705_313_523_999),
        ("2024-13-15-10-12-03", 0),
    ],
)
def test_a_name_stands_for_a_second_of_utc(
    archive_id: str, last_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the server stands, whatever suffix it has; no name of our own is no moment."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert last_ms_of(archive_id) == last_ms
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_index_counts_what_it_holds() -> None:
    """An archive of just the limit is kept; one that is read again counts once; what goes makes room."""
    index = ReferenceIndex(limit=6)
    lines = frozenset({b"1"})
    full = frozenset({b"1", b"2", b"3", b"4", b"5"})
    index.add("u", "full", full)
    assert index.find("u", "full") == full
    for name in ("a", "a", "a", "b", "c"):
        index.add("u", name, lines)
    assert [index.find("u", name) for name in ("full", "a", "b", "c")] == [None, lines, lines, lines]
    for name in ("d", "e", "f", "g"):
        index.add("u", name, lines)
    assert [name for name in "abcdefg" if index.find("u", name)] == ["e", "f", "g"]


def test_which_archives_may_be_pinned_is_remembered_of_a_folder_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of as many users as may be, those asked about last; while the folder bears the time that it bore."""
    now_ns = 1_705_313_523_120_000_000
    monkeypatch.setattr(pins.time, "time_ns", lambda: now_ns)
    index, at_rest, ids = PinIndex(limit=2), now_ns - 1_000_000_000, frozenset({"one"})
    index.keep("hasty", at_rest + 1, ids)
    index.keep("many", at_rest, frozenset(map(str, range(1001))))
    assert [index.find(user, at_rest) for user in ("many", "nobody")] == [None, None]
    assert index.find("hasty", at_rest + 1) is None
    index.keep("many", at_rest, frozenset(map(str, range(1000))))
    assert len(index.find("many", at_rest) or ()) == 1000
    for user in ("a", "b"):
        index.keep(user, at_rest, ids)
    assert (index.find("a", at_rest + 1), index.find("a", at_rest)) == (None, ids)
    index.keep("c", at_rest, frozenset())
    assert [index.find(user, at_rest) for user in ("many", "a", "b", "c")] == [None, ids, None, frozenset()]
    index.keep("a", at_rest, ids)
    index.keep("d", at_rest, ids)
    assert [index.find(user, at_rest) for user in ("a", "c", "d")] == [ids, None, ids]


async def test_a_disk_that_fails_ends_a_visit(tmp_path: Path) -> None:
    """With an error, and not as if there were no more; the next one is served again."""
    clock = ManualClock()
    ids = await archived(tmp_path, 3, clock)
    disk = FaultyDisk()
    seen: list[str] = []

    def visit(stored: StoredArchive) -> bool:
        seen.append(stored.id)
        return True

    async with opened(tmp_path, disk=disk, clock=clock) as journal:
        disk.faults.set(Fault(at=2, call="read", error=errno.EIO))
        with pytest.raises(JournalUnavailableError):
            await journal.visit_archives(USER, ids, visit)
        assert seen == ids[:1]
        await journal.visit_archives(USER, ids, visit)
    assert seen == [ids[0], *ids]


async def test_what_can_not_be_read_is_shown_without_bytes_and_what_is_gone_not_at_all(
    tmp_path: Path,
) -> None:
    """So that whoever looks can tell that there is something; what is gone is not shown at all."""
    clock = ManualClock()
    ids = await archived(tmp_path, 3, clock)
    folder = dialogs_of(tmp_path) / "archived"
    (folder / f"{ids[0]}.yaml").unlink()
    (folder / f"{ids[1]}.yaml").rename(tmp_path / "elsewhere")
    (folder / f"{ids[1]}.yaml").symlink_to(tmp_path / "elsewhere")
    seen: list[StoredArchive] = []
    async with opened(tmp_path, clock=clock) as journal:
        await journal.visit_archives(USER, ids, lambda stored: seen.append(stored) is None)
    assert [stored.id for stored in seen] == ids[1:]
    assert (seen[0].data, seen[0].dialog()) == (b"", None)
    assert (folder / f"{ids[2]}.yaml").read_bytes() == seen[1].data


async def test_nobody_waits_for_those_who_look_through_archives(tmp_path: Path) -> None:
    """By whatever number, and however long: the same user and others go on talking, and archive."""
    clock = ManualClock()
    ids = await archived(tmp_path, 1, clock)
    looking, enough = threading.Event(), threading.Event()

    def visit(_: StoredArchive) -> bool:
        looking.set()
        return not enough.wait(20)

    async with opened(tmp_path, clock=clock) as journal:
        visiting = [asyncio.create_task(journal.visit_archives(USER, ids, visit)) for _ in range(12)]
        assert await asyncio.to_thread(looking.wait, 20)
        try:
            async with asyncio.timeout(10):
                for user in (USER, User("b2")):
                    await journal.add_message(user, message(0), SECOND)
                    assert await journal.archive_conversation(user) is not None
            assert not any(visit.done() for visit in visiting)
        finally:
            enough.set()
            await asyncio.gather(*visiting)
