"""Text from outside, on its way to a terminal."""

from __future__ import annotations

import pytest

from potoserver import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\x08\x7f\x00", r"a\rb\x08\x7f\x00"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("left \u202e right \u2066 \u2028", r"left \u202e right \u2066 \u2028"),
        ("lone \ud800", r"lone \ud800"),
    ],
)
def test_nothing_in_a_text_commands_a_terminal(text: str, shown: str) -> None:
    """Each control is written out."""
    assert visible(text) == shown
    shown.encode()


@pytest.mark.parametrize(
    "text",
    ["two\nlines\tand tab", "Grüße, 你好\u3000世界", "👩\u200d👩\u200d👧 ❤\ufe0f", "a\u00a0b", "שלום\u200f!"],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    """Whatever the script."""
    assert visible(text) == text
