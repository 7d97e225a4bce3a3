"""Event streams as a client gets them: from a server, or from whoever answers in its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from potoserver.client.errors import ProtocolError
from potoserver.client.event_stream import MAX_EVENT_BYTES, EventStreamParser, RawEvent
from tests.fuzz.target import Target

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass
class _Told:
    """What a stream says.

    Attributes:
        fits: Whether no event was too large; if one was, the others are those before it.
    """

    events: list[RawEvent] = field(default_factory=list)
    retry_ms: int | None = None
    fits: bool = True


def check_event_stream(data: bytes) -> None:
    """However it comes in chunks, it says what the standard's steps make of it, and no event is too large.

    The first byte is the limit of an event (0 for the default one), the second how many chunks come before
    the last, then each one's length, then the stream.
    """
    limit, count = data[:2].ljust(2, b"\0")
    lengths, stream = data[2 : 2 + count % 8], data[2 + count % 8 :]
    expected = _by_the_standard(stream, "e-1", limit or MAX_EVENT_BYTES)
    parser = EventStreamParser("e-1", limit or MAX_EVENT_BYTES)
    told = _Told()
    try:
        for length in (*lengths, len(stream)):
            for event in parser.feed(stream[:length]):
                told.events.append(event)  # at once: those before a fault count
            stream = stream[length:]
    except ProtocolError:
        told.fits = False
    told.retry_ms = parser.retry_ms if told.fits else expected.retry_ms
    assert told == expected


def _by_the_standard(stream: bytes, last_id: str, limit: int) -> _Told:
    """HTML standard, section 9.2.6, step by step, of a stream that is there as a whole.

    Beyond it: a `retry` of more than nine digits is no time, and an event has a limit.
    """
    told = _Told()
    kind, data, has_id, size = "", "", False, 0
    lines = _LINE_END.split(stream.decode("utf-8", "replace").removeprefix("\ufeff"))
    sizes = [len(line) for line in re.split(b"\r\n|\n|\r", stream)]
    for line, line_size in zip(lines[:-1], sizes, strict=False):
        size += line_size
        if size > limit:
            told.fits = False
            return told
        if line == "":
            if data:
                told.events.append(RawEvent(kind or "message", data.removesuffix("\n"), last_id, has_id))
            kind, data, has_id, size = "", "", False, 0
        name, value = line, ""
        if ":" in line:
            name, value = line.split(":", 1)
            value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id, has_id = value, True
        elif name == "retry" and re.fullmatch("[0-9]{1,9}", value):
            told.retry_ms = int(value)
    told.fits = size + sizes[-1] <= limit
    return told


TARGETS = (
    Target(
        "event-stream",
        check_event_stream,
        (
            b"\0\0data: YHOO\ndata: +2\ndata: 10\n\n",
            b"\0\x01\x01: test\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n",
            b"\0\0data\n\ndata\ndata\n\ndata:",
            b"\0\x03\x0b\x01\x06event: add\r\ndata: 1\r\n\r\nevent: rm\rdata: 2\r\r",
            b"\0\x02\x01\x01\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n",
            b"\0\x01\x16id: 7\ndata: 1\n\nid: 8\0\ndata: 2\n\nid: 9\n\ndata: 3\n\n",
            b"\0\0retry: 10\nretry: 1.5\nretry: \xc2\xb2\nretry: 9999999999\n\ndata: 1\n\n",
            b"\0\x01\x08data: \xe2\x82\xac \xe2\x82\ndata: \xff\xfe\xf0\x9f\n\n",
            b"\x14\0:\n\ndata: 1\n\n:\n\ndata: 0123456789abcdef\n\n",
            b"\x10\x02\x07\x07data: 0123456789abcdef",
        ),
    ),
)
