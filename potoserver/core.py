"""What the parts of a running server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from potoserver.alarms import Alarms
from potoserver.clock import Clock
from potoserver.endless import EndlessCalls
from potoserver.engine.base import Engine
from potoserver.expiries import Expiries
from potoserver.heartbeat import Heartbeat
from potoserver.logs import Logs
from potoserver.metrics import Metrics
from potoserver.module.base import ServerModule
from potoserver.module.hooks import Hooks
from potoserver.nodes.homes import Homes
from potoserver.nodes.node_calls import NodeCalls
from potoserver.settings.model import Settings
from potoserver.subscriptions import Subscriptions
from potoserver.tasks import CANCELLED_S, OwnedTasks

HTTP_CLOSE_S = 0.25
"""What aiohttp may wait for a handler, twice."""
AFTER_DRAIN_S = 2 * CANCELLED_S + 2 * HTTP_CLOSE_S + 0.25
"""Of a shutdown's time, what is left once owned tasks are cancelled: for these, for aiohttp, for the loop."""
_AFTER_MODULES_S = AFTER_DRAIN_S + CANCELLED_S + 0.25
"""Of a shutdown's time, what is left once the modules' time is over."""


@dataclass(slots=True)
class Core:
    """The parts, composed by PotoServer and handed to the web layer.

    Attributes:
        modules: The registered modules by name.
        connection_limit: Event streams that may be open at once; 0 for no limit.
        socket_limit: Accepted connections without an event stream that may be open at once.
        worker: Its number, where this is one of several workers on one address.
        draining: The server is on its way out and refuses new work.
        started: Every module has started.
        start_over: Set once `started` is true, or the server stops before.
        started_s: When the server started, on the clock's monotonic time.
    """

    settings: Settings
    clock: Clock
    logs: Logs
    metrics: Metrics
    alarms: Alarms
    engine: Engine
    tasks: OwnedTasks
    subscriptions: Subscriptions
    heartbeat: Heartbeat
    expiries: Expiries
    hooks: Hooks
    endless: EndlessCalls
    homes: Homes
    node_calls: NodeCalls
    modules: dict[str, ServerModule] = field(default_factory=dict)
    connection_limit: int = 0
    socket_limit: int = 0
    worker: int | None = None
    draining: bool = False
    started: bool = False
    start_over: asyncio.Event = field(default_factory=asyncio.Event)
    started_s: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether the server takes work: every module has started and none has been told to stop."""
        return self.started and not self.draining

    @property
    def stop_timeout_s(self) -> float:
        """Of a shutdown's time, what the modules have to stop."""
        return self.settings.shutdown_timeout_s - _AFTER_MODULES_S
