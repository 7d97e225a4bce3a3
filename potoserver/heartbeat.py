"""One timer for all connections: heartbeats, leases, stalled readers."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.base import Cause
from potoserver.events import HEARTBEAT, Frame
from potoserver.subscriptions import Subscription

PING = Frame.encode("ping", "{}")
_TICKS_PER_HEARTBEAT = 15
"""At least; a tick is never longer than a second, so that leases are held to the second."""
_PINGS_PER_LEASE = 3


@dataclass(slots=True)
class _Lease:
    """What a client promised: an ack within `seconds`, and when it is asked next."""

    subscription: Subscription
    seconds: int
    lapses_at_s: float
    ping_at_s: float


class Heartbeat:
    """Keeps connections alive and finds the dead ones.

    The heartbeats are spread over the interval, so that many connections don't all wake at once. A write is
    what lets the kernel notice that a peer is gone; a lease is the proof from the client itself.

    Args:
        clock: The timer.
        heartbeat_s: From one heartbeat of a connection to its next.
        send_timeout_s: How long a reader may not keep up.
        event_logger: Set while every heartbeat is to be logged (`log.debug_sse`), else None.
    """

    def __init__(
        self,
        clock: Clock,
        heartbeat_s: float,
        send_timeout_s: float,
        event_logger: FilteringBoundLogger | None = None,
    ) -> None:
        self._event_logger = event_logger
        self._clock = clock
        ticks = max(_TICKS_PER_HEARTBEAT, math.ceil(heartbeat_s))
        self._tick_s = heartbeat_s / ticks
        self._send_timeout_s = send_timeout_s
        self._due: list[dict[str, Subscription]] = [{} for _ in range(ticks)]
        """By tick and connection id: each connection has its heartbeat at one tick of every round."""
        self._ticks_of: dict[str, int] = {}
        self._tick = 0
        self._joined = 0
        self._leases: dict[str, _Lease] = {}
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
        self._joined += 1
        tick = self._ticks_of[connection_id] = self._joined % len(self._due)
        self._due[tick][connection_id] = subscription
        if lease_s is not None:
            now_s = self._clock.monotonic_s()
            self._leases[connection_id] = _Lease(
                subscription, lease_s, now_s + lease_s, now_s + lease_s / _PINGS_PER_LEASE
            )

    def remove(self, connection_id: str) -> None:
        """The connection has ended. Idempotent."""
        tick = self._ticks_of.pop(connection_id, None)
        if tick is not None:
            del self._due[tick][connection_id]
        self._leases.pop(connection_id, None)

    def acknowledge(self, connection_id: str) -> None:
        """An ack came. Without a lease it changes nothing."""
        lease = self._leases.get(connection_id)
        if lease is not None:
            lease.lapses_at_s = self._clock.monotonic_s() + lease.seconds

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._tick_s)
            self._tick = (self._tick + 1) % len(self._due)
            now_s = self._clock.monotonic_s()
            due = list(self._due[self._tick].values())
            for subscription in due:
                self._beat(subscription, now_s)
            if due and self._event_logger is not None:
                self._event_logger.info("SSE heartbeat", bytes=len(HEARTBEAT.raw), connections=len(due))
            for lease in list(self._leases.values()):
                self._check_lease(lease, now_s)

    def _beat(self, subscription: Subscription, now_s: float) -> None:
        stalled_since_s = subscription.stream.stalled_since_s
        if stalled_since_s is not None and now_s - stalled_since_s >= self._send_timeout_s:
            subscription.stream.close(Cause.SLOW)
        else:
            subscription.stream.write(HEARTBEAT)

    def _check_lease(self, lease: _Lease, now_s: float) -> None:
        if now_s >= lease.lapses_at_s:
            lease.subscription.stream.close(Cause.LEASE)
        elif now_s >= lease.ping_at_s:
            lease.ping_at_s = now_s + lease.seconds / _PINGS_PER_LEASE
            lease.subscription.deliver(None, PING)
            if self._event_logger is not None:
                self._event_logger.info("SSE event", type="ping", id=None, bytes=len(PING.raw), connections=1)
