"""Engines under test: what the contract suite needs of each, and what a node was told."""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import redis
import structlog
from typing_extensions import override

from potoserver.engine.base import Engine, EngineListener, Home, LogEntry
from potoserver.engine.memory import MemoryEngine
from potoserver.engine.presence import Attachment, Departure
from potoserver.engine.valkey import ValkeyEngine, link, registry
from potoserver.engine.valkey.keys import Keys
from potoserver.engine.valkey.link import end
from potoserver.errors import UnavailableError
from potoserver.events import EventId, Frame
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings
from tests.support.clock import ManualClock, settle

_UNTIL_S = 20.0
_TRIES = 10


def bear_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has calls to Valkey bear it when this process or Valkey stands still for some seconds."""
    monkeypatch.setattr(link, "CALL_S", 8.0)
    monkeypatch.setattr(link, "CONNECT_S", 8.0)
    monkeypatch.setattr(link, "_LIMIT_S", 12.0)
    monkeypatch.setattr(registry, "_CALL_MS", 4500)  # a test has a call come five seconds late


class Recorder(EngineListener):
    """What a node was told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, LogEntry]] = []
        self.broadcasts: list[str] = []
        self.departures: list[Departure] = []
        self.gaps: list[str] = []
        self.rejoined: list[tuple[str, Attachment]] = []
        self.homes_lost: list[Home] = []
        self.orphans: list[str] = []
        self.messages: list[tuple[str, bytes]] = []
        self._told = asyncio.Event()

    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        self.entries.append((user_id, entry))
        self._told.set()

    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        self.broadcasts.append(event_type)
        self._told.set()
        return 3

    def on_departure(self, departure: Departure) -> None:
        self.departures.append(departure)
        self._told.set()

    def on_gap(self, user_id: str) -> None:
        self.gaps.append(user_id)
        self._told.set()

    def on_rejoined(self, user_id: str, attachment: Attachment) -> None:
        self.rejoined.append((user_id, attachment))
        self._told.set()

    def on_home_lost(self, home: Home) -> None:
        self.homes_lost.append(home)
        self._told.set()

    def on_orphan(self, user_id: str) -> None:
        self.orphans.append(user_id)
        self._told.set()

    def on_message(self, sender_node_id: str, payload: bytes) -> None:
        self.messages.append((sender_node_id, payload))
        self._told.set()

    def ids_of(self, user_id: str) -> list[EventId]:
        """The ids of the user's events, as they came."""
        return [entry.id for user, entry in self.entries if user == user_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until what was told fulfils the condition."""
        async with asyncio.timeout(_UNTIL_S):
            while not condition():
                self._told.clear()
                await self._told.wait()

    async def until_departed(self, user_id: str, bench: Bench) -> None:
        """Waits for a user's departure, letting time pass little by little."""
        while user_id not in (departure.user_id for departure in self.departures):
            await bench.passes(bench.unit_s / 4)


class Bench(ABC):
    """An engine with one node, and the time that decides for it.

    Attributes:
        engine: The engine, started.
        node: What its node was told.
        unit_s: A moment: what the engine can well tell from nothing.
        grace_s: From the last connection to the departure: 10 units.
        kept_s: How long the log keeps an event: 15 units.
        ages_s: Longer than anything lasts that lasts for a time.
    """

    engine: Engine
    node: Recorder
    unit_s: float

    @property
    @abstractmethod
    def ages_s(self) -> float: ...

    @property
    def grace_s(self) -> float:
        return self.unit_s * 10

    @property
    def kept_s(self) -> float:
        return self.unit_s * 15

    @property
    def backlog(self) -> BacklogSettings:
        return BacklogSettings(events=5, bytes=10_000, seconds=self.kept_s)

    async def start(self) -> None:
        """Starts the engine."""
        await self.engine.start(self.node)

    @abstractmethod
    async def passes(self, seconds: float) -> None:
        """Lets so much time pass for the engine, or a little more."""

    @abstractmethod
    def now_ms(self) -> int:
        """The engine's wall time."""

    async def in_time(self, limit_s: float, attempt: Callable[[str], Awaitable[None]]) -> str:
        """Makes an attempt with one user after the other until it is right; returns that user.

        It may be wrong only where it took longer than `limit_s`, since a machine that stood still can have
        made it so, and not each time.
        """
        for number in itertools.count(1):
            user_id, began_ms = f"u{number}", self.now_ms()
            try:
                await attempt(user_id)
            except AssertionError:
                if number == _TRIES or self.now_ms() - began_ms <= limit_s * 1000:
                    raise
            else:
                return user_id

    async def stop(self) -> None:
        await self.engine.stop()


class MemoryBench(Bench):
    """The embedded engine, on a clock that is moved by hand."""

    unit_s = 1.0

    @property
    def ages_s(self) -> float:
        return 3600.0

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.node = Recorder()
        self.engine = MemoryEngine(round(self.grace_s * 1000), self.backlog, self.clock, Metrics())

    @override
    async def passes(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await settle()

    @override
    def now_ms(self) -> int:
        return self.clock.now_ms()


class ValkeyBench(Bench):
    """The engine on a real Valkey, in real time.

    Args:
        url: Where Valkey is.
        prefix: This test's names there.
    """

    unit_s = 0.1

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.node = Recorder()
        self.engine = self.another()

    @property
    def ages_s(self) -> float:
        return self.kept_s + 5 * self.unit_s

    def another(self, url: str | None = None) -> ValkeyEngine:
        """An engine of another node, not started."""
        return ValkeyEngine(
            url or self.url,
            round(self.grace_s * 1000),
            self.backlog,
            Metrics(),
            structlog.get_logger("engine"),
            prefix=self.prefix,
        )

    @override
    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @override
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Node:
    """One engine of several in a test's process, and what it was told.

    Attributes:
        engine: The engine, started.
        told: What it was told.
        alive: It has not vanished.
    """

    def __init__(self, engine: ValkeyEngine, told: Recorder) -> None:
        self.engine = engine
        self.told = told
        self.alive = True

    @property
    def id(self) -> str:
        return self.engine.node_id

    async def vanish(self) -> None:
        """As if its process were killed: it says nothing any more, and leaves nothing in order."""
        self.alive = False
        await end(self.engine._life._tasks)
        await self.engine._channel.stop()
        await self.engine._link.close()

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """It does not renew for the length of the block."""
        async with self.engine._life._renewing:
            yield


class Cluster:
    """Several nodes in this process, on one Valkey.

    Args:
        url: Where Valkey is.
        prefix: This test's names there.
        grace_s: From the last connection to the departure.
        backlog: The bounds of each user's log.
    """

    def __init__(
        self, url: str, prefix: str, *, grace_s: float = 1.0, backlog: BacklogSettings | None = None
    ) -> None:
        self.url = url
        self.prefix = prefix
        self.grace_s = grace_s
        self.backlog = backlog or BacklogSettings(seconds=60)
        self.nodes: list[Node] = []

    async def node(self, url: str | None = None, told: Recorder | None = None) -> Node:
        """One more node."""
        engine = ValkeyEngine(
            url or self.url,
            round(self.grace_s * 1000),
            self.backlog,
            Metrics(),
            structlog.get_logger("engine"),
            departures_s=600,
            prefix=self.prefix,
        )
        node = Node(engine, told or Recorder())
        await engine.start(node.told)
        self.nodes.append(node)
        for other in self.nodes:  # each knows of the others
            if other.engine._link.trouble is None:
                with suppress(UnavailableError):
                    await other.engine.has_successor()
        return node

    async def node_lost(self, node_id: str) -> None:
        """Waits until a node is declared dead and reaped."""
        async with asyncio.timeout(30):
            while not self._reaped(node_id):
                await asyncio.sleep(0.1)

    def _reaped(self, node_id: str) -> bool:
        keys = Keys(self.prefix)
        with self.client() as client:
            known = client.hexists(keys.of_registry("nodes"), node_id)
            return not known and client.zscore(keys.of_registry("lost"), node_id) is None

    async def stop(self) -> None:
        for node in self.nodes:
            await node.engine.stop()

    def client(self) -> redis.Redis:
        """A plain client for looking inside."""
        return redis.Redis.from_url(self.url.replace("valkey:", "redis:"), socket_timeout=10)
