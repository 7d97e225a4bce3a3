"""Distinct users connect: how fast, until each has its first event, and what each then holds."""

from __future__ import annotations

import asyncio

from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.machine import pss_bytes
from scripts.bench.side_by_side.rows.base import Ground, Row

_MEMORY = (Bound(2, "raw asyncio", at_most=True), Bound(1 / 3, "nchan", at_most=True))
_SPEED = (Bound(2, "aiohttp-sse", at_most=False), Bound(0.7, "released", at_most=False))


class Opening(Row):
    """Opens the connections that later rows use."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        count = ground.size.held
        await ground.open(ground.size.warm)
        await asyncio.sleep(ground.size.settled_s)
        before = pss_bytes(ground.peer.pids)
        used_s = ground.processor()
        seconds = await ground.open(count)
        await asyncio.sleep(ground.size.settled_s)
        cpu_s = used_s()
        held = (pss_bytes(ground.peer.pids) - before) / count
        memory = Figure(f"memory per idle connection, {count:,} users", "KB", _MEMORY)
        speed = Figure(f"connects to the first event, {count:,} users", "1/s", _SPEED)
        work = Figure(f"processor per connect, {count:,} users", "µs")
        return {memory: held / 1000, speed: count / seconds, work: cpu_s / count * 1e6}
