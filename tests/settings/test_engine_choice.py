"""Which engine a server runs on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from potoserver.engine.choose import EngineSetupError, engine_of
from potoserver.engine.memory import MemoryEngine
from potoserver.engine.valkey import ValkeyEngine
from potoserver.engine.valkey.link import Link
from potoserver.metrics import Metrics
from potoserver.settings.model import Settings
from tests.support.clock import ManualClock
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.valkey import valkey_server

LOGGER = structlog.get_logger("engine")
SHARED = (
    *("valkey://localhost", "valkey://localhost:6379", "valkey://localhost:6379/", "redis://10.0.0.7:6379/3"),
    *("rediss://user:secret@host:6380/0", "valkeys://:secret@[::1]:6379/0", "unix:///run/valkey/valkey.sock"),
    *("unix:///run/valkey.sock?db=2", "valkeys://host:6379/0?ssl_ca_certs=/etc/ssl/own.pem"),
)
WRONG = (
    *(
        "",
        "memory",
        "memory://x",
        "valkey",
        "valkey:",
        "valkey://",
        "valkey:localhost",
        "http://localhost:6379",
    ),
    *(
        "valkey://localhost:0/0",
        "valkey://localhost:99999",
        "valkey://localhost/zero",
        "unix://",
        "unix://a/b",
    ),
    *("VALKEY//localhost", "valkey://localhost:6379/0#x", "localhost:6379"),
    *("valkey://:hu/sh@localhost", "valkey://:hu?sh@localhost", "valkey://:hu#sh@localhost", "unix:///a@b"),
)


def test_without_a_word_it_is_embedded(clock: ManualClock) -> None:
    """For one node, with nothing to install or run beside it."""
    assert isinstance(engine_of(Settings(), clock, LOGGER)(Metrics()), MemoryEngine)


@pytest.mark.parametrize("url", SHARED)
def test_a_url_of_a_valkey_or_redis_is_taken(url: str, clock: ManualClock) -> None:
    """With a port or not, a database or not, over TLS, or a socket of this machine."""
    assert isinstance(engine_of(Settings(engine=url), clock, LOGGER)(Metrics()), ValkeyEngine)


@pytest.mark.parametrize("url", WRONG)
def test_what_is_none_is_refused_with_what_one_looks_like(url: str) -> None:
    """At the start, not at the first call."""
    with pytest.raises(ValidationError, match="expected memory://"):
        Settings(engine=url)


@pytest.mark.parametrize(
    "option",
    ["valkey://h/0?db=1", "valkeys://h?ssl_cert_reqs=none", "unix:///a?db=x", "unix:///a?password=hush"],
)
def test_an_option_that_no_engine_takes_is_refused(option: str) -> None:
    """At the start, with what there may be; its value, which may be a secret, is not in the message."""
    with pytest.raises(ValidationError) as refused:
        Settings(engine=option)
    assert "hush" not in str(refused.value.errors()[0]["ctx"]["error"])


def test_a_password_is_not_shown() -> None:
    """Where it is, is."""
    settings = Settings(engine="valkeys://user:hush@host:6379/0?ssl_ca_certs=/own.pem")
    assert settings.shown_engine == "valkeys://host:6379/0"
    assert "hush" not in repr(settings)
    assert Settings().shown_engine == "memory://"
    assert Settings(engine="unix:///run/valkey.sock?db=2").shown_engine == "unix:///run/valkey.sock"


async def test_a_socket_of_this_machine_leads_to_an_engine(tmp_path: Path) -> None:
    """As a port does."""
    with valkey_server(tmp_path, "--unixsocket", str(tmp_path / "s")) as server:
        link = Link(f"unix://{tmp_path / 's'}?db=2", LOGGER)
        await link.open()
        try:
            await link.commands([("SET", "here", "1")])
        finally:
            await link.close()
        with server.client() as client:
            assert client.info("keyspace")["db2"]["keys"] == 1


def test_a_missing_package_is_named(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    for name in [each for each in sys.modules if each.startswith("potoserver.engine.valkey")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(EngineSetupError, match=r"pip install 'potoserver\[cluster\]'"):
        engine_of(Settings(engine="valkey://localhost"), clock, LOGGER)


@pytest.mark.process
async def test_without_its_engine_a_server_does_not_start(tmp_path: Path) -> None:
    """One line says where it was looked for, without the password; a supervisor tries again."""
    where = f"127.0.0.1:{free_port()}/0"
    url = f"valkey://:hush@{where}"
    server = await ServerProcess(tmp_path, "--engine", url).launch()
    assert await server.wait() == 1
    last = server.output.splitlines()[-1]
    assert last.startswith(f"potoserver: the engine is away: valkey://{where} can't be reached")
    assert "hush" not in server.output
    assert not (tmp_path / "data" / "users").exists()
