"""More and more users connect: whether a connection and an event cost the last what they cost the first."""

from __future__ import annotations

import asyncio

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.machine import pss_bytes
from scripts.bench.side_by_side.rows.base import Ground, Row

_SIZE = 64
_TIMES = 5
_FLAT = (Bound(1.3, "", at_most=True),)
"""What differs by less is noise."""
_MEMORY = (Bound(2, "raw asyncio", at_most=True),)


class Growth(Row):
    """The same at each of some numbers of connections."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        found: dict[Figure, float] = {}
        await ground.open(ground.size.warm)
        await asyncio.sleep(ground.size.settled_s)
        first = before = pss_bytes(ground.peer.pids)
        held, steps = 0, ground.size.steps
        costs: dict[str, list[float]] = {}
        for upto in steps:
            more, held = upto - held, upto
            used_s = ground.processor()
            await ground.open(more)
            await asyncio.sleep(ground.size.settled_s)
            connect_us = used_s() / more * 1e6
            after = pss_bytes(ground.peer.pids)
            events = _TIMES * ground.opened
            used_s = ground.processor()
            await ground.count(Command((), _TIMES, _SIZE, 0), events)
            step = {
                "memory per connection, KB": (after - before) / more / 1000,
                "processor per connect, µs": connect_us,
                "processor per event, µs": used_s() / events * 1e6,
            }
            before = after
            for name, value in step.items():
                what, _, unit = name.rpartition(", ")
                figure = Figure(
                    f"{what}, up to {upto:,} connections", unit, series=what, along="connections", at=upto
                )
                found[figure] = value
                costs.setdefault(what, []).append(value)
        whole = Figure(f"memory per idle connection, {held:,} users", "KB", _MEMORY)
        found[whole] = (before - first) / held / 1000
        for what, values in costs.items():
            figure = Figure(f"{what}, the last of {held:,} against the first {steps[0]:,}", "times", _FLAT)
            found[figure] = values[-1] / values[0] if values[0] else 0.0
        return found
