"""Who may be at a user's dialogs, asked each time. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from .errors import FencedError
from .layout import UserPaths

TOKEN_DIGITS: Final = 20


def checked_token(token: int) -> int:
    """The token.

    Raises:
        ValueError: It is none.
    """
    if not 0 <= token < 10**TOKEN_DIGITS:
        raise ValueError(f"a token has at most {TOKEN_DIGITS} digits and no sign, and this is {token}")
    return token


class Entered(Enum):
    """What is known, once one is in."""

    SAME = "nobody else was in since: what is remembered holds"
    ANEW = "another node may have been in: everything must be read anew"
    NOTHING = "the user has no folder, so nothing keeps others out: nothing may be changed"


class Fence:
    """Stands around one user's dialogs. This one lets everybody in: the folder is this process's alone.

    Args:
        forget: Forgets what is known of the user's files; True: and there is nothing in them to be mended.

    Attributes:
        held_since_s: Since when another node is in, by the monotonic clock; None where none is.
    """

    def __init__(self, forget: Callable[[bool], None]) -> None:
        self._forget_files = forget
        self._has_nothing = False
        self.held_since_s: float | None = None

    def take(self, token: int) -> None:
        """See `DialogueJournal.take`."""

    def let_go(self) -> None:
        """See `DialogueJournal.let_go`."""

    @contextmanager
    def held(self, *, making: bool = False) -> Iterator[None]:
        """Keeps others out for the length of a block; see `enter`."""
        self.enter(making=making)
        try:
            yield
        finally:
            self.leave()

    def enter(self, *, making: bool) -> bool:
        """Goes in, to be alone with the user's dialogs until `leave`; waits for nobody.

        Args:
            making: Where the user has no folder it is made. For whoever may change something.

        Returns:
            Whether another node may have been in since, so that what was known is forgotten.

        Raises:
            FencedError: The dialogs are another node's. What was known is forgotten.
            HeldElsewhereError: Another node is in.
            JournalError: The disk refused.
        """
        try:
            entered = self._go_in(making=making)
        except FencedError:
            self._forget_files(False)
            raise
        self._has_nothing = entered is Entered.NOTHING
        if entered is not Entered.SAME:
            self._forget_files(self._has_nothing)
        return entered is not Entered.SAME

    def leave(self) -> None:
        """Goes out; harmless when one was not in."""
        if self._has_nothing:
            self._has_nothing = False
            self._forget_files(False)
        self._go_out()

    def _go_in(self, *, making: bool) -> Entered:
        return Entered.SAME

    def _go_out(self) -> None:
        """Nobody was kept out."""


class Fences:
    """A fence for each user. These let everybody in: here a node need not be a user's home."""

    def of(self, user_id: str, paths: UserPaths, forget: Callable[[bool], None]) -> Fence:
        """The fence around a user's dialogs; `forget` as `Fence` has it."""
        return Fence(forget)

    def check(self, user_id: str) -> None:
        """Looks whether this node is the user's home, as far as can be seen from outside.

        Raises:
            FencedError: It is not.
            JournalError: The disk refused.
        """

    def close(self) -> None:
        """Gives back what is kept open."""
