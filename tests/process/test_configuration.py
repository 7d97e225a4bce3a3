"""What beats what, and where the development tokens are good for anything."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support.ports import free_port
from tests.support.process import chat, server_environment, tokens_of
from tests.support.sse import open_stream, stream

pytestmark = pytest.mark.process

START_LIMIT_S = 30
CHAT = "/ChatServerModule/chatWithHistory"


async def run(folder: Path, *args: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Runs a start that must end by itself; returns status, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "potoserver", *args),
        cwd=folder,
        env=server_environment(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_LIMIT_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_an_unknown_flag_is_bad_usage(tmp_path: Path) -> None:
    """A flag that does not exist ends with status 2 and says which."""
    status, _, errors = await run(tmp_path, "--prot", "1")
    assert status == 2
    assert "--prot" in errors


async def test_the_stronger_source_wins(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Defaults, then the file, then the environment, then flags."""
    from_file, from_environment, from_flag = free_port(), free_port(), free_port()
    (tmp_path / "potoserver.yaml").write_text(f"port: {from_file}\npresence: {{grace_ms: 800}}\n")

    server = await start_server(port=None)
    assert server.port == from_file
    async with stream(http, server.url + "/subscribe") as reader:
        assert (await reader.next()).retry_ms == 200
    await server.stop()

    environment = {"PORT": str(from_environment), "SESSION_RECONNECT_GRACE": "400"}
    server = await start_server(port=None, **environment)
    assert server.port == from_environment
    async with stream(http, server.url + "/subscribe") as reader:
        assert (await reader.next()).retry_ms == 100
    await server.stop()

    server = await start_server(port=from_flag, **environment)
    assert server.port == from_flag


async def test_another_settings_file_by_flag(start_server: StartServer, tmp_path: Path) -> None:
    """`--config` names a file to read in place of potoserver.yaml."""
    (tmp_path / "potoserver.yaml").write_text("no_such_key: 1\n")
    (tmp_path / "other.yaml").write_text("data_dir: elsewhere\n")
    server = await start_server("--config", "other.yaml")
    assert await server.stop() == 0
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "data").exists()


# Development tokens


async def get(
    http: aiohttp.ClientSession, url: str, host: str, token: str | None = "test-token"
) -> tuple[int, str]:
    """Asks with a Host header of one's own; returns status and content type."""
    headers = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with http.get(url, headers=headers) as answer:
        return answer.status, answer.content_type


async def test_development_tokens_are_served_to_loopback_names_only(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """With development tokens a request whose Host is no loopback name is refused, whatever it asks."""
    server = await start_server()
    foreign = [
        "evil.example",
        f"evil.example:{server.port}",
        "192.168.1.5",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "[2001:db8::1]",
        "evil.example@localhost",
    ]
    for host in foreign:
        for path in ("/subscribe", CHAT, "/openapi.json", "/metrics", "/"):
            status, _ = await get(http, server.url + path, host)
            assert 400 <= status < 500, (host, path, status)
        async with http.post(
            server.url + CHAT,
            json={"message": "from another site"},
            headers={"Host": host, "Authorization": "Bearer test-token"},
        ) as answer:
            assert 400 <= answer.status < 500
            assert answer.content_type == "application/problem+json"
    assert not server.current().exists()
    for host in (
        "localhost",
        f"localhost:{server.port}",
        "127.0.0.1",
        "127.0.0.2:80",
        f"[::1]:{server.port}",
        "LOCALHOST",
    ):
        headers = {"Host": host, "Authorization": "Bearer test-token"}
        async with http.post(server.url + CHAT, json={"message": "hi"}, headers=headers) as answer:
            assert answer.status == 200, host


async def test_a_request_without_a_host_is_refused_with_development_tokens(start_server: StartServer) -> None:
    """An HTTP/1.0 request that names no host is not served either."""
    server = await start_server()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /subscribe HTTP/1.0\r\nAuthorization: Bearer test-token\r\n\r\n")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n")
    writer.close()
    assert head.split()[1].startswith(b"4")


async def test_the_development_tokens_and_whom_they_stand_for(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """`test-token` is a1 without the role admin, `admin-token` is admin with it, anything else is nobody."""
    server = await start_server()
    for token, user in (("test-token", "a1"), ("admin-token", "admin")):
        async with stream(http, server.url + "/subscribe", token) as reader:
            assert (await reader.next()).data["user"] == user

    async def count(token: str) -> int:
        url = f"{server.url}/ChatServerModule/getActiveSessionCount"
        async with http.post(url, json={}, headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status

    assert await count("test-token") == 403
    assert await count("admin-token") == 200
    assert await count("another-token") == 401


CONFIGURED: list[dict[str, Any]] = [
    tokens_of(["ann"]),
    {"POTO_AUTH__JWT_SECRET": "a secret that is long enough for HS256"},
]


@pytest.mark.parametrize("environment", CONFIGURED, ids=["tokens", "JWT secret"])
async def test_once_access_is_configured_the_development_tokens_are_gone(
    start_server: StartServer, http: aiohttp.ClientSession, environment: dict[str, str]
) -> None:
    """With tokens or a secret of one's own `test-token` and `admin-token` are 401."""
    server = await start_server(**environment)
    for token in ("test-token", "admin-token"):
        for method, path in (("GET", "/subscribe"), ("POST", CHAT)):
            async with http.request(
                method,
                server.url + path,
                json={"message": "hi"},
                headers={"Authorization": f"Bearer {token}"},
            ) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert answer.content_type == "application/problem+json"
    assert "test-token" not in server.output


async def test_configured_tokens_work_under_any_host(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """The Host rule is the development tokens' alone; a hashed token is as good as a plain one."""
    digest = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of `secret`
    tokens = {"t-ann": {"user": "ann"}, digest: {"user": "bob"}}
    server = await start_server(POTO_AUTH__TOKENS=json.dumps(tokens))
    assert (await chat(http, server.url, "hi", "t-ann"))["reply"] == "hi"
    reader = await open_stream(http, server.url + "/subscribe", "secret")
    assert (await reader.next()).data["user"] == "bob"
    await reader.close()
    headers = {"Host": "chat.example", "Authorization": "Bearer t-ann"}
    async with http.post(server.url + CHAT, json={"message": "hi"}, headers=headers) as answer:
        assert answer.status == 200


# One owner


async def test_a_second_server_on_the_same_data_exits_saying_so(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A folder of data has one process; another one ends with status 1 and touches nothing."""
    server = await start_server()
    await chat(http, server.url, "mine")
    kept = server.current().read_bytes()
    status, _, errors = await run(tmp_path, "--port", "0", "--log-dir", "other-logs")
    assert status == 1
    last = errors.splitlines()[-1]
    assert str(server.data_dir) in last
    assert "another potoserver process" in last
    assert server.current().read_bytes() == kept
    assert (await chat(http, server.url, "still mine"))["reply"] == "still mine"


async def test_a_port_that_is_taken_is_said_in_a_line(start_server: StartServer, tmp_path: Path) -> None:
    """A server that can't listen ends with status 1 and names the port."""
    server = await start_server()
    (tmp_path / "second").mkdir()
    status, _, errors = await run(tmp_path / "second", "--port", str(server.port))
    assert status == 1
    last = errors.splitlines()[-1]
    assert str(server.port) in last
    assert "Traceback" not in errors
