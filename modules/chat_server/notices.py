"""What a user who comes back is told of the dialog that ended meanwhile."""

from __future__ import annotations

from collections import OrderedDict

from potoserver import ModuleContext, User

from .journal.base import DialogueJournal
from .journal.errors import (
    JournalError,
)
from .journal.records import ArchiveSummary

_REMEMBERED_USERS = 65_536


class Notices:
    """The newest dialog that ended since each user's previous connection.

    What is remembered is bounded. For a user of whom nothing is, after a restart for one, the journal knows
    of which archive the user was told last.

    Args:
        context: Owned tasks and logs.
        journal: Knows the archives.
    """

    def __init__(self, context: ModuleContext, journal: DialogueJournal) -> None:
        self._context = context
        self._journal = journal
        self._logger = context.logger("session:archive")
        self._by_user: OrderedDict[str, dict[str, str] | None] = OrderedDict()

    def put(self, user_id: str, notice: dict[str, str]) -> None:
        """A dialog has ended: the user's next connection is told."""
        self._remember(user_id, notice)

    def told(self, user_id: str) -> None:
        """Nothing has ended since the user was last seen."""
        self._remember(user_id, None)

    def withdraw(self, user_id: str, archive_id: str) -> None:
        """An archive is none any more: nobody is told of it."""
        notice = self._by_user.get(user_id)
        if notice is not None and notice["id"] == archive_id:
            self._remember(user_id, None)

    def forget(self, user_id: str) -> None:
        """The user is at home elsewhere: the journal knows better from now on."""
        self._by_user.pop(user_id, None)

    async def take(self, user_id: str) -> dict[str, str] | None:
        """What a new connection is told: each notice once, also across restarts."""
        notice = None
        if user_id not in self._by_user:
            newest = await self._journal.untold_archive(User(user_id))
            notice = notice_of(newest) if newest else None
        # What has happened while the journal was asked is newer.
        notice = self._by_user.get(user_id, notice)
        self._remember(user_id, None)
        if notice is not None:
            self._context.spawn(self._mark(user_id, notice["id"]), f"told {user_id}")
        return notice

    async def _mark(self, user_id: str, archive_id: str) -> None:
        try:
            await self._journal.mark_told(User(user_id), archive_id)
        except JournalError as error:
            self._logger.warning(
                "archive told, but not noted", user=user_id, error=repr(error.__cause__ or error)
            )

    def _remember(self, user_id: str, notice: dict[str, str] | None) -> None:
        self._by_user[user_id] = notice
        self._by_user.move_to_end(user_id)
        while len(self._by_user) > _REMEMBERED_USERS:
            self._by_user.popitem(last=False)


def notice_of(archive: ArchiveSummary) -> dict[str, str]:
    """An archive as events name it."""
    return {"id": archive.id, "reason": archive.reason.value, "conversation": archive.conversation.id}
