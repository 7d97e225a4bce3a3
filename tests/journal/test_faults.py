"""Every system call of append, archive and recovery fails once, fails for a while, or is the last."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from modules.chat_server.journal import (
    Conversation,
    DialogueJournal,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    Reason,
)
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
"""More than any life below makes; the loops end where no call failed any more."""


class Life:
    """A user's life in steps, each repeated until it succeeds; notes what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.archived: dict[str, set[str]] = {FIRST.id: set(), SECOND.id: set()}
        self.errors: list[JournalError] = []

    async def live(self, journal: DialogueJournal, tries: int) -> None:
        """Two dialogs of two messages each."""
        for conversation, numbers in ((FIRST, (0, 1)), (SECOND, (2, 3))):
            for number in numbers:
                await self._repeat(tries, partial(self._add, journal, number, conversation))
            await self._repeat(tries, partial(self._archive, journal, conversation))

    async def _repeat(self, tries: int, step: Callable[[], Awaitable[None]]) -> None:
        for _ in range(tries - 1):
            try:
                return await step()
            except JournalError as error:
                self.errors.append(error)
        return await step()

    async def _add(self, journal: DialogueJournal, number: int, conversation: Conversation) -> None:
        kept = await journal.add_message(USER, message(number), conversation)
        self.acknowledged.add(kept.id)

    async def _archive(self, journal: DialogueJournal, conversation: Conversation) -> None:
        archive_id = await journal.archive_conversation(USER, conversation.id, reason=Reason.DISCONNECT)
        assert archive_id is not None
        self.archived[conversation.id].add(archive_id)


def check_loads(data: Path) -> None:
    """Every file loads, whenever it is looked at."""
    for loaded in yaml_files(data).values():
        assert isinstance(loaded["messages"], list)


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ERRORS = [
    pytest.param(errno.ENOSPC, id="ENOSPC"),
    pytest.param(errno.EIO, id="EIO"),
    pytest.param(errno.EDQUOT, id="EDQUOT", marks=pytest.mark.long),
    pytest.param(errno.EMFILE, id="EMFILE", marks=pytest.mark.long),
    pytest.param(errno.EROFS, id="EROFS", marks=pytest.mark.long),
]


@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("times", [1, 4])
async def test_each_call_fails(memory_path: Path, error: int, how: How, times: int) -> None:
    """A failing call loses nothing acknowledged; a repeat succeeds; each dialog is archived once."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        disk = FaultyDisk()
        async with opened(data, disk=disk) as journal:
            disk.faults.set(Fault(at=at, times=times, error=error, how=how))
            life = Life()
            await life.live(journal, tries=times + 2)
            reached = disk.faults.reached > 0
            disk.faults.set()
            assert journal._calls.in_use == {}
        check_loads(data)
        assert_each_once(data, {"m-0", "m-1", "m-2", "m-3"})
        archives = sorted(path.stem for path in (dialogs_of(data) / "archived").iterdir())
        assert sorted(archive_id for ids in life.archived.values() for archive_id in ids) == archives
        assert len(archives) == 2
        assert [
            item["id"] for item in load(dialogs_of(data) / "archived" / f"{archives[0]}.yaml")["messages"]
        ] in (
            ["m-0", "m-1"],
            ["m-2", "m-3"],
        )
        assert (dialogs_of(data) / "current.yaml").read_bytes() == b""
        assert list((data / "open").iterdir()) == []
        expected = JournalFullError if error in NO_ROOM else JournalUnavailableError
        assert all(isinstance(each, expected) for each in life.errors)
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("the life makes more calls than the loop allows")


@pytest.mark.parametrize("how", ["before", "half", "after"])
async def test_the_process_ends_at_each_call(memory_path: Path, how: How) -> None:
    """Wherever the process ends, every acknowledged message is in one file and no conversation in two."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        disk = FaultyDisk()
        journal = make_journal(data, disk=disk)
        await journal.start()
        disk.faults.set(Fault(at=at, how=how, stop=True))
        life = Life()
        try:
            await life.live(journal, tries=1)
        except Stopped:
            reached = True
        else:
            reached = False
        disk.faults.set()
        disk.faults.stopped = False  # the kernel gives the lock back
        await journal.close()

        again = make_journal(data)
        for user in await again.start():
            assert user == "a1"
        found = await again.recover(USER)
        check_loads(data)
        assert_each_once(data, life.acknowledged)
        if found is not None:
            await again.archive_conversation(USER, found.conversation.id, reason=Reason.RECOVERED)
        assert_each_once(data, life.acknowledged)
        assert (not (dialogs_of(data) / "current.yaml").exists()) or not (
            dialogs_of(data) / "current.yaml"
        ).read_bytes()
        assert list((data / "open").iterdir()) == []
        await again.close()
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("the life makes more calls than the loop allows")


TORN = 37
"""Bytes that the crash before recovery left behind."""


@pytest.mark.parametrize("state", ["torn message", "whole footer", "no dialog", "renamed"])
@pytest.mark.parametrize("error", [None, errno.ENOSPC], ids=["ends", "fails"])
async def test_recovery_is_cut_at_each_call(memory_path: Path, state: str, error: int | None) -> None:
    """A recovery that fails or ends half-way is done again, and loses nothing."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        async with opened(data) as journal:
            for number in (0, 1):
                await journal.add_message(USER, message(number), FIRST)
            if state in {"whole footer", "renamed"}:
                before = (dialogs_of(data) / "current.yaml").read_bytes()
                archive_id = await journal.archive_conversation(USER)
        current = dialogs_of(data) / "current.yaml"
        if state == "torn message":
            current.write_bytes(current.read_bytes() + b"x" * TORN)
        elif state == "no dialog":
            current.write_bytes(b"junk")
        else:
            assert before
            archive = dialogs_of(data) / "archived" / f"{archive_id}.yaml"
            if state == "whole footer":
                archive.rename(current)
            else:
                current.unlink()
            (data / "open" / "a1").touch()
        disk = FaultyDisk()
        journal = make_journal(data, disk=disk)
        await journal.start()
        disk.faults.set(Fault(at=at, error=error, stop=error is None))
        try:
            await journal.recover(USER)
        except (JournalError, Stopped):
            reached = True
        else:
            reached = False
        disk.faults.set()
        disk.faults.stopped = False
        if error is None:
            await journal.close()
            journal = make_journal(data)
            await journal.start()
        found = await journal.recover(USER)
        assert (found is not None) == (state == "torn message")
        await journal.archive_conversation(USER)
        assert_each_once(data, set() if state == "no dialog" else {"m-0", "m-1"})
        asides = [path.read_bytes() for path in dialogs_of(data).glob("current.*-*")]
        if state == "torn message":
            assert b"x" * TORN in asides
        if state == "no dialog":
            assert asides == [b"junk"]
        assert current.read_bytes() == b""
        assert list((data / "open").iterdir()) == []
        await journal.close()
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("recovery makes more calls than the loop allows")


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, 507),
        (errno.EDQUOT, 507),
        (errno.EFBIG, 507),
        (errno.EIO, 503),
        (errno.EROFS, 503),
        (errno.EMFILE, 503),
    ],
)
async def test_errors_tell_a_full_disk_from_a_failing_one(
    memory_path: Path, number: int, status: int
) -> None:
    """Full or over quota is 507; anything else is 503 with Retry-After; it is logged with its cause."""
    disk = FaultyDisk()
    log = LogRecord()
    async with opened(memory_path, disk=disk, log=log) as journal:
        disk.faults.set(Fault(error=number))
        with pytest.raises(JournalError) as caught:
            await journal.add_message(USER, message(0), FIRST)
        assert caught.value.status == status
        assert (caught.value.retry_after_s is None) == (status == 507)
    entry = log.entries[-1]
    assert (entry["event"], entry["level"]) == ("message not kept", "warning")
    assert str(number) in entry["error"]


async def test_a_write_that_cannot_be_taken_back_is_taken_back_later(memory_path: Path) -> None:
    """When cutting fails too, the torn bytes are never read, and are gone before the next append."""
    disk = FaultyDisk()
    async with opened(memory_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        disk.faults.set(
            Fault("write", how="half", error=errno.EIO), Fault("truncate", times=0, error=errno.EIO)
        )
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(1), FIRST)
        torn = (dialogs_of(memory_path) / "current.yaml").stat().st_size
        disk.faults.set()
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0"]
        await journal.add_message(USER, message(2), FIRST)
        assert (dialogs_of(memory_path) / "current.yaml").stat().st_size > torn
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-2"]
    assert list(dialogs_of(memory_path).glob("current.*-*")) == []


async def test_a_failed_archive_is_finished_by_the_next_dialog(memory_path: Path) -> None:
    """A dialog whose rename failed is archived, with its own reason, before the next dialog begins."""
    disk = FaultyDisk(Fault("rename", error=errno.EIO))
    async with opened(memory_path, disk=disk) as journal:
        await journal.add_message(USER, message(0), FIRST)
        with pytest.raises(JournalUnavailableError):
            await journal.archive_conversation(USER, FIRST.id, reason=Reason.TIMEOUT)
        await journal.add_message(USER, message(2), SECOND)
        page = await journal.list_archives(USER, 10, None)
        assert [(each.conversation, each.reason) for each in page.archives] == [(FIRST, Reason.TIMEOUT)]


async def test_the_disk_is_asked_in_the_right_order(memory_path: Path) -> None:
    """Marker before bytes, flush before the answer, names durable before the marker goes."""
    disk = FaultyDisk()
    dialogs = dialogs_of(memory_path)
    changing = {"make_folder", "sync_folder", "open", "write", "flush", "rename", "remove"}
    async with opened(memory_path, disk=disk) as journal:

        def taken() -> list[tuple[str, str]]:
            found = [
                (name, target.removeprefix(str(memory_path) + "/"))
                for name, target in disk.calls
                if name in changing
            ]
            disk.calls.clear()
            return found

        taken()
        await journal.add_message(USER, message(0), FIRST)
        user = "users/a1"
        assert [call for call in taken() if call[0] != "make_folder"] == [
            ("sync_folder", "users"),
            ("sync_folder", user),
            ("sync_folder", f"{user}/dialogs"),
            ("open", "open/a1"),
            ("sync_folder", "open"),
            ("open", f"{user}/dialogs/current.yaml"),
            ("write", f"{user}/dialogs/current.yaml"),
            ("flush", f"{user}/dialogs/current.yaml"),
            ("sync_folder", f"{user}/dialogs"),
        ]
        await journal.add_message(USER, message(1), FIRST)
        assert taken() == [(name, f"{user}/dialogs/current.yaml") for name in ("open", "write", "flush")]
        await journal.archive_conversation(USER)
        archived = f"{user}/dialogs/archived"
        assert [call for call in taken() if call[0] != "make_folder"] == [
            ("open", f"{user}/dialogs/current.yaml"),
            ("write", f"{user}/dialogs/current.yaml"),
            ("flush", f"{user}/dialogs/current.yaml"),
            ("rename", f"{archived}/2024-01-15-10-12-03.yaml"),
            ("sync_folder", archived),
            ("open", f"{user}/dialogs/current.yaml"),
            ("sync_folder", f"{user}/dialogs"),
            ("remove", "open/a1"),
        ]
    assert dialogs.exists()
