"""Which node is a user's home, and the homes that are here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger

from potoserver.engine.base import Engine, Home
from potoserver.errors import ProblemError, UnavailableError

_T = TypeVar("_T")
_MISDIRECTED: Final = 421
"""How a node answers another one about a user whose home has moved on (RFC 9110, section 15.5.20)."""
_TRIES: Final = 4
"""How often a home that moves on is followed."""


class Homes:
    """Finds each user's home: the node where everything about the user's dialogs happens.

    The first node that looks for a user's home becomes it, and stays it until it is declared dead. On an
    engine of one node that is this one, always.

    Args:
        engine: Knows the homes.
        logger: Where homes that come and go are told.
    """

    def __init__(self, engine: Engine, logger: FilteringBoundLogger) -> None:
        self._engine = engine
        self._logger = logger
        self._here: dict[str, Home] = {}

    async def run(
        self, user_id: str, here: Callable[[], Awaitable[_T]], there: Callable[[str], Awaitable[_T]]
    ) -> _T:
        """Does something at a user's home, and returns what that returns.

        Args:
            user_id: Whose home.
            here: Does it on this node.
            there: Has the node of that name do it; raises what `check_here` raised there.

        Raises:
            UnavailableError: The engine is away, or the home moves on and on.
            Exception: What `here` or `there` raised.
        """
        for _ in range(_TRIES):
            node_id = await self._find(user_id)
            if node_id is None:
                return await here()
            try:
                return await there(node_id)
            except ProblemError as problem:
                if problem.status != _MISDIRECTED:
                    raise
        raise UnavailableError("Your dialogs are moving to another node; try again in a moment.")

    async def check_here(self, user_id: str) -> None:
        """Sees whether this node is the user's home, for another node that took it for that.

        Raises:
            ProblemError: It is not; that node is to look again.
            UnavailableError: The engine is away.
        """
        if await self._find(user_id) is not None:
            raise ProblemError(_MISDIRECTED, "The user's home is another node.")

    async def _find(self, user_id: str) -> str | None:
        """Which node is the user's home; None for this one, which becomes it where none is."""
        if user_id in self._here:
            return None
        home = await self._engine.claim_home(user_id)
        if home.node_id != self._engine.node_id:
            return home.node_id
        if home.token and self._here.get(user_id) != home:
            self._here[user_id] = home
            self._logger.debug("home gained", user=user_id, token=home.token)
        return None

    def lose(self, home: Home) -> None:
        """That home is here no more. Harmless when it is not, or is here again with another token."""
        if self._here.get(home.user_id) == home:
            del self._here[home.user_id]
            self._logger.debug("home lost", user=home.user_id, token=home.token)
