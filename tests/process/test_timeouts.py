"""Each time limit once on the real clock, with a short setting."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import jwt
import pytest

from tests.faults.readers import RawSubscriber
from tests.process.conftest import StartServer
from tests.support.sse import stream

pytestmark = pytest.mark.process

AUTHORIZED = {"Authorization": "Bearer test-token"}


async def test_heartbeats_come_in_their_interval(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`heartbeat_s`: comments, that no client sees as events."""
    server = await start_server(POTO_HEARTBEAT_S="0.2")
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        async with asyncio.timeout(10):
            while reader.comments < 5:
                await asyncio.sleep(0.05)


async def test_a_reader_that_stalls_is_ended_and_one_that_is_slow_is_not(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`send_timeout_s`: for twice that it takes a little, steadily; then its socket is full."""
    server = await start_server(
        POTO_SEND_TIMEOUT_S="4", POTO_HEARTBEAT_S="0.5", POTO_LIMITS__OUTBOX_BYTES="50000000"
    )
    reader = await RawSubscriber.open(server.port)
    await reader.read_until(b"event: connected")
    url = f"{server.url}/ChatServerModule/chatWithHistory"
    async with http.post(url, json={"message": "x" * 1_000_000}, headers=AUTHORIZED) as answer:
        assert answer.status == 200
    began_s = time.monotonic()
    while time.monotonic() - began_s < 8:
        assert await reader.read(2000)
        await asyncio.sleep(0.05)
    assert server.logged("SSE disconnect detected") == []
    (line,) = await server.until_logged("SSE disconnect detected")
    assert line["cause"] == "slow"
    reader.close()


async def test_a_model_that_is_late_is_504_and_the_question_stays(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`chat.reply_timeout_s`."""
    server = await start_server(POTO_CHAT__REPLY_TIMEOUT_S="0.5", POTO_CHAT__ECHO__DELAY_MS="400")
    url = f"{server.url}/ChatServerModule"
    async with http.post(
        f"{url}/chatWithHistory", json={"message": "one two three four"}, headers=AUTHORIZED
    ) as answer:
        assert answer.status == 504
    async with http.post(f"{url}/getConversation", headers=AUTHORIZED) as answer:
        messages = (await answer.json())["messages"]
    assert [each["role"] for each in messages] == ["user"]


async def test_a_body_that_does_not_come_is_408(start_server: StartServer) -> None:
    """`limits.body_timeout_s`."""
    server = await start_server(POTO_LIMITS__BODY_TIMEOUT_S="0.5")
    read, write = await asyncio.open_connection("127.0.0.1", server.port)
    write.write(
        b"POST /ChatServerModule/getConversation HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer test-token\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    async with asyncio.timeout(10):
        assert (await read.readline()).startswith(b"HTTP/1.1 408")
    write.close()


async def test_a_token_that_expires_ends_its_stream(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """At its `exp`, with cause `expired`."""
    secret = "a secret of thirty-two bytes or more"
    server = await start_server(POTO_AUTH__JWT_SECRET=secret)
    token = jwt.encode({"sub": "a1", "exp": int(time.time()) + 5}, secret, algorithm="HS256")
    async with stream(http, f"{server.url}/subscribe", token) as reader:
        await reader.next("connected")
        await reader.end()
    (line,) = await server.until_logged("SSE disconnect detected")
    assert line["cause"] == "expired"
