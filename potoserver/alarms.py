"""What is wrong with the server at the moment: in `/health`, in the metrics, and in one log line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock, TimerHandle
from potoserver.metrics import Metrics

OF_ONE_CLIENT = frozenset({"rate-limited", "slow-readers", "slow-senders", "user-folder", "user-full"})
"""Alarms of a limit that a client has met by itself: the others feel nothing, so the server is healthy."""

QUIET_S = 10.0
"""How long a cause must have been quiet before its alarm is over."""


@dataclass(frozen=True, slots=True)
class ActiveAlarm:
    """An alarm that is on.

    Attributes:
        name: Of a closed set, for labels and for people: `disk-full`.
        since_ms: When it came on: wall time, milliseconds since 1970 UTC.
        times: How often its cause was met since then.
    """

    name: str
    since_ms: int
    times: int


@dataclass(slots=True)
class _State:
    """An alarm that is on, and what is needed to see it over.

    Attributes:
        over: The cause is said to be gone; the alarm ends once it has been quiet for a while.
    """

    since_ms: int
    since_s: float
    last_s: float
    over: bool
    times: int = 1


class Alarms:
    """Holds which alarms are on. A cause that is met a million times makes one line, not a million.

    A module's failing disk and a full server are the same thing to an operator: something to look at now.
    An alarm comes on when its cause is first met, and goes off when the cause has been quiet for `QUIET_S`
    after it was cleared, so that one that comes and goes does not fill the log.

    Args:
        clock: Tells how long a cause has been quiet.
        metrics: `potoserver_alarm{alarm}` is 1 while an alarm is on.
        logger: One warning when an alarm comes on, one line when it goes off.
    """

    def __init__(self, clock: Clock, metrics: Metrics, logger: FilteringBoundLogger) -> None:
        self._clock = clock
        self._metrics = metrics
        self._logger = logger
        self._on: dict[str, _State] = {}
        self._timers: dict[str, TimerHandle] = {}

    def on(self) -> Sequence[ActiveAlarm]:
        """The alarms that are on, the oldest first."""
        return [ActiveAlarm(name, state.since_ms, state.times) for name, state in self._on.items()]

    @property
    def degraded(self) -> bool:
        """Whether something is wrong that more than one client may feel."""
        return not OF_ONE_CLIENT.issuperset(self._on)

    def set(self, name: str, *, lapses: bool = False, **fields: Any) -> None:
        """The cause of an alarm was met.

        Args:
            name: The alarm's, of a closed set: it becomes a label.
            lapses: It goes off by itself once it is quiet; else it stays until `clear`.
            fields: What the log line says beside the name, the first time; never message text or a token.
        """
        now_s = self._clock.monotonic_s()
        state = self._on.get(name)
        if state is None:
            self._on[name] = _State(self._clock.now_ms(), now_s, now_s, over=lapses)
            self._metrics.alarm.labels(name).set(1)
            self._logger.warning("alarm on", alarm=name, **fields)
        else:
            state.times += 1
            state.last_s = now_s
            state.over = lapses
        if lapses:
            self._await_quiet(name)

    def clear(self, name: str) -> None:
        """The cause is gone. Harmless when the alarm is off."""
        state = self._on.get(name)
        if state is not None and not state.over:
            state.over = True
            self._await_quiet(name)

    def stop(self) -> None:
        """Gives the timers up."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _await_quiet(self, name: str) -> None:
        if name not in self._timers:
            state = self._on[name]
            wait_s = state.last_s + QUIET_S - self._clock.monotonic_s()
            self._timers[name] = self._clock.call_later(wait_s, lambda: self._look(name))

    def _look(self, name: str) -> None:
        del self._timers[name]
        state = self._on[name]
        now_s = self._clock.monotonic_s()
        if not state.over:
            return
        if now_s - state.last_s < QUIET_S:
            self._await_quiet(name)
            return
        del self._on[name]
        self._metrics.alarm.labels(name).set(0)
        self._logger.info("alarm off", alarm=name, times=state.times, seconds=round(now_s - state.since_s, 1))
