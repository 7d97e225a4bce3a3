"""One event to one of those connected: how long from publishing it to the client's socket."""

from __future__ import annotations

import random

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row

_SIZE = 64
_PAUSE_MS = 2.0
_PAUSES_MS = (10.0, 1.0, 0.5, 0.25)
_BOUND = (Bound(1.5, "raw asyncio", at_most=True),)


class OneEvent(Row):
    """Events to users picked at random, one every two milliseconds; then at some other paces."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        size = ground.size
        name = f"one event to one of {size.held:,} connections"
        took_ms = await self._took_ms(ground, size.stamps, _PAUSE_MS)
        found = {
            Figure(f"{name}, p50", "ms", _BOUND): percentile(took_ms, 50),
            Figure(f"{name}, p99", "ms", _BOUND): percentile(took_ms, 99),
        }
        if not ground.peer.paced:
            return found
        for pause_ms in _PAUSES_MS:
            took_ms = await self._took_ms(ground, size.stamps // 2, pause_ms)
            a_second = 1000 / pause_ms
            for share in (50, 99):
                figure = Figure(
                    f"{name}, {a_second:,.0f} a second, p{share}",
                    "ms",
                    series=f"one event to one, p{share}",
                    along="events a second",
                    at=a_second,
                )
                found[figure] = percentile(took_ms, share)
        return found

    @staticmethod
    async def _took_ms(ground: Ground, count: int, pause_ms: float) -> list[float]:
        chosen = random.Random(1).choices(ground.users[: ground.opened], k=count)  # noqa: S311 - no secret
        requests = ground.peer.requests(Command(tuple(chosen), count, _SIZE, pause_ms), ground.tokens[0])
        found = await ground.load.do(
            "stamps", port=ground.peer.port, requests=requests, expected=count, limit_s=LIMIT_S
        )
        ground.busy["stamping events"] = found["busy"]
        return list(found["took_ms"])
