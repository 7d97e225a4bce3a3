"""The oversight of a running server."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from potoserver.alarms import OF_ONE_CLIENT
from potoserver.core import Core
from potoserver.engine.presence import Cause, Leaving
from potoserver.module.oversight import AlarmState, HookTroubles, OpenConnection, Oversight
from potoserver.subscriptions import Subscription


class ServerOversight(Oversight):
    """Looks at the parts of this node, and for users at the engine.

    Args:
        core: The server's parts.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @override
    async def count_connections(self) -> int:
        return len(self._core.subscriptions)

    @override
    async def connections(self, search: str, limit: int) -> Sequence[OpenConnection]:
        return [self._seen(each) for each in self._core.subscriptions.find(search, limit)]

    def _seen(self, subscription: Subscription) -> OpenConnection:
        connection, stream = subscription.connection, subscription.stream
        position = subscription.position
        return OpenConnection(
            id=connection.id,
            user_id=connection.user_id,
            since_ms=subscription.since_ms,
            lease_s=self._core.heartbeat.lease_of(connection.id),
            last_event_id=str(position) if position is not None else None,
            waiting_bytes=max(0, stream.sent_bytes - stream.taken_bytes),
        )

    @override
    async def drop_connection(self, connection_id: str) -> str | None:
        for subscription in self._core.subscriptions:
            if subscription.connection.id == connection_id:
                subscription.stream.close(Cause.KICKED)
                return subscription.connection.user_id
        return None

    @override
    async def count_leaving(self) -> int:
        return await self._core.engine.count_leaving()

    @override
    async def leaving(self, limit: int) -> Sequence[Leaving]:
        return await self._core.engine.leaving(limit)

    @override
    async def hook_troubles(self, limit: int) -> HookTroubles:
        return self._core.hooks.troubles(limit)

    @override
    async def alarms(self) -> Sequence[AlarmState]:
        return [
            AlarmState(each.name, each.since_ms, each.times, each.name in OF_ONE_CLIENT)
            for each in self._core.alarms.on()
        ]
