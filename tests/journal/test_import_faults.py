"""Every system call of an import fails once, fails for a while, or is the last."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from modules.chat_server.journal import Conversation, JournalError, Reason
from modules.chat_server.journal.records import Dialog, ImportedDialog
from tests.faults.disk import Fault, FaultyDisk, How, Stopped
from tests.journal.support import (
    FIRST,
    USER,
    LogRecord,
    assert_each_once,
    dialogs_of,
    make_journal,
    message,
    opened,
    yaml_files,
)

MOST_CALLS = 200
GIVEN = [
    ImportedDialog(
        Dialog(
            Conversation(f"c{number}", FIRST.started_ms),
            USER.id,
            (message(2 * number), message(2 * number + 1)),
            FIRST.started_ms + 60_000,
            Reason.REQUEST,
        ),
        wanted_id=None,
        path=f"archives.{number}",
    )
    for number in range(3)
]
ALL = {f"m-{number}" for number in range(6)}


def there(data: Path) -> int:
    return len(yaml_files(data))


@pytest.mark.parametrize(("how", "call"), [("before", ""), ("half", "write"), ("after", "")])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_call_that_fails_adds_nothing(memory_path: Path, error: int, how: How, call: str) -> None:
    """All or none: what was written is taken back; a repeat adds all of it, once."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        disk = FaultyDisk()
        async with opened(data, disk=disk) as journal:
            disk.faults.set(Fault(call, at=at, error=error, how=how))
            try:
                outcome = await journal.import_archives(USER, GIVEN)
            except JournalError as problem:
                assert problem.status == (507 if error == errno.ENOSPC else 503)
                assert there(data) == 0
            else:
                assert len(outcome.imported) == 3
            reached = disk.faults.reached > 0
            disk.faults.set()
            await journal.import_archives(USER, GIVEN)
        assert_each_once(data, ALL)
        assert {path.suffix for path in (dialogs_of(data) / "archived").iterdir()} == {".yaml"}
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("the import makes more calls than the loop allows")


@pytest.mark.parametrize(("how", "call"), [("half", "write"), ("after", "")])
async def test_a_process_that_ends_leaves_whole_archives_and_a_repeat_adds_the_others(
    memory_path: Path, how: How, call: str
) -> None:
    """Never half a file among the archives, never one twice."""
    for at in range(1, MOST_CALLS):
        data = memory_path / str(at)
        disk = FaultyDisk()
        journal = make_journal(data, disk=disk)
        await journal.start()
        disk.faults.set(Fault(call, at=at, how=how, stop=True))
        try:
            await journal.import_archives(USER, GIVEN)
        except Stopped:
            reached = True
        else:
            reached = False
        disk.faults.set()
        disk.faults.stopped = False
        await journal.close()
        assert_each_once(data, set())
        before = there(data)
        async with opened(data, disk=FaultyDisk()) as again:
            outcome = await again.import_archives(USER, GIVEN)
            assert (len(outcome.imported), outcome.skipped) == (3 - before, before)
        assert_each_once(data, ALL)
        shutil.rmtree(data)
        if not reached:
            break
    else:
        pytest.fail("the import makes more calls than the loop allows")


@pytest.mark.parametrize("talks", [False, True])
async def test_a_start_removes_what_a_killed_import_left_half_written(memory_path: Path, talks: bool) -> None:
    """It finds it by the user's marker, and looks at nobody else; a dialog that was open goes on."""
    disk = FaultyDisk()
    journal = make_journal(memory_path, disk=disk)
    await journal.start()
    if talks:
        await journal.add_message(USER, message(0), FIRST)
    disk.faults.set(Fault("flush", "*/.anew-1", stop=True))
    with pytest.raises(Stopped):
        await journal.import_archives(USER, GIVEN)
    disk.faults.set()
    disk.faults.stopped = False
    await journal.close()
    archived = dialogs_of(memory_path) / "archived"
    assert {path.name for path in archived.iterdir()} == {".anew-0", ".anew-1"}
    again = make_journal(memory_path)
    assert await again.start() == [USER.id]
    found = await again.recover(USER)
    assert [each.name for each in archived.iterdir()] == []
    assert [each.name for each in (memory_path / "open").iterdir()] == [USER.id] * talks
    assert (found is not None) == talks
    await again.close()


@pytest.mark.parametrize("talks", [False, True])
async def test_an_import_leaves_a_marker_only_to_an_open_dialog(memory_path: Path, talks: bool) -> None:
    """Also one that has failed, unless something of it could not be taken back."""
    disk = FaultyDisk()
    async with opened(memory_path, disk=disk) as journal:
        if talks:
            await journal.add_message(USER, message(0), FIRST)
        for fault, stays in (
            ((), False),
            ((Fault("flush", "*/.anew-1", error=errno.EIO),), False),
            (
                (
                    Fault("flush", "*/.anew-1", error=errno.EIO),
                    Fault("remove", "*/.anew-0", at=2, error=errno.EIO),
                ),
                True,
            ),
        ):
            disk.faults.set(*fault)
            given = [
                replace(
                    each,
                    dialog=replace(
                        each.dialog, conversation=Conversation(f"{each.path}-{len(fault)}", FIRST.started_ms)
                    ),
                )
                for each in GIVEN
            ]
            with suppress(JournalError):
                await journal.import_archives(USER, given)
            assert (disk.faults.reached > 0) == (len(fault) > 0)
            names = [each.name for each in (memory_path / "open").iterdir()]
            assert names == [USER.id] * (talks or stays)


async def test_it_is_logged_without_a_word_of_it(memory_path: Path) -> None:
    """How many, and whose."""
    log = LogRecord()
    async with opened(memory_path, disk=FaultyDisk(), log=log) as journal:
        await journal.import_archives(USER, GIVEN)
    (entry,) = [each for each in log.entries if each["event"] == "archives imported"]
    assert (entry["user"], entry["archives"]) == ("a1", 3)
    assert "text" not in str(entry)
