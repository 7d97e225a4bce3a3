"""From the channel to the connections: each user's events once each and in order, or a gap is told.

The channel may lose what passes through it. So each event names the one before it: where that is not the last
one that came, and after the channel was broken, what is missing is read from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from potoserver.engine.base import LogEntry
from potoserver.engine.valkey.channel import Published
from potoserver.engine.valkey.keys import CHUNK
from potoserver.errors import UnavailableError
from potoserver.events import EventId, Frame

_FROM_ANEW: Final = EventId("", 0)
"""Of no log that there is: what is being read must be read once more."""


@dataclass(frozen=True, slots=True)
class LogRead:
    """What a log has after an id.

    Attributes:
        gap: It can't be continued from there.
        newest: Where the log is.
        entries: What came after the id, oldest first.
    """

    gap: bool
    newest: EventId
    entries: tuple[LogEntry, ...]


@dataclass(slots=True)
class _Place:
    """How far the events of a user have come here.

    Invariant: while `reading`, what comes through the channel is left to the log; `heard` is the last of it.
    """

    at: EventId | None = None
    """None until the first connection is attached."""
    reading: bool = True
    heard: EventId | None = None


ReadLogs = Callable[[Sequence[tuple[str, EventId]]], Coroutine[Any, Any, list[LogRead]]]


class Delivery:
    """The events of those users who have a connection here.

    Args:
        read_logs: Reads what several users' logs have after an id each.
        on_entry: Gets each event, in order.
        on_gap: Is told of users whose events are lost for good.
        spawn: Runs a task that the engine owns.
        logger: Where a gap is said.
    """

    def __init__(
        self,
        read_logs: ReadLogs,
        on_entry: Callable[[str, LogEntry], None],
        on_gap: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        logger: FilteringBoundLogger,
    ) -> None:
        self._read_logs = read_logs
        self._on_entry = on_entry
        self._on_gap = on_gap
        self._spawn = spawn
        self._logger = logger
        self._places: dict[str, _Place] = {}
        self._unread: set[str] = set()
        """Users whose log could not be read."""

    def expect(self, user_id: str) -> None:
        """A connection of the user is about to be attached: what comes from now on is for it."""
        self._places.setdefault(user_id, _Place())

    def begin(self, user_id: str, newest: EventId) -> None:
        """A connection is attached, the log being there. Of the first one this is where delivery begins."""
        place = self._places.get(user_id)
        if place is not None and place.at is None:
            place.at = newest
            self._go_on(user_id, place)

    def end(self, user_id: str) -> None:
        """The user has no connection here any more."""
        self._places.pop(user_id, None)

    def take(self, published: Published) -> None:
        """An event has come through the channel."""
        place = self._places.get(published.user_id)
        if place is None:
            return
        event_id = EventId(published.epoch, published.seq)
        if place.reading:
            place.heard = event_id
            return
        at = place.at
        if at is None or at.epoch != published.epoch or published.before > at.seq:
            place.reading, place.heard = True, event_id
            self._spawn(self.catch_up([published.user_id]))
        elif published.seq > at.seq:
            frame = Frame.encode(published.type, published.data_json, event_id)
            place.at = event_id
            self._on_entry(published.user_id, LogEntry(event_id, published.type, frame))

    def doubt(self, user_id: str) -> None:
        """The user's log was begun anew: reads it, so that the gap is told though no other event comes."""
        place = self._places.get(user_id)
        if place is None:
            return
        if place.reading:
            place.heard = _FROM_ANEW
        else:
            place.reading = True
            self._spawn(self.catch_up([user_id]))

    def doubt_all(self) -> list[str]:
        """The channel was broken: nothing is told of these users until `catch_up`."""
        doubted = [user_id for user_id, place in self._places.items() if place.at is not None]
        for user_id in doubted:
            self._places[user_id].reading = True
        return doubted

    def places(self) -> list[tuple[str, EventId]]:
        """The users with a connection here, and how far their events have come."""
        return [(user_id, place.at) for user_id, place in self._places.items() if place.at is not None]

    async def catch_up(self, user_ids: Sequence[str]) -> None:
        """Reads what these users, being in doubt, have missed; else they stay so until `retry`."""
        for start in range(0, len(user_ids), CHUNK):
            asked = [
                (user_id, place.at)
                for user_id in user_ids[start : start + CHUNK]
                if (place := self._places.get(user_id)) is not None and place.at is not None and place.reading
            ]
            if not asked:
                continue
            try:
                read = await self._read_logs(asked)
            except UnavailableError:
                self._unread.update(user_ids[start:])
                return
            for (user_id, after), log in zip(asked, read, strict=True):
                self._continue_from(user_id, after, log)

    async def retry(self) -> None:
        """Reads what could not be read before."""
        unread, self._unread = list(self._unread), set()
        await self.catch_up(unread)

    def _continue_from(self, user_id: str, after: EventId, log: LogRead) -> None:
        place = self._places.get(user_id)
        if place is None or place.at != after or not place.reading:
            return  # gone, or somebody else has read further meanwhile
        place.at = log.newest
        if log.gap:
            self._logger.warning("events lost on the way to this node", user=user_id)
            self._on_gap(user_id)
        for entry in log.entries:
            self._on_entry(user_id, entry)
        self._go_on(user_id, place)

    def _go_on(self, user_id: str, place: _Place) -> None:
        """The log was read: delivers from the channel again, unless that has heard of something newer."""
        heard, place.heard = place.heard, None
        at = place.at
        if heard is None or (at is not None and heard.epoch == at.epoch and heard.seq <= at.seq):
            place.reading = False
        else:
            self._spawn(self.catch_up([user_id]))
