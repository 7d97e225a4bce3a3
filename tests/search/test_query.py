"""What a search asks for, as people write it."""

from __future__ import annotations

import pytest

from modules.chat_server.journal import Message, Reason
from modules.chat_server.search import Query, QueryError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello", ("hello",)),
        ("  Hello   WORLD\n", ("hello", "world")),
        ('"Hello World"', ("hello world",)),
        ('say "Hello World" twice', ("say", "hello world", "twice")),
        ('"not closed', ("not closed",)),
        ('a"b"c', ("a", "b", "c")),
        ('" spaces  inside "', ("spaces  inside",)),
        ('"" x', ("x",)),
        ("same SAME", ("same",)),
        ("\u3000日本語\u3000検索", ("日本語", "検索")),
    ],
)
def test_words_and_phrases(text: str, words: tuple[str, ...]) -> None:
    """What stands in double quotes is one, just as it stands there."""
    assert Query.of(text).words == words


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        *(
            (
                {"query": text},
                "query",
                "must hold a word to look for, where nothing else narrows the search",
            )
            for text in ("", ' \n""')
        ),
        ({"query": "x" * 1001}, "query", "must have at most 1000 characters"),
        (
            {"query": " ".join(map(str, range(33)))},
            "query",
            "must hold at most 32 words; put a phrase in double quotes",
        ),
        ({"query": "a", "title": " "}, "title", "must hold a word to look for"),
        ({"query": "", "title": " "}, "title", "must hold a word to look for"),
        *(
            (
                {"query": "a", field: text},
                field,
                "must be a date or a time such as 2024-03-01 or 2024-03-01T10:30:00Z",
            )
            for field in ("after", "before")
            for text in (
                "",
                "yesterday",
                "2024-13-01",
                "2024-03-01T25:00Z",
                "x" * 9999,
            )
        ),
    ],
)
def test_what_can_not_be_used_is_told_by_field(arguments: dict[str, str], field: str, expected: str) -> None:
    """In words that say what is expected."""
    with pytest.raises(QueryError) as caught:
        Query.of(**arguments)
    assert (caught.value.field, caught.value.expected) == (field, expected)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-03-01", 1_709_251_200_000),
        ("2024-03-01T10:30:00Z", 1_709_289_000_000),
        ("2024-03-01T10:30:00.123Z", 1_709_289_000_123),
        ("2024-03-01T10:30", 1_709_289_000_000),
        ("2024-03-01T12:30:00+02:00", 1_709_289_000_000),
    ],
)
def test_times_and_dates(text: str, ms: int) -> None:
    """Of UTC where they do not say otherwise; `after` holds its moment, `before` does not."""
    query = Query.of("a", after=text, before=text)
    assert query.after_ms == query.before_ms == ms
    message = Message("user", "a", "m-1", ms)
    assert Query.of("a", after=text).finds(message)
    assert not Query.of("a", before=text).finds(message)
    earlier = Message("user", "a", "m-1", ms - 1)
    assert not Query.of("a", after=text).finds(earlier)
    assert Query.of("a", before=text).finds(earlier)


def test_reason_and_role() -> None:
    """By their names in the files."""
    query = Query.of("a", role="user", reason="disconnect")
    assert (query.role, query.reason) == ("user", Reason.DISCONNECT)
    assert not query.finds(Message("assistant", "a", "m-1", 0))
