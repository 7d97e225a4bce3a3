"""Valkey over TLS, with a password, as between machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from potoserver.errors import UnavailableError
from potoserver.events import Event
from tests.support.engines import Cluster
from tests.support.tls import Authority, tls_before
from tests.support.valkey import ValkeyProcess, valkey_server

PASSWORD = "hush-hush/+"
IN_URL = "hush-hush%2F+"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """One that asks for a password."""
    with valkey_server(tmp_path_factory.mktemp("valkey"), password=PASSWORD) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The site's own."""
    return Authority(tmp_path)


@pytest.fixture
async def tls_port(valkey: ValkeyProcess, authority: Authority) -> AsyncIterator[int]:
    """Where it takes TLS, as `localhost`."""
    async with tls_before(valkey.port, authority.context("localhost")) as port:
        yield port


@pytest.mark.parametrize("scheme", ["valkeys", "rediss"])
async def test_nodes_work_over_tls(tls_port: int, authority: Authority, scheme: str) -> None:
    """Scripts, and what is told to subscribers, with the site's own authority."""
    url = f"{scheme}://:{IN_URL}@localhost:{tls_port}/0?ssl_ca_certs={authority.file}"
    cluster = Cluster(url, "tls")
    try:
        one, two = [await cluster.node() for _ in range(2)]
        await two.engine.attach("a1", "c1")
        event_id = await one.engine.publish("a1", Event("note", "ä"))
        await two.told.until(lambda: bool(two.told.entries))
        assert two.told.ids_of("a1") == [event_id]
    finally:
        await cluster.stop()


@pytest.mark.parametrize(
    ("host", "password", "trusted"),
    [
        pytest.param("localhost", IN_URL, False, id="an authority that nobody trusts"),
        pytest.param("127.0.0.1", IN_URL, True, id="a certificate of another name"),
        pytest.param("localhost", "wrong-hush", True, id="a wrong password"),
    ],
)
async def test_who_is_not_the_one_meant_is_refused(
    tls_port: int, authority: Authority, host: str, password: str, trusted: bool
) -> None:
    """The start fails, and says where, but no password."""
    option = f"?ssl_ca_certs={authority.file}" if trusted else ""
    cluster = Cluster(f"valkeys://:{password}@{host}:{tls_port}/0{option}", "tls")
    with pytest.raises(UnavailableError, match=f"^valkeys://{host}:{tls_port}/0 can't be reached") as refused:
        await cluster.node()
    assert "hush" not in str(refused.value)
