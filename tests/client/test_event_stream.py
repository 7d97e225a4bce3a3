"""The parsers of event streams, Python's and the pages', keep to the HTML standard, however bytes are cut."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

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


NODE = shutil.which("node")
STATIC = Path(__file__).parents[2] / "potoserver" / "web" / "static"
PARSE_LINES = """
const { EventParser } = await import("./poto-events.js");
const { createInterface } = await import("node:readline");
for await (const line of createInterface({ input: process.stdin })) {
  const { chunks, limit } = JSON.parse(line);
  const parser = new EventParser(limit ?? undefined);
  const events = [];
  let fault = null;
  try {
    for (const chunk of chunks) {
      for (const { type, data } of parser.feed(Buffer.from(chunk, "base64"))) events.push([type, data]);
    }
  } catch (error) {
    fault = `${error.name}: ${error.message}`;
  }
  console.log(JSON.stringify([events, fault]));
}
"""

PageParser = Callable[..., tuple[list[list[str]], str | None]]
"""What a page makes of chunks, under an event's limit: types and data of the events, and the fault if any."""


@pytest.fixture(scope="module")
def parse_in_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageParser]:
    """The parser of poto-client.js, in one process of node."""
    if NODE is None:
        pytest.skip("node is not installed")
    folder = tmp_path_factory.mktemp("static")
    (folder / "package.json").write_text(
        '{"type": "module"}'
    )  # else node takes .js for what came before modules
    for name in ("poto-events.js", "poto-error.js"):
        shutil.copy(STATIC / name, folder)
    (folder / "parse.js").write_text(PARSE_LINES)
    with subprocess.Popen(
        [NODE, "parse.js"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        def parse(*chunks: bytes, limit: int | None = None) -> tuple[list[list[str]], str | None]:
            encoded = [base64.b64encode(chunk).decode() for chunk in chunks]
            stdin.write(json.dumps({"chunks": encoded, "limit": limit}) + "\n")
            stdin.flush()
            events, fault = json.loads(stdout.readline())
            return events, fault

        yield parse


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


@pytest.mark.parametrize("stream", STREAMS)
def test_a_page_is_told_the_same_wherever_it_is_cut(stream: bytes, parse_in_page: PageParser) -> None:
    """By `poto-client.js`, which looks at types and data alone."""
    expected = [[kind, data] for kind, data, _ in STREAMS[stream]]
    for cut in range(len(stream) + 1):
        assert parse_in_page(stream[:cut], stream[cut:]) == (expected, None), cut
    assert parse_in_page(*(bytes([byte]) for byte in stream)) == (expected, None)


PARTS = [
    b"\r",
    b"\n",
    b":",
    b" ",
    b"data",
    b"id",
    b"event",
    b"x",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xe2\x82",
    "é".encode(),
]


any_stream = given(
    st.lists(st.sampled_from(PARTS)).map(b"".join) | st.binary(max_size=200),
    st.lists(st.integers(0, 200), max_size=5),
)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(places)]


@any_stream
def test_bytes_of_any_kind_say_the_same_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    """Nothing that comes can make it depend on the chunks."""
    whole = EventStreamParser()
    expected = list(whole.feed(stream))
    parser = EventStreamParser()
    assert [event for piece in pieces_of(stream, cuts) for event in parser.feed(piece)] == expected
    assert parser.retry_ms == whole.retry_ms


@any_stream
def test_a_page_makes_the_same_of_bytes_of_any_kind(
    parse_in_page: PageParser, stream: bytes, cuts: list[int]
) -> None:
    """As `PotoClient` does."""
    expected = [[event.type, event.data] for event in EventStreamParser().feed(stream)]
    assert parse_in_page(*pieces_of(stream, cuts)) == (expected, None)


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


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b": x\n"])
def test_an_event_without_end_is_given_up_by_a_page(piece: bytes, parse_in_page: PageParser) -> None:
    """As a broken connection; what came before it counts."""
    events, fault = parse_in_page(b"data: 1\n\n", *[piece] * 1001, limit=1000)
    assert (events, fault) == ([["message", "1"]], "PotoError: An event of more than 1000 characters.")


def test_a_line_in_many_pieces_takes_no_more_memory_than_it_has_bytes() -> None:
    """However small they are: the limit is also one of what is held."""
    parser = EventStreamParser()
    tracemalloc.start()
    try:
        for _ in range(10_000):
            assert list(parser.feed(bytes([120, 121]))) == []
        assert tracemalloc.get_traced_memory()[0] < 60_000
    finally:
        tracemalloc.stop()


def test_many_small_events_are_never_too_much() -> None:
    """The limit is one event's, heartbeats in between are none."""
    parser = EventStreamParser(max_event_bytes=20)
    for _ in range(100):
        assert len(list(parser.feed(b":\n\ndata: 1\n\n"))) == 1
