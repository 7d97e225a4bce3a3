"""The real server under bytes that are no good HTTP, with a client beside that must not notice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.fuzz.mutator import hostile
from tests.fuzz.wire import Exchange, exchange
from tests.process.conftest import StartServer
from tests.support.process import ServerProcess, chat
from tests.support.sse import stream

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what the server holds"),
]

DOCUMENTED = {100, 200, 204, 400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 422, 429, 431, 503}
HEAD_TIMEOUT_S = BODY_TIMEOUT_S = 1.0
LIMIT_S = HEAD_TIMEOUT_S + BODY_TIMEOUT_S + 6
"""The server's two limits, and what a busy machine takes."""
AT_ONCE = 48
GROWTH_BYTES = 40_000_000
CALM_S = 8.0
"""How long a call of the client beside may take, on a machine that is busy with all this."""


async def start(start_server: StartServer) -> ServerProcess:
    limits = {
        "head_timeout_s": HEAD_TIMEOUT_S,
        "body_timeout_s": BODY_TIMEOUT_S,
        "body_bytes": 20_000,
        "calls_per_minute": 0,
        "connections_per_user": 0,
    }
    users = {"ann": {"user": "ann"}, "calm": {"user": "calm"}}
    return await start_server(
        POTO_MODULES=json.dumps(["chat_server", "tests.fuzz.taker:Taker"]),
        POTO_AUTH__TOKENS=json.dumps(users),
        POTO_LIMITS=json.dumps(limits),
    )


def check(found: Exchange) -> None:
    """Every answer is one of ours, and the server did not leave the client waiting."""
    for answer in found.answers:
        assert answer.status in DOCUMENTED, answer
        if answer.status >= 400:
            problem = answer.problem
            assert problem["status"] == answer.status
            assert problem["requestId"] == answer.headers["x-request-id"]
    assert found.answers or found.closed, f"no answer within {found.took_s:.1f} s: {found}"


async def attack(port: int, requests: Iterable[list[bytes]]) -> Counter[int]:
    """Sends them, some at once; each exchange is checked. Returns how often each status came."""
    statuses: Counter[int] = Counter()
    waiting = iter(requests)

    async def work() -> None:
        for parts in waiting:
            try:
                found = await exchange(port, parts, limit_s=LIMIT_S, pause_s=0.005)
                check(found)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"{parts!r}: {error}") from error
            statuses.update(answer.status for answer in found.answers)
            statuses[0] += not found.answers

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return statuses


@asynccontextmanager
async def calm_client(server: ServerProcess, http: aiohttp.ClientSession) -> AsyncIterator[list[float]]:
    """Talks all the while, and must get every event of it, in order, on one connection; yields the times."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    async def talk() -> None:
        while not over.is_set():
            began_s = loop.time()
            answer = await chat(http, server.url, f"number {len(times)}", "calm")
            assert answer["reply"] == f"number {len(times)}"
            times.append(loop.time() - began_s)
            await asyncio.sleep(0.2)

    async with stream(http, f"{server.url}/subscribe", "calm") as reader:
        await reader.next("connected")
        talking = asyncio.create_task(talk())
        try:
            yield times
        finally:
            over.set()
            await talking
        for number in range(len(times)):
            for role in ("user", "assistant"):
                event = await reader.next("message")
                assert (event.data["role"], event.data["content"]) == (role, f"number {number}")
    assert max(times) < CALM_S


def size_of(server: ServerProcess) -> tuple[int, int]:
    """How many descriptors the process has open, and how many bytes of memory it has."""
    process = Path(f"/proc/{server.pid}")
    pages = int((process / "statm").read_text().split()[1])
    return len(list((process / "fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE")


async def settled(server: ServerProcess, most: int) -> int:
    """The open descriptors, once what was ended is closed."""
    for _ in range(200):
        count, _ = size_of(server)
        if count <= most:
            break
        await asyncio.sleep(0.1)
    return count


async def fuzz(server: ServerProcess, http: aiohttp.ClientSession, seed: int, count: int) -> None:
    """Attacks with so many requests, and looks at what is left of them."""
    chance = random.Random(seed)
    await attack(server.port, (hostile(chance) for _ in range(200)))
    before, bytes_before = size_of(server)
    before = await settled(server, before)
    async with calm_client(server, http) as times:
        statuses = await attack(server.port, (hostile(chance) for _ in range(count)))
    after = await settled(server, before + 2)  # the calm client's own
    _, bytes_after = size_of(server)
    print(f"FUZZ_SEED={seed}: {count} exchanges, statuses {dict(sorted(statuses.items()))}")
    print(f"{len(times)} calls beside, at most {max(times):.2f} s each")
    print(f"descriptors {before} to {after}, memory {bytes_before} to {bytes_after} bytes")
    assert after <= before + 2
    assert bytes_after - bytes_before < GROWTH_BYTES
    assert [line for line in server.log_lines() if line["level"] in ("error", "critical")] == []
    assert "Traceback" not in server.output


async def test_hostile_bytes_break_nothing(start_server: StartServer, http: aiohttp.ClientSession) -> None:
    """No 500, no undocumented status, no hang, no growth; who talks beside them misses nothing."""
    await fuzz(await start(start_server), http, seed=1, count=800)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_many_hostile_bytes_break_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The long form, with a new seed for each run."""
    seed = int(os.environ.get("FUZZ_SEED", int.from_bytes(os.urandom(4))))
    await fuzz(await start(start_server), http, seed, count=20_000)
