"""A reply streams word by word to its caller, while three more connections of the user are open."""

from __future__ import annotations

import json

from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row
from scripts.bench.side_by_side.rows.fan_out import DELIVERY

_MORE = 3
_BOUND = (Bound(3, "potoserver", at_most=True, figure=DELIVERY),)


class Reply(Row):
    """The processor's time of a whole reply, by its deltas."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        count = ground.size.deltas
        token = ground.tokens[ground.opened]
        await ground.open(_MORE, one_user=True)
        request = post(
            ground.peer.port, CHAT, json.dumps({"message": "word " * count}), token, "text/event-stream"
        )
        ask = {"port": ground.peer.port, "requests": [request], "until": "event: done", "limit_s": LIMIT_S}
        await ground.load.do("count", **ask, expected=0)
        used_s = ground.processor()
        found = await ground.load.do("count", **ask, expected=0)
        ground.busy["reading a reply"] = found["busy"]
        name = f"processor per delta of {count:,}, {_MORE} more connections"
        return {Figure(name, "µs", _BOUND): used_s() / count * 1e6}
