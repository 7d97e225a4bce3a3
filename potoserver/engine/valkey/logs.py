"""The users' event logs in Valkey."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from potoserver.engine.base import LogEntry, Replay
from potoserver.engine.valkey.batches import away
from potoserver.engine.valkey.delivery import LogRead
from potoserver.engine.valkey.keys import CHUNK, Keys
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.scripts import Call, decode, script
from potoserver.events import Event, EventId, Frame, to_json
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings

_RENEWALS: Final = 5
"""For so many renewals what was published is remembered: a Valkey that comes back may have lost its last
second or two (`appendfsync everysec`)."""


class EventLogs:
    """Appends to logs and reads them.

    What was published lately is remembered: where Valkey was away and came back, it is looked whether that is
    still there.

    Args:
        link: The way to Valkey.
        keys: The names there.
        backlog: The bounds of each log.
        held_s: How long the log of a user who is here is held.
        metrics: Where events are counted.
        given_up_ms: When nobody waits any more for a call that is sent now, by the engine's time.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        backlog: BacklogSettings,
        held_s: int,
        metrics: Metrics,
        given_up_ms: Callable[[], int],
    ) -> None:
        self._link = link
        self._keys = keys
        self._metrics = metrics
        self._given_up_ms = given_up_ms
        self._bounds = {
            "most_events": backlog.events,
            "most_bytes": backlog.bytes,
            "kept_ms": max(1, round(backlog.seconds * 1000)),
            "held_s": held_s,
        }
        self._published: deque[dict[str, EventId]] = deque([{}], maxlen=_RENEWALS)
        """The newest event of each user that this node published, renewal by renewal."""

    async def publish(self, user_id: str, event: Event) -> EventId:
        """Appends an event, and has the nodes told."""
        data_json = to_json(event.data)  # first: a value that is no JSON is the caller's error
        call = script("publish").of_user(
            self._keys,
            user_id,
            "",
            type=event.type,
            data=data_json,
            group=event.group or "",
            replaces=event.replaces or "",
            until_ms=self._given_up_ms,
            channels=self._keys.channel(""),
            **self._bounds,
        )
        answer = await self._link.run(call)
        if not answer:
            raise away()
        epoch, seq, dropped = answer
        event_id = EventId(epoch.decode(), seq)
        self._published[-1][user_id] = event_id
        self._metrics.events_published.inc()
        if dropped:
            self._metrics.events_dropped.inc(dropped)
        return event_id

    async def replay(self, user_id: str, after: str | None) -> Replay:
        """What came after an id."""
        last = EventId.parse(after) if after is not None else None
        asked = last if last is not None else EventId("", 0)
        read = _read(await self._link.run(self._replay(user_id, asked)))
        if after is None:
            return Replay((), gap=False, resume_id=read.newest)
        if last is None or read.gap:
            return Replay((), gap=True, resume_id=read.newest)
        return Replay(read.entries, gap=False, resume_id=last)

    async def read(self, asked: Sequence[tuple[str, EventId]]) -> list[LogRead]:
        """What several users' logs have after an id each."""
        answers = await self._link.run_all([self._replay(*each) for each in asked])
        return [_read(answer) for answer in answers]

    async def all_of(self, user_id: str) -> list[Event]:
        """The events in a user's log."""
        (found,) = await self._link.commands([("XRANGE", self._keys.of_user(user_id, "log", ""), "-", "+")])
        return [
            Event(decode(fields[b"t"]), json.loads(fields[b"d"]), decode(fields[b"g"]) or None)
            for _, fields in found
        ]

    async def ensure(self, user_id: str, event_type: str, text: str) -> bool:
        """Begins a log anew in which no event of the type has this in its data; returns whether one has."""
        call = script("ensure_logged").of_user(
            self._keys, user_id, "", type=event_type, text=text, channels=self._keys.channel("")
        )
        return bool(await self._link.run(call))

    def _replay(self, user_id: str, after: EventId) -> Call:
        return script("replay").of_user(
            self._keys, user_id, "", epoch=after.epoch, seq=after.seq, **self._bounds
        )

    def renewed(self) -> None:
        """This node has renewed: what was published some renewals ago is safe."""
        self._published.append({})

    def lately_published(self) -> list[tuple[str, EventId]]:
        """The newest events that this node published lately, one of each user."""
        merged: dict[str, EventId] = {}
        for published in self._published:
            merged.update(published)
        return list(merged.items())

    async def doubt(self, places: Sequence[tuple[str, EventId]], *, certain: bool) -> None:
        """Begins logs anew from which events are lost, so that nobody goes on in them without being told.

        Args:
            places: Users, and an event each that was in the log.
            certain: That events are lost is certain; else it is so where the event is there no more.
        """
        for start in range(0, len(places), CHUNK):
            await self._link.run_all(
                [
                    script("doubt_log").of_user(
                        self._keys, user, "", epoch=at.epoch, seq=at.seq, certain=certain
                    )
                    for user, at in places[start : start + CHUNK]
                ]
            )


def _read(answer: Any) -> LogRead:
    gap, epoch, newest, found = answer
    text = epoch.decode()
    entries = []
    for seq, event_type, data_json in found:
        event_id = EventId(text, seq)
        frame = Frame.encode(event_type.decode(), data_json.decode(), event_id)
        entries.append(LogEntry(event_id, event_type.decode(), frame))
    return LogRead(bool(gap), EventId(text, newest), tuple(entries))
