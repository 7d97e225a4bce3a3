"""What a user who comes back is told of the dialog that ended meanwhile."""

from __future__ import annotations

from collections import OrderedDict

from potoserver import User

from .journal.base import ArchiveSummary, DialogueJournal

_REMEMBERED_USERS = 65_536


class Notices:
    """The newest dialog that ended since each user's previous connection.

    What is remembered is bounded. For a user of whom nothing is, after a restart for one, the journal's
    newest archive is told.

    Args:
        journal: Knows the archives.
    """

    def __init__(self, journal: DialogueJournal) -> None:
        self._journal = journal
        self._by_user: OrderedDict[str, dict[str, str] | None] = OrderedDict()

    def put(self, user_id: str, notice: dict[str, str]) -> None:
        """A dialog has ended: the user's next connection is told."""
        self._remember(user_id, notice)

    def told(self, user_id: str) -> None:
        """Nothing has ended since the user was last seen."""
        self._remember(user_id, None)

    async def take(self, user_id: str) -> dict[str, str] | None:
        """What a new connection is told: each notice once."""
        if user_id in self._by_user:
            notice = self._by_user[user_id]
        else:
            page = await self._journal.list_archives(User(user_id), 1, None)
            notice = notice_of(page.archives[0]) if page.archives else None
        self._remember(user_id, None)
        return notice

    def _remember(self, user_id: str, notice: dict[str, str] | None) -> None:
        self._by_user[user_id] = notice
        self._by_user.move_to_end(user_id)
        while len(self._by_user) > _REMEMBERED_USERS:
            self._by_user.popitem(last=False)


def notice_of(archive: ArchiveSummary) -> dict[str, str]:
    """An archive as events name it."""
    return {"id": archive.id, "reason": archive.reason.value, "conversation": archive.conversation.id}
