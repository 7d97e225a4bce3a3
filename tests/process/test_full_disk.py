"""A disk that is full, fails or hangs under a running server: it says so, loses nothing, and goes on."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.disk import Fault, fill, small_disk
from tests.faults.log_disk import lines_in
from tests.faults.plan import FaultPlan
from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import ServerProcess, chat, tokens_of
from tests.support.sse import stream

pytestmark = pytest.mark.process

USERS = ["a1", "b2", "c3", "d4", "e5"]
ENVIRONMENT = tokens_of(USERS) | {"SESSION_RECONNECT_GRACE": "200"}
FAULTY = '["chat_server", "tests.process.rogues:FaultyDisks"]'


async def ask(http: aiohttp.ClientSession, server: ServerProcess, user: str, text: str) -> tuple[int, Any]:
    """Says something; returns status and answer."""
    answer = await http.post(
        f"{server.url}/ChatServerModule/chatWithHistory",
        json={"message": text},
        headers={"Authorization": f"Bearer t-{user}"},
    )
    return answer.status, await answer.json()


async def alarms(http: aiohttp.ClientSession, server: ServerProcess) -> list[str]:
    health = await (await http.get(f"{server.url}/health")).json()
    return sorted(each["alarm"] for each in health["alarms"])


async def until_alarms(
    http: aiohttp.ClientSession, server: ServerProcess, expected: Sequence[str], limit_s: float = 40
) -> None:
    """Waits until these alarms are on, and no other one."""
    async with asyncio.timeout(limit_s):
        while await alarms(http, server) != list(expected):
            await asyncio.sleep(0.05)


async def until_answered(http: aiohttp.ClientSession, server: ServerProcess, user: str, text: str) -> None:
    """Says something again and again until it is kept."""
    async with asyncio.timeout(20):
        while (await ask(http, server, user, text))[0] != 200:
            await asyncio.sleep(0.05)


def questions(server: ServerProcess, user: str) -> list[str]:
    """All that the user's archives hold of the user's words, oldest first."""
    dialogs = [dialog for dialog in saved.archives(server.data_dir) if dialog.fields["user"] == user]
    return [text for dialog in dialogs for role, text in dialog.messages if role == "user"]


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Path]:
    """A server's folder, its data and its logs each on a real disk of a megabyte."""
    with ExitStack() as stack:
        for name in ("data", "logs"):
            stack.enter_context(small_disk(tmp_path / name, 1 << 20))
        yield tmp_path


async def test_a_real_disk_that_fills_up_and_is_freed(
    start_server: StartServer, http: aiohttp.ClientSession, small: Path
) -> None:
    """507 and the alarm while it is full, archives wait; with room again all goes on by itself."""
    server = await start_server(folder=small, **ENVIRONMENT)
    await chat(http, server.url, "kept", "t-a1")
    filler = fill(server.data_dir)
    status, problem = await ask(http, server, "a1", "x" * 9000)
    assert (status, "disk is full" in problem["detail"]) == (507, True)
    assert await alarms(http, server) == ["disk-full"]
    async with stream(http, f"{server.url}/subscribe", "t-b2") as reader:
        await reader.next("connected")  # who only listens is served
    filler.unlink()
    await until_answered(http, server, "a1", "y" * 9000)
    await chat(http, server.url, "new here", "t-c3")
    assert await server.stop() == 0
    assert questions(server, "a1") == ["kept", "y" * 9000]
    assert questions(server, "c3") == ["new here"]
    assert saved.set_aside(server.data_dir) == []


async def test_archives_wait_for_a_real_full_disk(
    start_server: StartServer, http: aiohttp.ClientSession, small: Path
) -> None:
    """Nobody talks any more: the alarm tells of the archive that has no room, and it is made in the end."""
    server = await start_server(folder=small, **ENVIRONMENT)
    async with stream(http, f"{server.url}/subscribe", "t-a1") as reader:
        await reader.next("connected")
        # The footer must need a block of its own.
        size = 0
        while size % 4096 < 4096 - 100:
            await chat(http, server.url, "x" * max(1, (4096 - size % 4096) // 2 - 180), "t-a1")
            size = server.current("a1").stat().st_size
            assert size < 400_000
        filler = fill(server.data_dir)
    await until_alarms(http, server, ["disk-full"])
    assert server.archives("a1") == []
    filler.unlink()
    async with asyncio.timeout(20):
        while not server.archives("a1"):
            await asyncio.sleep(0.05)
    assert await server.stop() == 0
    [dialog] = server.dialogs("a1")
    assert dialog["reason"] == "disconnect"


async def test_a_real_full_log_disk_costs_lines_alone(
    start_server: StartServer, http: aiohttp.ClientSession, small: Path
) -> None:
    """The chat goes on, the alarm is on; with room again it goes off, and lines say how many are missing."""
    server = await start_server(folder=small, POTO_LOG__DEBUG="*", **ENVIRONMENT)
    filler = fill(server.log_file.parent)
    for number in range(40):
        await chat(http, server.url, f"question {number}", "t-a1")
        if await alarms(http, server) == ["log-disk"]:
            break
    await until_alarms(http, server, ["log-disk"])
    filler.unlink()
    await chat(http, server.url, "last", "t-a1")
    await until_alarms(http, server, [])
    # More than one where a short line still went into the block that the file had begun.
    lines = await server.until_logged("log lines dropped")
    assert all(line["lines"] > 0 for line in lines)
    assert await server.stop() == 0
    assert all(each.endswith(b"}\n") for each in lines_in(server.log_file))
    assert questions(server, "a1")[-1] == "last"


@pytest.mark.long
async def test_the_alarms_of_a_full_disk_go_off_by_themselves(
    start_server: StartServer, http: aiohttp.ClientSession, small: Path
) -> None:
    """Once the disks have room and are written to, `/health` is healthy again."""
    server = await start_server(folder=small, POTO_LOG__DEBUG="*", **ENVIRONMENT)
    fillers = [fill(server.data_dir), fill(server.log_file.parent)]
    async with asyncio.timeout(20):
        while await alarms(http, server) != ["disk-full", "log-disk"]:
            assert (await ask(http, server, "a1", "x" * 9000))[0] == 507
    for filler in fillers:
        filler.unlink()
    await until_answered(http, server, "a1", "kept")
    await until_alarms(http, server, [])


@pytest.mark.parametrize(
    ("error", "status", "alarm"),
    [(errno.EDQUOT, 507, "disk-full"), (errno.EIO, 503, "disk-failing"), (errno.EMFILE, 503, "disk-failing")],
    ids=["EDQUOT", "EIO", "EMFILE"],
)
async def test_a_disk_that_fails_for_a_while(
    start_server: StartServer,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    error: int,
    status: int,
    alarm: str,
) -> None:
    """Every write, every flush or every opening fails: the answer and the alarm say so; then all goes on."""
    plan = FaultPlan(tmp_path)
    server = await start_server(POTO_MODULES=FAULTY, **ENVIRONMENT, **plan.environment)
    kept = ["first"]
    await chat(http, server.url, "first", "t-a1")
    for call in ("write", "flush", "open"):
        plan.set(Fault(call, "*/data/users/*", times=0, error=error))
        for user in ("a1", "b2"):
            answered, problem = await ask(http, server, user, f"lost in {call}")
            assert (answered, problem["status"]) == (status, status)
        assert await alarms(http, server) == [alarm]
        plan.set()
        await until_answered(http, server, "a1", f"after {call}")
        kept.append(f"after {call}")
    assert await server.stop() == 0
    assert questions(server, "a1") == kept
    assert questions(server, "b2") == []


async def test_a_flush_that_hangs_holds_up_nobody_else(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """One user's flush hangs: that user waits, the others are served; what was held is kept in the end."""
    plan = FaultPlan(tmp_path)
    server = await start_server(POTO_MODULES=FAULTY, **ENVIRONMENT, **plan.environment)
    plan.set(Fault("flush", "*/users/a1/*", hold=True))
    held = asyncio.create_task(ask(http, server, "a1", "held"))
    await plan.until_reached(1)
    for user in USERS[1:]:
        await chat(http, server.url, f"from {user}", f"t-{user}")
    assert not held.done()
    assert (await http.get(f"{server.url}/health")).status == 200
    plan.set()
    assert (await held)[0] == 200
    assert await server.stop() == 0
    assert questions(server, "a1") == ["held"]


async def test_a_disk_that_hangs_leaves_the_server_reachable(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Every flush hangs: calls wait, streams and `/health` answer; all is kept when the disk is back."""
    plan = FaultPlan(tmp_path)
    server = await start_server(POTO_MODULES=FAULTY, **ENVIRONMENT, **plan.environment)
    plan.set(Fault("flush", "*/data/*", times=0, hold=True))
    waiting = [asyncio.create_task(ask(http, server, user, "waits")) for user in USERS]
    await asyncio.gather(*(server.until_logged("session started", user=user) for user in USERS))
    assert (await http.get(f"{server.url}/health")).status == 200
    async with stream(http, f"{server.url}/subscribe", "t-a1") as reader:
        await reader.next("connected")
    assert not any(task.done() for task in waiting)
    plan.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200] * len(USERS)
    assert await server.stop() == 0
    assert [questions(server, user) for user in USERS] == [["waits"]] * len(USERS)


async def test_a_slow_disk_delays_and_nothing_else(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Each flush takes 50 ms: every call is answered, every word kept, and there is no alarm."""
    plan = FaultPlan(tmp_path)
    server = await start_server(POTO_MODULES=FAULTY, **ENVIRONMENT, **plan.environment)
    plan.set(Fault("flush", "*/data/*", times=0, delay_s=0.05))
    for number in range(3):
        answers = await asyncio.gather(*(ask(http, server, user, f"{number}") for user in USERS))
        assert [status for status, _ in answers] == [200] * len(USERS)
    assert await alarms(http, server) == []
    assert await server.stop() == 0
    assert [questions(server, user) for user in USERS] == [["0", "1", "2"]] * len(USERS)
