"""Exports of a real server that is stopped or killed in the middle of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.process.conftest import StartServer
from tests.search.support import START_MS, dialog_bytes, put_archive
from tests.support.process import ServerProcess

pytestmark = pytest.mark.process

LAST_CHUNK = b"0\r\n\r\n"
HOUR_MS = 3600 * 1000


@asynccontextmanager
async def begun(
    start_server: StartServer, folder: Path, version: str
) -> AsyncIterator[tuple[ServerProcess, asyncio.StreamReader]]:
    """An export of twenty megabytes of which the caller has read the first line."""
    for number in range(200):
        data = dialog_bytes(["text " * 20_000], number=number, started_ms=START_MS + number * HOUR_MS)
        put_archive(folder / "data", data, START_MS + number * HOUR_MS)
    server = await start_server()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(
        f"POST /ChatServerModule/exportArchives HTTP/{version}\r\nHost: localhost\r\n"
        "Authorization: Bearer test-token\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        assert b" 200 " in await reader.readline()
    try:
        yield server, reader
    finally:
        writer.transport.abort()


async def looks_whole(reader: asyncio.StreamReader, version: str) -> bool:
    """Whether a client would take what comes for the whole file."""
    received = bytearray()
    try:
        async with asyncio.timeout(20):
            while data := await reader.read(65_536):
                received += data
    except ConnectionResetError:
        return False
    return version == "1.0" or received.endswith(LAST_CHUNK)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stop_waits_for_no_export(start_server: StartServer, tmp_path: Path, version: str) -> None:
    """Also where its caller takes nothing: the exit is clean and soon, and what has come is no whole file."""
    async with begun(start_server, tmp_path, version) as (server, reader):
        begun_s = time.monotonic()
        assert await server.stop() == 0
        assert time.monotonic() - begun_s < 20, "it has 30 s, and needs none for this"
        assert not await looks_whole(reader, version)
    events = [line["event"] for line in server.log_lines()]
    assert "archives exported" not in events
    assert "stop failed" not in events


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_kill_leaves_no_file_that_looks_whole(
    start_server: StartServer, tmp_path: Path, version: str
) -> None:
    """By `kill -9`, where nothing is tidied up."""
    async with begun(start_server, tmp_path, version) as (server, reader):
        await server.stop(signal.SIGKILL)
        assert not await looks_whole(reader, version)
