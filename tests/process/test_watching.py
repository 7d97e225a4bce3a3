"""Who watches a real server: neither its stop nor its other callers wait for that."""

from __future__ import annotations

import time

import aiohttp

from tests.process.conftest import StartServer
from tests.support.process import ServerProcess
from tests.support.sse import EventReader

WATCHES = ("Operations/watch", "ChatServerModule/watchSessions")
LIMIT_S = 20.0


async def watch(session: aiohttp.ClientSession, server: ServerProcess, path: str) -> EventReader:
    response = await session.post(
        f"{server.url}/{path}",
        headers={"Authorization": "Bearer admin-token", "Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None),
    )
    assert response.status == 200, await response.text()
    reader = EventReader(response)
    assert (await reader.next("delta")).data["at"]
    return reader


async def test_a_page_that_watches_holds_up_no_stop(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The streams end with a problem that says so, at once, and the server in order."""
    server = await start_server(POTO_SHUTDOWN_TIMEOUT_S="20")
    readers = [await watch(http, server, path) for path in WATCHES]
    began_s = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - began_s < 10, "it did not wait for its readers"
    for reader in readers:
        assert (await reader.next("error")).data["status"] == 503
        await reader.end()


async def test_who_goes_costs_nothing_any_more(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The fifth time as the first: nobody locks themselves out by loading a page anew."""
    server = await start_server(POTO_LIMITS__CONNECTIONS_PER_USER="2")
    for _ in range(5):
        readers = [await watch(http, server, path) for path in WATCHES]
        for reader in readers:
            await reader.close()
        deadline_s = time.monotonic() + LIMIT_S
        while await endless_calls(http, server):
            assert time.monotonic() < deadline_s


async def endless_calls(http: aiohttp.ClientSession, server: ServerProcess) -> float:
    async with http.get(f"{server.url}/metrics") as answer:
        for line in (await answer.text()).splitlines():
            if line.startswith("potoserver_endless_calls "):
                return float(line.split()[1])
    raise AssertionError("no such metric")
