"""Some of those connected go, closing or with a reset: how soon this server has noticed."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path

from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row

_NOTICED = b'"SSE disconnect detected"'
_EVERY_MS = 3.0
_LOOK_S = 0.1
_BOUND = (Bound(5, "", at_most=True),)


class Ends(Row):
    """From the client's `close` to the stamp of `SSE disconnect detected` in the log, the others staying.

    Stamps are whole milliseconds, so each time counts as a millisecond longer than they say.
    """

    def fits(self, peer: type[Peer]) -> bool:
        """Only of the one that logs it."""
        return peer is Potoserver

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        found: dict[Figure, float] = {}
        last = ground.opened
        for how, reset in (("closed", False), ("reset", True)):
            users = [ground.users[number] for number in range(last - 1, last - 1 - ground.size.ends, -1)]
            last -= ground.size.ends
            went = await ground.load.do("close", count=len(users), every_ms=_EVERY_MS, reset=reset)
            noticed_ms = await _noticed_ms(ground.peer.folder / "logs" / "server.log", set(users))
            took_ms = [noticed_ms[user] + 1 - at for user, at in zip(users, went["at_ms"], strict=True)]
            name = f"{how} by the client to noticed, {ground.size.held:,} held"
            found[Figure(f"{name}, p50", "ms")] = percentile(took_ms, 50)
            found[Figure(f"{name}, p99", "ms", _BOUND)] = percentile(took_ms, 99)
        return found


async def _noticed_ms(log: Path, users: set[str]) -> dict[str, float]:
    """When the end of each user's connection was logged; in the file before, too, if it was just rotated."""
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s:
        noticed: dict[str, float] = {}
        for file in (log.with_name(f"{log.name}.1"), log):
            lines = file.read_bytes().splitlines() if file.exists() else []
            for line in lines:
                if _NOTICED in line and line.endswith(b"}"):
                    fields = json.loads(line)
                    if fields["user"] in users:
                        noticed[fields["user"]] = (
                            datetime.fromisoformat(fields["timestamp"]).timestamp() * 1000
                        )
        if len(noticed) == len(users):
            return noticed
        await asyncio.sleep(_LOOK_S)
    raise TimeoutError(f"{len(users) - len(noticed)} ends were not noticed in {LIMIT_S} s")
