"""What every test may ask for."""

from __future__ import annotations

import pytest
from hypothesis import settings
from pytest_aiohttp import AiohttpClient, AiohttpServer

from tests.support.clock import ManualClock
from tests.support.server import RunServer, server_runner

settings.register_profile("suite", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("suite")


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
def running_server(aiohttp_server: AiohttpServer, aiohttp_client: AiohttpClient) -> RunServer:
    """Starts a whole server in the test's process, for the length of a block."""
    return server_runner(aiohttp_server, aiohttp_client)
