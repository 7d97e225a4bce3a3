"""More and more users connect: whether a connection and an event cost the last what they cost the first."""

from __future__ import annotations

import asyncio

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.machine import pss_bytes
from scripts.bench.side_by_side.rows.base import Ground, Row
from scripts.bench.side_by_side.rows.steps import Steps

_SIZE = 64
_TIMES = 5
_MEMORY = (Bound(2, "raw asyncio", at_most=True),)


class Growth(Row):
    """The same at each of some numbers of connections."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        steps = Steps()
        await ground.open(ground.size.warm)
        await asyncio.sleep(ground.size.settled_s)
        first = before = pss_bytes(ground.peer.pids)
        held = 0
        for upto in ground.size.steps:
            more, held = upto - held, upto
            used_s = ground.processor()
            await ground.open(more)
            await asyncio.sleep(ground.size.settled_s)
            connect_us = used_s() / more * 1e6
            after = pss_bytes(ground.peer.pids)
            events = _TIMES * ground.opened
            used_s = ground.processor()
            await ground.count(Command((), _TIMES, _SIZE, 0), events)
            for name, value in (
                ("memory per connection, KB", (after - before) / more / 1000),
                ("processor per connect, µs", connect_us),
                ("processor per event, µs", used_s() / events * 1e6),
            ):
                steps.add(name, value, "connections", upto)
            before = after
        whole = Figure(f"memory per idle connection, {held:,} users", "KB", _MEMORY)
        steps.found[whole] = (before - first) / held / 1000
        steps.compare()
        return steps.found
