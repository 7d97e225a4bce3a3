"""One timer for all connections: heartbeats and leases."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.presence import Cause
from potoserver.events import HEARTBEAT, Frame
from potoserver.subscriptions import EventStream, Subscription

PING = Frame.encode("ping", "{}")
_BEATS = 15
"""An interval has so many beats, or one each second if that is more, to which connections go in turn.

To wake up costs more than a hundred heartbeats, so they go together.
"""
_TOGETHER = 256
"""So many who came one after the other have the same beat: what they and the kernel hold is side by side in
memory, and to gather it from everywhere takes longer than to send. With 16 it took a fifth more time.
"""
_AT_ONCE = 10
"""After so many connections everybody else has a turn: less than half a millisecond."""
_LATEST_S = 1.0
"""Of what the timer comes too late, so much is made up for: the beats of that time follow at once."""
_ON_ITS_WAY_S = 0.5
"""After so long nearly every client has what it was sent, and nothing is to be remembered of it."""
_EARLY = 0.9
"""Of a beat: what is expected before the next one is looked for so much earlier, rather than too late."""
_PINGS_PER_LEASE = 3
_LONG_WAY = 1 / 6
"""Of a lease: to be on its way for that long takes a link that is slow. No hop acknowledges as late as that
otherwise, so that what a proxy has taken for a dead client is no sign of life.
"""


@dataclass(slots=True)
class _Lease:
    """What a client promised: an ack within `seconds`, and when it is asked next."""

    subscription: Subscription | None
    """None once it has ended."""
    seconds: int
    lapses_at_s: float
    ping_at_s: float
    asked_at_bytes: int = 0
    """Where in the stream the last `ping` ends."""
    asked_at_s: float = 0.0
    taken_bytes: int = 0
    """How much of the stream was taken when that was sent."""
    on_its_way_s: float = 0.0
    """For how long it was seen to be on its way; 0 once it was taken."""

    def looks_at_s(self, now_s: float) -> float:
        """When to look again: at the next beat, as long as the last `ping` may be on its way."""
        if self.on_its_way_s or self.asked_at_s == now_s:
            return now_s
        return min(self.lapses_at_s, self.ping_at_s)


class Heartbeat:
    """Keeps connections alive and finds the dead ones.

    The heartbeats are spread over the interval, so that many connections don't all wake at once. That one
    stays unacknowledged shows that a peer is gone; a lease is the proof from the client itself.

    Args:
        clock: The timer.
        heartbeat_s: From one heartbeat of a connection to its next.
        send_timeout_s: How long a heartbeat may stay unacknowledged.
        event_logger: Set while every heartbeat is to be logged (`log.debug_sse`), else None.
        acks_come: Whether an ack comes here, whichever node the client gave it to. While it can't, no lease
            lapses, and then each begins anew: it is not the client's doing.
    """

    def __init__(
        self,
        clock: Clock,
        heartbeat_s: float,
        send_timeout_s: float,
        event_logger: FilteringBoundLogger | None = None,
        acks_come: Callable[[], bool] = lambda: True,
    ) -> None:
        self._event_logger = event_logger
        self._clock = clock
        beats = max(_BEATS, math.ceil(heartbeat_s))
        self._beat_s = heartbeat_s / beats
        self._send_timeout_s = send_timeout_s
        self._acks_come = acks_come
        self._behind = max(1, min(beats - 1, round(min(_ON_ITS_WAY_S, send_timeout_s / 2) / self._beat_s)))
        """So many beats after a heartbeat it is looked whose was not taken yet."""
        self._expected: deque[tuple[float, EventStream, int]] = deque()
        """Whose was not: when to look again, the stream, and up to where it must be taken."""
        self._due: list[dict[str, EventStream]] = [{} for _ in range(beats)]
        """By beat and connection id: each connection has its heartbeat at one beat of every round."""
        self._beats_of: dict[str, int] = {}
        self._beat = 0
        self._joined = 0
        self._leases: dict[str, _Lease] = {}
        self._looks: list[tuple[float, int, _Lease]] = []
        """A heap of when to look at which lease: one entry for each, and for some time after its end."""
        self._looked = 0
        self._no_acks_s = -math.inf
        """When it was last seen that no ack can come."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the timer."""
        self._task = asyncio.create_task(self._run(), name="heartbeat")

    async def stop(self) -> None:
        """Stops the timer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def add(self, subscription: Subscription, lease_s: int | None) -> None:
        """Keeps a connection alive from now on.

        Args:
            subscription: The connection.
            lease_s: It ends with cause `lease` when no ack comes for so many seconds; None for no lease.
        """
        connection_id = subscription.connection.id
        beat = self._beats_of[connection_id] = (self._joined // _TOGETHER + 1) % len(self._due)
        self._joined += 1
        self._due[beat][connection_id] = subscription.stream
        if lease_s is not None:
            now_s = self._clock.monotonic_s()
            lease = self._leases[connection_id] = _Lease(
                subscription, lease_s, now_s + lease_s, now_s + lease_s / _PINGS_PER_LEASE
            )
            self._look_again(lease, now_s)

    def remove(self, connection_id: str) -> None:
        """The connection has ended. Idempotent."""
        beat = self._beats_of.pop(connection_id, None)
        if beat is not None:
            del self._due[beat][connection_id]
        lease = self._leases.pop(connection_id, None)
        if lease is not None:
            lease.subscription = None

    def acknowledge(self, connection_id: str) -> None:
        """An ack came. Without a lease it changes nothing."""
        lease = self._leases.get(connection_id)
        if lease is not None:
            lease.lapses_at_s = self._clock.monotonic_s() + lease.seconds

    def lease_of(self, connection_id: str) -> int | None:
        """The lease of a connection, in seconds; None without one."""
        lease = self._leases.get(connection_id)
        return lease.seconds if lease is not None else None

    async def _run(self) -> None:
        next_s = self._clock.monotonic_s()
        while True:
            # By the time when it was due: what a beat's work takes would make every interval longer.
            next_s = max(next_s + self._beat_s, self._clock.monotonic_s() - _LATEST_S)
            await self._clock.sleep(next_s - self._clock.monotonic_s())
            self._beat = (self._beat + 1) % len(self._due)
            # In a call of its own: a name of this endless one would hold the last connection for ever.
            await self._look(self._clock.monotonic_s())

    async def _look(self, now_s: float) -> None:
        due = tuple(self._due[self._beat].values())
        await _in_turns(due, lambda stream: stream.write(HEARTBEAT))
        if due and self._event_logger is not None:
            self._event_logger.info("SSE heartbeat", bytes=HEARTBEAT.size, connections=len(due))
        await self._look_behind(now_s)
        if not self._acks_come():
            self._no_acks_s = now_s
        due_leases: list[_Lease] = []
        while self._looks and self._looks[0][0] <= now_s:
            due_leases.append(heapq.heappop(self._looks)[2])
        for lease in due_leases:
            self._check_lease(lease, now_s)

    async def _look_behind(self, now_s: float) -> None:
        """Looks who has not taken a heartbeat of some beats ago, and who has not even at the end."""
        expected_at_s = now_s + self._send_timeout_s - self._behind * self._beat_s

        def look(stream: EventStream) -> None:
            if not stream.all_taken:
                self._expected.append((expected_at_s, stream, stream.sent_bytes))

        await _in_turns(tuple(self._due[self._beat - self._behind].values()), look)
        while self._expected and self._expected[0][0] <= now_s + self._beat_s * _EARLY:
            _, stream, upto_bytes = self._expected.popleft()
            stream.expect_taken(upto_bytes)

    def _look_again(self, lease: _Lease, now_s: float) -> None:
        self._looked += 1  # no two entries are alike, so that no leases are compared
        heapq.heappush(self._looks, (lease.looks_at_s(now_s), self._looked, lease))

    def _check_lease(self, lease: _Lease, now_s: float) -> None:
        if lease.subscription is None:
            return
        stream = lease.subscription.stream
        lease.lapses_at_s = max(lease.lapses_at_s, self._no_acks_s + lease.seconds)
        if now_s >= lease.lapses_at_s:
            stream.close(Cause.LEASE)
            return
        taken_bytes = stream.taken_bytes
        is_on_its_way, asks = taken_bytes < lease.asked_at_bytes, now_s >= lease.ping_at_s
        # Who takes what was sent as fast as the link allows can't have seen the last `ping` yet, or has only
        # now. Cut off, it would return only to be sent the same again.
        if (asks and lease.taken_bytes < taken_bytes and is_on_its_way) or (
            not is_on_its_way and lease.on_its_way_s >= lease.seconds * _LONG_WAY
        ):
            lease.lapses_at_s = now_s + lease.seconds
        lease.on_its_way_s = now_s - lease.asked_at_s if is_on_its_way else 0.0
        if asks:
            lease.ping_at_s = now_s + lease.seconds / _PINGS_PER_LEASE
            lease.subscription.deliver(None, PING)
            lease.asked_at_s, lease.on_its_way_s = now_s, 0.0
            lease.taken_bytes, lease.asked_at_bytes = taken_bytes, stream.sent_bytes
            if self._event_logger is not None:
                self._event_logger.info("SSE event", type="ping", id=None, bytes=PING.size, connections=1)
        self._look_again(lease, now_s)


async def _in_turns(streams: Sequence[EventStream], work: Callable[[EventStream], None]) -> None:
    """Does something for each of them; everybody else has a turn after each part."""
    for begin in range(0, len(streams), _AT_ONCE):
        for stream in streams[begin : begin + _AT_ONCE]:
            work(stream)
        await asyncio.sleep(0)
