"""nginx with nchan, in C: a channel for each user and one for all, in one worker."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar

from scripts.bench.side_by_side.commands import MARK, Command, text_of
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.load.streams import NOW
from scripts.bench.side_by_side.peers.base import Peer

_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/share/nginx/modules/ngx_nchan_module.so"),
)
_EVERYONE = "everyone"
_CONFIGURATION = """\
load_module {module};
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    nchan_shared_memory_size 256m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /subscribe {{
            nchan_subscriber eventsource;
            nchan_channel_id "user-$arg_user" "{everyone}";
            nchan_eventsource_ping_interval 15;
        }}
        location = /publish {{
            nchan_publisher;
            nchan_channel_id $arg_channel;
        }}
    }}
}}
"""


class NchanPeer(Peer):
    """Events are posted to it one by one by the load, so it also does the work of a request for each."""

    name: ClassVar[str] = "nchan"
    first: ClassVar[str] = ": hi"
    beats: ClassVar[bool] = True
    paced: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("nginx") is None:
            return "nginx is not installed"
        return None if _module() else "nginx has no nchan (Debian: libnginx-mod-nchan)"

    def command_line(self) -> list[str]:
        file = self.folder / "nginx.conf"
        file.write_text(
            _CONFIGURATION.format(
                module=_module(),
                user="user root;" if os.geteuid() == 0 else "",  # else its worker can't be looked at
                folder=self.folder,
                port=self.port,
                everyone=_EVERYONE,
            )
        )
        return ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(file)]

    @property
    def pids(self) -> list[int]:
        """Its master and its workers."""
        master = super().pids[0]
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    def requests(self, command: Command, token: str) -> list[str]:
        body = text_of({"mark": MARK, "at": NOW, "filling": "x" * command.size}).replace(f'"{NOW}"', NOW)
        channels = [f"user-{user}" for user in command.users] or [_EVERYONE]
        return [
            post(self.port, f"/publish?channel={channels[number % len(channels)]}", body, token)
            for number in range(command.times)
        ]


def _module() -> Path | None:
    return next((path for path in _MODULES if path.exists()), None)
