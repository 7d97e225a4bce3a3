"""Tells when the machine's wall time was stepped."""

from __future__ import annotations

from potoserver.alarms import QUIET_S, Alarms
from potoserver.clock import Clock, TimerHandle

_LOOK_EACH_S = QUIET_S
"""No more often than an alarm goes off, so that each step that is seen has a line of its own."""
_STEP_MS = 2000


class ClockWatch:
    """Compares wall time with monotonic time every few seconds; a step of over 2 s raises `clock-stepped`.

    A machine that was suspended looks the same: its monotonic time stood still meanwhile.

    Args:
        clock: Both times.
        alarms: Where it is told.
    """

    def __init__(self, clock: Clock, alarms: Alarms) -> None:
        self._clock = clock
        self._alarms = alarms
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Begins to look."""
        self._offset_ms, self._ahead_ms = self._measure()
        self._timer = self._clock.call_later(_LOOK_EACH_S, self._look)

    def stop(self) -> None:
        """Looks no more. Harmless when it never did."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> tuple[int, int]:
        """From monotonic time to wall time, and from there to the stamps that are given out."""
        wall_ms = self._clock.wall_ms()
        return wall_ms - int(self._clock.monotonic_s() * 1000), self._clock.now_ms() - wall_ms

    def _look(self) -> None:
        offset_ms, ahead_ms = self._measure()
        stepped_ms = offset_ms - self._offset_ms
        # Stamps that ran ahead tell of a step forth and back between two looks, too.
        if abs(stepped_ms) > _STEP_MS or ahead_ms - self._ahead_ms > _STEP_MS:
            self._alarms.set(
                "clock-stepped",
                lapses=True,
                by_s=round(stepped_ms / 1000, 1),
                stamps_ahead_s=round(ahead_ms / 1000, 1),
            )
        self._offset_ms, self._ahead_ms = offset_ms, ahead_ms
        self._timer = self._clock.call_later(_LOOK_EACH_S, self._look)
