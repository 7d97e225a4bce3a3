"""What this node has: its users' connections and homes, by which the engine can be told again."""

from __future__ import annotations

from collections.abc import Iterator

from potoserver.engine.base import Home
from potoserver.engine.presence import Cause


class Local:
    """The connections and homes of this node, and the ends of connections that the engine does not know yet.

    Attributes:
        homes: By user.
        ended: Connections whose end the engine has not taken, with the cause.
    """

    def __init__(self) -> None:
        self._connections: dict[str, set[str]] = {}
        self._count = 0
        self.homes: dict[str, Home] = {}
        self.ended: dict[tuple[str, str], Cause] = {}

    @property
    def connections(self) -> int:
        """How many there are."""
        return self._count

    def add(self, user_id: str, connection_id: str) -> None:
        """A connection of the user is attached."""
        of_user = self._connections.setdefault(user_id, set())
        if connection_id not in of_user:
            of_user.add(connection_id)
            self._count += 1

    def remove(self, user_id: str, connection_id: str) -> None:
        """A connection is gone, or was none."""
        of_user = self._connections.get(user_id)
        if of_user is None or connection_id not in of_user:
            return
        of_user.discard(connection_id)
        self._count -= 1
        if not of_user:
            del self._connections[user_id]

    def of_user(self, user_id: str) -> frozenset[str]:
        """The user's connections here."""
        return frozenset(self._connections.get(user_id, ()))

    def users(self) -> list[str]:
        """Those with a connection here."""
        return list(self._connections)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Users and connections."""
        for user_id, of_user in list(self._connections.items()):
            for connection_id in tuple(of_user):
                yield user_id, connection_id

    def known(self) -> list[str]:
        """Users of whom this node has anything."""
        return list({**self._connections, **self.homes})
