"""Sockets before aiohttp: counted, bounded in time and size, and told what is wrong."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from potoserver import ServerModule, rpc
from potoserver.web.http_server import RequestHandler
from tests.support.clock import settle
from tests.support.served import LIMIT_S, Served, serving
from tests.support.sse import parse_events
from tests.support.waiting import until

WHOLE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG = 32_000_000


class Big(ServerModule):
    """Answers more than any socket buffer takes, and calls that last until the test is over."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    @rpc
    async def hold(self) -> None:
        await self.gate.wait()

    @rpc
    async def answer(self) -> str:
        return "x" * BIG

    @rpc
    async def part(self) -> str:
        return "x" * 60_000


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def run(**limits: Any) -> AsyncIterator[Served]:
        big = Big()
        async with serving(tmp_path, [big], **limits) as served:
            yield served
            big.gate.set()

    return run


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """The whole answer up to the connection's end: status, headers, JSON."""
    async with asyncio.timeout(LIMIT_S):
        data = await reader.read()
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert int(headers["Content-Length"]) == len(body)
    return int(line.split()[1]), headers, json.loads(body)


async def test_half_a_head_is_closed_after_its_time(serve: Serve) -> None:
    """Told with 408 when it had begun; a socket that has sent nothing is closed without a word."""
    async with serve(head_timeout_s=7) as served:
        slow, _ = await served.send(WHOLE[:-2])
        silent, _ = await served.send(b"")
        await served.clock.advance(6.9)
        assert served.sample("potoserver_sockets") == 2
        await served.clock.advance(0.2)
        status, headers, problem = await answer_of(slow)
        assert (status, headers["Connection"], headers["Server"]) == (408, "close", "potoserver")
        assert problem["detail"] == "The request's head did not come within 7 s."
        assert headers["X-Request-ID"] == problem["requestId"]
        assert await silent.read() == b""
        assert served.alarms() == ["slow-senders"]
        assert served.sample("potoserver_requests_refused_total", status="408") == 1
        assert served.sample("potoserver_sockets") == 0


async def test_a_head_may_come_in_pieces(serve: Serve) -> None:
    """Byte by byte, behind empty lines, and with a body that begins in the same packet."""
    async with serve() as served:
        reader, writer = await served.connect()
        for byte in b"\r\n" + WHOLE:
            writer.write(bytes([byte]))
            await writer.drain()
            await settle()
        assert b" 200 OK" in await reader.readline()
        writer.close()
        reader, writer = await served.connect()
        body = b'{"token": "nobody"}'
        writer.write(
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        status, _, _ = await answer_of(reader)
        assert status == 401


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"G" * 9000, 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 11_000, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nBad Header: 1\r\n\r\n", 400),
    ],
    ids=["TLS", "long line", "long head", "control byte", "long header", "HTTP/2", "bad header"],
)
async def test_what_is_no_http_gets_a_problem_document(serve: Serve, data: bytes, expected: int) -> None:
    """Ours, whoever finds out: with an id, without a version, and the connection ends."""
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(data)
        status, headers, problem = await answer_of(reader)
        assert (status, problem["status"], headers["Server"]) == (expected, expected, "potoserver")
        assert headers["Content-Type"].startswith("application/problem+json")
        assert headers["X-Request-ID"] == problem["requestId"]
        assert served.sample("potoserver_requests_refused_total", status=str(expected)) == 1


async def test_the_longest_half_head_makes_room(serve: Serve) -> None:
    """Sockets that hold back their requests keep nobody out; the alarm says that they are many."""
    async with serve(sockets=3) as served:
        oldest, _ = await served.send(b"GET")
        others = [await served.send(b"GET") for _ in range(2)]
        reader, writer = await served.connect()
        writer.write(WHOLE)
        assert b" 200 OK" in await reader.readline()
        assert await oldest.read() == b""
        assert not any(other.at_eof() for other, _ in others)
        assert served.alarms() == ["sockets-full"]


async def test_idle_connections_make_room(serve: Serve) -> None:
    """A connection that only waits for a next request is closed for the sake of a new one, and of many."""
    async with serve(sockets=6) as served:
        kept = []
        for _ in range(6):
            reader, writer = await served.connect()
            writer.write(WHOLE)
            await reader.readuntil(b"}")
            kept.append(reader)
        await served.clock.advance(1)
        # All in the same turn of the loop: none of them must make room for the next.
        burst = await asyncio.gather(*(served.connect() for _ in range(6)))
        for _, writer in burst:
            writer.write(WHOLE)
        for reader, _ in burst:
            assert b" 200 OK" in await reader.readline()
        assert [await reader.read() for reader in kept] == [b""] * 6


async def test_a_stranger_who_holds_back_a_body_makes_room(serve: Serve) -> None:
    """Before it is known who logs in, a connection is nobody's: such ones keep nobody out."""
    head = WHOLE.replace(b"GET /health/live", b"POST /login")
    body = head[:-2] + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    async with serve(sockets=2) as served:
        held = [await served.send(body) for _ in range(2)]
        await settle()
        await served.clock.advance(1)
        reader, writer = await served.connect()
        writer.write(WHOLE)
        assert b" 200 OK" in await reader.readline()
        assert await held[0][0].read() == b""


async def test_an_event_stream_too_many_is_told_in_the_stream(serve: Serve) -> None:
    """A browser's EventSource would never come back from a 503."""
    async with serve(sockets=2) as served:
        await _keep_busy(served, 2)
        reader, writer = await served.connect()
        writer.write(b"GET /subscribe?ticket=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            head, _, stream = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        (event,) = parse_events(stream)
        assert (event.type, event.data["reason"]) == ("unavailable", "too-many-connections")
        assert event.retry_ms == event.data["retryAfterMs"]


async def _keep_busy(served: Served, count: int) -> list[asyncio.StreamWriter]:
    """Connections of a user's whose calls are being answered."""
    writers = []
    for _ in range(count):
        _, writer = await served.send(
            b"POST /Big/hold HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
        )
        writers.append(writer)
    async with asyncio.timeout(LIMIT_S):
        while served.sample("potoserver_calls_in_flight") < count:
            await asyncio.sleep(0.005)
    return writers


async def test_a_socket_too_many_is_told(serve: Serve) -> None:
    """503 with Retry-After when all others are busy; and there is room again when one of them ends."""
    async with serve(sockets=2) as served:
        busy = await _keep_busy(served, 2)
        await served.clock.advance(5)
        reader, writer = await served.connect()
        writer.write(WHOLE)
        status, headers, _ = await answer_of(reader)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert served.sample("potoserver_sockets_refused_total") == 1
        busy[0].close()
        async with asyncio.timeout(LIMIT_S):
            while served.sample("potoserver_sockets") == 2:
                await asyncio.sleep(0.005)
        reader, writer = await served.connect()
        writer.write(WHOLE)
        assert b" 200 OK" in await reader.readline()


async def cut(served: Served) -> set[str]:
    """Waits until the only connection is cut; returns the alarms until then, since one that is on lapses."""
    alarms: set[str] = set()
    for _ in range(5):  # each time the kernel may have taken some more before
        await asyncio.sleep(0.05)
        await served.clock.advance(served.server.core.settings.send_timeout_s * 1.5)
        alarms.update(served.alarms())
        if not served.sample("potoserver_sockets"):
            return alarms
    pytest.fail("it is not cut")


async def test_an_answer_that_nobody_reads_is_cut(serve: Serve) -> None:
    """After `send_timeout_s` without progress; what waits for it is thrown away."""
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(
            b"POST /Big/answer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
        )
        await writer.drain()
        # The reader's own buffer fills, and it stops reading.
        async with asyncio.timeout(LIMIT_S):
            while not served.sample(
                "potoserver_request_seconds_count", route="/Big/answer", method="POST", status="200"
            ):
                await asyncio.sleep(0.005)
        alarms = await cut(served)
        came = 0
        async with asyncio.timeout(LIMIT_S):
            while data := await reader.read(1 << 20):
                came += len(data)
        assert came < BIG
        assert alarms == {"slow-readers"}
        assert served.sample("potoserver_sockets") == 0


async def test_a_small_rest_that_nobody_reads_is_cut_too(serve: Serve) -> None:
    """However little it is that does not fit the kernel's buffers."""
    async with serve() as served:
        _, writer = await served.connect()
        request = b"POST /Big/part HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
        writer.write(request)

        def server_sides() -> list[asyncio.Transport]:
            peer = writer.get_extra_info("sockname")
            handlers = [each for each in gc.get_objects() if type(each) is RequestHandler]
            return [
                each.transport
                for each in handlers
                if each.transport is not None and each.transport.get_extra_info("peername") == peer
            ]

        await until(server_sides)
        (transport,) = server_sides()
        for _ in range(500):
            writer.write(request)
            await settle()
            await asyncio.sleep(0.002)
            if transport.get_write_buffer_size():
                break
        else:
            pytest.fail("the kernel takes everything")
        await cut(served)


async def test_an_answer_that_is_read_slowly_is_not_cut(serve: Serve) -> None:
    """Who takes some of it in each `send_timeout_s` gets all of it, however long that takes."""
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(
            b"POST /Big/answer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            for _ in range(BIG // 1_000_000):
                await reader.readexactly(1_000_000)
                await served.clock.advance(served.server.core.settings.send_timeout_s * 0.9)
        assert served.alarms() == []


async def test_streams_leave_room_for_calls(serve: Serve) -> None:
    """An event stream is not counted among the sockets that wait for a request or an answer."""
    async with serve(sockets=1) as served:
        for _ in range(3):
            reader, writer = await served.connect()
            writer.write(
                b"GET /subscribe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
            )
            async with asyncio.timeout(LIMIT_S):
                await reader.readuntil(b"event: connected")
        assert served.sample("potoserver_connections") == 3
        assert served.sample("potoserver_sockets") == 0
