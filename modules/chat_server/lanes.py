"""One lane per user: what concerns the same dialog happens one after the other, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self


class Ticket:
    """A place in a user's lane. Enter it with `async with`: that waits for its turn, and leaves it after."""

    def __init__(self, lanes: Lanes, user_id: str) -> None:
        self._lanes = lanes
        self._user_id = user_id
        self.turn = asyncio.get_running_loop().create_future()
        """Done when it is this ticket's turn."""

    async def __aenter__(self) -> Self:
        try:
            await self.turn
        except BaseException:
            self._lanes.leave(self._user_id, self)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lanes.leave(self._user_id, self)


class Lanes:
    """The lanes of all users. A lane exists only while somebody is in it."""

    def __init__(self) -> None:
        self._by_user: dict[str, deque[Ticket]] = {}

    def join(self, user_id: str) -> Ticket:
        """Takes the last place, at once: the order of joining is the order of turns."""
        ticket = Ticket(self, user_id)
        lane = self._by_user.setdefault(user_id, deque())
        lane.append(ticket)
        self._call_next(lane)
        return ticket

    def leave(self, user_id: str, ticket: Ticket) -> None:
        """Gives a place back, whether its turn has come or not."""
        lane = self._by_user[user_id]
        lane.remove(ticket)
        if lane:
            self._call_next(lane)
        else:
            del self._by_user[user_id]

    def length(self, user_id: str) -> int:
        """How many wait or run in the user's lane."""
        return len(self._by_user.get(user_id, ()))

    @property
    def users(self) -> list[str]:
        """The users in whose lanes somebody is."""
        return list(self._by_user)

    @staticmethod
    def _call_next(lane: deque[Ticket]) -> None:
        if not lane[0].turn.done():
            lane[0].turn.set_result(None)
