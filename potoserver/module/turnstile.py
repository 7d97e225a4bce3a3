"""Lets a crowd through a few at a time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from typing_extensions import override

from potoserver.clock import Clock, TimerHandle


class Turnstile:
    """So many pass at once, the others wait in line; who takes long gives the place up and goes on.

    When thousands come in the same second, all of them at once would each take as long as all together, and
    run out of a time that one of them alone would hardly use. One after the other they are done no later.

    Args:
        places: How many pass at once.
        hold_s: How long a place is kept at most, so that who hangs does not hold up the line.
        line_s: How long one waits in line at most, and then passes without a place; None for however long.
        clock: Measures it.
    """

    def __init__(self, places: int, hold_s: float, line_s: float | None, clock: Clock) -> None:
        self._places = asyncio.Semaphore(places)
        self._hold_s = hold_s
        self._line_s = line_s
        self._clock = clock
        self._since_s: dict[_Passing, float] = {}
        """Who has a place, and since when: the oldest first."""
        self._in_line = 0
        self._timer: TimerHandle | None = None
        """Set at least while somebody is in line: without a line, who takes long keeps nobody waiting."""

    def passing(self) -> AbstractAsyncContextManager[None]:
        """Waits for a place, and keeps it for the length of the block or as long as one may."""
        return _Passing(self)

    async def enter(self, who: _Passing) -> None:
        """Waits for a place."""
        if self._places.locked():
            self._in_line += 1
            if self._timer is None:
                self._free()
            try:
                if self._line_s is None:
                    await self._places.acquire()
                else:
                    async with self._clock.timeout(self._line_s):
                        await self._places.acquire()
            except TimeoutError:
                return
            finally:
                self._in_line -= 1
        else:
            await self._places.acquire()  # at once: no line, and no time to be measured
        self._since_s[who] = self._clock.monotonic_s()
        if self._in_line and self._timer is None:
            self._free()

    def leave(self, who: _Passing) -> None:
        """Gives the place back, unless it was taken away before, or there was none."""
        if self._since_s.pop(who, None) is not None:
            self._places.release()

    def _free(self) -> None:
        """Takes the place from those who have had it too long; looks again when the next one has.

        Only while the timer is not set: whoever waits for it is seen to by then.
        """
        now_s = self._clock.monotonic_s()
        while self._since_s:
            who, since_s = next(iter(self._since_s.items()))
            rest_s = since_s + self._hold_s - now_s
            if rest_s > 0:
                self._timer = self._clock.call_later(rest_s, self._look)
                return
            self.leave(who)

    def _look(self) -> None:
        self._timer = None
        if self._in_line:
            self._free()


class _Passing(AbstractAsyncContextManager[None]):
    """One who passes. Every connection does, so this is no generator."""

    __slots__ = ("_turnstile",)

    def __init__(self, turnstile: Turnstile) -> None:
        self._turnstile = turnstile

    @override
    async def __aenter__(self) -> None:
        await self._turnstile.enter(self)

    @override
    async def __aexit__(self, *_error: object) -> None:
        self._turnstile.leave(self)
