"""The context that the server hands to each module."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver.core import Core
from potoserver.engine.presence import Presence
from potoserver.events import Event, EventId
from potoserver.module.base import ModuleContext
from potoserver.module.server_nodes import ServerNodes
from potoserver.module.server_oversight import ServerOversight


class ServerContext(ModuleContext):
    """One module's view of a running server.

    Args:
        core: The server's parts.
        module_name: Whose context it is.
        settings: The module's section.
    """

    def __init__(self, core: Core, module_name: str, settings: Any) -> None:
        self._core = core
        self._module_name = module_name
        self.settings = settings
        self.clock = core.clock
        self.data_dir = core.settings.data_dir
        self.registry = core.metrics.registry
        self.oversight = ServerOversight(core)
        self.nodes = ServerNodes(core, module_name)
        self.homes = core.homes
        self.grace_ms = core.settings.presence.grace_ms
        self.retry_ms = core.settings.retry_ms
        self.user_bytes = core.settings.limits.user_bytes
        self.stop_timeout_s = core.stop_timeout_s

    @override
    def logger(self, name: str | None = None) -> FilteringBoundLogger:
        return self._core.logs.get(name or f"module:{self._module_name}")

    @override
    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._core.tasks.spawn(work, name)

    @property
    @override
    def draining(self) -> bool:
        return self._core.draining

    @property
    @override
    def started(self) -> bool:
        return self._core.started

    @override
    async def until_started(self) -> None:
        await self._core.start_over.wait()

    @override
    def set_alarm(self, name: str, *, lapses: bool = False, **fields: Any) -> None:
        self._core.alarms.set(name, lapses=lapses, **fields)

    @override
    def clear_alarm(self, name: str) -> None:
        self._core.alarms.clear(name)

    @override
    async def publish(self, user_id: str, event: Event) -> EventId:
        return await self._core.engine.publish(user_id, event)

    @override
    async def published_of(self, user_id: str) -> list[Event]:
        return await self._core.engine.logged(user_id)

    @override
    async def ensure_published(self, user_id: str, event_type: str, text: str) -> bool:
        return await self._core.engine.ensure_logged(user_id, event_type, text)

    @override
    async def broadcast(self, event: Event) -> int:
        return await self._core.engine.broadcast(event)

    @override
    async def count_online(self) -> int:
        return await self._core.engine.count_online()

    @override
    async def online_users(self) -> list[str]:
        return await self._core.engine.online_users()

    @override
    def presence_now_ms(self) -> int:
        return self._core.engine.now_ms()

    @override
    async def presence_of(self, user_id: str) -> Presence:
        return await self._core.engine.presence_of(user_id)

    @override
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        return await self._core.engine.presences_of(user_ids)

    @override
    async def get_state(self, user_id: str, name: str) -> str | None:
        return await self._core.engine.get_state(user_id, f"{self._module_name}:{name}")

    @override
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        return await self._core.engine.swap_state(
            user_id, f"{self._module_name}:{name}", expected, value, lifetime_s
        )
