"""What a query finds in one archive after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..journal.layout import last_ms_of
from ..journal.records import Message
from ..journal.stored import StoredArchive
from ..journal.titles import title_of
from .prefilter import Prefilter
from .query import Query
from .snippet import SnippetPart, snippet_of


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found.

    Attributes:
        archive_id: Which archive it stands in.
        conversation_id: Of that dialog.
        title: Of that dialog.
        message: Itself.
        number: Which one of the dialog's messages it is, from 1.
        snippet: The part of it that shows why it was found.
    """

    archive_id: str
    conversation_id: str
    title: str
    message: Message
    number: int
    snippet: tuple[SnippetPart, ...]


class Matcher:
    """Looks for what a query asks for.

    Args:
        query: The query.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._prefilter = Prefilter(query.words)

    def worth_reading(self, archive_ids: Iterable[str]) -> list[str]:
        """Those of some archives that may hold what is looked for, as far as their names tell."""
        after_ms = self._query.after_ms
        # A dialog never ends before its last message, and its archive is named for its end.
        return [each for each in archive_ids if after_ms is None or last_ms_of(each) >= after_ms]

    def found_in(self, stored: StoredArchive, skip: int = 0) -> Iterator[Found]:
        """What is found in an archive, in the order of its messages, behind so many of them."""
        if not self._prefilter.may_hold(stored.data):
            return
        dialog = stored.dialog()
        if dialog is None or not self._query.admits(dialog):
            return
        for number, message in enumerate(dialog.messages[skip:], skip + 1):
            if self._query.finds(message):
                yield Found(
                    stored.id,
                    dialog.conversation.id,
                    title_of(dialog),
                    message,
                    number,
                    snippet_of(message.content, self._query.words),
                )
                if not self._query.words:
                    return
