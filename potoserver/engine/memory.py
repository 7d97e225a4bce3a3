"""The embedded engine: one process, everything in memory, gone with it."""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from typing_extensions import override

from potoserver.clock import Clock
from potoserver.delays import Delays
from potoserver.engine.base import (
    MAX_STATES_PER_USER,
    Engine,
    EngineListener,
    Home,
    NodeInfo,
    Replay,
    TooManyConnectionsError,
    check_payload,
)
from potoserver.engine.memory_logs import MemoryLogs
from potoserver.engine.presence import Attachment, Cause, Departure, Leaving, Presence, PresenceState
from potoserver.events import Event, EventId, Frame, to_json
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings


@dataclass(slots=True)
class _Here:
    """A user who is online, or in the grace: exactly while `connections` is empty."""

    generation: int
    connections: tuple[str, ...] = ()
    """A set would hold 168 bytes more, and nearly every user has one connection."""
    cause: Cause = Cause.CLOSED
    last_seen_ms: int = 0


class MemoryEngine(Engine):
    """Keeps presence, logs, departures and small state in this process.

    Memory holds nothing of a user who is gone and whose events have lapsed; a log that comes back later has
    another epoch, so an id from before is never taken for one of the new log.

    Args:
        grace_ms: From a user's last connection to the departure.
        backlog: The bounds of each user's log.
        clock: The time that decides.
        metrics: Where events and departures are counted.
    """

    def __init__(self, grace_ms: int, backlog: BacklogSettings, clock: Clock, metrics: Metrics) -> None:
        self._grace_s = grace_ms / 1000
        self._clock = clock
        self._metrics = metrics
        self._listener: EngineListener | None = None
        self._here: dict[str, _Here] = {}
        self._leaving = Delays(self._grace_s, clock, self._depart)
        """Those in the grace, in the order in which they left, which is that of their departures."""
        metrics.users_online.set_function(lambda: self._online)
        self._logs = MemoryLogs(backlog, clock, metrics, lambda user_id: user_id in self._here)
        self._generation = 0
        self._state: dict[str, dict[str, tuple[str, float]]] = {}
        """By user and name: the value and when it lapses. The order of names is that of their setting."""
        self._lapses: list[tuple[float, str]] = []
        """When to look at which user's state; one entry for each user who has any."""
        # Departure ids stay unique across restarts, so a module may keep them as idempotency keys.
        self._life = secrets.token_hex(6)
        self._draining = False

    @override
    async def start(self, listener: EngineListener) -> None:
        self._listener = listener

    @override
    async def stop(self) -> None:
        self._listener = None
        self._leaving.stop()
        self._logs.stop()

    # Nodes: this is the only one, and every user's home

    @property
    @override
    def shared(self) -> bool:
        return False

    @property
    @override
    def node_id(self) -> str:
        return f"n-{self._life}"

    @property
    @override
    def trouble(self) -> str | None:
        return None

    @override
    def nodes(self) -> Sequence[NodeInfo]:
        connections = sum(len(here.connections) for here in self._here.values())
        return [NodeInfo(self.node_id, self._draining, connections)]

    @override
    async def find_nodes(self) -> Sequence[NodeInfo]:
        return self.nodes()

    @override
    async def ensure_lease(self) -> None:
        return None

    @override
    async def drain(self) -> bool:
        self._draining = True
        return False

    @override
    async def has_successor(self) -> bool:
        return False

    @override
    async def send(self, node_id: str, payload: bytes) -> None:
        check_payload(payload)
        if node_id == self.node_id:
            asyncio.get_running_loop().call_soon(self._receive, payload)

    def _receive(self, payload: bytes) -> None:
        if self._listener is not None:
            self._listener.on_message(self.node_id, payload)

    @override
    async def home_of(self, user_id: str) -> Home:
        return Home(user_id, self.node_id, token=0)

    @override
    async def claim_home(self, user_id: str, above: int = 0) -> Home:
        return Home(user_id, self.node_id, token=0)

    @override
    async def orphans(self) -> list[str]:
        return []

    @override
    async def release_home(self, home: Home, *, orphan: bool) -> None:
        """There is no other node that could take it over."""

    # Presence

    @override
    def now_ms(self) -> int:
        return self._clock.now_ms()

    @override
    async def attach(self, user_id: str, connection_id: str, most: int = 0) -> Attachment:
        here = self._here.get(user_id)
        if here is not None and 0 < most <= len(here.connections):
            raise TooManyConnectionsError
        arrived = here is None
        if here is None:
            self._generation += 1
            here = self._here[user_id] = _Here(self._generation)
        elif not here.connections:
            self._leaving.call_off(user_id)
        if connection_id not in here.connections:
            here.connections += (connection_id,)
        return Attachment(here.generation, arrived=arrived)

    @override
    async def detach(self, user_id: str, connection_id: str, cause: Cause) -> int:
        here = self._here.get(user_id)
        if here is None:
            return 0
        if connection_id in here.connections:
            here.connections = tuple([each for each in here.connections if each != connection_id])
            if not here.connections:
                here.cause = cause
                here.last_seen_ms = self._clock.now_ms()
                self._leaving.begin(user_id)
        return len(here.connections)

    @property
    def _online(self) -> int:
        return len(self._here) - len(self._leaving)

    def _depart(self, user_id: str) -> None:
        if self._listener is None:
            return
        here = self._here.pop(user_id)
        departure = Departure(
            id=f"d-{self._life}-{here.generation}",
            user_id=user_id,
            generation=here.generation,
            cause=here.cause,
            last_seen_ms=here.last_seen_ms,
            departed_ms=self._clock.now_ms(),
        )
        self._metrics.departures.labels(here.cause).inc()
        self._logs.sweep_later(user_id)
        self._listener.on_departure(departure)

    @override
    async def node_of(self, user_id: str, connection_id: str) -> str | None:
        here = self._here.get(user_id)
        return self.node_id if here is not None and connection_id in here.connections else None

    @override
    async def presence_of(self, user_id: str) -> Presence:
        here = self._here.get(user_id)
        if here is None:
            return Presence(PresenceState.ABSENT, 0, 0)
        if here.connections:
            return Presence(PresenceState.ONLINE, here.generation, len(here.connections))
        return Presence(PresenceState.LEAVING, here.generation, 0, departs_ms=self._departs_ms(here))

    @override
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        return [await self.presence_of(user_id) for user_id in user_ids]

    def _departs_ms(self, here: _Here) -> int:
        return here.last_seen_ms + round(self._grace_s * 1000)

    @override
    async def online_users(self) -> list[str]:
        return sorted(self._here.keys() - set(self._leaving))

    @override
    async def count_online(self) -> int:
        return self._online

    @override
    async def count_leaving(self) -> int:
        return len(self._leaving)

    @override
    async def leaving(self, limit: int) -> Sequence[Leaving]:
        first = [(user_id, self._here[user_id]) for user_id in islice(self._leaving, limit)]
        return [
            Leaving(user_id, here.cause, here.last_seen_ms, self._departs_ms(here)) for user_id, here in first
        ]

    @override
    async def acknowledge(self, departure: Departure) -> None:
        """Nothing is to be forgotten: a departure lives as long as its hooks, in this process."""

    # Event log

    @override
    async def publish(self, user_id: str, event: Event) -> EventId:
        entry = self._logs.append(user_id, event)
        self._metrics.events_published.inc()
        if self._listener is not None:
            self._listener.on_entry(user_id, entry)
        return entry.id

    @override
    async def replay(self, user_id: str, after: str | None) -> Replay:
        return self._logs.replay(user_id, after)

    @override
    async def logged(self, user_id: str) -> list[Event]:
        return self._logs.all_of(user_id)

    @override
    async def ensure_logged(self, user_id: str, event_type: str, text: str) -> bool:
        if self._logs.has(user_id, event_type, text):
            return True
        if self._logs.forget(user_id) and self._listener is not None:
            self._listener.on_gap(user_id)
        return False

    @override
    async def broadcast(self, event: Event) -> int:
        frame = Frame.encode(event.type, to_json(event.data))
        self._metrics.events_published.inc()
        return self._listener.on_broadcast(event.type, frame) if self._listener is not None else 0

    # Small state

    @override
    async def get_state(self, user_id: str, name: str) -> str | None:
        self._forget_lapsed()
        value, lapses_at_s = self._state.get(user_id, {}).get(name, (None, 0.0))
        return value if lapses_at_s > self._clock.monotonic_s() else None

    @override
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        if await self.get_state(user_id, name) != expected:
            return False
        of_user = self._state.get(user_id, {})
        of_user.pop(name, None)
        if value is not None:
            lapses_at_s = self._clock.monotonic_s() + lifetime_s
            of_user[name] = (value, lapses_at_s)
            if len(of_user) > MAX_STATES_PER_USER:
                del of_user[next(iter(of_user))]
            if user_id not in self._state:
                self._state[user_id] = of_user
                heapq.heappush(self._lapses, (lapses_at_s, user_id))
        return True

    def _forget_lapsed(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._lapses and self._lapses[0][0] <= now_s:
            _, user_id = heapq.heappop(self._lapses)
            kept = {name: each for name, each in self._state[user_id].items() if each[1] > now_s}
            if kept:
                self._state[user_id] = kept
                heapq.heappush(self._lapses, (min(lapses_at_s for _, lapses_at_s in kept.values()), user_id))
            else:
                del self._state[user_id]
