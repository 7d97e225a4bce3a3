"""A plugin of this server that sends what it is told, through `publish` and `broadcast` like any other."""

from __future__ import annotations

from typing import Any

from potoserver import Event, ServerModule, rpc
from scripts.bench.side_by_side.commands import EVENT, Command, obey


class Bench(ServerModule):
    """Sends events."""

    @rpc(roles={"admin"})
    async def send(self, users: list[str], times: int, size: int, pause_ms: float) -> int:
        """Sends an event so often, to the users in turn, or to all; returns how often."""
        return await obey(Command(tuple(users), times, size, pause_ms), self)

    async def tell(self, user_id: str, data: dict[str, Any]) -> None:
        """Through the user's log."""
        await self.context.publish(user_id, Event(EVENT, data))

    async def tell_all(self, data: dict[str, Any]) -> None:
        """To everyone online."""
        await self.context.broadcast(Event(EVENT, data))
