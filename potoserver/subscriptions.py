"""The event streams open on this node, by user: delivery, the hand-over from replay to live, their ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from potoserver.engine.base import LogEntry, Replay
from potoserver.engine.presence import Cause
from potoserver.events import EventId, Frame
from potoserver.metrics import Metrics
from potoserver.module.base import Connection

_AT_ONCE = 500
"""To so many an event goes before everybody else has a turn: about two milliseconds."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """An event that goes to very many, some at a time.

    Attributes:
        user_id: Whose connections get it; None for everyone's.
        event_id: Of a log event.
        frame: Its bytes.
    """

    user_id: str | None
    event_id: EventId | None
    frame: Frame


class StreamListener(Protocol):
    """Who is told of a stream's end. An object that is there anyhow: no function is made for each stream."""

    def on_lost(self, cause: Cause) -> None:
        """The stream has ended."""


class EventStream(ABC):
    """The wire under a subscription. Small, so that what is underneath can change."""

    __slots__ = ()

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Sends a frame without waiting. A reader behind which too much waits ends the stream as `slow`.

        What is written while nothing waits is never too much.
        """

    @abstractmethod
    def write_together(self, frames: Sequence[Frame]) -> None:
        """Sends frames, as `write`: all of them count as one."""

    @abstractmethod
    def close(self, cause: Cause) -> None:
        """Ends the stream. Whoever listens is told the cause at once. Idempotent."""

    @abstractmethod
    def listen(self, listener: StreamListener) -> None:
        """Sets who is told, once, that the stream has ended; at once if it has already."""

    @abstractmethod
    def expect_taken(self, upto_bytes: int) -> None:
        """Those bytes were sent a send timeout ago: ends the stream if nothing was heard since."""

    @property
    @abstractmethod
    def sent_bytes(self) -> int:
        """How much has been written, whether it is on its way or waits."""

    @property
    @abstractmethod
    def taken_bytes(self) -> int:
        """How much of it the next hop, the client or a proxy, is known to have. Costs a system call."""

    @property
    @abstractmethod
    def all_taken(self) -> bool:
        """Whether it has all of it. Costs a system call, and less than the comparison of the two."""


class Subscription:
    """One open event stream of a user.

    It begins held: live events wait while what the client missed is fetched. `open` sends the opening, the
    replay and what was held, then delivery is direct. So nothing is lost, doubled or reordered between.

    Args:
        connection: What modules see of it.
        stream: Its wire.
        outbox_bytes: What may be held before the subscription is ended as `slow`.
        since_ms: When it came: wall time, milliseconds since 1970 UTC.
        expires_ms: When the proof of who asks expires, in wall time too; None for never.
    """

    __slots__ = (
        "_at_gap",
        "_held",
        "_held_bytes",
        "_on_ended",
        "_outbox_bytes",
        "connection",
        "ended",
        "expires_ms",
        "number",
        "position",
        "since_ms",
        "stream",
    )

    def __init__(
        self,
        connection: Connection,
        stream: EventStream,
        outbox_bytes: int,
        since_ms: int,
        expires_ms: int | None = None,
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.since_ms = since_ms
        self.expires_ms = expires_ms
        self.ended = False
        self.number = 0
        """Of the events to very many, the newest that it was sent, or that is not for it to be sent."""
        self._on_ended: Callable[[Subscription, Cause], None] | None = None
        self._outbox_bytes = outbox_bytes
        self._held: deque[tuple[EventId | None, Frame]] | None = deque()
        self._held_bytes = 0
        self._at_gap = False
        self.position: EventId | None = None
        """The newest log event that the client was sent, or has."""

    def __lt__(self, other: Subscription) -> bool:
        """Whether it expires earlier than another one that does; for `Expiries`."""
        return (self.expires_ms or 0) < (other.expires_ms or 0)

    def listen(self, on_ended: Callable[[Subscription, Cause], None]) -> None:
        """Sets who is told, once, that it has ended; at once if it has already."""
        self._on_ended = on_ended
        self.stream.listen(self)

    def on_lost(self, cause: Cause) -> None:
        """Its stream has ended."""
        self.ended = True
        if self._on_ended is not None:
            self._on_ended(self, cause)

    def deliver(self, event_id: EventId | None, frame: Frame) -> None:
        """Sends an event, or holds it. A log event that the client has already is left out."""
        if self._held is not None:
            self._hold(self._held, event_id, frame)
        elif event_id is None or (not self._at_gap and self._is_new(event_id)):
            self.stream.write(frame)

    def _hold(
        self, held: deque[tuple[EventId | None, Frame]], event_id: EventId | None, frame: Frame
    ) -> None:
        if self._at_gap and event_id is not None:
            return
        held.append((event_id, frame))
        self._held_bytes += frame.size
        if self._held_bytes > self._outbox_bytes:
            self.stream.close(Cause.SLOW)

    def stop_at_gap(self) -> None:
        """Log events are missing here: sends no further one, lest the client go on behind the gap."""
        self._at_gap = True

    def _is_new(self, event_id: EventId) -> bool:
        """Whether the client has not got that log event yet; it gets it now."""
        if self.position is not None and event_id.seq <= self.position.seq:
            return False
        self.position = event_id
        return True

    def open(self, opening: Frame, replay: Replay) -> None:
        """Sends the opening, what the client missed and what was held meanwhile."""
        held, self._held = self._held or deque(), None
        self.position = replay.resume_id
        frames = [opening]
        for event_id, frame in chain(((entry.id, entry.frame) for entry in replay.entries), held):
            if event_id is None or self._is_new(event_id):
                frames.append(frame)
        self.stream.write_together(frames)


class Subscriptions:
    """All event streams of this node.

    Args:
        metrics: Where connections and deliveries are counted.
        event_logger: Set while every event is to be logged (`log.debug_sse`), else None.
    """

    def __init__(self, metrics: Metrics, event_logger: FilteringBoundLogger | None = None) -> None:
        self._metrics = metrics
        self._event_logger = event_logger
        self._by_user: dict[str, tuple[Subscription, ...]] = {}
        """Tuples: most users have one connection, and who goes through one meets no change of it."""
        self._count = 0
        metrics.connections.set_function(lambda: self._count)
        self._unreached: list[Subscription] = []
        """Whom the event that is under way may have yet to reach."""
        self._under_way = _UnderWay(None, None, Frame(b""))
        self._number = 0
        """Its number."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Subscription]:
        for of_user in list(self._by_user.values()):
            yield from of_user

    def of_user(self, user_id: str) -> tuple[Subscription, ...]:
        """The user's subscriptions on this node, as they are now; empty without one."""
        return self._by_user.get(user_id, ())

    def has(self, user_id: str, connection_id: str) -> bool:
        """Whether the user has that connection on this node."""
        return any(each.connection.id == connection_id for each in self.of_user(user_id))

    def count_of(self, user_id: str) -> int:
        """How many subscriptions the user has on this node."""
        return len(self.of_user(user_id))

    def find(self, search: str, limit: int) -> list[Subscription]:
        """At most so many subscriptions, those of the users who came last first.

        Args:
            search: Part of the user's or the connection's id; empty for any.
            limit: How many.
        """
        found = (
            subscription
            for user_id, of_user in reversed(self._by_user.items())
            for subscription in of_user
            if search in user_id or search in subscription.connection.id
        )
        return list(islice(found, limit))

    def add(self, subscription: Subscription) -> None:
        """Registers a subscription, before anybody is told of it: no event from now on is missed."""
        connection = subscription.connection
        subscription.number = self._number
        self._by_user[connection.user_id] = (*self.of_user(connection.user_id), subscription)
        self._count += 1

    def remove(self, connection: Connection) -> None:
        """Takes a subscription out, before anybody is told that it is gone. Idempotent."""
        of_user = self.of_user(connection.user_id)
        left = tuple([each for each in of_user if each.connection.id != connection.id])
        if len(left) == len(of_user):
            return
        if left:
            self._by_user[connection.user_id] = left
        else:
            del self._by_user[connection.user_id]
        self._count -= 1

    def attached_anew(self, user_id: str, generation: int) -> None:
        """The user's subscriptions on this node belong to that generation from now on."""
        for subscription in self.of_user(user_id):
            subscription.connection = replace(subscription.connection, generation=generation)

    def deliver(self, user_id: str, entry: LogEntry) -> None:
        """Sends a log event to the user's subscriptions on this node, as `broadcast` does."""
        of_user = self.of_user(user_id)
        if of_user:
            if self._unreached and self._under_way.user_id in (None, user_id):
                self._reach(of_user)
            self._send(of_user, entry.type, entry.frame, entry.id, user_id)

    def broadcast(self, event_type: str, frame: Frame) -> int:
        """Sends an event to every subscription on this node; returns to how many.

        Where these are very many, others have their turns meanwhile. To each one events go in the order
        in which they were given: whatever is sent next to one that was not reached yet comes behind this.
        """
        self._finish()
        everyone = list(chain.from_iterable(self._by_user.values()))
        self._send(everyone, event_type, frame)
        return len(everyone)

    def _send(
        self,
        subscriptions: Sequence[Subscription],
        event_type: str,
        frame: Frame,
        event_id: EventId | None = None,
        user_id: str | None = None,
    ) -> None:
        if len(subscriptions) <= _AT_ONCE:
            for subscription in subscriptions:
                subscription.deliver(event_id, frame)
        else:
            self._finish()
            self._unreached, self._under_way = list(subscriptions), _UnderWay(user_id, event_id, frame)
            self._number += 1
            self._go_on(self._under_way)
        self._metrics.events_delivered.inc(len(subscriptions))
        self.log_event(event_type, frame, event_id, len(subscriptions))

    def _go_on(self, under_way: _UnderWay) -> None:
        if under_way is self._under_way:  # else it was done with when the next one came
            self._reach(self._unreached[-_AT_ONCE:])
            del self._unreached[-_AT_ONCE:]
            if self._unreached:
                asyncio.get_running_loop().call_soon(self._go_on, under_way)

    def _finish(self) -> None:
        """Has the event that is under way reach everyone before anything else does."""
        self._reach(self._unreached)
        self._unreached = []

    def _reach(self, subscriptions: Iterable[Subscription]) -> None:
        event_id, frame, number = self._under_way.event_id, self._under_way.frame, self._number
        for subscription in subscriptions:
            if subscription.number != number:
                subscription.number = number
                subscription.deliver(event_id, frame)

    def tell_each(self, event_type: str, frame: Callable[[], Frame]) -> None:
        """Sends every subscription on this node an event of its own."""
        self._finish()
        for subscription in self:
            own = frame()
            subscription.deliver(None, own)
            self._metrics.events_delivered.inc()
            self.log_event(event_type, own, None, 1)

    def log_event(self, event_type: str, frame: Frame, event_id: EventId | None, connections: int) -> None:
        """Logs an event that was sent, while every event is to be logged: never its data."""
        if self._event_logger is not None:
            self._event_logger.info(
                "SSE event",
                type=event_type,
                id=str(event_id) if event_id else None,
                bytes=frame.size,
                connections=connections,
            )

    def close_all(self, cause: Cause) -> None:
        """Ends every subscription of this node."""
        self._finish()
        for subscription in self:
            subscription.stream.close(cause)
