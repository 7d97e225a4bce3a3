"""This server as it is started by anybody: `python -m potoserver`, with a settings file."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import ClassVar

import yaml

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.users import SECRET

_ENDED = b'"SSE disconnect detected"'
_MODULE = "scripts.bench.side_by_side.peers.bench_module:Bench"


class Potoserver(Peer):
    """The server under test: JSON Web Tokens, sessions, presence, replay, journal, log, all as they are.

    The modules are those that come with it, without the example who_is_online, which tells everyone of
    everyone. Limits of one user that the load would meet are raised, not switched off.
    """

    name: ClassVar[str] = "potoserver"
    path: ClassVar[str] = "/subscribe"
    beats: ClassVar[bool] = True
    tells_ends: ClassVar[bool] = True

    def command_line(self) -> list[str]:
        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "modules": ["chat_server", "operations", _MODULE],
            "auth": {"jwt_secret": SECRET},
            # Fewer sockets in requests, so that 18,000 streams go into 20,000 open files.
            "limits": {"connections_per_user": 10_000, "calls_per_minute": 1_000_000, "sockets": 1000},
        }
        file = self.folder / "potoserver.yaml"
        file.write_text(yaml.safe_dump(settings | dict(self.settings)))
        return [sys.executable, "-m", "potoserver"]

    def requests(self, command: Command, token: str) -> list[str]:
        return [post(self.port, "/Bench/send", json.dumps(command.fields()), token)]

    def ends_ms(self) -> dict[str, float]:
        """As its log says; stamps are whole milliseconds, so each counts as one later.

        In the file before, too, if it was just rotated.
        """
        log = self.folder / "logs" / "server.log"
        noticed: dict[str, float] = {}
        for file in (log.with_name(f"{log.name}.1"), log):
            for line in file.read_bytes().splitlines() if file.exists() else []:
                if _ENDED in line and line.endswith(b"}"):
                    fields = json.loads(line)
                    at = datetime.fromisoformat(fields["timestamp"])
                    noticed[fields["user"]] = at.timestamp() * 1000 + 1
        return noticed
