"""A real nginx with deploy/nginx.conf, before servers of the test's."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.process import CHECKOUT, free_port

nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(nginx is None, reason="nginx is not installed")

_LISTENS = ["127.0.0.1:8080", "[::1]:8080"]
_SERVER = "    server 127.0.0.1:3799;\n"


@asynccontextmanager
async def running_nginx(folder: Path, *server_ports: int) -> AsyncIterator[int]:
    """Runs nginx in front of one server, or of several; gives its port."""
    port = free_port()
    home = folder / "nginx"
    (home / "conf.d").mkdir(parents=True)
    (home / "conf.d" / "potoserver.conf").write_text(_site(home, port, server_ports))
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
    assert nginx is not None
    process = await asyncio.create_subprocess_exec(
        nginx,
        *("-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")),
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
                    assert process.returncode is None, (home / "error.log").read_text()
                    await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _site(home: Path, port: int, server_ports: tuple[int, ...]) -> str:
    """What deploy/ has, with other addresses; among several servers it goes by chance."""
    site = (CHECKOUT / "deploy" / "nginx.conf").read_text()
    assert re.findall(r"^ *listen (.*);", site, re.MULTILINE) == _LISTENS
    site = site.replace(f"listen {_LISTENS[0]};", f"listen 127.0.0.1:{port};")
    site = site.replace(f"listen {_LISTENS[1]};", "")  # it may be in use
    assert site.count("/var/log/nginx/") == 1
    site = site.replace("/var/log/nginx/", f"{home}/")
    assert site.count(_SERVER) == 1
    servers = "".join(f"    server 127.0.0.1:{each};\n" for each in server_ports)
    return site.replace(_SERVER, ("    random;\n" if len(server_ports) > 1 else "") + servers)
