"""The parser of event streams keeps to the HTML standard, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potoserver.client.errors import ProtocolError
from potoserver.client.event_stream import EventStreamParser, RawEvent
from potoserver.events import EventId, Frame

STREAMS: dict[bytes, list[tuple[str, str, str]]] = {
    # The examples of the standard, section 9.2.6.
    b"data: YHOO\ndata: +2\ndata: 10\n\n": [("message", "YHOO\n+2\n10", "")],
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n": [
        ("message", "first event", "1"),
        ("message", "second event", ""),
        ("message", " third event", ""),
    ],
    b"data\n\ndata\ndata\n\ndata:": [("message", "", ""), ("message", "\n", "")],
    b"data:test\n\ndata: test\n\n": [("message", "test", ""), ("message", "test", "")],
    # Its rules, one by one.
    b"event: add\r\ndata: 1\r\n\r\nevent: rm\rdata: 2\r\r": [("add", "1", ""), ("rm", "2", "")],
    b"data: 1\r\n\ndata: 2\r\n\n\ndata: 3\n\r": [
        ("message", "1", ""),
        ("message", "2", ""),
        ("message", "3", ""),
    ],
    b"event: lost\n\ndata: 1\n\n": [("message", "1", "")],
    b"id: 7\n\ndata: 1\n\n": [("message", "1", "7")],
    b"id: 7\ndata: 1\n\nid: 8\0\ndata: 2\n\n": [("message", "1", "7"), ("message", "2", "7")],
    b"id: 7\ndata: 1\n\nid: 8\ndata: torn": [("message", "1", "7")],
    b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n": [("message", "1", "")],
    b"what: ever\ndata: 1\nDATA: 2\n:data: 3\n\n": [("message", "1", "")],
    "data: grüße 🙂\n\n".encode(): [("message", "grüße 🙂", "")],
    b"data: \xff\xfe\n\n": [("message", "��", "")],
    b"retry: 10\n\ndata: 1\n\n": [("message", "1", "")],
}


def told(events: list[RawEvent]) -> list[tuple[str, str, str]]:
    return [(event.type, event.data, event.last_id) for event in events]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_says_the_same_wherever_it_is_cut(stream: bytes) -> None:
    """In one piece, in two at every byte, and byte by byte."""
    expected = STREAMS[stream]
    for cut in range(len(stream) + 1):
        parser = EventStreamParser()
        assert told([*parser.feed(stream[:cut]), *parser.feed(stream[cut:])]) == expected, cut
    parser = EventStreamParser()
    assert told([event for byte in stream for event in parser.feed(bytes([byte]))]) == expected


PARTS = [b"\r", b"\n", b":", b" ", b"data", b"id", b"event", b"x", b"\0", b"\xef\xbb\xbf", "é".encode()]


@given(
    st.lists(st.sampled_from(PARTS)).map(b"".join) | st.binary(max_size=200),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_bytes_of_any_kind_say_the_same_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    """Nothing that comes can make it depend on the chunks."""
    whole = EventStreamParser()
    expected = list(whole.feed(stream))
    parser = EventStreamParser()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(places)]
    assert [event for piece in pieces for event in parser.feed(piece)] == expected
    assert parser.retry_ms == whole.retry_ms


def test_what_the_server_encodes_is_read_as_it_was_meant() -> None:
    """An id counts from the event's end on, and stays for those without one."""
    parser = EventStreamParser("old-1")
    frame = Frame.encode("message", '{"a":"ü"}', EventId("e", 7), retry_ms=250).raw
    assert list(parser.feed(frame[:-1])) == []
    assert parser.retry_ms == 250
    assert list(parser.feed(frame[-1:])) == [RawEvent("message", '{"a":"ü"}', "e-7", has_id=True)]
    (other,) = EventStreamParser("old-1").feed(Frame.encode("other", "{}").raw)
    assert other.last_id == "old-1"
    ping = Frame.encode("ping", "{}").raw
    assert list(parser.feed(ping)) == [RawEvent("ping", "{}", "e-7", has_id=False)]


@pytest.mark.parametrize("retry", [b"1.5", b"-1", b"", b"\xc2\xb2", b"9" * 400])
def test_a_retry_that_is_no_time_is_passed_over(retry: bytes) -> None:
    """Only ASCII digits count, and no more of them than a sensible time has."""
    parser = EventStreamParser()
    assert list(parser.feed(b"retry: " + retry + b"\n\n")) == []
    assert parser.retry_ms is None


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b": x\n"])
def test_an_event_without_end_is_given_up(piece: bytes) -> None:
    """What never ends would fill the memory."""
    parser = EventStreamParser(max_event_bytes=1000)
    with pytest.raises(ProtocolError, match="1000 bytes"):
        for _ in range(1001):
            list(parser.feed(piece))


def test_many_small_events_are_never_too_much() -> None:
    """The limit is one event's, heartbeats in between are none."""
    parser = EventStreamParser(max_event_bytes=20)
    for _ in range(100):
        assert len(list(parser.feed(b":\n\ndata: 1\n\n"))) == 1
