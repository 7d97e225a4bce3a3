"""Servers as processes of their own, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest

from tests.support.process import ServerProcess


class StartServer(Protocol):
    """Starts a server in the test's folder, or in `folder`; what is left of it is ended after the test."""

    async def __call__(
        self, *args: str, folder: Path | None = None, port: int | None = 0, **environment: str
    ) -> ServerProcess: ...


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers; environment variables are given as keyword arguments."""
    async with AsyncExitStack() as stack:

        async def start(
            *args: str, folder: Path | None = None, port: int | None = 0, **environment: str
        ) -> ServerProcess:
            server = ServerProcess(folder or tmp_path, *args, environment=environment, port=port)
            stack.push_async_callback(_end, server)
            return await server.start()

        yield start


async def _end(server: ServerProcess) -> None:
    await server.__aexit__()
    print(f"--- the server's output, port {server.port}\n{server.output}")  # shown when the test failed


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A session without a limit of connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session
