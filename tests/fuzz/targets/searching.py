"""What a search takes from outside: the query, the cursor, and the files that it looks at."""

from __future__ import annotations

from modules.chat_server.journal.dialog_yaml import NotADialogError, parse_dialog
from modules.chat_server.journal.records import Message
from modules.chat_server.search import Query, QueryError
from modules.chat_server.search.caseless import fold
from modules.chat_server.search.prefilter import Prefilter
from modules.chat_server.search.searcher import _Position
from modules.chat_server.search.snippet import snippet_of
from tests.fuzz.target import Target, fields
from tests.search.support import dialog_bytes, laid_out, naive_has


def check_query(data: bytes) -> None:
    """What is found holds every word, and its snippet shows at least one."""
    query, after, text = (part.decode("utf-8", "ignore") for part in fields(data, 3))
    try:
        asked = Query.of(query, after=after or None, title=query)
    except QueryError:
        return
    assert all(asked.words)
    found = asked.finds(Message("user", text, "m-1", asked.after_ms or 0))
    assert found == naive_has(text, asked.words)
    if found:
        snippet = snippet_of(text, asked.words)
        assert any(part.match for part in snippet)
        assert len("".join(part.text for part in snippet)) <= 162


def check_cursor(data: bytes) -> None:
    """What is taken for a cursor is one."""
    text = data.decode("utf-8", "replace")
    try:
        position = _Position.parse(text)
    except ValueError:
        return
    assert _Position.parse(str(position)) == position
    assert text.isascii()


def check_file(data: bytes) -> None:
    """No file that holds the word is passed over, whatever it looks like."""
    file, _, end = data.rpartition(b"\0")
    word = end.decode("utf-8", "ignore")
    try:
        messages = parse_dialog(file).messages
    except NotADialogError:
        return
    if word and any(naive_has(message.content, [word]) for message in messages):
        assert Prefilter([fold(word)]).may_hold(file)


_FILE = dialog_bytes(['Straße \U0001f600 \\ "x"', "two\nlines"])

TARGETS = (
    Target(
        "search-query",
        check_query,
        (
            b'say "hello world"\0002024-03-01\0Say: Hello World',
            "STRASSE\0\0die Straße".encode(),
            b'"\0\0"',
            b" ".join(b"%d" % number for number in range(40)),
            b"x" * 1001,
            b"a\0002024-03-01T10:30:00+02:00\0A",
            "e\u0301\0\0É".encode(),
        ),
    ),
    Target(
        "search-cursor",
        check_cursor,
        (b"2024-01-15-10-30-00", b"2024-01-15-10-30-00-2:17", b"2024-01-15-10-30-00:", b":1", b"x:1"),
    ),
    Target(
        "search-file",
        check_file,
        (
            _FILE + b"\0STRASSE",
            _FILE + b"\0lines",
            *(laid_out(_FILE, seed) + "\0straße".encode() for seed in range(6)),
            _FILE.replace(b"two", b"t\\u0077o") + b"\0x",
            _FILE.replace("Straße".encode(), b"t\\u0077o") + b"\0two",
        ),
    ),
)
