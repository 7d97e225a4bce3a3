"""The ends of event streams that come with the ends of the proofs by which they were opened."""

from __future__ import annotations

import heapq

from potoserver.clock import Clock, TimerHandle
from potoserver.engine.presence import Cause
from potoserver.subscriptions import Subscription


class Expiries:
    """Ends each stream once its token has expired.

    One timer for all: one for each would be a quarter of what a connection costs, and as long as most of a
    loop's timers wait for hours, those that are called off stay in its heap with them.

    Args:
        clock: Wall time decides.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[Subscription] = []
        """The first to expire comes first. Those that have ended stay until they are more than the others."""
        self._ended = 0
        """How many of them have."""
        self._timer: TimerHandle | None = None
        self._timer_ms = 0

    def __len__(self) -> int:
        """How many are kept, ended ones too."""
        return len(self._heap)

    def add(self, subscription: Subscription) -> None:
        """Ends a subscription, with cause `expired`, at its `expires_ms`, if it has one."""
        if subscription.expires_ms is not None:
            heapq.heappush(self._heap, subscription)
            self._wait()

    def remove(self, subscription: Subscription) -> None:
        """A subscription that was added has ended."""
        if subscription.expires_ms is None:
            return
        self._ended += 1
        if self._ended * 2 > len(self._heap):
            self._heap = [each for each in self._heap if not each.ended]
            heapq.heapify(self._heap)
            self._ended = 0
            self._wait()

    def _wait(self) -> None:
        """Has the timer be that of the first, or of none."""
        first_ms = self._heap[0].expires_ms if self._heap else None
        if self._timer is not None and first_ms != self._timer_ms:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and first_ms is not None:
            self._timer, self._timer_ms = self._clock.call_at_wall(first_ms, self._look), first_ms

    def _look(self) -> None:
        self._timer = None
        now_ms = self._clock.wall_ms()
        while self._heap and (self._heap[0].expires_ms or 0) <= now_ms:
            subscription = heapq.heappop(self._heap)
            self._ended -= 1  # if it has not ended before, it does now, and is counted then
            subscription.stream.close(Cause.EXPIRED)
        self._wait()
