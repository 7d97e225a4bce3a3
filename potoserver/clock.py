"""Time, injected: whoever waits or stamps asks a `Clock`, so tests can move it."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from typing_extensions import override

_MOST_SLEWED_MS = 24 * 60 * 60 * 1000
_WALL_LOOK_S = 60.0


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Calls the timer off; harmless when it has fired."""


class Clock(ABC):
    """Wall time for stamps, monotonic time for durations, and timers."""

    def __init__(self) -> None:
        self._stamp_ms = 0
        self._stamped_at_ms = 0
        self._stamping = threading.Lock()

    @abstractmethod
    def wall_ms(self) -> int:
        """The machine's wall time: milliseconds since 1970 UTC. It may be stepped, also back.

        For what others set by their own clocks, such as when a token expires. Never measure a duration with
        it.
        """

    def now_ms(self) -> int:
        """Wall time for stamps, milliseconds since 1970 UTC: it does not go back when the machine's does.

        Where the machine's wall time is stepped back, this goes on at half speed until that has caught up,
        as adjtime(3) slews a clock. So what happens later never bears an earlier stamp, and an hour's
        mistake is mended in two. A step forward is followed at once; and so is one back by more than a day:
        the time before was wildly wrong, and is not to be carried on for months.
        """
        with self._stamping:
            wall_ms, monotonic_ms = self.wall_ms(), int(self.monotonic_s() * 1000)
            elapsed_ms = monotonic_ms - self._stamped_at_ms
            stamp_ms = max(wall_ms, self._stamp_ms + elapsed_ms // 2)
            if stamp_ms - wall_ms > _MOST_SLEWED_MS:
                self._stamp_ms, self._stamped_at_ms = wall_ms, monotonic_ms
            # Only whole steps are taken in: many small ones would round the half speed away.
            elif stamp_ms > self._stamp_ms:
                self._stamp_ms, self._stamped_at_ms = stamp_ms, monotonic_ms
            return self._stamp_ms

    @abstractmethod
    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never goes back."""

    @abstractmethod
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Calls `callback` on the loop after `delay_s` seconds; a delay of 0 or less means soon."""

    def call_at_wall(self, at_ms: int, callback: Callable[[], None]) -> TimerHandle:
        """Calls `callback` on the loop once wall time has reached `at_ms`, never before.

        A step of wall time is followed within a minute.
        """
        return _WallTimer(self, at_ms, callback)

    async def sleep(self, delay_s: float) -> None:
        """Waits for `delay_s` seconds."""
        done = asyncio.get_running_loop().create_future()
        handle = self.call_later(delay_s, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            handle.cancel()

    def timeout(self, delay_s: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Cancels what runs inside after `delay_s` seconds, as `asyncio.timeout` does.

        Raises:
            TimeoutError: The time ran out.
        """
        return self._timeout(delay_s)

    @asynccontextmanager
    async def _timeout(self, delay_s: float) -> AsyncIterator[asyncio.Timeout]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as scope:
            handle = self.call_later(delay_s, lambda: scope.reschedule(loop.time()))
            try:
                yield scope
            finally:
                handle.cancel()


class _WallTimer:
    """Looks at wall time when that should be reached, and each minute before, since it may be stepped."""

    __slots__ = ("_at_ms", "_callback", "_clock", "_timer")

    def __init__(self, clock: Clock, at_ms: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._at_ms = at_ms
        self._callback = callback
        self._wait()

    def _wait(self) -> None:
        left_s = (self._at_ms - self._clock.wall_ms()) / 1000
        self._timer = self._clock.call_later(min(left_s, _WALL_LOOK_S), self._look)

    def _look(self) -> None:
        if self._clock.wall_ms() >= self._at_ms:
            self._callback()
        else:
            self._wait()

    def cancel(self) -> None:
        self._timer.cancel()


class SystemClock(Clock):
    """The machine's clock and the running loop's timers."""

    @override
    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    @override
    def monotonic_s(self) -> float:
        return time.monotonic()

    @override
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, delay_s), callback)

    @override
    def timeout(self, delay_s: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
        return asyncio.timeout(delay_s)  # the same, and each hook of each connection has one


def iso_utc(at_ms: int) -> str:
    """`2024-01-15T10:12:04.001Z` for milliseconds since 1970 UTC."""
    return f"{_to_the_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=64)  # most of what is stamped is of this second
def _to_the_second(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}"
