"""The order of archives over restarts on a machine whose clock is behind, and over files that don't tell."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import Conversation, Message
from modules.chat_server.journal.base import DialogueJournal
from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.layout import last_ms_of
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.support import FIRST, USER, dialogs_of, load, opened
from tests.support.clock import ManualClock

HOUR_MS = 3_600_000
FIRST_NAME = "2024-01-15-10-12-03"


def behind(by_ms: int) -> ManualClock:
    """The clock of a machine that was started with a wall time too old."""
    return ManualClock(FIRST.started_ms - by_ms)


async def talk_and_end(data: Path, name: str, clock: ManualClock, disk: FaultyDisk | None = None) -> str:
    """One dialog in a life of the server of its own; returns its archive's id."""
    async with opened(data, clock=clock, disk=disk) as journal:
        conversation = Conversation(name, clock.now_ms())
        await journal.add_message(USER, Message("user", name, f"m-{name}", clock.now_ms()), conversation)
        archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    return archive_id


async def test_a_machine_that_boots_with_an_older_time_names_archives_in_order(tmp_path: Path) -> None:
    """An hour behind: the end is not before the newest archive; the dialog keeps its own start and stamps."""
    assert await talk_and_end(tmp_path, "first", behind(0)) == FIRST_NAME
    clock = behind(HOUR_MS)
    assert await talk_and_end(tmp_path, "second", clock) == f"{FIRST_NAME}-2"
    second = load(dialogs_of(tmp_path) / "archived" / f"{FIRST_NAME}-2.yaml")
    assert second["ended"] == "2024-01-15T10:12:03.120Z"
    assert second["started"] == second["messages"][0]["timestamp"] == "2024-01-15T09:12:03.120Z"
    clock.step_wall(HOUR_MS + 5000)
    assert await talk_and_end(tmp_path, "third", clock) == "2024-01-15-10-12-08"
    assert not list(dialogs_of(tmp_path).glob("current.*-*"))


async def test_a_dialog_that_was_open_goes_on_and_ends_behind_what_came_before(tmp_path: Path) -> None:
    """Its stamps don't go back, its end is not before its last message, nor before the newest archive."""
    await talk_and_end(tmp_path, "first", behind(0))
    clock = behind(-60_000)
    async with opened(tmp_path, clock=clock) as journal:
        open_one = Conversation("open", clock.now_ms())
        await journal.add_message(USER, Message("user", "a", "m-a", clock.now_ms()), open_one)
    clock = behind(2 * HOUR_MS)
    async with opened(tmp_path, clock=clock) as journal:
        found = await journal.recover(USER)
        assert found is not None
        kept = await journal.add_message(
            USER, Message("assistant", "b", "m-b", clock.now_ms()), found.conversation
        )
        assert kept.timestamp_ms == found.last_activity_ms
        archive_id = await journal.archive_conversation(USER)
        assert archive_id == "2024-01-15-10-13-03"


async def test_a_reply_is_found_though_the_clock_was_put_back_by_years(tmp_path: Path) -> None:
    """A question answered in a later dialog, whose archive bears an earlier name, is answered once."""
    clock = behind(0)
    async with opened(tmp_path, clock=clock) as journal:
        asked = Message("user", "a", "m-a", clock.now_ms(), idempotency_key="k", request_digest="d")
        await journal.add_message(USER, asked, FIRST)
        await journal.archive_conversation(USER)
    clock = behind(3650 * 24 * HOUR_MS)
    async with opened(tmp_path, clock=clock) as journal:
        later = Conversation("later", clock.now_ms())
        answer = Message("assistant", "b", "m-b", clock.now_ms(), reply_to="m-a")
        await journal.add_message(USER, answer, later)
        await journal.archive_conversation(USER)
        found = await journal.find_keyed(USER, "k", clock.now_ms() - 24 * HOUR_MS)
        assert found is not None
        assert found.reply == answer


@pytest.mark.parametrize(
    "content", [b"", b"not yaml: [", b"\nended: nothing\n", b'ended: "2031-01-01T00:00:00.000Z"\n']
)
async def test_where_the_newest_file_does_not_tell_its_name_does(tmp_path: Path, content: bytes) -> None:
    """A person may have edited it; the name is what orders it. An odd name orders nothing."""
    archived = dialogs_of(tmp_path) / "archived"
    archived.mkdir(parents=True)
    (archived / f"{FIRST_NAME}.yaml").write_bytes(content)
    (archived / "2024-01-15-10-99-99.txt").write_bytes(content)
    (archived / "2024-01-15-10-12-04-1.yaml").write_bytes(content)
    assert await talk_and_end(tmp_path, "second", behind(HOUR_MS)) == f"{FIRST_NAME}-2"
    ended = load(archived / f"{FIRST_NAME}-2.yaml")["ended"]
    assert ended == "2024-01-15T10:12:03.999Z"
    assert last_ms_of(FIRST_NAME) == FIRST.started_ms // 1000 * 1000 + 999


async def test_a_name_that_is_no_moment_orders_nothing(tmp_path: Path) -> None:
    """It looks like one: the 99th second, or the name of a folder."""
    archived = dialogs_of(tmp_path) / "archived"
    (archived / "2024-01-15-11-00-00").mkdir(parents=True)
    (archived / "2024-01-15-10-12-99.yaml").write_bytes(b"")
    assert await talk_and_end(tmp_path, "second", behind(0)) == FIRST_NAME


@pytest.mark.parametrize("call", ["names", "find", "read"])
async def test_what_can_not_be_read_holds_no_archive_up(tmp_path: Path, call: str) -> None:
    """The archive is worth more than its place."""
    await talk_and_end(tmp_path, "first", behind(0))
    path = "*archived" if call == "names" else "*archived/*"
    disk = FaultyDisk(Fault(call, path=path, error=errno.EIO, times=1))
    archive_id = await talk_and_end(tmp_path, "second", behind(HOUR_MS), disk)
    assert archive_id == "2024-01-15-09-12-03"
    assert disk.faults.reached == 1


class CountingDisk(Disk):
    """Counts how often the archives' names are read, and how often it is looked whether there is one."""

    def __init__(self) -> None:
        super().__init__(fsync=False)
        self.looks = self.finds = 0

    @override
    def find(self, path: Path) -> os.stat_result | None:
        self.finds += path.parent.name == "archived"
        return super().find(path)

    @override
    def names(self, folder: Path) -> list[str]:
        self.looks += folder.name == "archived"
        return super().names(folder)


def with_many(data: Path, hour: str) -> Path:
    """A folder with a hundred archives of that hour."""
    archived = dialogs_of(data) / "archived"
    archived.mkdir(parents=True)
    for number in range(100):
        (archived / f"{hour}-{number // 60:02}-{number % 60:02}.yaml").write_bytes(b"")
    return archived


async def end_again(journal: DialogueJournal, clock: ManualClock, number: int) -> str:
    conversation = Conversation(f"c-{number}", clock.now_ms())
    await journal.add_message(USER, Message("user", "a", f"m-{number}", clock.now_ms()), conversation)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    return archive_id


async def test_an_archive_does_not_read_all_names_where_there_are_many(tmp_path: Path) -> None:
    """Once for each life of the server, and again when somebody has changed the folder."""
    archived = with_many(tmp_path, "2023-01-15-10")
    disk, clock = CountingDisk(), behind(0)
    async with opened(tmp_path, disk=disk, clock=clock) as journal:
        names = [await end_again(journal, clock, number) for number in range(3)]
        clock.step_wall(5000)
        names.append(await end_again(journal, clock, 3))
        assert disk.looks == 1
        assert names == [FIRST_NAME, f"{FIRST_NAME}-2", f"{FIRST_NAME}-3", "2024-01-15-10-12-08"]
        (archived / "2024-01-15-11-00-00.yaml").write_bytes(b"")
        assert await end_again(journal, clock, 4) == "2024-01-15-11-00-00-2"
        assert disk.looks == 2
        (archived / "2024-01-15-11-00-00.yaml").unlink()
        (archived / "2024-01-15-11-00-00-2.yaml").unlink()
        assert await end_again(journal, clock, 5) == "2024-01-15-10-12-08-2"
        assert disk.looks == 3
        clock.step_wall(-HOUR_MS)
        assert await end_again(journal, clock, 6) == "2024-01-15-10-12-08-3"
        assert disk.looks == 3


async def test_many_that_end_in_one_second_behind_many_don_t_try_each_others_names(tmp_path: Path) -> None:
    """The next one is known."""
    with_many(tmp_path, "2023-01-15-10")
    disk, clock = CountingDisk(), behind(0)
    async with opened(tmp_path, disk=disk, clock=clock) as journal:
        await end_again(journal, clock, 0)
        tried = []
        for number in range(1, 20):
            disk.finds = 0
            assert await end_again(journal, clock, number) == f"{FIRST_NAME}-{number + 1}"
            tried.append(disk.finds)
    assert tried == [1] * 19


async def test_names_of_years_to_come_are_looked_through_each_time(tmp_path: Path) -> None:
    """They order nothing, until their time has come."""
    with_many(tmp_path, "2024-01-20-10")
    disk, clock = CountingDisk(), behind(0)
    async with opened(tmp_path, disk=disk, clock=clock) as journal:
        names = [await end_again(journal, clock, number) for number in range(2)]
        assert (names, disk.looks) == ([FIRST_NAME, f"{FIRST_NAME}-2"], 2)
        clock.step_wall(5 * 24 * HOUR_MS - 693_000)
        assert await end_again(journal, clock, 2) == "2024-01-20-10-01-39-2"
