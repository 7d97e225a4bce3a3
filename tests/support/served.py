"""A whole server in the test's process that listens as the command line's does: its sockets are our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from potoserver import ServerModule
from potoserver.listen import bind, listening
from potoserver.logs import Logs
from potoserver.server import PotoServer
from potoserver.settings.model import Settings
from tests.support.clock import ManualClock

LIMIT_S = 10.0


@dataclass
class Served:
    """The server, the clock that moves it, and where it listens."""

    server: PotoServer
    clock: ManualClock
    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self.writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects, sends, and waits until the server has taken it in."""
        before = self.server.core.metrics.registry.get_sample_value("potoserver_sockets")
        reader, writer = await self.connect()
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(LIMIT_S):
            while self.sample("potoserver_sockets") == before and not reader.at_eof():
                await asyncio.sleep(0.005)
        return reader, writer

    def sample(self, name: str, **labels: str) -> float:
        return self.server.core.metrics.registry.get_sample_value(name, labels) or 0.0

    def alarms(self) -> list[str]:
        return [alarm.name for alarm in self.server.core.alarms.on()]


@asynccontextmanager
async def serving(
    folder: Path, modules: Iterable[ServerModule], *, auth: Mapping[str, Any] | None = None, **limits: Any
) -> AsyncIterator[Served]:
    """Serves for the length of a block.

    Args:
        folder: For its data and logs.
        modules: What it runs.
        auth: Settings under `auth`.
        **limits: Settings under `limits`.
    """
    settings = Settings.model_validate(
        {"data_dir": folder / "data", "log_dir": folder / "logs", "auth": auth or {}, "limits": limits}
    )
    clock = ManualClock()
    logs = Logs(settings.log, settings.log_dir, terminal=None)
    logs.start()
    server = PotoServer(settings, logs=logs, clock=clock)
    for module in modules:
        server.register_module(module)
    runner = web.AppRunner(server.app, access_log=None)
    sockets = bind("127.0.0.1", 0)
    await runner.setup()
    try:
        async with listening(server.core, runner, sockets) as urls:
            made = Served(server, clock, int(urls[0].rpartition(":")[2]))
            try:
                yield made
            finally:
                made.close()
            await server.stop()
    finally:
        await runner.cleanup()
        for sock in sockets:
            sock.close()
        logs.stop()
