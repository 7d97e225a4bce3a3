"""Whether there is room for another session."""

from __future__ import annotations

from potoserver import ModuleContext, UnavailableError

from .archiver import Archiver
from .sessions import Sessions

_MOST_ENDINGS_PER_USER = 16
"""While so many of a user's sessions wait for their archive, no further one begins."""
_RETRY_AFTER_S = 5


class Room:
    """Holds sessions, and those that wait for their archive, below a number.

    Args:
        context: Where it is told that there is no room.
        most: How many there may be; 0 for no limit.
        sessions: Those that are active.
        archiver: Has those that wait.
    """

    def __init__(self, context: ModuleContext, most: int, sessions: Sessions, archiver: Archiver) -> None:
        self._context = context
        self._most = most
        self._sessions = sessions
        self._archiver = archiver

    def check(self, user_id: str) -> None:
        """Sees whether a session can begin for a user who has none.

        Raises:
            UnavailableError: None can.
        """
        why = self.why_none(user_id)
        if why:
            raise UnavailableError(why, retry_after_s=_RETRY_AFTER_S)

    def why_none(self, user_id: str) -> str:
        """Why no session can begin, in the place of the user's own if there is one; empty where one can."""
        most, archiver = self._most, self._archiver
        if (
            most
            and user_id not in self._sessions
            and len(self._sessions) + len(archiver.pending_users) >= most
        ):
            self._context.set_alarm("sessions-full", lapses=True, limit=most)
            return f"The server has as many sessions as it takes (chat.max_sessions, {most}); try again."
        # Each connection of a user begins a session, also while the disk fails or a reply holds up archives.
        if archiver.pending_of(user_id) >= _MOST_ENDINGS_PER_USER:
            return "Your earlier dialogs are not archived yet, so no further one can begin; try again."
        return ""
