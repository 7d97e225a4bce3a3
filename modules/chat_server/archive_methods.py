"""The methods about a user's archives, as they are on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from potoserver import Download, User, rpc

from .archive_desk import ArchiveDesk
from .archive_reader import ArchiveReader
from .export import ExportFormat
from .importing import ImportedArchive, ImportedArchives, Importer, ListedMessage, Title
from .journal.dialog_yaml import MAX_MESSAGES
from .restorer import Restorer
from .search import MAX_QUERY_CHARS
from .wire import (
    ArchivedDialog,
    ArchiveEntry,
    ArchiveList,
    DeletedArchive,
    FoundMessages,
    RestoredDialog,
)

Words = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS)]
Moment = Annotated[str, Field(max_length=40, description="A date or a time, of UTC where it does not say.")]
Ending = Literal["disconnect", "timeout", "shutdown", "request", "recovered", "superseded"]
IMPORT_BYTES = 32 * 1024 * 1024
"""Of one call's body; a larger export comes in several."""
MOST_IDS = 10_000
"""That can be asked for by name at once."""


class ArchiveMethods:
    """What `ArchiveDesk` and `ArchiveReader` do for users, offered to them; a part of the chat's module."""

    _desk: ArchiveDesk
    _reader: ArchiveReader
    _restorer: Restorer
    _importer: Importer

    @rpc
    async def list_archives(
        self,
        user: User,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
        cursor: str | None = None,
        pinned: bool | None = None,
    ) -> ArchiveList:
        """The user's archived dialogs, newest first, page by page; all, or those that are pinned or not.

        Args:
            user: Who asks.
            limit: So many on a page at most.
            cursor: The one that the page before came with; without it, the first page.
            pinned: Only those that are pinned, or that are not; without it, all.
        """
        return await self._desk.list(user, limit, cursor, pinned=pinned)

    @rpc
    async def get_archive(self, user: User, id: str) -> ArchivedDialog:  # noqa: A002 - its name on the wire
        """One of the user's archived dialogs, whole.

        Args:
            user: Who asks.
            id: Which one.
        """
        return await self._desk.get(user, id)

    @rpc
    async def rename_archive(self, user: User, id: str, title: Title | None) -> ArchiveEntry:  # noqa: A002 - likewise
        """Gives an archive a title of 1 to 200 characters; null or a blank one takes the given one away.

        Args:
            user: Who asks.
            id: Which archive.
            title: One line; it is kept with its blanks folded.
        """
        return await self._desk.rename(user, id, title)

    @rpc
    async def pin_archive(self, user: User, id: str, pinned: bool) -> ArchiveEntry:  # noqa: A002 - likewise
        """Pins an archive, or takes the pin away.

        Args:
            user: Who asks.
            id: Which archive.
            pinned: Whether it is to be pinned.
        """
        return await self._desk.pin(user, id, pinned=pinned)

    @rpc
    async def restore_archive(self, user: User, id: str) -> RestoredDialog:  # noqa: A002 - likewise
        """Makes an archive the current dialog again; what was current is archived first.

        Args:
            user: Who asks.
            id: Which archive.
        """
        return await self._restorer.restore(user, id)

    @rpc(body_bytes=IMPORT_BYTES)
    async def import_archives(
        self,
        user: User,
        archives: Annotated[list[ImportedArchive], Field(fail_fast=True, min_length=1, max_length=MOST_IDS)]
        | None = None,
        messages: Annotated[list[ListedMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]
        | None = None,
        title: Title | None = None,
    ) -> ImportedArchives:
        """Adds archives of a JSON export, or one list of messages like OpenAI's; all or nothing.

        Args:
            user: Who asks.
            archives: Items of an export's `archives`.
            messages: One list, which becomes one archive; instead of `archives`.
            title: Given to the archive that `messages` become.
        """
        return await self._importer.add(user, archives, messages, title)

    @rpc
    async def delete_archive(self, user: User, id: str) -> DeletedArchive:  # noqa: A002 - likewise
        """Deletes an archive for good.

        Args:
            user: Who asks.
            id: Which one.
        """
        return await self._desk.delete(user, id)

    @rpc
    async def search_archives(
        self,
        user: User,
        query: Annotated[str, Field(max_length=MAX_QUERY_CHARS)] = "",
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
        cursor: str | None = None,
        after: Moment | None = None,
        before: Moment | None = None,
        role: Literal["user", "assistant"] | None = None,
        reason: Ending | None = None,
        title: Words | None = None,
    ) -> FoundMessages:
        """The messages of the user's archives that hold every word of a query, newest archive first.

        Without words it finds dialogs: of each that the rest admits, the first such message.

        Args:
            user: Who asks.
            query: Words, or `"words in double quotes"` as one phrase; all of them must be in the message.
            limit: So many on a page at most.
            cursor: The one that the page before came with; without it, the first page.
            after: Only messages of that moment or later.
            before: Only messages from before that moment.
            role: Only messages of this role.
            reason: Only dialogs that ended for this reason.
            title: Words that the archive's title must hold.
        """
        return await self._reader.search(
            user, limit, cursor, query, after=after, before=before, role=role, reason=reason, title=title
        )

    @rpc
    async def export_archives(
        self,
        user: User,
        format: ExportFormat = "json",  # noqa: A002 - likewise
        ids: Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MOST_IDS)] | None = None,
    ) -> Download:
        """A file of the user's archives, or of those with these ids, oldest first.

        Args:
            user: Who asks.
            format: `json` can be imported, `markdown` is to be read, `zip` holds the YAML files.
            ids: Only these archives; without it, all.
        """
        return await self._reader.export(user, format, ids)
