"""At each limit of the whole server: it says what is wrong, and serves the others."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from potoserver import ServerModule, rpc
from tests.support.bystander import CALLS_ALONE, bystander
from tests.support.process import ServerProcess, chat
from tests.support.sse import open_stream, stream

pytestmark = pytest.mark.process

OPEN_FILES = 400
"""Of these 256 are left for files: 36 are for connections without a stream, 108 for event streams."""
AUTHORIZED = {"Authorization": "Bearer test-token"}
CHAT = "/ChatServerModule/chatWithHistory"


class Hoarder(ServerModule):
    """Takes every descriptor that the system gives, and gives them back."""

    def __init__(self) -> None:
        self._taken: list[int] = []

    @rpc
    async def hoard(self) -> int:
        with suppress(OSError):
            while True:
                self._taken.append(os.open(os.devnull, os.O_RDONLY))
        return len(self._taken)

    @rpc
    async def release(self) -> None:
        while self._taken:
            os.close(self._taken.pop())


async def health(http: aiohttp.ClientSession, server: ServerProcess) -> dict[str, Any]:
    async with http.get(f"{server.url}/health") as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def alarms(http: aiohttp.ClientSession, server: ServerProcess) -> list[str]:
    return [alarm["alarm"] for alarm in (await health(http, server))["alarms"]]


async def metric(http: aiohttp.ClientSession, server: ServerProcess, series: str) -> float:
    async with http.get(f"{server.url}/metrics") as answer:
        for line in (await answer.text()).splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
    return 0.0


async def until_alarm(http: aiohttp.ClientSession, server: ServerProcess, name: str) -> None:
    async with asyncio.timeout(20):
        while name not in await alarms(http, server):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def raw_sockets(
    server: ServerProcess, count: int, data: bytes
) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Sockets that have sent so much, and what each reads up to its end."""
    tasks: list[asyncio.Task[bytes]] = []
    async with AsyncExitStack() as stack:

        async def hold() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(data)
            with suppress(ConnectionError):
                return await reader.read()
            return b""

        try:
            for _ in range(count):
                tasks.append(asyncio.create_task(hold()))
                await asyncio.sleep(0)
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_half_requests_keep_nobody_out(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Many times more half requests than there are descriptors: users connect and talk among them."""
    async with ServerProcess(tmp_path, open_files=OPEN_FILES) as server:
        async with (
            bystander(server, "1,500 half requests, 36 sockets") as user,
            raw_sockets(server, 1500, b"POST / HTTP/1.1\r\nHost:") as held,
        ):
            await until_alarm(http, server, "sockets-full")
            async with stream(http, f"{server.url}/subscribe") as newcomer:
                await newcomer.next("connected")
            assert (await health(http, server))["status"] == "degraded"
            assert await metric(http, server, 'potoserver_alarm{alarm="sockets-full"}') == 1
            assert await metric(http, server, "potoserver_sockets") <= 36
            assert not all(each.done() for each in held)
        assert len(await server.until_logged("alarm on", alarm="sockets-full")) == 1
        assert await server.stop() == 0
        (dialog,) = server.dialogs("admin")
        assert [message["content"] for message in dialog["messages"][::2]] == user.said


async def test_a_burst_takes_no_descriptor_from_the_journal(tmp_path: Path) -> None:
    """What has waited is accepted a few at a time: beyond the limit each has one till it is closed."""
    async with ServerProcess(tmp_path, open_files=OPEN_FILES) as server:
        async with bystander(server, "a burst of 900 connections") as user:
            begun = len(user.said)
            server.send_signal(signal.SIGSTOP)
            with ExitStack() as burst:
                for _ in range(900):
                    sock = burst.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                    sock.send(b"POST / HTTP/1.1\r\nHost:")
                server.send_signal(signal.SIGCONT)
                async with asyncio.timeout(30):
                    while len(user.said) < begun + CALLS_ALONE:
                        await asyncio.sleep(0.01)
        assert await server.stop() == 0
        assert server.logged("alarm on", alarm="sockets-full")
        assert not server.logged("alarm on", alarm="descriptors")


async def test_bodies_that_do_not_come_are_given_up(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """408 each, in their time; the calls in flight of their user are bounded meanwhile, not another's."""
    environment = {"POTO_LIMITS__BODY_TIMEOUT_S": "4", "POTO_LIMITS__CALLS_AT_ONCE_PER_USER": "8"}
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    ).encode()
    async with ServerProcess(tmp_path, environment=environment) as server:
        async with bystander(server, "64 slow bodies"), raw_sockets(server, 64, head) as held:
            answers = [(await each).split(b"\r\n", 1)[0] for each in held]
        assert answers.count(b"HTTP/1.1 408 Request Timeout") == 8
        assert answers.count(b"HTTP/1.1 429 Too Many Requests") == 56
        assert set(await alarms(http, server)) == {"rate-limited", "slow-senders"}
        assert (await health(http, server))["status"] == "healthy"
        assert len(await server.until_logged("alarm on", alarm="slow-senders")) == 1


async def test_one_user_who_asks_too_much_is_told(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """429 with Retry-After, by calls a minute and by calls in flight; the others are served."""
    environment = {
        "POTO_LIMITS__CALLS_PER_MINUTE": "300",
        "POTO_LIMITS__CALLS_AT_ONCE_PER_USER": "8",
        "POTO_CHAT__ECHO__DELAY_MS": "5",
    }
    async with ServerProcess(tmp_path, environment=environment) as server:

        async def ask(number: int) -> tuple[int, str | None]:
            body = {"message": f"one two three {number}"}
            async with http.post(f"{server.url}{CHAT}", json=body, headers=AUTHORIZED) as answer:
                await answer.read()
                return answer.status, answer.headers.get("Retry-After")

        async with bystander(server, "2,000 calls of one user at once"):
            answers = await asyncio.gather(*map(ask, range(2000)))
        kept = answers.count((200, None))
        assert 8 <= kept <= 300
        assert all(status in (200, 429) and (status == 200) != bool(after) for status, after in answers)
        assert await metric(http, server, "potoserver_rate_limited_total") > 0
        assert await metric(http, server, 'potoserver_calls_refused_total{of="user"}') > 0
        assert await server.stop() == 0
        (dialog,) = server.dialogs()
        assert len(dialog["messages"]) == 2 * kept


async def test_more_streams_than_it_takes_are_told_so(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """`unavailable` with a reason; the streams that are open and calls go on; there is room when one ends."""
    environment = {"POTO_LIMITS__CONNECTIONS_PER_USER": "0"}
    async with ServerProcess(tmp_path, open_files=OPEN_FILES, environment=environment) as server:
        async with bystander(server, "300 streams, 108 allowed"):
            readers = [await open_stream(http, f"{server.url}/subscribe") for _ in range(300)]
            first = [(await reader.next()).type for reader in readers]
            assert first == ["connected"] * 107 + ["unavailable"] * 193
            assert readers[-1].seen[0].data["reason"] == "too-many-connections"
            assert await alarms(http, server) == ["connections-full"]
            assert (await health(http, server))["status"] == "degraded"
            for reader in readers[50:]:
                await reader.close()
            await server.until_logged("SSE disconnect detected")
            again = await open_stream(http, f"{server.url}/subscribe")
            assert (await again.next()).type == "connected"
            for reader in [*readers[:50], again]:
                await reader.close()
        assert len(await server.until_logged("alarm on", alarm="connections-full")) == 1


async def test_without_descriptors_what_is_open_goes_on(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Nothing acknowledged is lost; what needs a file is told; all is well once there are some again."""
    environment = {"POTO_MODULES": '["chat_server", "tests.process.test_shedding:Hoarder"]'}
    async with ServerProcess(tmp_path, open_files=OPEN_FILES, environment=environment) as server:
        await chat(http, server.url, "before")
        async with stream(http, f"{server.url}/subscribe") as reader:
            await reader.next("connected")
            async with http.post(f"{server.url}/Hoarder/hoard", headers=AUTHORIZED) as answer:
                assert await answer.json() > 100
            late = asyncio.create_task(_connect_late(server))
            await server.until_logged("alarm on", alarm="descriptors")
            body = {"message": "during"}
            async with http.post(f"{server.url}{CHAT}", json=body, headers=AUTHORIZED) as answer:
                assert answer.status == 503
                assert "was not kept" in (await answer.json())["detail"]
            assert set(await alarms(http, server)) == {"descriptors", "disk-failing"}
            async with http.post(f"{server.url}/Hoarder/release", headers=AUTHORIZED) as answer:
                assert answer.status == 200
            assert await late == 200
            assert (await chat(http, server.url, "after"))["reply"] == "after"
            assert not reader.ended.is_set()
        assert await server.stop() == 0
        (dialog,) = server.dialogs()
        assert [message["content"] for message in dialog["messages"]] == ["before"] * 2 + ["after"] * 2


async def _connect_late(server: ServerProcess) -> int:
    """A connection that has to wait in the kernel's queue until it can be accepted."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/health/live") as answer:
        return answer.status
