"""What users do with their archives: look, give titles, pin, delete."""

from __future__ import annotations

from typing import NoReturn

from potoserver import FieldError, ProblemError, User

from .announcer import Announcer
from .journal.base import DialogueJournal
from .journal.records import ArchiveSummary
from .journal.titles import as_title, fault_of
from .lifecycle import SessionLife
from .reads import Reads
from .settings import ChatSettings
from .wire import ArchiveChange, ArchivedDialog, ArchiveEntry, ArchiveList, DeletedArchive


class ArchiveDesk:
    """Changes what is asked for, and tells the user's connections of it.

    Args:
        announcer: Tells the users' connections.
        settings: The chat's.
        journal: Where archives are.
        life: Told that the user has called.
        reads: Bounds what reading costs.
    """

    def __init__(
        self,
        announcer: Announcer,
        settings: ChatSettings,
        journal: DialogueJournal,
        life: SessionLife,
        reads: Reads,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._life = life
        self._reads = reads
        self._announcer = announcer

    async def list(self, user: User, limit: int, cursor: str | None, *, pinned: bool | None) -> ArchiveList:
        """A page of the user's archives.

        Raises:
            ProblemError: 422, the cursor is none.
        """
        self._life.see(user.id)
        try:
            async with self._reads.turn(user.id):
                return ArchiveList.of(await self._journal.list_archives(user, limit, cursor, pinned=pinned))
        except ValueError:
            _refuse("cursor", "must be the cursor of an earlier page", "The cursor is not valid.")

    async def get(self, user: User, archive_id: str) -> ArchivedDialog:
        """One archive, whole.

        Raises:
            ProblemError: 404, the user has no such one.
        """
        self._life.see(user.id)
        async with self._reads.turn(user.id):
            dialog = await self._journal.get_archive(user, archive_id)
            if dialog is None:
                raise no_such_archive()
            return ArchivedDialog.of(archive_id, dialog)

    async def rename(self, user: User, archive_id: str, title: str | None) -> ArchiveEntry:
        """Gives an archive a title, or takes it away.

        Raises:
            ProblemError: 404, or 422 for a title that can't be one.
        """
        self._life.see(user.id)
        wanted = title or ""
        fault = fault_of(wanted)
        if fault:
            _refuse("title", fault, "The title is not valid.")
        async with self._reads.turn(user.id):
            archive = await self._journal.rename_archive(user, archive_id, as_title(wanted))
        return await self._changed(user, "renamed", archive)

    async def pin(self, user: User, archive_id: str, *, pinned: bool) -> ArchiveEntry:
        """Pins an archive, or takes the pin away.

        Raises:
            ProblemError: 404, the user has no such one.
        """
        self._life.see(user.id)
        async with self._reads.turn(user.id):
            archive = await self._journal.pin_archive(user, archive_id, pinned=pinned)
        return await self._changed(user, "pinned", archive)

    async def delete(self, user: User, archive_id: str) -> DeletedArchive:
        """Deletes an archive for good.

        Raises:
            ProblemError: 403, users may not; 404, the user has no such one.
        """
        self._life.see(user.id)
        if not self._settings.archives.delete:
            raise ProblemError(403, "On this server archives are not deleted by users.")
        if not await self._journal.delete_archive(user, archive_id):
            raise no_such_archive()
        self._life.notices.withdraw(user.id, archive_id)
        await self._announcer.archives(user.id, "deleted", archive_id)
        return DeletedArchive(deleted=archive_id)

    async def _changed(
        self, user: User, change: ArchiveChange, archive: ArchiveSummary | None
    ) -> ArchiveEntry:
        if archive is None:
            raise no_such_archive()
        entry = ArchiveEntry.of(archive)
        await self._announcer.archives(user.id, change, entry.id, entry.title, pinned=entry.pinned)
        return entry


def no_such_archive() -> ProblemError:
    """For an archive that is not there, or not this user's."""
    return ProblemError(404, "You have no such archive.")


def _refuse(field: str, expected: str, detail: str) -> NoReturn:
    raise ProblemError(422, detail, errors=[FieldError(field, expected)]) from None
