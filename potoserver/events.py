"""Events, their ids, and their one encoding for the wire."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

_EVENT_TYPE = re.compile(r"[!-~][ -~]{0,127}")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_EVENT_ID = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,17})")


class EventId(NamedTuple):
    """The id of an event in a user's log: `<epoch>-<seq>` on the wire.

    Attributes:
        epoch: Names one life of the log; it changes when the log is lost. Of `[a-z0-9]`.
        seq: Counts up by one or more within the epoch; 0 stands for an empty log.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """The id that `text` spells, or None where it spells none."""
        match = _EVENT_ID.fullmatch(text)
        return cls(match[1], int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user's connections are told.

    Attributes:
        type: The SSE event type: 1 to 128 visible ASCII characters (blanks inside allowed).
        data: Any JSON value.
        group: Names something that grows, event by event, until it is finished (the deltas of one reply).
        replaces: Names the group that this event finishes: the group's events leave the log and are
            not replayed any more.
    """

    type: str
    data: Any = None
    group: str | None = None
    replaces: str | None = None

    def __post_init__(self) -> None:
        # A line break in a type would let a caller forge fields of the stream.
        if not _EVENT_TYPE.fullmatch(self.type):
            raise ValueError(f"an event type must be 1 to 128 visible ASCII characters, not {self.type!r}")


def to_json(value: Any) -> str:
    """Compact JSON on a single line, non-ASCII kept as it is."""
    return _ENCODER.encode(value)


class Frame:
    """An event's bytes, encoded once however many connections get them.

    Attributes:
        chunked: The bytes as one chunk of a chunked body (RFC 9112 section 7.1): they go to the socket
            directly, and nearly every client's body is one.
        size: How many bytes the event has without that.
    """

    __slots__ = ("_raw", "chunked", "size")

    def __init__(self, raw: bytes) -> None:
        self.chunked = b"%x\r\n%b\r\n" % (len(raw), raw)
        self.size = len(raw)
        self._raw: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The event's bytes alone, made when they are first asked for: few clients speak HTTP/1.0."""
        if self._raw is None:
            self._raw = self.chunked[-2 - self.size : -2]
        return self._raw

    @classmethod
    def encode(
        cls,
        event_type: str,
        data_json: str,
        event_id: EventId | None = None,
        retry_ms: int | None = None,
    ) -> Frame:
        """As `encode_event`."""
        return cls(encode_event(event_type, data_json, event_id, retry_ms))


def encode_event(
    event_type: str,
    data_json: str,
    event_id: EventId | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """Encodes one event of the HTML standard's event stream format (section 9.2.6).

    Args:
        event_type: As in `Event.type`.
        data_json: The data, as `to_json` gives it: no line break.
        event_id: Its place in the log, for log events.
        retry_ms: The client's reconnection time, for the opening event.
    """
    event = f"event: {event_type}\ndata: {data_json}\n\n"
    if event_id is not None:
        event = f"id: {event_id}\n{event}"
    if retry_ms is not None:
        event = f"retry: {retry_ms}\n{event}"
    return event.encode("utf-8")


HEARTBEAT = Frame(b":\n\n")
"""A comment: keeps proxies from closing a silent stream; no client sees an event."""
