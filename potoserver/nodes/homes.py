"""Which node is a user's home, and the homes that are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from potoserver.engine.base import Engine, Home
from potoserver.errors import UnavailableError

MISDIRECTED: Final = 421
"""How a node answers another one about a user whose home has moved on (RFC 9110, section 15.5.20)."""
TRIES: Final = 4
"""How often a home that moves on is followed."""


class Homes:
    """Finds each user's home: the node where everything about the user's dialogs happens.

    The first node that looks for a user's home becomes it, and stays it until it gives it up, or is declared
    dead. On an engine of one node that is this one, always, and nobody is told.

    Args:
        engine: Knows the homes.
        logger: Where homes that come and go are told.
    """

    def __init__(self, engine: Engine, logger: FilteringBoundLogger) -> None:
        self._engine = engine
        self._logger = logger
        self._here: dict[str, Home] = {}
        self._drained = False
        self.on_gained: list[Callable[[Home], object]] = []
        """Called before anything about the user happens here. Must neither block nor raise."""
        self.on_lost: list[Callable[[Home], object]] = []
        """Called when the home is here no more: nothing about the user may happen here. Likewise."""

    def __len__(self) -> int:
        return len(self._here)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._here

    async def find(self, user_id: str) -> str | None:
        """Which node is the user's home; None for this one, which becomes it where none is.

        Raises:
            UnavailableError: The engine is away; or no node is the home, and this one takes no more.
        """
        if user_id in self._here:
            return None
        if self._drained:
            known = await self._engine.home_of(user_id)
            if known is None:
                raise UnavailableError("The server is stopping; try again in a moment.")
            return None if known.node_id == self._engine.node_id else known.node_id
        home = await self._engine.claim_home(user_id)
        return self._place(home)

    async def claim_above(self, user_id: str, token: int) -> str | None:
        """The same, where somebody was seen to write for the user with that token.

        Raises:
            UnavailableError: As `find`.
        """
        self.lose(user_id)
        return self._place(await self._engine.claim_home(user_id, above=token))

    def _place(self, home: Home) -> str | None:
        if home.node_id != self._engine.node_id:
            return home.node_id
        if home.token and self._here.get(home.user_id) != home:
            self._here[home.user_id] = home
            self._logger.debug("home gained", user=home.user_id, token=home.token)
            for tell in self.on_gained:
                tell(home)
        return None

    def lose(self, user_id: str, token: int | None = None) -> None:
        """The user's home is here no more. Harmless when it is not.

        Args:
            user_id: Whose.
            token: Only if it is here with this one; None for any.
        """
        home = self._here.get(user_id)
        if home is None or token not in (None, home.token):
            return
        del self._here[user_id]
        self._logger.debug("home lost", user=user_id, token=home.token)
        for tell in self.on_lost:
            tell(home)

    async def release(self, user_id: str, *, orphan: bool) -> None:
        """Gives a home that is here up, once nothing about the user happens here any more.

        Args:
            user_id: Whose.
            orphan: A dialog is open, and another node shall take it over.

        Raises:
            UnavailableError: The engine is away; it is given up here all the same.
        """
        home = self._here.get(user_id)
        if home is not None:
            self.lose(user_id)
            await self._engine.release_home(home, orphan=orphan)

    def drain(self) -> None:
        """This node becomes nobody's home any more."""
        self._drained = True
