"""A reply streams piece by piece to its caller, while three more connections of the user are open."""

from __future__ import annotations

import json

from modules.chat_server.responders.echo import SINGLE_WORDS
from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row
from scripts.bench.side_by_side.rows.fan_out import DELIVERY

_MORE = 3
_BOUND = (Bound(3, "potoserver", at_most=True, figure=DELIVERY),)


class Reply(Row):
    """The processor's time of a whole reply, by its deltas; of a peer, that of as many events.

    A peer sends them to one connection and does nothing else: what is left is the pace.

    Args:
        pause_ms: Before each delta, as the scene's settings say; 0 has them come as fast as they can.
    """

    def __init__(self, pause_ms: int) -> None:
        self._pause_ms = pause_ms

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        count = ground.size.deltas
        ask = self._ask if isinstance(ground.peer, Potoserver) else self._have_sent
        user = ground.opened
        await ground.open(_MORE if isinstance(ground.peer, Potoserver) else 1, one_user=True)
        await ask(ground, user, count)
        used_s = ground.processor()
        await ask(ground, user, count)
        pace = "" if self._pause_ms else " as fast as they come"
        name = f"processor per delta of {count:,}{pace}, {_MORE} more connections"
        return {Figure(name, "µs", _BOUND): used_s() / count * 1e6}

    async def _ask(self, ground: Ground, user: int, count: int) -> None:
        more = 0 if self._pause_ms else max(0, count - SINGLE_WORDS)
        body = json.dumps({"message": "word " * (count - more) + "w " * (more * SINGLE_WORDS)})
        request = post(ground.peer.port, CHAT, body, ground.tokens[user], "text/event-stream")
        found = await ground.load.do(
            "count",
            port=ground.peer.port,
            requests=[request],
            until="event: done",
            limit_s=LIMIT_S,
            expected=0,
        )
        ground.busy["reading a reply"] = found["busy"]

    async def _have_sent(self, ground: Ground, user: int, count: int) -> None:
        await ground.count(Command((ground.users[user],), count, 0, self._pause_ms), count)
