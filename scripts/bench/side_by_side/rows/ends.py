"""Some of those connected go, closing or with a reset: how soon the server has noticed."""

from __future__ import annotations

import asyncio
import time

from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row

_EVERY_MS = 3.0
_LOOK_S = 0.1
_BOUND = (Bound(5, "", at_most=True),)


class Ends(Row):
    """From the client's `close` to when the server has noticed, the others staying.

    Of this server that is the stamp of `SSE disconnect detected` in its log.
    """

    def fits(self, peer: type[Peer]) -> bool:
        """Only of those that tell."""
        return peer.tells_ends

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        found: dict[Figure, float] = {}
        last = ground.opened
        for how, reset in (("closed", False), ("reset", True)):
            users = [ground.users[number] for number in range(last - 1, last - 1 - ground.size.ends, -1)]
            last -= ground.size.ends
            went = await ground.load.do("close", count=len(users), every_ms=_EVERY_MS, reset=reset)
            noticed_ms = await _noticed_ms(ground.peer, set(users))
            took_ms = [noticed_ms[user] - at for user, at in zip(users, went["at_ms"], strict=True)]
            name = f"{how} by the client to noticed, {ground.size.held:,} held"
            found[Figure(f"{name}, p50", "ms")] = percentile(took_ms, 50)
            found[Figure(f"{name}, p99", "ms", _BOUND)] = percentile(took_ms, 99)
        return found


async def _noticed_ms(peer: Peer, users: set[str]) -> dict[str, float]:
    """When the server noticed the end of each user's connection."""
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s:
        noticed = peer.ends_ms()
        if users <= noticed.keys():
            return noticed
        await asyncio.sleep(_LOOK_S)
    raise TimeoutError(f"{len(users - noticed.keys())} ends were not noticed in {LIMIT_S} s")
