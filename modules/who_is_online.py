"""Who is online now: a small module beside the chat, and the example of docs/writing-modules.md."""

from __future__ import annotations

from typing_extensions import override

from potoserver import Departure, Event, ServerModule, rpc


class WhoIsOnline(ServerModule):
    """Tells every subscriber who comes and goes, and admins who is there."""

    @override
    async def on_sse_connect(self, user_id: str) -> None:
        await self._tell(user_id, online=True)

    @override
    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        await self._tell(user_id, online=False)

    async def _tell(self, user_id: str, *, online: bool) -> None:
        count = await self.context.count_online()
        await self.context.broadcast(Event("online", {"user": user_id, "online": online, "count": count}))

    @rpc(roles={"admin"})
    async def who_is_online(self) -> list[str]:
        """The ids of all users who are online, sorted."""
        return await self.context.online_users()
