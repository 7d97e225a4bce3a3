"""One event to many connections: a broadcast to as many users, or to one user who has them all."""

from __future__ import annotations

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.rows.base import Ground, Row

DELIVERY = "processor per delivered event, one event to one user with 2,000 connections"
_SIZE = 64
_BOUNDS = (
    Bound(0.8, "raw asyncio", at_most=False),
    Bound(6, "aiohttp-sse", at_most=False),
    Bound(2, "nchan", at_most=False),
)


class FanOut(Row):
    """Sends one event after the other, each to all of them.

    Args:
        one_user: Whether all connections are one user's, who is published to; else a broadcast.
    """

    def __init__(self, *, one_user: bool) -> None:
        self._one_user = one_user

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        size = ground.size
        users = (ground.users[ground.opened],) if self._one_user else ()
        await ground.open(size.crowd, one_user=self._one_user)
        # The first ones make what stays, and tell how many there are to be.
        warm = size.broadcasts
        warm_s = await ground.count(Command(users, warm, _SIZE, 0), warm * size.crowd)
        times = max(warm, round(warm * size.fan_out_s / warm_s))
        used_s = ground.processor()
        events = times * size.crowd
        seconds = await ground.count(Command(users, times, _SIZE, 0), events)
        cpu_s = used_s()
        to = f"one user with {size.crowd:,} connections" if self._one_user else f"{size.crowd:,} users"
        return {
            Figure(f"events delivered, one event to {to}", "1/s", _BOUNDS): events / seconds,
            Figure(f"processor per delivered event, one event to {to}", "µs"): cpu_s / events * 1e6,
        }
