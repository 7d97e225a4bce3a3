"""Waiting for what can't be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LIMIT_S = 30.0


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S, pause_s: float = 0.005) -> None:
    """Looks again and again until something is so: what another process, a thread or the network does."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(pause_s)
