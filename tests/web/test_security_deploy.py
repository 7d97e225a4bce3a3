"""What deploy/ promises to whoever uses it as it is."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.support.nginx import needs_nginx, running_nginx
from tests.support.process import ServerProcess
from tests.support.sse import parse_events

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = {"potoserver.service": "potoserver.service", "potoserver@.service": "potoserver@3799.service"}
"""Each unit's file, and what systemd knows it as."""
EXPOSURE = 20
"""Of 100, as systemd counts what a service may do that it need not."""


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_takes_everything_away_that_the_server_does_not_need(name: str) -> None:
    """What is written there, and what systemd makes of it where there is one."""
    unit = (DEPLOY / name).read_text()
    lines = set(unit.splitlines())
    for line in (
        *("NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes"),
        *("UMask=0077", "LimitCORE=0", "StateDirectoryMode=0700", "LogsDirectoryMode=0700"),
        *("SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes", "RestrictSUIDSGID=yes"),
    ):
        assert line in lines
    assert re.search(r"^User=(?!root)", unit, re.MULTILINE)
    if shutil.which("systemd-analyze"):
        rated = subprocess.run(
            [
                "systemd-analyze",
                "security",
                "--offline=true",
                f"--threshold={EXPOSURE}",
                UNITS[name],
            ],
            cwd=DEPLOY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert rated.returncode == 0 or "Unknown" in rated.stderr, rated.stdout


def test_the_container_does_not_run_as_root() -> None:
    """By number, so that whoever runs it can see that; and nothing is added after."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert "COPY" not in text.partition("\nUSER ")[2]


def test_nginx_logs_no_query() -> None:
    """No variable that holds one is in the format, and no other format is used."""
    site = "".join(file.read_text() for file in sorted(DEPLOY.rglob("*.conf")))
    (log_format,) = re.findall(r"^log_format potoserver ([^;]*);", site, re.MULTILINE)
    used = set(re.findall(r"\$(\w+)", log_format))
    assert used & {"request", "request_uri", "args", "query_string", "is_args", "http_referer"} == set()
    assert not any(name.startswith(("arg_", "cookie_", "http_authorization", "http_cookie")) for name in used)
    assert re.findall(r"^ *access_log (.*);", site, re.MULTILINE) == [
        "/var/log/nginx/potoserver.access.log potoserver"
    ]


@needs_nginx
@pytest.mark.process
async def test_behind_nginx_an_import_may_be_as_large_as_the_server_takes_it(tmp_path: Path) -> None:
    """With a key as without one; what is larger gets the server's own answer."""
    async with (
        ServerProcess(tmp_path) as server,
        running_nginx(tmp_path, server.port) as port,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer test-token"}
        ) as session,
    ):
        path = "/ChatServerModule/importArchives"
        is_json = {"Content-Type": "application/json"}
        for number, headers in enumerate((is_json, is_json | {"Idempotency-Key": "k"})):
            messages = [{"role": "user", "content": str(number) * 1_000_000}] * 14
            body = json.dumps({"messages": messages}).encode()
            async with session.post(path, data=io.BytesIO(body), headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                assert len((await answer.json())["imported"]) == 1
        large = io.BytesIO(b"x" * (32 * 1024 * 1024 + 1))
        async with session.post(path, data=large, headers=is_json) as answer:
            assert answer.status == 413
            assert (await answer.json(content_type="application/problem+json"))["status"] == 413


@needs_nginx
@pytest.mark.process
async def test_behind_nginx_no_ticket_and_no_token_is_in_any_log(tmp_path: Path) -> None:
    """Of the server or of nginx; the cookie is that of TLS where nginx says so."""
    environment = {"DEBUG": "*", "DEBUG_SSE": "true"}
    async with (
        ServerProcess(tmp_path, environment=environment) as server,
        running_nginx(tmp_path, server.port) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        bearer = {"Authorization": "Bearer test-token"}
        async with session.post("/subscribe/ticket", headers=bearer) as answer:
            ticket = (await answer.json())["ticket"]
        async with session.get("/subscribe", params={"ticket": ticket}) as stream:
            (opened,) = parse_events(await stream.content.readuntil(b"\n\n"))
            assert opened.data["user"] == "a1"
        async with session.get("/subscribe", params={"ticket": ticket}) as answer:
            assert answer.status == 401
        async with session.post("/login", json={"token": "test-token"}) as answer:
            assert answer.status == 200
        async with session.get("/metrics") as answer:
            assert answer.status == 200
    logs = [tmp_path / "nginx" / "potoserver.access.log", server.log_file, tmp_path / "nginx" / "error.log"]
    texts = [path.read_text() for path in logs] + [server.output]
    assert '"GET /subscribe HTTP/1.1" 401' in texts[0]
    for text in texts:
        assert ticket not in text
    for text in texts[:3]:
        assert "test-token" not in text
