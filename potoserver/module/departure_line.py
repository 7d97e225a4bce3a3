"""Where departures wait for a module that is told of a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from potoserver.clock import Clock
from potoserver.module.hook_lane import Lane
from potoserver.module.turnstile import Turnstile

_AT_ONCE = 16
"""So many a module is told of at the same time. Those that are done with together have the loop together, and
others wait for as many: with 64 the last of thousands was done a tenth sooner, and they waited twice as long.
"""
_HOLD_S = 0.05
"""After which one for which the module takes long counts no more among these: where it waits for a slow disk,
or for others, there are as many more on their way.
"""
_NEAR = 64
"""So many more have a task already, and wait in that."""


class DepartureLine:
    """Has the users' lanes begin with their departures in turn.

    A task that only waits is made of two dozen objects. Of thousands who leave together as many would lie
    about for seconds, and each time that garbage is collected they would all be looked through.

    Args:
        clock: Measures how long a departure takes.
    """

    def __init__(self, clock: Clock) -> None:
        self._turnstile = Turnstile(_AT_ONCE, _HOLD_S, None, clock)
        self._near = 0
        self._far: deque[tuple[Lane, Callable[[], None]]] = deque()

    def line_up(self, lane: Lane, begin: Callable[[], None]) -> None:
        """Has a lane begin, whose first item is a departure, as soon as that is near its turn.

        Args:
            lane: It.
            begin: Spawns its task.
        """
        if self._near < _NEAR and not self._far:
            self._begin(lane, begin)
        else:
            self._far.append((lane, begin))

    def passing(self) -> AbstractAsyncContextManager[None]:
        """Waits for the turn of a departure whose lane has begun; `passed` follows."""
        return self._turnstile.passing()

    def passed(self, lane: Lane) -> None:
        """A departure of that lane has its turn."""
        if lane.near:
            lane.near = False
            self._near -= 1
            if self._far:
                self._begin(*self._far.popleft())

    def _begin(self, lane: Lane, begin: Callable[[], None]) -> None:
        lane.near = True
        self._near += 1
        begin()
