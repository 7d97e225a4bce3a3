"""Reads the event stream format (HTML standard, section 9.2.6), however its bytes are cut into chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from potoserver.client.errors import ProtocolError

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 64 * 1024 * 1024
"""An event larger than any that a server sends; without a limit one that never ends would fill the memory."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One dispatched event.

    Attributes:
        type: Its type, `message` where none was given.
        data: Its data, lines joined by line feeds.
        last_id: The stream's last event id as of this event; empty where there was none yet.
        has_id: Whether the event itself brought an id.
    """

    type: str
    data: str
    last_id: str
    has_id: bool


class EventStreamParser:
    """Turns the bytes of one stream into events, by the rules of the HTML standard.

    What stands at the end of a stream without an empty line behind it is no event, and its id does not
    count: after a cut the stream is resumed from the `last_id` of the last event.

    Args:
        last_id: With which last event id the stream was asked for.
        max_event_bytes: The largest event.

    Attributes:
        retry_ms: The reconnection time that the stream has given, in milliseconds; None for none.
    """

    def __init__(self, last_id: str = "", max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_ms: int | None = None
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()
        """The line that has not ended yet. Grown in place, however many chunks it takes."""
        self._size = 0
        self._first_line = True
        self._skips_line_feed = False
        self._id = last_id
        self._has_id = False
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[RawEvent]:
        """The events that end within these bytes, the next of the stream.

        Raises:
            ProtocolError: An event is larger than any may be.
        """
        if self._skips_line_feed and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._skips_line_feed = False
        if not chunk:
            return
        self._skips_line_feed = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for piece in ended:
            self._grow(piece)
            line, self._line = self._line, bytearray()
            event = self._take(line)
            if event is not None:
                yield event
        if rest:
            self._grow(rest)

    def _grow(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_event_bytes:
            raise ProtocolError(f"an event of more than {self._max_event_bytes} bytes")
        self._line += piece

    def _take(self, line: bytearray) -> RawEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
            self._has_id = True
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= 9:
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> RawEvent | None:
        """The event that the empty line ends. Without data it is none, but its id counts."""
        event = None
        if self._data:
            event = RawEvent(self._type or "message", "\n".join(self._data), self._id, self._has_id)
        self._type = ""
        self._data.clear()
        self._has_id = False
        self._size = 0
        return event
