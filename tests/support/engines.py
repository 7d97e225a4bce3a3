"""Engines under test: what the contract suite needs of each, and what a node was told."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from typing_extensions import override

from potoserver.engine.base import Attachment, Departure, Engine, EngineListener, Home, LogEntry
from potoserver.engine.memory import MemoryEngine
from potoserver.events import Frame
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings
from tests.support.clock import ManualClock, settle

_UNTIL_S = 20.0


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
        grace_s: From the last connection to the departure: 5 units.
        kept_s: How long the log keeps an event: 20 units.
        ages_s: Longer than anything lasts that lasts for a time.
    """

    engine: Engine
    node: Recorder
    unit_s: float
    ages_s: float

    @property
    def grace_s(self) -> float:
        return self.unit_s * 5

    @property
    def kept_s(self) -> float:
        return self.unit_s * 20

    @property
    def backlog(self) -> BacklogSettings:
        return BacklogSettings(events=5, bytes=10_000, seconds=self.kept_s)

    @abstractmethod
    async def passes(self, seconds: float) -> None:
        """Lets so much time pass for the engine, or a little more."""

    @abstractmethod
    def now_ms(self) -> int:
        """The engine's wall time."""

    async def stop(self) -> None:
        await self.engine.stop()


class MemoryBench(Bench):
    """The embedded engine, on a clock that is moved by hand."""

    unit_s = 1.0
    ages_s = 3600.0

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.node = Recorder()
        self.engine = MemoryEngine(round(self.grace_s * 1000), self.backlog, self.clock, Metrics())

    async def start(self) -> None:
        await self.engine.start(self.node)

    @override
    async def passes(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await settle()

    @override
    def now_ms(self) -> int:
        return self.clock.now_ms()
