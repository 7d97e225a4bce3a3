"""What a search asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from ..journal.records import Dialog, Message, Reason
from ..journal.titles import title_of
from .caseless import fold

MAX_QUERY_CHARS: Final = 1000
MAX_WORDS: Final = 32
"""Of a query; each is looked for in each message."""


class QueryError(ValueError):
    """A query that asks for nothing that can be looked for.

    Attributes:
        field: Which part of it, by its name on the wire.
        expected: What that must be.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field} {expected}")
        self.field = field
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Query:
    """What a message, and the dialog that it stands in, must have to be found.

    Attributes:
        words: The message's text has each of them, folded, anywhere; a phrase is one. Without any it
            is dialogs that are looked for: each is found once, by its first message that the rest admits.
        title_words: The dialog's title has each of these.
        after_ms: The message is not older (ms since 1970 UTC).
        before_ms: The message is older than that.
        role: Whose it is.
        reason: Why the dialog ended.
    """

    words: tuple[str, ...]
    title_words: tuple[str, ...] = ()
    after_ms: int | None = None
    before_ms: int | None = None
    role: str | None = None
    reason: Reason | None = None

    @classmethod
    def of(
        cls,
        query: str,
        *,
        after: str | None = None,
        before: str | None = None,
        role: str | None = None,
        reason: str | None = None,
        title: str | None = None,
    ) -> Self:
        """Reads a query as people write it.

        Raises:
            QueryError: A part of it can't be used, or there is nothing to look for.
        """
        asked = cls(
            words=_words("query", query),
            title_words=() if title is None else _words("title", title),
            after_ms=_moment_ms("after", after),
            before_ms=_moment_ms("before", before),
            role=role,
            reason=None if reason is None else Reason(reason),
        )
        if title is not None and not asked.title_words:
            raise QueryError("title", "must hold a word to look for")
        if asked == cls(words=()):
            raise QueryError("query", "must hold a word to look for, where nothing else narrows the search")
        return asked

    def admits(self, dialog: Dialog) -> bool:
        """Whether messages of the dialog may be found."""
        if self.reason is not None and dialog.reason is not self.reason:
            return False
        return not self.title_words or _has(title_of(dialog), self.title_words)

    def finds(self, message: Message) -> bool:
        """Whether a message is one that is looked for."""
        return (
            self.role in (None, message.role)
            and (self.after_ms is None or message.timestamp_ms >= self.after_ms)
            and (self.before_ms is None or message.timestamp_ms < self.before_ms)
            and _has(message.content, self.words)
        )


def _has(text: str, words: tuple[str, ...]) -> bool:
    folded = fold(text)
    return all(word in folded for word in words)


def _words(field: str, text: str) -> tuple[str, ...]:
    """The words and the phrases of a text, folded, if any; what stands in double quotes is a phrase."""
    if len(text) > MAX_QUERY_CHARS:
        raise QueryError(field, f"must have at most {MAX_QUERY_CHARS} characters")
    found: dict[str, None] = {}
    for number, part in enumerate(text.split('"')):
        in_quotes = number % 2 == 1  # also where the second quote is not typed yet
        for word in (part.strip(),) if in_quotes else part.split():
            if word:
                found[fold(word)] = None
    if len(found) > MAX_WORDS:
        raise QueryError(field, f"must hold at most {MAX_WORDS} words; put a phrase in double quotes")
    return tuple(found)


def _moment_ms(field: str, text: str | None) -> int | None:
    """A date or a time as ms since 1970 UTC; it is of UTC where it does not say otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise QueryError(
            field, "must be a date or a time such as 2024-03-01 or 2024-03-01T10:30:00Z"
        ) from None
