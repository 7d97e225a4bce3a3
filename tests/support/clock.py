"""A clock that tests move."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from typing_extensions import override

from potoserver.clock import Clock


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock(Clock):
    """Stands still until `advance` is awaited.

    Args:
        start_ms: The wall time to begin with, milliseconds since 1970 UTC.
    """

    def __init__(self, start_ms: int = 1_705_313_523_120) -> None:
        super().__init__()
        self._start_ms = start_ms
        self._elapsed_s = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    @override
    def wall_ms(self) -> int:
        return self._start_ms + round(self._elapsed_s * 1000)

    @override
    def monotonic_s(self) -> float:
        return self._elapsed_s

    @override
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._elapsed_s + max(0.0, delay_s), next(self._order), timer))
        return timer

    @property
    def waited_for(self) -> bool:
        """Something is to happen when time moves on."""
        return any(timer.callback is not None for _, _, timer in self._timers)

    def step_wall(self, by_ms: int) -> None:
        """Steps wall time alone, as an administrator or NTP does."""
        self._start_ms += by_ms

    def pass_time(self, by_s: float) -> None:
        """Lets time pass while the code that calls this is at work."""
        self._elapsed_s += by_s

    async def advance(self, by_s: float) -> None:
        """Moves time on, firing each timer at its moment and letting what it woke run."""
        end_s = self._elapsed_s + by_s
        await settle()
        while self._timers and self._timers[0][0] <= end_s:
            at_s, _, timer = heapq.heappop(self._timers)
            self._elapsed_s = max(self._elapsed_s, at_s)
            if timer.callback is not None:
                timer.callback()
                await settle()
        self._elapsed_s = end_s
        await settle()


async def settle(turns: int = 20) -> None:
    """Lets the loop run what is ready, and what that makes ready."""
    for _ in range(turns):
        await asyncio.sleep(0)
