"""What many users have done at once is done step by step for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import Conversation
from modules.chat_server.journal.batches import BATCH_LIMIT, Batches, Steps, at_once
from modules.chat_server.journal.disk import Disk, Handle
from potoserver import User
from tests.journal.support import FIRST, LogRecord, message, opened, yaml_files
from tests.support.clock import ManualClock, settle


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = Batches(ManualClock(), LogRecord()("journal:archive"), "works", 1, "batch")
    yield made
    made.close()


def work(done: list[str], name: str, steps: int = 3, failing: int | None = None) -> Steps[str]:
    for step in range(steps):
        if step:
            yield
        if step == failing:
            raise OSError(name)
        done.append(f"{name}{step}")
    return name


async def test_each_step_is_done_for_all_before_the_next_one(batches: Batches) -> None:
    """What comes in one turn of the loop goes together, on one thread; each gets what its own work gave."""
    done: list[str] = []
    found = await asyncio.gather(*(batches.run(work(done, name)) for name in "abc"))
    assert found == ["a", "b", "c"]
    assert done == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_a_failure_is_its_own(batches: Batches) -> None:
    """The others of the batch go on; shorter work is done sooner."""
    done: list[str] = []
    found = await asyncio.gather(
        batches.run(work(done, "a", failing=1)),
        batches.run(work(done, "b")),
        batches.run(work(done, "c", steps=1)),
        return_exceptions=True,
    )
    assert repr(found[0]) == "OSError('a')"
    assert found[1:] == ["b", "c"]
    assert done == ["a0", "b0", "c0", "b1", "b2"]


async def test_what_waits_becomes_batches_of_bounded_size(batches: Batches) -> None:
    """While the thread is busy it gathers; whoever has gone stops nothing."""
    held, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> Steps[None]:
        begun.set()
        held.wait(10)
        yield

    first = asyncio.create_task(batches.run(slow()))
    assert await asyncio.to_thread(begun.wait, 10)
    tasks = [asyncio.create_task(batches.run(work(done, f"{each},"))) for each in range(BATCH_LIMIT + 1)]
    await settle()
    tasks[0].cancel()
    held.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, *tasks[1:])
    assert done[: BATCH_LIMIT + 1] == [*(f"{each},0" for each in range(BATCH_LIMIT)), "0,1"]
    assert len(done) == 3 * (BATCH_LIMIT + 1)


def test_work_may_be_done_at_once() -> None:
    """With nothing between its steps."""
    assert at_once(work([], "a")) == "a"
    with pytest.raises(OSError, match="a"):
        at_once(work([], "a", failing=2))


class OrderedDisk(Disk):
    """Tells what it did in which order, by the first letters."""

    def __init__(self) -> None:
        super().__init__(fsync=True)
        self.order = ""

    @override
    def write_all(self, handle: Handle, data: bytes) -> None:
        self.order += "w"
        super().write_all(handle, data)

    @override
    def rename(self, source: Path, target: Path) -> None:
        self.order += "r"
        super().rename(source, target)

    @override
    def sync_folder(self, path: Path) -> None:
        self.order += path.name[0]
        super().sync_folder(path)

    @override
    def remove(self, path: Path) -> None:
        self.order += "u"
        super().remove(path)


async def test_archives_of_many_users_are_flushed_together(tmp_path: Path) -> None:
    """All footers are written before the first rename, all renamed before the first folder is flushed."""
    disk = OrderedDisk()
    users = [User(f"u{number}") for number in range(6)]
    async with opened(tmp_path, disk=disk) as journal:
        for user in users:
            await journal.add_message(user, message(0), Conversation(f"c-{user.id}", FIRST.started_ms))
        disk.order = ""
        await asyncio.gather(*(journal.archive_conversation(user) for user in users))
    assert disk.order == "wwwwwwrrrrrraaaaaadudududududu"
    files = yaml_files(tmp_path)
    assert [loaded["message_count"] for loaded in files.values()] == [1] * 6
    assert all("/archived/" in path for path in files)
