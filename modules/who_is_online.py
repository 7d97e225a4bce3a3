"""Who is online now: a small module beside the chat, and the example of docs/writing-modules.md."""

from __future__ import annotations

from typing_extensions import override

from potoserver import Departure, Event, ServerModule, UnavailableError, rpc


class WhoIsOnline(ServerModule):
    """Tells every subscriber who is online, and admins whenever they ask."""

    TELL_AFTER_S = 0.5
    TELL_AT_MOST = 100

    def __init__(self) -> None:
        self._about_to_tell = False

    @override
    async def on_sse_connect(self, user_id: str) -> None:
        self._tell_soon()

    @override
    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self._tell_soon()

    def _tell_soon(self) -> None:
        """A thousand arrivals at once are one event, not a thousand to each of a thousand."""
        if not self._about_to_tell:
            self._about_to_tell = True
            self.context.clock.call_later(self.TELL_AFTER_S, self._tell_now)

    def _tell_now(self) -> None:
        self._about_to_tell = False
        if not self.context.draining:
            self.context.spawn(self._tell(), "tell who is online")

    async def _tell(self) -> None:
        try:
            users = await self.context.online_users()
            data = {"users": users[: self.TELL_AT_MOST], "count": len(users)}
            await self.context.broadcast(Event("online", data))
        except UnavailableError:  # told once the engine is back
            self._tell_soon()

    @rpc(roles={"admin"})
    async def who_is_online(self) -> list[str]:
        """The ids of all users who are online, sorted."""
        return await self.context.online_users()
