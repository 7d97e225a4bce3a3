"""Search in a user's archives, page by page: no index, so none that could be out of step with the files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from potoserver import User

from ..journal.base import DialogueJournal, Message
from ..journal.layout import archive_order, last_ms_of
from ..journal.stored import StoredArchive
from ..journal.titles import title_of
from ..reads import Reads
from .prefilter import Prefilter
from .query import Query
from .snippet import SnippetPart, snippet_of

_LONGEST_S: Final = 0.5
"""What one page takes before it is given out as it is; the archive at hand is finished."""

_MOST_DIGITS: Final = 8
"""Of a count of messages in a cursor."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found.

    Attributes:
        archive_id: Which archive it stands in.
        conversation_id: Of that dialog.
        title: Of that dialog.
        message: Itself.
        snippet: The part of it that shows why it was found.
    """

    archive_id: str
    conversation_id: str
    title: str
    message: Message
    snippet: tuple[SnippetPart, ...]


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
        """Up to `limit` messages that a query finds. A page may have fewer, even none, before the last one.

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
        self._query = query
        self._limit = limit
        self._position = position
        self._now_s = now_s
        self._ends_s = now_s() + _LONGEST_S
        self._prefilter = Prefilter(query.words)
        self._done: str | None = None
        self.found: list[Found] = []
        self.stopped: _Position | None = None
        """Where it ended before the last archive."""

    def left(self, ids: list[str]) -> list[str]:
        """Which archives are still to be looked at, of all of them, newest first."""
        position, after_ms = self._position, self._query.after_ms
        if position is not None:
            begin = _order(position.archive_id)
            at_it = position.skip is not None
            ids = [each for each in ids if (order := _order(each)) < begin or (at_it and order == begin)]
        if after_ms is not None:
            # A dialog never ends before its last message, and its archive is named for its end.
            ids = [each for each in ids if last_ms_of(each) >= after_ms]
        return ids

    def visit(self, stored: StoredArchive) -> bool:
        """Looks at one archive; False when the page is full, or has taken its time."""
        if self._done is not None and self._now_s() >= self._ends_s:
            self.stopped = _Position(self._done, None)
            return False
        if self._prefilter.may_hold(stored.data):
            self._search(stored)
        self._done = stored.id
        return self.stopped is None

    def _search(self, stored: StoredArchive) -> None:
        dialog = stored.dialog()
        if dialog is None or not self._query.admits(dialog):
            return
        position = self._position
        begin = position.skip or 0 if position is not None and position.archive_id == stored.id else 0
        for number, message in enumerate(dialog.messages[begin:], begin + 1):
            if not self._query.finds(message):
                continue
            snippet = snippet_of(message.content, self._query.words)
            conversation_id = dialog.conversation.id
            self.found.append(Found(stored.id, conversation_id, title_of(dialog), message, snippet))
            if len(self.found) == self._limit:
                self.stopped = _Position(stored.id, number)
                return


def _order(archive_id: str) -> tuple[str, int]:
    order = archive_order(archive_id)
    assert order is not None, "only archive ids are compared"
    return order
