"""Sessions that another conversation has taken the place of, while calls that came for them still wait."""

from __future__ import annotations

from collections import Counter

from potoserver import ModuleContext

from .lanes import Lanes, Ticket
from .sessions import Session


class LeftBehind:
    """Remembers sessions that were left for another conversation, until nobody can ask for them any more.

    A call that had come for one of them, and waits behind that, belongs to the other conversation.

    Args:
        context: Owns what forgets them again.
        lanes: Each user's order.
    """

    def __init__(self, context: ModuleContext, lanes: Lanes) -> None:
        self._context = context
        self._lanes = lanes
        self._left: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._left)

    def __contains__(self, session: Session) -> bool:
        return _key_of(session) in self._left

    def add(self, session: Session) -> None:
        """Remembers one until all calls are through that are in the user's lane by now."""
        key = _key_of(session)
        self._left[key] += 1
        ticket = self._lanes.join(session.user_id)
        self._context.spawn(self._forget(key, ticket), f"forget what {session.user_id} has left")

    async def _forget(self, key: tuple[str, str], ticket: Ticket) -> None:
        async with ticket:
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key]


def _key_of(session: Session) -> tuple[str, str]:
    return session.user_id, session.conversation.id
