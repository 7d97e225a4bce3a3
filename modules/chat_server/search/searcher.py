"""Search in a user's archives, page by page: no index, so none that could be out of step with the files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from potoserver import User

from ..journal.base import DialogueJournal
from ..journal.layout import archive_order
from ..journal.stored import StoredArchive
from ..reads import Reads
from .matching import Found, Matcher
from .query import Query

_LONGEST_S: Final = 0.5
"""What one page takes before it is given out as it is; the archive at hand is finished."""

_MOST_DIGITS: Final = 8
"""Of a count of messages in a cursor."""


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Some of what was found, newest archive first, and where the search goes on, if anywhere."""

    found: tuple[Found, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a search goes on.

    It names an archive and counts none: those that are added, deleted or restored meanwhile move nothing.

    Attributes:
        archive_id: The archive at which it stopped.
        skip: How many of its messages were looked at; None when it is done with, as all that are newer.
    """

    archive_id: str
    skip: int | None

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Reads a cursor.

        Raises:
            ValueError: It is none.
        """
        archive_id, colon, skip = cursor.partition(":")
        counted = skip.isascii() and skip.isdigit() and len(skip) <= _MOST_DIGITS
        if archive_order(archive_id) is None or (colon and not counted):
            raise ValueError("the cursor must be one that a page came with")
        return cls(archive_id, int(skip) if colon else None)

    def __str__(self) -> str:
        return self.archive_id if self.skip is None else f"{self.archive_id}:{self.skip}"


class Searcher:
    """Searches archives.

    Args:
        journal: Where they are.
        reads: Whose turn it is to read.
        now_s: Measures how long a page takes; blocking, for tests.
    """

    def __init__(
        self, journal: DialogueJournal, reads: Reads, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._reads = reads
        self._now_s = now_s

    async def page(self, user: User, query: Query, limit: int, cursor: str | None) -> FoundPage:
        """Up to `limit` of what a query finds. A page may have fewer, even none, before the last one.

        Raises:
            ValueError: The cursor is none.
            JournalError: The disk refused.
        """
        position = None if cursor is None else _Position.parse(cursor)
        async with self._reads.turn(user.id):
            ids = await self._journal.archive_ids(user)
            walk = _Walk(query, limit, position, self._now_s)
            await self._journal.visit_archives(user, walk.left(ids), walk.visit)
        return FoundPage(tuple(walk.found), None if walk.stopped is None else str(walk.stopped))


class _Walk:
    """One page's way through the archives. Only its own thread touches it."""

    def __init__(
        self, query: Query, limit: int, position: _Position | None, now_s: Callable[[], float]
    ) -> None:
        self._matcher = Matcher(query)
        self._finds_dialogs = not query.words
        self._limit = limit
        self._position = position
        self._now_s = now_s
        self._ends_s = now_s() + _LONGEST_S
        self._done: str | None = None
        self.found: list[Found] = []
        self.stopped: _Position | None = None
        """Where it ended before the last archive."""

    def left(self, ids: list[str]) -> list[str]:
        """Which archives are still to be looked at, of all of them, newest first."""
        position = self._position
        if position is not None:
            begin = _order(position.archive_id)
            at_it = position.skip is not None
            ids = [each for each in ids if (order := _order(each)) < begin or (at_it and order == begin)]
        return self._matcher.worth_reading(ids)

    def visit(self, stored: StoredArchive) -> bool:
        """Looks at one archive; False when the page is full, or has taken its time."""
        if self._done is not None and self._now_s() >= self._ends_s:
            self.stopped = _Position(self._done, None)
            return False
        self._search(stored)
        self._done = stored.id
        return self.stopped is None

    def _search(self, stored: StoredArchive) -> None:
        position = self._position
        skip = position.skip or 0 if position is not None and position.archive_id == stored.id else 0
        for found in self._matcher.found_in(stored, skip):
            self.found.append(found)
            if len(self.found) == self._limit:
                self.stopped = _Position(stored.id, None if self._finds_dialogs else found.number)
                return


def _order(archive_id: str) -> tuple[str, int]:
    order = archive_order(archive_id)
    assert order is not None, "only archive ids are compared"
    return order
