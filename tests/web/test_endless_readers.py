"""Readers of endless calls that read slowly or not at all, or come in numbers; the sockets are our own."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt

from potoserver import ServerModule, rpc
from tests.faults.readers import RawSubscriber
from tests.support.clock import settle
from tests.support.served import LIMIT_S, Served, serving
from tests.support.server import log_lines
from tests.support.sse import EventReader

SECRET = "s" * 32
PICTURE_BYTES = 65_536
OUTBOX_BYTES = 4 * PICTURE_BYTES
KERNEL_BYTES = 400_000
"""What the kernels take for a reader that reads nothing."""
PICTURES = (KERNEL_BYTES + OUTBOX_BYTES) // PICTURE_BYTES + 3
"""More than fit anywhere: in the kernels, in the piece under way, in the outbox."""
HEADERS = {"Authorization": "Bearer test-token", "Accept": "text/event-stream"}


class Board(ServerModule):
    """A large picture for all who look, and a new one when the test says so."""

    def __init__(self) -> None:
        self.looking = 0
        self._number = 0
        self._changed = asyncio.Condition()

    @rpc(endless=True)
    async def watch(self) -> AsyncIterator[str]:
        """The picture, and each that comes."""
        self.looking += 1
        try:
            while True:
                shown = self._number
                yield f"{shown} ".ljust(PICTURE_BYTES, "x")
                async with self._changed:
                    await self._changed.wait_for(lambda shown=shown: self._number > shown)
        finally:
            self.looking -= 1

    async def show_next(self) -> str:
        """Shows another picture, to all who look; what it begins with."""
        async with self._changed:
            self._number += 1
            self._changed.notify_all()
        await settle()
        return f"{self._number} "


async def watch(session: aiohttp.ClientSession, served: Served) -> EventReader:
    """A reader that keeps up."""
    response = await session.post(
        f"{served.url}/Board/watch", headers=HEADERS, timeout=aiohttp.ClientTimeout(total=None)
    )
    assert response.status == 200, await response.text()
    reader = EventReader(response)
    assert (await reader.next("delta")).data.startswith("0 ")
    return reader


async def stall(served: Served, token: str = "test-token") -> RawSubscriber:
    """A reader that reads nothing until it is told to."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", served.port))
    lines = ["POST /Board/watch HTTP/1.0", "Host: localhost", f"Authorization: Bearer {token}"]
    await loop.sock_sendall(sock, "\r\n".join([*lines, "Accept: text/event-stream", "", ""]).encode())
    return RawSubscriber(sock)


async def until_open(served: Served, count: int) -> None:
    """Waits until so many endless calls are open."""
    async with asyncio.timeout(LIMIT_S):
        while served.sample("potoserver_endless_calls") != count:
            await asyncio.sleep(0.002)


async def until_shown(served: Served, board: Board) -> None:
    """Waits until the one endless call is open, and its method has begun."""
    await until_open(served, 1)
    async with asyncio.timeout(LIMIT_S):
        while board.looking != 1:
            await asyncio.sleep(0.002)


def expiring_token(served: Served) -> str:
    """One that is good for a minute."""
    expires_s = served.clock.now_ms() // 1000 + 60
    return jwt.encode({"sub": "j1", "exp": expires_s}, SECRET, algorithm="HS256")


async def test_a_stalled_reader_is_cut_at_its_limit_and_the_others_feel_nothing(tmp_path: Path) -> None:
    """Once more than `limits.outbox_bytes` wait, at that moment; who keeps up gets every picture meanwhile.

    Ten of them take no more memory than their outboxes have.
    """
    board = Board()
    async with (
        serving(tmp_path, [board], outbox_bytes=OUTBOX_BYTES, connections_per_user=11) as served,
        aiohttp.ClientSession() as session,
    ):
        reader = await watch(session, served)
        stalled = [await stall(served) for _ in range(10)]
        await until_open(served, 11)
        tracemalloc.start()
        try:
            for _ in range(PICTURES):
                begins = await board.show_next()
                assert (await reader.next("delta")).data.startswith(begins)
            await until_open(served, 1)
            grown_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert board.looking == 1
        assert grown_bytes < 10 * (OUTBOX_BYTES + 5 * PICTURE_BYTES)
        begins = await board.show_next()
        assert (await reader.next("delta")).data.startswith(begins)
        await reader.close()
        for each in stalled:
            await each.read_to_end()
            assert not any(event.type in ("done", "error") for event in each.events)
            each.close()
    cuts = [line for line in log_lines(tmp_path) if line["event"] == "reply cut"]
    assert [(line["user"], line["cause"]) for line in cuts] == [("a1", "ReplyOverflowError")] * 10


async def test_a_reader_that_takes_nothing_is_cut_in_time(tmp_path: Path) -> None:
    """After `send_timeout_s`, however little waits for it; then the method has ended."""
    board = Board()
    async with serving(tmp_path, [board], connections_per_user=1) as served:
        stalled = await stall(served)
        await until_shown(served, board)
        for _ in range(PICTURES):
            await board.show_next()
        assert board.looking == 1
        async with asyncio.timeout(LIMIT_S):
            while board.looking:
                await served.clock.advance(5)
                await asyncio.sleep(0.005)
        await until_open(served, 0)
        assert served.alarms() == ["slow-readers"]
        stalled.close()


async def test_a_reader_that_is_not_there_is_cut_though_the_kernel_takes_all_for_it(tmp_path: Path) -> None:
    """Little is written, so nothing ever waits in this process."""
    board = Board()
    async with serving(tmp_path, [board]) as served:
        stalled = await stall(served)
        await until_shown(served, board)
        async with asyncio.timeout(LIMIT_S):
            while board.looking:
                await served.clock.advance(5)
        await until_open(served, 0)
        stalled.close()
    (cut,) = [line for line in log_lines(tmp_path) if line["event"] == "reply cut"]
    assert cut["cause"] == "stalled"


async def test_a_token_that_expires_ends_the_call_of_a_slow_reader(tmp_path: Path) -> None:
    """What still waited is not shown any more: the error comes next."""
    board = Board()
    async with serving(tmp_path, [board], auth={"jwt_secret": SECRET}) as served:
        token = expiring_token(served)
        await served.clock.advance(59)
        stalled = await stall(served, token)
        await until_shown(served, board)
        for _ in range(2 * PICTURES):
            await board.show_next()
        await served.clock.advance(1)
        assert board.looking == 0
        await stalled.read_to_end()
        *pictures, last = stalled.events
        assert (last.type, last.data["status"]) == ("error", 401)
        assert len(pictures) < PICTURES
        await until_open(served, 0)
        stalled.close()


async def test_who_takes_drop_by_drop_does_not_outstay_a_token(tmp_path: Path) -> None:
    """Its connection ends `send_timeout_s` after the token."""
    board = Board()
    async with serving(tmp_path, [board], auth={"jwt_secret": SECRET}) as served:
        token = expiring_token(served)
        await served.clock.advance(59)
        dripping = await stall(served, token)
        await until_shown(served, board)
        for _ in range(PICTURES):
            await board.show_next()
        await served.clock.advance(1)
        for _ in range(4):
            assert await dripping.read(4096)
            await served.clock.advance(served.server.core.settings.send_timeout_s * 0.3)
        await until_open(served, 0)
        await dripping.read_to_end()
        assert not any(event.type == "error" for event in dripping.events)
        dripping.close()


async def test_the_stop_waits_for_no_stalled_reader(tmp_path: Path) -> None:
    """The method ends at once, and the server in order, whatever its readers do."""
    board = Board()
    async with asyncio.timeout(LIMIT_S), serving(tmp_path, [board]) as served:
        stalled = [await stall(served) for _ in range(3)]
        await until_open(served, 3)
        for _ in range(PICTURES):
            await board.show_next()
        assert await served.server.stop()
        assert board.looking == 0
    for each in stalled:
        await each.read_to_end()
        each.close()


async def test_many_at_once_of_one_user_are_held_to_the_limit(tmp_path: Path) -> None:
    """Just as many as the limit come in, the others are told; other users keep their places."""
    board = Board()
    async with (
        serving(tmp_path, [board], connections_per_user=4, calls_at_once_per_user=30) as served,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):

        async def ask(token: str = "test-token") -> aiohttp.ClientResponse:
            headers = HEADERS | {"Authorization": f"Bearer {token}"}
            return await session.post(f"{served.url}/Board/watch", headers=headers)

        async with asyncio.timeout(LIMIT_S):
            answers = await asyncio.gather(*(ask() for _ in range(24)))
            shown = [answer for answer in answers if answer.status == 200]
            refused = [answer for answer in answers if answer.status == 429]
            assert (len(shown), len(refused), board.looking) == (4, 20, 4)
            assert all(answer.headers["Retry-After"] for answer in refused)
            assert served.sample("potoserver_calls_in_flight") == 0
            shown.append(await ask("admin-token"))
            assert shown[-1].status == 200
            shown.pop(0).close()
            await until_open(served, 4)
            shown.append(await ask())
            assert shown[-1].status == 200
        for answer in (*shown, *refused):
            answer.close()
        await until_open(served, 0)
        assert board.looking == 0
