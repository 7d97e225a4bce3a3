"""Each time limit once on the real clock, with a short setting."""

from __future__ import annotations

import asyncio
import socket
import time

import aiohttp
import jwt
import pytest

from tests.process.conftest import StartServer
from tests.support.sse import open_stream, stream

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


async def test_a_lease_without_acks_ends_and_one_with_acks_does_not(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`?lease=10`: within the lease and a second, with cause `lease`."""
    server = await start_server()
    silent = await open_stream(http, f"{server.url}/subscribe", lease="10")
    healthy = await open_stream(http, f"{server.url}/subscribe", lease="10")
    connection = (await healthy.next("connected")).data["connection"]

    async def answer_pings() -> None:
        while True:
            await healthy.next("ping")
            body = {"connection": connection, "lastEventId": healthy.last_id}
            async with http.post(f"{server.url}/subscribe/ack", json=body, headers=AUTHORIZED) as answer:
                assert answer.status == 204

    answering = asyncio.create_task(answer_pings())
    await silent.end()
    (line,) = await server.until_logged("SSE disconnect detected")
    assert line["cause"] == "lease"
    assert not healthy.ended.is_set()
    answering.cancel()
    await healthy.close()


async def test_a_reader_that_stalls_is_ended(start_server: StartServer, http: aiohttp.ClientSession) -> None:
    """`send_timeout_s`: its socket is full, and it takes nothing."""
    server = await start_server(
        POTO_SEND_TIMEOUT_S="1", POTO_HEARTBEAT_S="0.5", POTO_LIMITS__OUTBOX_BYTES="50000000"
    )
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(
            b"GET /subscribe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
        )
        await server.until_logged("SSE subscribed")
        body = {"message": "x" * 1_000_000}
        url = f"{server.url}/ChatServerModule/chatWithHistory"
        for _ in range(6):
            async with http.post(url, json=body, headers=AUTHORIZED) as answer:
                assert answer.status == 200
        (line,) = await server.until_logged("SSE disconnect detected")
    assert line["cause"] in {"slow", "unreachable"}


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
    token = jwt.encode({"sub": "a1", "exp": int(time.time()) + 2}, secret, algorithm="HS256")
    async with stream(http, f"{server.url}/subscribe", token) as reader:
        await reader.next("connected")
        await reader.end()
    (line,) = await server.until_logged("SSE disconnect detected")
    assert line["cause"] == "expired"
