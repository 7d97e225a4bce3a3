"""Two nodes as real processes on one folder: one is stopped or killed in the middle, the other takes over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modules.chat_server.journal import Conversation, JournalUnavailableError
from tests.faults.disk import How
from tests.faults.fenced_node import Job, NodeProcess, node_process
from tests.journal.fence_support import lock_of, locked, snapshot, token, waited_out
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    assert_each_once,
    dialogs_of,
    message,
    opened,
    yaml_files,
)
from tests.support.clock import ManualClock

LATER = Conversation("sse-1705313529999-eeeeeeeee", FIRST.started_ms + 6000)
MOST_CALLS = 200
"""More than any life below makes."""


@pytest.fixture
async def node() -> AsyncIterator[NodeProcess]:
    async with node_process() as made:
        yield made


async def test_two_processes_take_a_user_from_each_other(tmp_path: Path, node: NodeProcess) -> None:
    """Each finds what the other has written; who comes too late is refused, and changes no byte."""
    async with opened(tmp_path, shared=True) as here:
        await here.take(USER, 1)
        await here.add_message(USER, message(0), FIRST)
        assert await node.run(Job(str(tmp_path), 2, ["add 1"])) == (["m-1"], 0)
        before = snapshot(tmp_path)
        assert await node.run(Job(str(tmp_path), 1, ["add 2", "archive", "title x"])) == (
            ["FencedError"] * 3,
            0,
        )
        assert snapshot(tmp_path) == before
        await here.take(USER, 3)
        assert [each.id for each in await here.get_conversation(USER)] == ["m-0", "m-1"]


@pytest.mark.parametrize(
    ("call", "path", "how"),
    [("write", "*/current.yaml", "half"), ("flush", "*/current.yaml", "after"), ("read", "*/.lock", "after")],
)
async def test_a_node_that_is_stopped_in_an_append_keeps_it_whole(
    tmp_path: Path, node: NodeProcess, call: str, path: str, how: How
) -> None:
    """While it stands the next home is told 503; then it is acknowledged, and the next home has it."""
    job = Job(str(tmp_path), 1, ["add 0", "add 1", "add 2"], signal.SIGSTOP, call, path, at=2, how=how)
    clock = ManualClock()
    async with opened(tmp_path, shared=True, clock=clock) as here:
        await node.begin(job)
        pid = await node.next("stopped")
        await here.take(USER, 2)
        before = snapshot(tmp_path)
        with pytest.raises(BlockingIOError), locked(lock_of(tmp_path)):
            pass
        late = asyncio.create_task(here.add_message(USER, message(3), FIRST))
        await waited_out(clock, late)
        with pytest.raises(JournalUnavailableError):
            await late
        assert snapshot(tmp_path) == before
        os.kill(pid, signal.SIGCONT)
        assert await node.next("ended") == 0
        assert node.kept == ["m-0", "m-1", "m-2"]
        await here.add_message(USER, message(3), FIRST)
        assert [each.id for each in await here.get_conversation(USER)] == ["m-0", "m-1", "m-2", "m-3"]
        assert_each_once(tmp_path, {"m-0", "m-1", "m-2", "m-3"})


async def test_a_node_that_is_stopped_before_an_append_writes_nothing_into_the_next_dialog(
    tmp_path: Path, node: NodeProcess
) -> None:
    """It stood just before it went in, with all that it had to write, and wakes up an hour later."""
    job = Job(str(tmp_path), 1, ["add 0", "add 1", "archive"], signal.SIGSTOP, "unlock", at=2)
    async with opened(tmp_path, shared=True) as here:
        await node.begin(job)
        pid = await node.next("stopped")
        await here.take(USER, 2)
        assert await here.archive_conversation(USER) is not None
        await here.add_message(USER, message(4), SECOND)
        before = snapshot(tmp_path)
        os.kill(pid, signal.SIGCONT)
        assert await node.next("ended") == 0
        assert node.kept == ["m-0", "FencedError", "FencedError"]
        assert snapshot(tmp_path) == before


ARCHIVE = "2024-01-15-10-12-03"
LIVES = {
    "append": ["add 2", "add 3"],
    "archive": ["add 2", "archive"],
    "restore": ["other 2", f"restore {ARCHIVE}", "add 4"],
    "title": [f"title {ARCHIVE}"],
}


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.long)], ids=["short", "long"])
@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize("life", LIVES)
async def test_kill_9_at_every_call_loses_and_doubles_nothing(
    tmp_path: Path, node: NodeProcess, life: str, how: How, every: int
) -> None:
    """The kernel gives the lock back, and the next home puts in order what was left."""
    first = 1 if every == 1 else 1 + 3 * ["before", "half", "after"].index(how)
    for at in range(first, MOST_CALLS, every):
        data = tmp_path / str(at)
        async with opened(data, shared=True) as here:
            await here.take(USER, 1)
            for number in (0, 1):
                await here.add_message(USER, message(number), FIRST)
            if life in ("restore", "title"):
                assert await here.archive_conversation(USER) == ARCHIVE
            kept, ended = await node.run(Job(str(data), 2, LIVES[life], at=at, how=how))
            assert ended in (0, signal.SIGKILL), kept
            await here.take(USER, 3)
            await here.recover(USER)
            said = {"m-0", "m-1", *(each for each in kept if each.startswith("m-"))}
            assert_each_once(data, said)
            found = await here.recover(USER)
            await here.add_message(USER, message(8), found.conversation if found else LATER)
            await here.archive_conversation(USER)
            assert_each_once(data, said | {"m-8"})
            assert all(loaded["reason"] for loaded in yaml_files(data).values())
            assert (dialogs_of(data) / "current.yaml").read_bytes() == b""
            assert list((data / "open").iterdir()) == []
            assert lock_of(data).read_bytes() == token(3)
        shutil.rmtree(data)
        if ended == 0:
            break
    else:
        pytest.fail("the life makes more calls than the loop allows")
