"""Users' homes, as modules see them: on which node everything about a user's dialogs happens."""

from __future__ import annotations

from abc import ABC, abstractmethod


class UserHomes(ABC):
    """Which users are at home on this node.

    Without other nodes all are, always, and a module is told of no home.
    """

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether there may be other nodes, which have the engine and the data folder, too."""

    @abstractmethod
    async def are_here(self, user_id: str) -> bool:
        """Whether this node is the user's home; it becomes it where no node is.

        Raises:
            UnavailableError: The engine is away.
        """

    @abstractmethod
    async def are_ours(self, user_id: str) -> bool:
        """Whether what is to be done about the user in the background is to be done here, by this node alone.

        It is at the user's home; where no node is that, one of all becomes it.

        Raises:
            UnavailableError: The engine is away.
        """

    @abstractmethod
    def fenced(self, user_id: str, token: int) -> None:
        """The user's dialogs were found to be another node's, by that token: the home is given up."""

    # At the stop of the server

    @abstractmethod
    async def has_successor(self) -> bool:
        """Whether another node goes on, so that the users of this one are handed over instead of ended."""

    @abstractmethod
    async def hand_over(self, user_id: str) -> None:
        """Gives up the user's home, for another node to take the user's open dialog over.

        Raises:
            UnavailableError: The engine is away; it will notice by itself that this node is gone.
        """

    @abstractmethod
    async def take_what_is_left(self) -> bool:
        """On the last node that stops: takes over what the others hand over, until they are gone.

        Returns:
            Whether this is that node.
        """
