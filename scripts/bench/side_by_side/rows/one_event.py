"""One event to one of those connected: how long from publishing it to the client's socket."""

from __future__ import annotations

import random

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row

_SIZE = 64
_PAUSE_MS = 2.0


class OneEvent(Row):
    """Events to users picked at random, one every two milliseconds."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        size = ground.size
        chosen = random.Random(1).choices(ground.users[: ground.opened], k=size.stamps)  # noqa: S311 - no secret
        requests = ground.peer.requests(
            Command(tuple(chosen), size.stamps, _SIZE, _PAUSE_MS), ground.tokens[0]
        )
        found = await ground.load.do(
            "stamps", port=ground.peer.port, requests=requests, expected=size.stamps, limit_s=LIMIT_S
        )
        ground.busy["stamping events"] = found["busy"]
        took_ms = found["took_ms"]
        name, bounds = (
            f"one event to one of {size.held:,} connections",
            (Bound(1.5, "raw asyncio", at_most=True),),
        )
        return {
            Figure(f"{name}, p50", "ms", bounds): percentile(took_ms, 50),
            Figure(f"{name}, p99", "ms", bounds): percentile(took_ms, 99),
        }
