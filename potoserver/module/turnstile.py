"""Lets a crowd through a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from potoserver.clock import Clock


class Turnstile:
    """So many pass at once, the others wait in line; who takes long gives the place up and goes on.

    When thousands come in the same second, all of them at once would each take as long as all together, and
    run out of a time that one of them alone would hardly use. One after the other they are done no later.

    Args:
        places: How many pass at once.
        hold_s: How long a place is kept at most, so that who hangs does not hold up the line.
        line_s: How long one waits in line at most, and then passes without a place.
        clock: Measures it.
    """

    def __init__(self, places: int, hold_s: float, line_s: float, clock: Clock) -> None:
        self._places = asyncio.Semaphore(places)
        self._hold_s = hold_s
        self._line_s = line_s
        self._clock = clock

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Waits for a place, and keeps it for the length of the block or as long as one may."""
        held = True
        if self._places.locked():
            try:
                async with self._clock.timeout(self._line_s):
                    await self._places.acquire()
            except TimeoutError:
                held = False
        else:
            await self._places.acquire()  # at once: no line, and no time to be measured

        def give_up() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        timer = self._clock.call_later(self._hold_s, give_up)
        try:
            yield
        finally:
            timer.cancel()
            give_up()
