"""A real nginx with what deploy/nginx holds, before servers of the test's."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import CHECKOUT

nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(nginx is None, reason="nginx is not installed")

_LISTENS = ["127.0.0.1:8080", "[::1]:8080"]
_SERVER = "    server 127.0.0.1:3799 max_fails=1 fail_timeout=2s;\n"
_HERE = CHECKOUT / "deploy" / "nginx"


def write_main(folder: Path, site: str) -> Path:
    """Writes all that nginx needs for a site of deploy/ into a folder; returns the main file."""
    home = folder / "nginx"
    (home / "conf.d").mkdir(parents=True)
    (home / "conf.d" / "potoserver.conf").write_text(site)
    shutil.copytree(_HERE / "potoserver", home / "potoserver")
    server = home / "potoserver" / "server.conf"
    assert server.read_text().count("/var/log/nginx/") == 1
    server.write_text(server.read_text().replace("/var/log/nginx/", f"{home}/"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    main = [
        "user root;" if os.geteuid() == 0 else "",  # else the worker may not enter the test's folder
        "daemon off; worker_processes 1;",
        f"pid {home}/nginx.pid; error_log {home}/error.log;",
        "events { worker_connections 1024; }",
        "http {",
        "access_log off;",
        *(f"{kind}_temp_path {home}/{kind};" for kind in kinds),
        f"include {home}/conf.d/*.conf;",
        "}",
    ]
    (home / "nginx.conf").write_text("\n".join(main))
    return home / "nginx.conf"


@asynccontextmanager
async def running_nginx(folder: Path, *server_ports: int) -> AsyncIterator[int]:
    """Runs nginx in front of one server, or of several; gives its port."""
    port = free_port()
    main = write_main(folder, _site(port, server_ports))
    log = main.with_name("error.log")
    assert nginx is not None
    process = await asyncio.create_subprocess_exec(
        nginx,
        *("-p", str(main.parent), "-c", str(main), "-e", str(log)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _site(port: int, server_ports: tuple[int, ...]) -> str:
    """What deploy/ has, with other addresses; among several servers it goes by chance."""
    site = (_HERE / "site.conf").read_text()
    assert re.findall(r"^ *listen (.*);", site, re.MULTILINE) == _LISTENS
    site = site.replace(f"listen {_LISTENS[0]};", f"listen 127.0.0.1:{port};")
    site = site.replace(f"listen {_LISTENS[1]};", "")  # it may be in use
    assert site.count(f"\n{_SERVER}") == 1
    servers = "".join(_SERVER.replace("3799", str(each)) for each in server_ports)
    site = site.replace(_SERVER, servers, 1)
    if len(server_ports) > 1:
        assert site.count(" least_conn;") == 1
        site = site.replace(" least_conn;", " random;")
    return site
