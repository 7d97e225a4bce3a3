"""`dialogs search`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import typer
from rich.text import Text

from potoserver import visible

from ..search import Found, Matcher, Query, QueryError, SnippetPart
from ..wire import FoundMessage
from .folder import DialogFolder
from .output import Column, Rows, Work, print_json, user_column, warn

_COLUMNS: Final = (
    Column("id", 22),
    Column("role", 9),
    Column("message", wraps=True),
)


def query_of(words: str, **filters: str | None) -> Query:
    """What is looked for.

    Args:
        words: Words and phrases.
        **filters: As `Query.of` takes them.

    Raises:
        typer.TyperException: A part of it can't be used.
    """
    try:
        return Query.of(words, **filters)
    except QueryError as error:
        named = "QUERY" if error.field == "query" else f"--{error.field}"
        raise typer.TyperException(f"{named}: {error.expected}") from None


def search_dialogs(folder: DialogFolder, user_id: str | None, query: Query, *, as_json: bool) -> int:
    """Prints each message that a query finds, of a user the open dialog first, then the newest archive.

    Returns:
        The exit status: 1 when something could not be read.
    """
    matcher = Matcher(query)
    users = folder.chosen(user_id)
    matches = 0
    work = Work("Searching", sum(map(folder.count, users)))
    with work.shown():
        rows = Rows((user_column(users), *_COLUMNS), work)
        for each in users:
            for found in _found(folder, matcher, each, work):
                matches += 1
                if as_json:
                    print_json({"user": each, **FoundMessage.of(found).model_dump(by_alias=True)})
                else:
                    rows.add(each, found.archive_id, found.message.role, _highlighted(found.snippet))
        rows.print()
    if not matches and not as_json:
        warn("no message was found")
    return 1 if folder.unread else 0


def _found(folder: DialogFolder, matcher: Matcher, user_id: str, work: Work) -> Iterator[Found]:
    current = folder.open_stored(user_id)
    if current is not None:
        yield from matcher.found_in(current)
    ids = folder.archive_ids(user_id)
    wanted = matcher.worth_reading(ids)
    work.step(len(ids) - len(wanted))
    for archive_id in wanted:
        stored = folder.stored(user_id, archive_id)
        if stored is not None:
            yield from matcher.found_in(stored)
        work.step()


def _highlighted(snippet: Sequence[SnippetPart]) -> Text:
    """On one line, what was looked for in bold."""
    text = Text()
    for part in snippet:
        text.append(visible(part.text).replace("\n", " ").replace("\t", " "), "bold" if part.match else "")
    return text
