"""A module's context without a server: real engine, hooks and owned tasks, the clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver import (
    Cause,
    Connection,
    Departure,
    Event,
    EventId,
    Gathered,
    ModuleContext,
    NodeInfo,
    Nodes,
    Presence,
    ServerModule,
    UnavailableError,
)
from potoserver.alarms import Alarms
from potoserver.engine.base import EngineListener, LogEntry
from potoserver.engine.memory import MemoryEngine
from potoserver.events import Frame
from potoserver.metrics import Metrics
from potoserver.module.hooks import Hooks
from potoserver.nodes.homes import Homes
from potoserver.nodes.node_calls import NodeCalls
from potoserver.settings.model import BacklogSettings, HookSettings
from potoserver.tasks import OwnedTasks

from .clock import ManualClock


class OneNode(Nodes):
    """The only node there is."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    @property
    @override
    def id(self) -> str:
        return self._engine.node_id

    @override
    def living(self) -> Sequence[NodeInfo]:
        return self._engine.nodes()

    @override
    async def ask_all(self, method: Any, *arguments: Any, **named: Any) -> Gathered[Any]:
        return Gathered({self.id: await method(*arguments, **named)})


class FakeContext(ModuleContext, EngineListener):
    """The context of one module, with what the server does around it: presence, hooks, the end.

    Attributes:
        published: Every event that was published, with its user, in order.
        broadcasts: Every event that was broadcast.
        lines: What was logged, one mapping a line.
        away: While set, the engine can't be reached.
    """

    def __init__(
        self,
        data_dir: Path,
        settings: Any = None,
        *,
        clock: ManualClock | None = None,
        grace_ms: int = 5000,
        shutdown_timeout_s: float = 30,
        user_bytes: int = 0,
    ) -> None:
        self.settings = settings
        self.clock = self.manual_clock = clock or ManualClock()
        self.data_dir = data_dir
        metrics = Metrics()
        self.registry = metrics.registry
        self.grace_ms = grace_ms
        self.retry_ms = min(1000, grace_ms // 4) or 1000
        self.user_bytes = user_bytes
        self.stop_timeout_s = shutdown_timeout_s - 2.5
        self.published: list[tuple[str, Event]] = []
        self.broadcasts: list[Event] = []
        self.away = False
        self._capture = LogCapture()
        self.lines = self._capture.entries
        self.alarms = Alarms(self.clock, metrics, self.logger("alarm"))
        self._draining = False
        self._started = False
        self._start_over = asyncio.Event()
        self.engine = MemoryEngine(grace_ms, BacklogSettings(), self.clock, metrics)
        self.nodes = OneNode(self.engine)
        self.tasks = OwnedTasks(self.logger("tasks"), self.clock)
        logger = self.logger("engine")
        node_calls = NodeCalls(self.engine, self.clock, self.tasks, logger)
        self.homes = Homes(self.engine, {}, self.clock, self.tasks, logger, node_calls.reaches)
        self.hooks = Hooks(
            HookSettings(), self.clock, metrics, self.tasks, self.logger, self.engine.acknowledge
        )
        self._connections = 0

    # What a module asks

    @override
    def logger(self, name: str | None = None) -> FilteringBoundLogger:
        return structlog.wrap_logger(
            None, processors=[self._capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        ).bind(logger=name or "module")

    @override
    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self.tasks.spawn(work, name)

    @property
    @override
    def draining(self) -> bool:
        return self._draining

    @property
    @override
    def started(self) -> bool:
        return self._started

    @override
    async def until_started(self) -> None:
        await self._start_over.wait()

    @override
    def set_alarm(self, name: str, *, lapses: bool = False, **fields: Any) -> None:
        self.alarms.set(name, lapses=lapses, **fields)

    @override
    def clear_alarm(self, name: str) -> None:
        self.alarms.clear(name)

    @override
    async def publish(self, user_id: str, event: Event) -> EventId:
        self._check()
        self.published.append((user_id, event))
        return await self.engine.publish(user_id, event)

    @override
    async def published_of(self, user_id: str) -> list[Event]:
        self._check()
        return await self.engine.logged(user_id)

    @override
    async def ensure_published(self, user_id: str, event_type: str, text: str) -> bool:
        self._check()
        return await self.engine.ensure_logged(user_id, event_type, text)

    @override
    async def broadcast(self, event: Event) -> int:
        self._check()
        self.broadcasts.append(event)
        return await self.engine.broadcast(event)

    @override
    async def count_online(self) -> int:
        return await self.engine.count_online()

    @override
    async def online_users(self) -> list[str]:
        return await self.engine.online_users()

    @override
    def presence_now_ms(self) -> int:
        return self.engine.now_ms()

    @override
    async def presence_of(self, user_id: str) -> Presence:
        self._check()
        return await self.engine.presence_of(user_id)

    @override
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        self._check()
        return await self.engine.presences_of(user_ids)

    @override
    async def get_state(self, user_id: str, name: str) -> str | None:
        self._check()
        return await self.engine.get_state(user_id, name)

    @override
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        self._check()
        return await self.engine.swap_state(user_id, name, expected, value, lifetime_s)

    def _check(self) -> None:
        if self.away:
            raise UnavailableError("The engine is away.")

    # What the server does

    async def start(self, module: ServerModule, *, fails: bool = False) -> None:
        """Starts as a server does, or as one of which something else can't be started."""
        module.context = self
        self.hooks.add(module)
        await self.engine.start(self)
        await module.on_start()
        self._started = not fails
        self._start_over.set()

    async def stop(self, module: ServerModule) -> list[str]:
        """Stops in order; returns the names of tasks that had to be cut off."""
        self._draining = True
        self._start_over.set()
        try:
            await module.on_stop()
        finally:
            self.hooks.stop()
            left = await self.tasks.drain(1)
            await self.engine.stop()
        return left

    async def crash(self) -> None:
        """Ends everything as it stands."""
        self._draining = True
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        await self.engine.stop()

    async def connect(self, user_id: str) -> tuple[Connection, dict[str, Any]]:
        """Opens a connection; returns it, and what modules add to `connected`."""
        self._connections += 1
        connection_id = f"c-{self._connections}"
        attachment = await self.engine.attach(user_id, connection_id)
        connection = Connection(connection_id, user_id, attachment.generation)
        if attachment.arrived:
            self.hooks.arrived(user_id)
        self.hooks.connection_opened(connection)
        return connection, await self.hooks.connected_fields(user_id)

    async def disconnect(self, connection: Connection, cause: Cause = Cause.CLOSED) -> None:
        await self.engine.detach(connection.user_id, connection.id, cause)
        await self.hooks.connection_closed(connection, cause)

    @override
    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        pass

    @override
    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        return 0

    @override
    def on_departure(self, departure: Departure) -> None:
        self.hooks.departed(departure)

    # What a test asks

    def events(self, user_id: str, event_type: str) -> list[Any]:
        """The data of the user's events of a type, in order."""
        return [event.data for user, event in self.published if user == user_id and event.type == event_type]

    def logged(self, event: str) -> list[Any]:
        """The log lines with that event text."""
        return [line for line in self.lines if line["event"] == event]
