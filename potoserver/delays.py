"""One timer for many that all wait equally long."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from potoserver.clock import Clock, TimerHandle

_Key = TypeVar("_Key", bound=Hashable)

_AT_ONCE = 8
"""After so many that are due together everybody else has a turn."""
_ROUNDING_S = 1e-6
"""The same moment, reckoned from another one, may come out so much later."""


class Delays(Generic[_Key]):
    """Tells of each key once its delay is over, which is as long for all of them.

    So they are due in the order in which they began, and one timer does. With a timer for each, ten thousand
    who leave together would be as many in the loop's heap, and be told of in one turn of it.

    Args:
        delay_s: How long each one waits.
        clock: Measures it.
        due: Called on the loop with each key that is due. What it raises is the loop's to tell of.
    """

    def __init__(self, delay_s: float, clock: Clock, due: Callable[[_Key], None]) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._due = due
        self._at_s: dict[_Key, float] = {}
        """When each one is due, the first to be so first."""
        self._timer: TimerHandle | None = None
        """Set at least while somebody waits."""

    def __len__(self) -> int:
        return len(self._at_s)

    def __contains__(self, key: _Key) -> bool:
        return key in self._at_s

    def __iter__(self) -> Iterator[_Key]:
        """Those that wait, the first to be due first."""
        return iter(self._at_s)

    def begin(self, key: _Key) -> None:
        """Has a key wait from now on. It must not be waiting."""
        self._at_s[key] = self._clock.monotonic_s() + self._delay_s
        if self._timer is None:
            self._timer = self._clock.call_later(self._delay_s, self._look)

    def call_off(self, key: _Key) -> None:
        """Nothing is told of a key. Idempotent."""
        self._at_s.pop(key, None)

    def stop(self) -> None:
        """Nothing is told of any key."""
        self._at_s.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now_s = self._clock.monotonic_s() + _ROUNDING_S
        try:
            for key, at_s in list(islice(self._at_s.items(), _AT_ONCE)):
                if at_s > now_s:
                    break
                if self._at_s.pop(key, None) is not None:  # else called off by what was told of one before
                    self._due(key)
        finally:
            # Also when one could not be told: the others still wait.
            first_s = next(iter(self._at_s.values()), None)
            self._timer = None
            if first_s is not None:
                self._timer = self._clock.call_later(first_s - self._clock.monotonic_s(), self._look)
