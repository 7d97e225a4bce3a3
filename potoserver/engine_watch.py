"""Tells when the engine is away."""

from __future__ import annotations

from potoserver.alarms import Alarms
from potoserver.clock import Clock, TimerHandle
from potoserver.engine.base import Engine

_LOOK_EACH_S = 1.0


class EngineWatch:
    """Looks every second whether events come through; while they don't the alarm `engine-away` is on.

    Args:
        engine: Knows by the path that events really take. One that other nodes can't share is never away.
        clock: When to look.
        alarms: Where it is told.
    """

    def __init__(self, engine: Engine, clock: Clock, alarms: Alarms) -> None:
        self._engine = engine
        self._clock = clock
        self._alarms = alarms
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Begins to look."""
        if self._engine.shared:
            self._timer = self._clock.call_later(_LOOK_EACH_S, self._look)

    def stop(self) -> None:
        """Looks no more. Harmless when it never did."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        trouble = self._engine.trouble
        if trouble is None:
            self._alarms.clear("engine-away")
        else:
            self._alarms.set("engine-away", error=trouble)
        self._timer = self._clock.call_later(_LOOK_EACH_S, self._look)
