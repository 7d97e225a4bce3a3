"""The lock and the token before each user's dialogs, in a folder that several nodes see."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    FencedError,
    JournalFullError,
    JournalUnavailableError,
)
from modules.chat_server.journal.disk import Handle
from modules.chat_server.journal.errors import HeldElsewhereError
from potoserver import User
from tests.faults.disk import Fault, FaultyDisk, How
from tests.journal.fence_support import lock_of, locked, open_files, snapshot, token, waited_out
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    make_journal,
    message,
    opened,
)
from tests.support.clock import ManualClock

OTHER = User("b2")
OTHERS = Conversation("sse-1705313523122-ddddddddd", FIRST.started_ms)


# The token


async def test_the_token_can_be_read_by_a_person_and_by_nobody_else(tmp_path: Path) -> None:
    """Of fixed width, so that a later one replaces it in its place."""
    async with opened(tmp_path, shared=True) as journal:
        for number in (7, 1_705_313_523_120_000):
            await journal.take(USER, number)
            await journal.add_message(USER, message(number % 7), FIRST)
            assert lock_of(tmp_path).read_bytes() == token(number)
    assert stat.S_IMODE(lock_of(tmp_path).stat().st_mode) == 0o600


async def test_the_disk_is_asked_in_the_right_order(tmp_path: Path) -> None:
    """Locked and compared; a new token is durable before anything else is done."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        await journal.take(USER, 2)
        at_lock = {"read", "write", "truncate", "flush", "lock", "unlock"}

        def taken() -> list[tuple[str, str]]:
            found = [(name, Path(path).name) for name, path in disk.calls]
            disk.calls.clear()
            return [(name, path) for name, path in found if name in at_lock]

        taken()
        await journal.recover(USER)
        assert taken() == [
            ("lock", ".lock"),
            ("read", ".lock"),
            ("write", ".lock"),
            ("truncate", ".lock"),
            ("flush", ".lock"),
            ("read", "current.yaml"),
            ("flush", "current.yaml"),
            ("unlock", ".lock"),
        ]
        await journal.add_message(USER, message(1), FIRST)
        assert taken() == [
            ("lock", ".lock"),
            ("read", ".lock"),
            ("write", "current.yaml"),
            ("flush", "current.yaml"),
            ("unlock", ".lock"),
        ]


async def test_a_new_lock_s_name_is_durable(tmp_path: Path) -> None:
    """Else a power loss would take the token along."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.rename_archive(USER, "2020-01-01-00-00-00", "Trees")
    flushed = disk.calls.index(("flush", str(lock_of(tmp_path))))
    assert disk.calls[flushed + 1] == ("sync_folder", str(dialogs_of(tmp_path)))


async def test_who_comes_too_late_changes_no_byte(tmp_path: Path) -> None:
    """Not by an append, an archive, a restore, a title or an import, and nothing is looked at."""
    old, new = make_journal(tmp_path, shared=True), make_journal(tmp_path, shared=True)
    await old.start()
    await new.start()
    await old.take(USER, 1)
    await old.add_message(USER, message(0), FIRST)
    archive_id = await old.archive_conversation(USER)
    assert archive_id is not None
    await old.add_message(USER, message(2), SECOND)
    await new.take(USER, 2)
    await new.add_message(USER, message(3), SECOND)
    before = snapshot(tmp_path)
    for call in (
        lambda: old.add_message(USER, message(4), SECOND),
        lambda: old.add_message(USER, message(4), OTHERS),
        lambda: old.archive_conversation(USER),
        lambda: old.restore_archive(USER, archive_id),
        lambda: old.rename_archive(USER, archive_id, "Trees"),
        lambda: old.pin_archive(USER, archive_id, pinned=True),
        lambda: old.delete_archive(USER, archive_id),
        lambda: old.mark_told(USER, archive_id),
        lambda: old.get_conversation(USER),
        lambda: old.expired_archives(USER, None, 0),
        lambda: old.visit_archives(USER, [archive_id], lambda _: True),
    ):
        with pytest.raises(FencedError):
            await call()
        assert snapshot(tmp_path) == before
    await old.close()
    await new.close()
    assert snapshot(tmp_path) == before


async def test_the_token_is_compared_under_the_lock(tmp_path: Path) -> None:
    """A node that stood still before it went in finds who has come meanwhile."""

    class Overtaken(FaultyDisk):
        overtaken = False

        @override
        def try_lock(self, handle: Handle, *, shared: bool = False) -> None:
            if self.overtaken:
                lock_of(tmp_path).write_bytes(token(2))
            super().try_lock(handle, shared=shared)

    disk = Overtaken()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        current = (dialogs_of(tmp_path) / "current.yaml").read_bytes()
        disk.overtaken = True
        with pytest.raises(FencedError):
            await journal.add_message(USER, message(1), FIRST)
        assert (dialogs_of(tmp_path) / "current.yaml").read_bytes() == current


async def test_who_comes_too_late_is_told_of_in_the_log(tmp_path: Path) -> None:
    """Which token it had, and which has come since; and it keeps nothing of the user's in memory."""
    log = LogRecord()
    async with opened(tmp_path, shared=True) as new, opened(tmp_path, shared=True, log=log) as old:
        await old.take(USER, 1)
        await old.add_message(USER, message(0), FIRST)
        await new.take(USER, 2)
        await new.recover(USER)
        with pytest.raises(FencedError):
            await old.add_message(USER, message(1), FIRST)
        assert not old._calls.in_use
    told = {"user": "a1", "token": 1, "newer": 2}
    assert [each for each in log.entries if each["logger"] == "journal:fence"] == [
        {"logger": "journal:fence", "level": "warning", "event": "dialogs are another node's", **told}
    ]
    assert log.events()[-1] == "message not kept"


@pytest.mark.parametrize(
    "left", [b"", b"0", b"\0" * 21, token(7)[:-1], token(7)[:12], token(7) * 2, token(0), token(1)]
)
async def test_a_lower_or_torn_token_is_replaced_and_everything_read_anew(
    tmp_path: Path, left: bytes
) -> None:
    """A torn one is of a node that had not done anything with it yet."""
    async with opened(tmp_path, shared=True) as journal:
        await journal.take(USER, 2)
        await journal.add_message(USER, message(0), FIRST)
        lock_of(tmp_path).write_bytes(left)
        current = dialogs_of(tmp_path) / "current.yaml"
        current.write_bytes(current.read_bytes().replace(b"text 0", b"TEXT 0"))
        await journal.add_message(USER, message(1), FIRST)
        assert lock_of(tmp_path).read_bytes() == token(2)
        assert [each.content for each in await journal.get_conversation(USER)] == ["TEXT 0", "text 1"]


async def test_a_token_that_somebody_took_away_is_written_again_by_an_append(tmp_path: Path) -> None:
    """Between making ready and writing, too: a conversation that another node has ended goes to no other."""
    async with opened(tmp_path, shared=True) as old, opened(tmp_path, shared=True) as new:
        await old.take(USER, 1)
        await old.add_message(USER, message(0), FIRST)
        await new.take(USER, 2)
        await new.archive_conversation(USER)
        await new.add_message(USER, message(2), SECOND)
        lock_of(tmp_path).write_bytes(b"")
        await old.add_message(USER, message(4), SECOND)
        assert [each.id for each in await old.get_conversation(USER)] == ["m-2", "m-4"]
        assert lock_of(tmp_path).read_bytes() == token(1)


# What stands in the lock's place


def _link(lock: Path) -> None:
    (lock.parent / "elsewhere").write_bytes(token(0))
    lock.symlink_to(lock.parent / "elsewhere")


def _folder(lock: Path) -> None:
    lock.mkdir()


def _pipe(lock: Path) -> None:
    os.mkfifo(lock)


def _dialog(lock: Path) -> None:
    os.link(lock.parent / "current.yaml", lock)


def _words(lock: Path) -> None:
    lock.write_bytes(b"my notes\n")


def _too_long(lock: Path) -> None:
    lock.write_bytes(token(7) + b"x" * 100)


@pytest.mark.parametrize("put", [_link, _folder, _pipe, _dialog, _words, _too_long])
async def test_what_is_no_lock_is_left_and_keeps_everybody_out(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """503, which names it in the log; nothing is written through it or over it."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
    log = LogRecord()
    put(lock_of(tmp_path))
    before = snapshot(tmp_path)
    async with opened(tmp_path, shared=True, log=log) as journal:
        await journal.take(USER, 1)
        for call in (
            lambda: journal.add_message(USER, message(1), FIRST),
            lambda: journal.get_conversation(USER),
        ):
            with pytest.raises(JournalUnavailableError, match="can't be reached"):
                await call()
        assert snapshot(tmp_path) == before
        lock = lock_of(tmp_path)
        (lock.rmdir if put is _folder else lock.unlink)()
        await journal.add_message(USER, message(1), FIRST)
        assert len(await journal.get_conversation(USER)) == 2
    assert any(str(lock) in str(entry) for entry in log.entries)


async def test_another_owner_s_lock_is_refused(tmp_path: Path) -> None:
    """A server that was once started as root leaves files that nobody else may lock."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        disk.faults.set(Fault("lock", "*/.lock", at=1, times=0, error=errno.EACCES))
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(0), FIRST)
        disk.faults.set()
        await journal.add_message(USER, message(0), FIRST)


async def test_a_file_system_without_locks_is_told(tmp_path: Path) -> None:
    """Nothing is written where nobody can be kept out."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        disk.faults.set(Fault("lock", "*/.lock", at=3, error=errno.ENOLCK))
        with pytest.raises(JournalUnavailableError) as refused:
            await journal.add_message(USER, message(0), FIRST)
        assert isinstance(refused.value.__cause__, OSError)
        assert not (dialogs_of(tmp_path) / "current.yaml").exists()
        await journal.add_message(USER, message(0), FIRST)


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_lock_that_somebody_has_replaced_is_opened_anew(tmp_path: Path, how: str) -> None:
    """Else two nodes would lock two files, and both be in."""
    async with opened(tmp_path, shared=True) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        lock = lock_of(tmp_path)
        if how == "replaced":
            (tmp_path / "copy").write_bytes(token(2))
            (tmp_path / "copy").rename(lock)
            with pytest.raises(FencedError):
                await journal.add_message(USER, message(1), FIRST)
        else:
            lock.unlink()
            await journal.add_message(USER, message(1), FIRST)
            assert lock.read_bytes() == token(1)


async def test_a_lock_that_is_replaced_at_every_look_is_given_up(tmp_path: Path) -> None:
    """No call goes round for ever."""
    looks = 0

    class Replacing(FaultyDisk):
        @override
        def find(self, path: Path) -> os.stat_result | None:
            nonlocal looks
            if path == lock_of(tmp_path):
                looks += 1
                path.unlink()
            return super().find(path)

    clock = ManualClock()
    async with opened(tmp_path, shared=True, disk=Replacing(), clock=clock) as journal:
        await journal.take(USER, 1)
        before = open_files()
        call = asyncio.create_task(journal.add_message(USER, message(0), FIRST))
        await waited_out(clock, call)
        with pytest.raises(HeldElsewhereError):
            await call
        assert looks > 3
        assert open_files() == before


# The disk refuses the token


@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize("call", ["write", "truncate", "flush"])
async def test_a_token_that_can_t_be_written_keeps_everybody_out(tmp_path: Path, call: str, how: How) -> None:
    """A full disk is told; nothing else is done, and later it goes on."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True) as old, opened(tmp_path, shared=True, disk=disk) as new:
        await old.take(USER, 1)
        await old.add_message(USER, message(0), FIRST)
        current = (dialogs_of(tmp_path) / "current.yaml").read_bytes()
        await new.take(USER, 2)
        disk.faults.set(Fault(call, "*/.lock", error=errno.ENOSPC, how=how))
        with pytest.raises(JournalFullError, match="take your dialogs over"):
            await new.add_message(USER, message(1), FIRST)
        with locked(lock_of(tmp_path)):
            assert (dialogs_of(tmp_path) / "current.yaml").read_bytes() == current
        await new.add_message(USER, message(1), FIRST)
        with pytest.raises(FencedError):
            await old.add_message(USER, message(2), FIRST)
        assert [each.id for each in await new.get_conversation(USER)] == ["m-0", "m-1"]


async def test_a_lock_file_that_fails_is_opened_anew(tmp_path: Path) -> None:
    """As on NFS after the lock was lost: an open file serves nobody then, until it is closed."""
    disk = FaultyDisk()
    async with opened(tmp_path, shared=True, disk=disk) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        before = open_files()
        disk.faults.set(Fault("read", "*/.lock", error=errno.EIO))
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(1), FIRST)
        assert open_files() == before - 1
        await journal.add_message(USER, message(1), FIRST)
