"""Names that come from outside: event ids, archive ids and cursors, users' ids, patterns of loggers."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from modules.chat_server.journal.layout import archive_order
from potoserver.events import Event, EventId, Frame, to_json
from potoserver.logs.levels import DebugPatterns
from potoserver.users import MAX_FOLDER_NAME_BYTES, folder_name
from potoserver.web.tickets import _continues, _ids_of
from tests.fuzz.target import Target, fields, header_text
from tests.support.sse import parse_events

_ENCODED = re.compile("%[0-9A-F]{2}")


def check_event_id(data: bytes) -> None:
    """An id is what it is written as; a ticket's record goes on with ids of its own epoch alone."""
    text, record = map(header_text, fields(data, 2))
    found = EventId.parse(text)
    if found is not None:
        assert str(found) == text
        assert EventId.parse(str(found)) == found
        assert parse_events(Frame.encode("note", "1", found).raw)[0].id == text
    if _continues(record, text):
        assert found is not None
        assert any(each.epoch == found.epoch and each.seq <= found.seq for each in _ids_of(record))


def check_event(data: bytes) -> None:
    """Whatever type and data a module gives: one event comes out, with just these."""
    kind, text = (part.decode("utf-8", "replace") for part in fields(data, 2))
    try:
        event = Event(kind, text)
    except ValueError:
        return
    (received,) = parse_events(Frame.encode(event.type, to_json(event.data), EventId("e", 1), 5).raw)
    assert (received.type, received.data, received.id, received.retry_ms) == (kind, text, "e-1", 5)


def check_user_id(data: bytes) -> None:
    """The folder's name is safe, and tells the id."""
    text = header_text(data)
    try:
        name = folder_name(text)
    except ValueError:
        return
    assert unquote_to_bytes(name).decode() == text
    assert len(name) <= MAX_FOLDER_NAME_BYTES
    assert name.isascii()
    assert not {"/", "\\", "\0"} & set(name)
    assert name == name.strip(".")
    # Hex digits are always capitals, so ids that differ in case alone differ where case is ignored, too.
    assert not any(map(str.isupper, _ENCODED.sub("", name)))


def check_archive_id(data: bytes) -> None:
    """What is taken for an archive's id is a plain name, and sorts."""
    first, second = (part.decode("utf-8", "replace") for part in fields(data, 2))
    order, other = archive_order(first), archive_order(second)
    if order is None:
        return
    assert "/" not in first
    assert "." not in first
    assert first.isascii()
    assert first == order[0] if order[1] == 1 else first == f"{order[0]}-{order[1]}"
    assert other is None or (order == other) == (first == second)


def check_debug_patterns(data: bytes) -> None:
    """Any text is a list of patterns; the one that takes everything out matches nothing."""
    patterns, logger = (part.decode("utf-8", "replace") for part in fields(data, 2))
    DebugPatterns(patterns).match(logger)
    assert DebugPatterns(f"{patterns} *").match(logger) or "-" in patterns
    assert not DebugPatterns(f"{patterns} -*").match(logger)


TARGETS = (
    Target(
        "event-id",
        check_event_id,
        (
            b"5f2c91d0aa-17",
            b"e-0\0e-0",
            b"e-9\0a-1 e-8",
            b"e-07",
            b"E-1",
            b"e-" + b"9" * 19,
            b"e-1\n",
            b"used\0used",
            "e-١".encode(),
            b"\xff-1\0\xff-1",
        ),
    ),
    Target("event", check_event, (b"message\0{}", b"a b\0line\nbreak\r\0", b"note\0 \xf0\x9f\x98\x80")),
    Target(
        "user-id",
        check_user_id,
        (
            b"a1",
            b"A1",
            b"..",
            b".",
            b"a/b",
            b"%41",
            b"x" * 201,
            "ä@example.org".encode(),
            b"\xed\xa0\x80",
            b"a\0b",
            b"CON",
        ),
    ),
    Target(
        "archive-id",
        check_archive_id,
        (
            b"2024-01-15-10-30-00",
            b"2024-01-15-10-30-00-2\0002024-01-15-10-30-00",
            b"2024-01-15-10-30-00-1",
            b"../2024-01-15-10-30-00",
            "٢024-01-15-10-30-00".encode(),
            b"2024-01-15-10-30-00\n",
        ),
    ),
    Target(
        "debug-patterns",
        check_debug_patterns,
        (
            b"session:*,journal:*,-session:activity\0session:lifecycle",
            b"*\0sse",
            b"-*\0sse",
            b"a*b*c\0abbc",
            b"*a" * 30 + b"b\0" + b"a" * 60,
            b"[\\",
        ),
    ),
)
