"""The proxy does what it says, so that what is tested through it can be trusted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Proxy

LIMIT_S = 10


class Echo:
    """A server that sends everything back, and writes down how its connections end."""

    def __init__(self) -> None:
        self.port = 0
        self.ends: list[str] = []
        self.ended = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Echo:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            self.ends.append("in order")
        except OSError as error:
            self.ends.append(type(error).__name__)
        finally:
            self.ended.set()
            writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with Echo() as echo, asyncio.timeout(LIMIT_S):
        yield echo


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_it_passes_bytes_and_ends_on(echo: Echo) -> None:
    """Undisturbed it is as if it were not there: 3 MB come back, and a half-close is passed on as one."""
    async with Proxy(echo.port) as proxy:
        reader, writer = await connect(proxy)
        sent = bytes(range(256)) * 12_000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b""
        await echo.ended.wait()
        assert echo.ends == ["in order"]
        writer.close()


async def test_cut_ends_in_order_and_reset_does_not(echo: Echo) -> None:
    """Both sides of a connection are told the same."""
    for end, told in (("cut", "in order"), ("reset", "ConnectionResetError")):
        echo.ended.clear()
        async with Proxy(echo.port) as proxy:
            reader, writer = await connect(proxy)
            writer.write(b"x")
            await reader.readexactly(1)
            getattr(proxy, end)()
            if end == "cut":
                assert await reader.read() == b""
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            await echo.ended.wait()
            assert echo.ends[-1] == told
            writer.transport.abort()


async def test_new_connections_are_reset_while_it_accepts_none(echo: Echo) -> None:
    """And let through again after that."""
    async with Proxy(echo.port) as proxy:
        proxy.accepts = False
        reader, writer = await connect(proxy)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        proxy.accepts = True
        reader, writer = await connect(proxy)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_a_stalled_direction_fills_the_kernels_buffers(echo: Echo) -> None:
    """The sender can't go on; the other direction can; and nothing is lost when it flows again."""
    async with Proxy(echo.port, buffer_bytes=8192) as proxy:
        reader, writer = await connect(proxy)
        proxy.to_server.stall()
        sent = b"0123456789abcdef" * 1_000_000
        writer.write(sent)
        before = -1
        while writer.transport.get_write_buffer_size() != before:
            before = writer.transport.get_write_buffer_size()
            await asyncio.sleep(0.2)
        assert before > 1_000_000
        proxy.to_server.flow()
        assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_a_black_hole_takes_all_and_passes_nothing_on(echo: Echo) -> None:
    """The other side sees neither bytes nor the end; the sender sees everything acknowledged."""
    async with Proxy(echo.port) as proxy:
        _, writer = await connect(proxy)
        proxy.to_server.swallow()
        writer.write(b"x" * 5_000_000)
        await writer.drain()
        while proxy.to_server.swallowed < 5_000_000:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.2)
        assert (echo.ends, proxy.to_client.passed, len(proxy)) == ([], 0, 1)


async def test_delays_add_up_to_a_round_trip_and_dont_slow_the_flow(echo: Echo) -> None:
    """Each chunk arrives later by the delay of its direction, in order; twenty take no longer than one."""
    async with Proxy(echo.port) as proxy:
        reader, writer = await connect(proxy)
        proxy.to_server.delay_s = proxy.to_client.delay_s = 0.5
        proxy.to_client.jitter_s = 0.05
        began_s = time.monotonic()
        for number in range(20):
            writer.write(b"%02d" % number)
            await asyncio.sleep(0.005)
        assert await reader.readexactly(40) == b"".join(b"%02d" % number for number in range(20))
        assert 1.0 <= time.monotonic() - began_s < 8  # one behind the other they would take 10 s
        writer.close()


async def test_it_trickles(echo: Echo) -> None:
    """So many bytes at a time, and then a pause."""
    async with Proxy(echo.port) as proxy:
        proxy.to_client.chunk_bytes, proxy.to_client.interval_s = 10, 0.02
        reader, writer = await connect(proxy)
        began_s = time.monotonic()
        writer.write(b"x" * 100)
        assert len(await reader.read(100)) <= 20
        await reader.read(100)
        while proxy.to_client.passed < 100:
            await asyncio.sleep(0.01)
        assert time.monotonic() - began_s >= 0.18
        writer.close()


async def test_it_cuts_after_so_many_bytes(echo: Echo) -> None:
    """To the byte, on each connection anew."""
    async with Proxy(echo.port) as proxy:
        proxy.to_client.cut_after = 1000
        for _ in range(2):
            loop = asyncio.get_running_loop()
            with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
                sock.setblocking(False)
                await loop.sock_sendall(sock, b"x" * 5000)
                received = 0
                with pytest.raises(ConnectionResetError):
                    while True:
                        received += len(await loop.sock_recv(sock, 5000))
            assert received == 1000
