"""Ids of users and events, and the bytes of an event."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potoserver import Event, User, folder_name
from potoserver.events import EventId, Frame, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("user_id", "folder"),
    [
        ("a1", "a1"),
        ("A1", "%411"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("../../etc/passwd", "%2E./../etc/passwd".replace("/", "%2F")),
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("a.b@c.org", "a.b@c.org"),
        ("%41", "%2541"),
        ("é", "%C3%A9"),
        ("🙂", "%F0%9F%99%82"),
        ("a\x00b", "a%00b"),
        ("a ", "a%20"),
    ],
)
def test_a_users_folder_is_the_id_where_safe_else_percent_encoded(user_id: str, folder: str) -> None:
    """No id names anything but a folder of its own."""
    assert folder_name(user_id) == folder


@pytest.mark.parametrize("user_id", ["", "\ud800", "x" * 201, "🙂" * 20])
def test_an_id_that_can_have_no_folder_is_refused(user_id: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match="user id must not"):
        User.create(user_id)


@given(TEXT, TEXT)
def test_two_ids_never_share_a_folder_even_where_case_is_ignored(one: str, other: str) -> None:
    """Folding case keeps names apart, and every name is plain."""
    for pair in ((one, other), (one, one.swapcase()), (one, one.upper())):
        try:
            names = [folder_name(each) for each in pair]
        except ValueError:
            continue
        assert (names[0].casefold() == names[1].casefold()) == (pair[0] == pair[1])
        assert all(re.fullmatch(r"(?!\.)[a-z0-9_@+.%A-F-]+(?<!\.)", name) for name in names)


@given(TEXT)
def test_an_event_is_one_data_line_whatever_its_text(text: str) -> None:
    """No text of a message can begin another field of the stream."""
    raw = Frame.encode("message", to_json({"content": text}), EventId("e", 1)).raw.decode()
    fields = [line.partition(":")[0] for line in re.split("\r\n|\r|\n", raw)]
    assert fields == ["id", "event", "data", "", ""]


def test_a_frame_is_one_chunk_of_a_chunked_body() -> None:
    """Size in hexadecimal, the bytes, an end of line (RFC 9112, section 7.1)."""
    frame = Frame.encode("note", '"é"')
    assert frame.chunked == b"%x\r\n" % len(frame.raw) + frame.raw + b"\r\n"


@pytest.mark.parametrize("event_type", ["", "a\nb", "a\rb", "a\0", "é", " a", "x" * 129])
def test_an_event_type_that_would_break_the_stream_is_refused(event_type: str) -> None:
    """Control characters above all."""
    with pytest.raises(ValueError, match="event type"):
        Event(event_type)
