"""The users' event logs in the embedded engine."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from potoserver.clock import Clock
from potoserver.delays import Delays
from potoserver.engine.base import LogEntry, Replay
from potoserver.events import Event, EventId, Frame, to_json
from potoserver.ids import HEX_10, Ids
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings


@dataclass(slots=True)
class _Logged:
    entry: LogEntry
    at_s: float
    group: str | None


@dataclass(slots=True)
class _Log:
    """A user's events. Ids from `floor` to `newest` can be continued from; older events have been dropped."""

    epoch: str
    newest: int = 0
    floor: int = 0
    size_bytes: int = 0
    events: deque[_Logged] | None = None
    """None while there is none: an empty deque holds 700 bytes, and few users have events."""
    growing: dict[str, int] | None = None
    """How many events there are of each group; None without one."""

    def __iter__(self) -> Iterator[_Logged]:
        return iter(self.events or ())


class MemoryLogs:
    """Appends to logs and reads them; forgets them when their users are gone and the events have lapsed.

    Args:
        backlog: The bounds of each log.
        clock: Measures how old events are.
        metrics: Where events that are dropped are counted.
        is_here: Whether a user is online or in the grace.
    """

    def __init__(
        self, backlog: BacklogSettings, clock: Clock, metrics: Metrics, is_here: Callable[[str], bool]
    ) -> None:
        self._backlog = backlog
        self._clock = clock
        self._metrics = metrics
        self._is_here = is_here
        self._epochs = Ids(HEX_10)
        self._sweeps = Delays(backlog.seconds + 0.001, clock, self._sweep)
        """The users whose logs are looked at: at least those who are absent and have one."""
        self._by_user: dict[str, _Log | str] = {}
        """Of a user who is here and has had no event, the log's epoch alone."""

    def __len__(self) -> int:
        """How many users have one."""
        return len(self._by_user)

    def stop(self) -> None:
        """Sets no timer off any more."""
        self._sweeps.stop()

    def append(self, user_id: str, event: Event) -> LogEntry:
        """Appends an event, and takes out what it replaces and what exceeds a bound."""
        data = to_json(event.data)  # before anything changes: a value that is no JSON is the caller's error
        log = self._log_of(user_id)
        if event.replaces is not None:
            self._remove_group(log, event.replaces)
        log.newest += 1
        event_id = EventId(log.epoch, log.newest)
        entry = LogEntry(event_id, event.type, Frame.encode(event.type, data, event_id))
        if log.events is None:
            log.events = deque()
        log.events.append(_Logged(entry, self._clock.monotonic_s(), event.group))
        if event.group is not None:
            log.growing = log.growing or {}
            log.growing[event.group] = log.growing.get(event.group, 0) + 1
        log.size_bytes += entry.frame.size
        self._trim(log)
        return entry

    def replay(self, user_id: str, after: str | None) -> Replay:
        """What came after an id, as `Engine.replay`."""
        log = self._by_user.get(user_id)
        if log is None and self._is_here(user_id):
            log = self._by_user[user_id] = self._epochs.next()
        if isinstance(log, str):
            newest = EventId(log, 0)
            return Replay((), gap=after is not None and EventId.parse(after) != newest, resume_id=newest)
        log = self._log_of(user_id)
        self._trim(log)
        newest = EventId(log.epoch, log.newest)
        if after is None:
            return Replay((), gap=False, resume_id=newest)
        last = EventId.parse(after)
        if last is None or last.epoch != log.epoch or not log.floor <= last.seq <= log.newest:
            return Replay((), gap=True, resume_id=newest)
        missed = tuple(each.entry for each in log if each.entry.id.seq > last.seq)
        return Replay(missed, gap=False, resume_id=last)

    def all_of(self, user_id: str) -> list[Event]:
        """The events in a user's log."""
        return [
            Event(each.entry.type, _data_of(each.entry.frame), each.group) for each in self._logged(user_id)
        ]

    def has(self, user_id: str, event_type: str, text: str) -> bool:
        """Whether an event of the type has this in its data."""
        entries = (each.entry for each in self._logged(user_id))
        return any(entry.type == event_type and text.encode() in entry.frame.raw for entry in entries)

    def forget(self, user_id: str) -> bool:
        """Has the user's next event begin a log anew; whether there was one."""
        self._sweeps.call_off(user_id)
        return self._by_user.pop(user_id, None) is not None

    def sweep_later(self, user_id: str) -> None:
        """The user is gone: forgets the log, if there is one, once its events have lapsed."""
        if user_id in self._by_user and user_id not in self._sweeps:
            self._sweeps.begin(user_id)

    def _logged(self, user_id: str) -> Iterable[_Logged]:
        log = self._by_user.get(user_id)
        return log if isinstance(log, _Log) else ()

    def _log_of(self, user_id: str) -> _Log:
        log = self._by_user.get(user_id)
        if not isinstance(log, _Log):
            log = self._by_user[user_id] = _Log(log or self._epochs.next())
            if not self._is_here(user_id):
                self.sweep_later(user_id)
        return log

    @staticmethod
    def _remove_group(log: _Log, group: str) -> None:
        """Takes a group's events out: they are among the newest, so the others are hardly looked at."""
        left = (log.growing or {}).pop(group, 0)
        behind = []
        while left and log.events:
            each = log.events.pop()
            if each.group == group:
                left -= 1
                log.size_bytes -= each.entry.frame.size
            else:
                behind.append(each)
        if behind and log.events is not None:
            log.events.extend(reversed(behind))
        log.growing = log.growing or None

    def _trim(self, log: _Log) -> None:
        """Drops from the old end what exceeds a bound; what is dropped can't be continued from."""
        oldest_s = self._clock.monotonic_s() - self._backlog.seconds
        while log.events and (
            len(log.events) > self._backlog.events
            or log.size_bytes > self._backlog.bytes
            or log.events[0].at_s < oldest_s
        ):
            dropped = log.events.popleft()
            log.size_bytes -= dropped.entry.frame.size
            log.floor = dropped.entry.id.seq
            if dropped.group is not None and log.growing is not None:
                log.growing[dropped.group] -= 1
                if not log.growing[dropped.group]:
                    del log.growing[dropped.group]
                    log.growing = log.growing or None
            self._metrics.events_dropped.inc()
        if not log.events:
            log.events = None

    def _sweep(self, user_id: str) -> None:
        """Forgets the log of a user who is gone once its events have lapsed."""
        if self._is_here(user_id):
            return
        log = self._by_user[user_id]
        if isinstance(log, _Log):
            self._trim(log)
            if log.events:
                self._sweeps.begin(user_id)
                return
        del self._by_user[user_id]


def _data_of(frame: Frame) -> Any:
    """What the event was made of; its data is one line."""
    return json.loads(frame.raw.partition(b"\ndata: ")[2])
