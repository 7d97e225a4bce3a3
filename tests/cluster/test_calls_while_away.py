"""What each call says while Valkey is away: that it is, at once, or what it can say all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.cluster.conftest import StartCluster
from tests.support.process import chat
from tests.support.sse import open_stream

pytestmark = pytest.mark.process

LIMIT_S = 20
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/ChatServerModule/chatWithHistory", {"message": "too early"}),
    ("/ChatServerModule/stopGeneration", {}),
    ("/ChatServerModule/getConversation", {}),
    ("/ChatServerModule/endSession", {}),
    ("/ChatServerModule/getSessionInfo", {}),
    ("/ChatServerModule/listArchives", {}),
    ("/ChatServerModule/searchArchives", {"query": "word"}),
    ("/ChatServerModule/exportArchives", {}),
    ("/ChatServerModule/getArchive", {"id": "2024-01-15-10-30-00"}),
    ("/ChatServerModule/listSessions", {}),
    ("/ChatServerModule/getActiveSessionCount", {}),
    ("/ChatServerModule/getUserSessionInfo", {"userId": "a1"}),
    ("/ChatServerModule/endUserSession", {"userId": "a1"}),
    ("/Operations/dropConnection", {"connection": "c-elsewhere"}),
    ("/WhoIsOnline/whoIsOnline", {}),
    ("/subscribe/ack", {"connection": "c-elsewhere", "lastEventId": None}),
]


async def test_every_call_says_at_once_that_the_engine_is_away(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """503 with `Retry-After` for what needs the other nodes; the rest is answered as ever. Then all is."""
    cluster = await start_server()
    node = cluster.nodes[0]
    as_admin = {"Authorization": "Bearer admin-token"}
    stream = await open_stream(http, f"{node.url}/subscribe", "admin-token")
    connection = (await stream.next("connected")).data["connection"]

    async def ask(method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        async with asyncio.timeout(LIMIT_S):
            async with http.request(method, f"{node.url}{path}", headers=as_admin, **options) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.text()

    async def until_ready(*, ready: bool) -> None:
        async with asyncio.timeout(LIMIT_S):
            while ((await ask("GET", "/health/ready"))[0] == 200) is not ready:
                await asyncio.sleep(0.05)

    async with asyncio.timeout(LIMIT_S):  # until this node knows the other one
        while '"node":null' in (await ask("POST", "/ChatServerModule/listSessions", json={}))[2]:
            await asyncio.sleep(0.05)
    cluster.valkey.kill()
    await until_ready(ready=False)
    answers = {path: await ask("POST", path, json=arguments) for path, arguments in CALLS}
    assert {path: answer[:2] for path, answer in answers.items() if answer[:2] != (503, "1")} == {}, answers
    assert (await ask("GET", "/health/live"))[0] == 200
    assert (await ask("GET", "/whoami"))[0] == 200
    status, _, health = await ask("GET", "/health")
    assert status == 200
    assert '"status":"degraded"' in health
    await cluster.until_logged("alarm on", count=2, alarm="engine-away")
    _, _, health = await ask("GET", "/health")
    assert '"alarm":"engine-away"' in health
    # Its own connection's proof of life needs nobody.
    assert (await ask("POST", "/subscribe/ack", json={"connection": connection}))[0] == 204
    assert not stream.ended.is_set()

    cluster.valkey.start()
    await until_ready(ready=True)
    async with asyncio.timeout(LIMIT_S):  # the other one, too: it is asked as well
        while (await http.get(f"{cluster.nodes[1].url}/health/ready")).status != 200:
            await asyncio.sleep(0.05)
    assert (await chat(http, node.url, "after"))["reply"] == "after"
    answers = {path: await ask("POST", path, json=arguments) for path, arguments in CALLS}
    assert [path for path, answer in answers.items() if answer[0] == 503] == []
    await stream.close()
