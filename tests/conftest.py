"""What every test may ask for."""

from __future__ import annotations

import pytest
from pytest_aiohttp import AiohttpClient, AiohttpServer

from tests.support.server import RunServer, server_runner


@pytest.fixture
def running_server(aiohttp_server: AiohttpServer, aiohttp_client: AiohttpClient) -> RunServer:
    """Starts a whole server in the test's process, for the length of a block."""
    return server_runner(aiohttp_server, aiohttp_client)
