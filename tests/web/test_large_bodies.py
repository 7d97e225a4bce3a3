"""Bodies beyond the limit of all others, for the methods that ask for it."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from potoserver import ServerModule, rpc
from potoserver.module.rpc import rpc_methods
from potoserver.web.large_bodies import MOST_AT_ONCE
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer

LIMIT = 200_000


class Store(ServerModule):
    """Takes much, and lets the test say when it has it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0

    @rpc(body_bytes=LIMIT)
    async def put(self, text: str) -> int:
        self.inside += 1
        await self.open.wait()
        return len(text)

    @rpc
    async def little(self, text: str) -> int:
        return len(text)

    async def until(self, inside: int) -> None:
        async with asyncio.timeout(10):
            while self.inside < inside:
                await asyncio.sleep(0.005)


async def send(running: RunningServer, method: str, size: int, token: str = "test-token") -> tuple[int, Any]:
    body = json.dumps({"text": "x" * size}).encode()
    answer = await running.session.post(
        f"{running.url}/Store/{method}",
        data=io.BytesIO(body),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    return answer.status, await answer.json(content_type=None)


async def test_a_method_takes_larger_bodies_where_it_says_so(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Up to its own limit, which the refusal names; the others' limit stays."""
    store = Store()
    store.open.set()
    async with running_server(tmp_path, [store], clock=ManualClock(), limits={"body_bytes": 1000}) as running:
        assert await send(running, "put", 100_000) == (200, 100_000)
        status, problem = await send(running, "put", LIMIT)
        assert (status, problem["detail"]) == (413, f"A body may have at most {LIMIT} bytes here.")
        status, problem = await send(running, "little", 2000)
        assert (status, problem["detail"]) == (413, "A body may have at most 1000 bytes.")


async def test_what_all_may_send_it_takes_too(tmp_path: Path, running_server: RunServer) -> None:
    """An operator who raises `limits.body_bytes` beyond it lowers nothing."""
    store = Store()
    store.open.set()
    limits = {"body_bytes": 2 * LIMIT}
    async with running_server(tmp_path, [store], clock=ManualClock(), limits=limits) as running:
        assert await send(running, "put", LIMIT + 1) == (200, LIMIT + 1)


async def test_one_of_a_user_at_a_time(tmp_path: Path, running_server: RunServer) -> None:
    """A second one is 429 until the first is answered; ordinary calls and other users go on."""
    store = Store()
    async with running_server(tmp_path, [store], clock=ManualClock()) as running:
        first = asyncio.create_task(send(running, "put", 10))
        await store.until(1)
        status, problem = await send(running, "put", 10)
        assert (status, problem["detail"]) == (429, "Another large call of yours runs; wait for its answer.")
        assert await send(running, "little", 10) == (200, 10)
        other = asyncio.create_task(send(running, "put", 10, "admin-token"))
        await store.until(2)
        store.open.set()
        assert await first == await other == (200, 10)
        assert await send(running, "put", 10) == (200, 10)


async def test_few_in_all_at_a_time(tmp_path: Path, running_server: RunServer) -> None:
    """What they take in memory is several times their size; one more is 503 and comes back."""
    store = Store()
    users = {f"t{number}": {"user": f"u{number}"} for number in range(MOST_AT_ONCE + 1)}
    auth = {"tokens": users}
    async with running_server(tmp_path, [store], clock=ManualClock(), auth=auth) as running:
        waiting = [
            asyncio.create_task(send(running, "put", 10, f"t{number}")) for number in range(MOST_AT_ONCE)
        ]
        await store.until(MOST_AT_ONCE)
        status, problem = await send(running, "put", 10, f"t{MOST_AT_ONCE}")
        assert (status, problem["status"]) == (503, 503)
        store.open.set()
        assert [await each for each in waiting] == [(200, 10)] * MOST_AT_ONCE
        assert (await send(running, "put", 10, f"t{MOST_AT_ONCE}"))[0] == 200


async def test_a_bad_one_is_refused_and_counted_out(tmp_path: Path, running_server: RunServer) -> None:
    """Not JSON, a wrong argument: as for any other body, and the next one is taken."""
    store = Store()
    store.open.set()
    async with running_server(tmp_path, [store], clock=ManualClock()) as running:
        for arguments, expected in (({"text": 1}, 422), ({"more": 1}, 422), ([], 422), ({"text": "x"}, 200)):
            status, _ = await running.call("Store/put", arguments)
            assert status == expected


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_is_none_is_refused(size: int) -> None:
    """Where the method is written, by name."""
    with pytest.raises(TypeError, match="body_bytes"):
        rpc(body_bytes=size)


def test_the_signature_tells_it() -> None:
    """For who asks what a method takes."""
    methods = rpc_methods(Store())
    assert (methods["put"].body_bytes, methods["little"].body_bytes) == (LIMIT, None)
