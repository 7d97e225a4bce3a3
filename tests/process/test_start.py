"""A start that does not come through leaves everything as it was."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support.process import ServerProcess, chat, patient
from tests.support.sse import stream

pytestmark = pytest.mark.process

SLOW = """
import asyncio
from potoserver import ServerModule

class Slow(ServerModule):
    async def on_start(self) -> None:
        print("slow start begins", flush=True)
        await asyncio.sleep(60)
"""


async def leave_open(server: ServerProcess, http: aiohttp.ClientSession) -> bytes:
    """Talks, then kills the server in the middle of the session; returns the open dialog."""
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        await chat(http, server.url, "before the crash")
        await server.stop(signal.SIGKILL)
    return (server.data_dir / "users" / "a1" / "dialogs" / "current.yaml").read_bytes()


async def test_a_port_in_use_stops_the_start_before_any_dialog_is_touched(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """One line says so, with exit status 1; who comes back after the next start goes on."""
    left = await leave_open(await start_server(), http)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = ServerProcess(tmp_path, port=port)
        await second.launch()
        assert await second.wait() == 1
    assert f"port {port}" in second.output
    assert "Traceback" not in second.output
    assert (tmp_path / "data" / "users" / "a1" / "dialogs" / "current.yaml").read_bytes() == left
    third = await start_server(POTO_MODULES=patient("chat_server"))
    async with stream(http, f"{third.url}/subscribe") as reader:
        assert (await reader.next("connected")).data["conversation"].encode() in left


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    """A module that takes its time to start holds nobody up."""
    modules = tmp_path / "plugins"
    modules.mkdir()
    (modules / "slow.py").write_text(SLOW)
    server = ServerProcess(tmp_path, environment={"POTO_MODULES_DIR": str(modules)})
    await server.launch()
    async with asyncio.timeout(20):
        while "slow start begins" not in server.output:
            await asyncio.sleep(0.02)
    assert await server.stop(signal.SIGTERM, limit_s=30) == 0
    assert "Traceback" not in server.output


async def test_under_nohup_the_terminals_going_ends_nothing(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """A server whose SIGHUP was ignored when it began goes on; any other ends in order."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outliving = await start_server()
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    outliving.send_signal(signal.SIGHUP)
    await chat(http, outliving.url, "still there")
    try:
        other = await start_server(folder=outliving.folder / "other")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert await other.stop(signal.SIGHUP) == 0
