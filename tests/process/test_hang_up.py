"""Callers that go away before their answer has begun. A process, since aiohttp's test server cancels them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.process.conftest import StartServer

pytestmark = pytest.mark.process

_BODY = b'{"message": "word"}'
_REQUEST = (
    b"POST /ChatServerModule/chatWithHistory HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Bearer test-token\r\nContent-Type: application/json\r\n"
    b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_COUNTED = (
    'potoserver_request_seconds_count{method="POST",route="/ChatServerModule/chatWithHistory",status="499"}'
)


async def test_a_caller_that_hangs_up_before_the_first_word_is_no_fault_of_the_server(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """It is counted as 499, the client went away; the reply is kept, and nothing is logged as an error."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="4000")
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(_REQUEST)
    await server.until_logged("session message added to dialogue journal", role="user")
    writer.transport.abort()
    await server.until_logged("session message added to dialogue journal", role="assistant")
    async with asyncio.timeout(20):
        while f"{_COUNTED} 1.0" not in await (await http.get(f"{server.url}/metrics")).text():
            await asyncio.sleep(0.02)
    assert [line for line in server.log_lines() if line["level"] == "error"] == []
