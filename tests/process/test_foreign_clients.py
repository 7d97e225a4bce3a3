"""Clients nobody here wrote: curl, httpx-sse, aiohttp-sse-client2 and npm's eventsource."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.faults.proxy import Proxy
from tests.process.conftest import StartServer
from tests.support.foreign import AiohttpSseClient, CurlLoop, ForeignClient, HttpxSse, NpmEventSource
from tests.support.npm import npm_is_there
from tests.support.process import NOBODY_DEPARTS, chat

pytestmark = [
    pytest.mark.process,
    pytest.mark.parametrize(
        "client_class",
        [
            pytest.param(
                CurlLoop,
                marks=pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed"),
            ),
            HttpxSse,
            AiohttpSseClient,
            pytest.param(
                NpmEventSource,
                marks=pytest.mark.skipif(not npm_is_there(), reason="node and npm are not installed"),
            ),
        ],
    ),
]


def said(client: ForeignClient) -> list[tuple[str, str]]:
    """Role and text of each message that the client was told of."""
    return [(message["role"], message["content"]) for message in client.of("message")]


def both(text: str) -> list[tuple[str, str]]:
    """A question and its echo."""
    return [("user", text), ("assistant", text)]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["crash", "drain"])
async def test_the_client_returns_after_a_restart(
    start_server: StartServer,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    client_class: type[ForeignClient],
    end: signal.Signals,
) -> None:
    """Each client receives, and when the server comes back it is there again and says what it has seen."""
    server = await start_server(**NOBODY_DEPARTS)
    async with client_class(f"{server.url}/subscribe", tmp_path) as client:
        [connected] = await client.until("connected", 1)
        assert connected["gap"] is False
        before = await chat(http, server.url, "before: é \U0001f980 \u2028")
        await client.until("message", 2)

        status = await server.stop(end)
        assert status == (0 if end == signal.SIGTERM else -signal.SIGKILL)
        await server.start()

        _, returned = await client.until("connected", 2)
        assert returned["user"] == "a1"
        assert returned["gap"] is True  # so it named its last event, which the new process can't know
        after = await chat(http, server.url, "after")
        await client.until("message", 4)
        assert said(client) == [*both("before: é \U0001f980 \u2028"), *both("after")]
        # After a crash the dialog goes on; a drain has archived it, and the client is told so.
        if end == signal.SIGKILL:
            assert after["conversationId"] == before["conversationId"]
        else:
            assert len(client.of("shutdown")) == 1
            assert returned["archived"]["conversation"] == before["conversationId"]


async def test_the_client_resumes_after_a_broken_link(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path, client_class: type[ForeignClient]
) -> None:
    """What a client missed while its link was down comes once, in order, when it is back."""
    server = await start_server(**NOBODY_DEPARTS)
    async with Proxy(server.port) as proxy, client_class(f"{proxy.url}/subscribe", tmp_path) as client:
        await client.until("connected", 1)
        await chat(http, server.url, "before")
        await client.until("message", 2)
        proxy.accepts = False
        proxy.reset()
        await server.until_logged("SSE disconnect detected")
        await chat(http, server.url, "missed 1")
        await chat(http, server.url, "missed 2")
        proxy.accepts = True
        _, returned = await client.until("connected", 2)
        assert (returned["resumed"], returned["gap"]) == (True, False)
        await chat(http, server.url, "after")
        await client.until("message", 8)
        texts = ["before", "missed 1", "missed 2", "after"]
        assert said(client) == [message for text in texts for message in both(text)]
