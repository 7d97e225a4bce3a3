"""What users look for in their archives, and take away from them."""

from __future__ import annotations

from collections.abc import Sequence

from potoserver import Download, FieldError, ModuleContext, ProblemError, User

from .export import Exporter, ExportFormat, UnknownArchiveError
from .journal.base import DialogueJournal
from .lifecycle import SessionLife
from .reads import Reads
from .search import Query, QueryError, Searcher
from .wire import FoundMessages


class ArchiveReader:
    """Searches and exports.

    Args:
        context: Its clock, and logs.
        journal: Where archives are.
        life: Told that the user has called.
        reads: Bounds what reading costs.
    """

    def __init__(
        self, context: ModuleContext, journal: DialogueJournal, life: SessionLife, reads: Reads
    ) -> None:
        self._life = life
        self._searcher = Searcher(journal, reads)
        self._exporter = Exporter(journal, reads, context.clock, context.logger("session:export"))

    async def search(
        self, user: User, limit: int, cursor: str | None, query: str, **filters: str | None
    ) -> FoundMessages:
        """A page of the messages that a query finds.

        Args:
            user: Whose archives.
            limit: How many at most.
            cursor: Where an earlier page ended; None to begin.
            query: Words and phrases.
            **filters: As `Query.of` takes them.

        Raises:
            ProblemError: 422, the query, a filter or the cursor can't be used.
        """
        self._life.see(user.id)
        try:
            asked = Query.of(query, **filters)
        except QueryError as error:
            raise _refused("This can't be searched for.", error.field, error.expected) from None
        try:
            return FoundMessages.of(await self._searcher.page(user, asked, limit, cursor))
        except ValueError:
            raise _refused(
                "The cursor is not valid.", "cursor", "must be the cursor of an earlier page"
            ) from None

    async def export(self, user: User, form: ExportFormat, ids: Sequence[str] | None) -> Download:
        """A file of the user's archives.

        Raises:
            ProblemError: 404, one of the ids is none of the user's.
        """
        self._life.see(user.id)
        try:
            return await self._exporter.export(user, form, ids)
        except UnknownArchiveError as error:
            raise ProblemError(404, f"You have no such archive: ids.{error.position}.") from None


def _refused(detail: str, field: str, expected: str) -> ProblemError:
    return ProblemError(422, detail, errors=[FieldError(field, expected)])
