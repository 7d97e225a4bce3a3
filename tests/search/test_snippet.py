"""The part of a message that shows why it was found."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modules.chat_server.search.caseless import fold
from modules.chat_server.search.snippet import SnippetPart, snippet_of
from tests.search.support import naive_has, texts


def marked(text: str, *words: str) -> str:
    """A snippet with its matches in brackets."""
    parts = snippet_of(text, tuple(map(fold, words)))
    return "".join(f"[{part.text}]" if part.match else part.text for part in parts)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Hello there", ["hello"], "[Hello] there"),
        ("one two one", ["one", "two"], "[one] [two] [one]"),
        ("oneone", ["one"], "[oneone]"),
        ("abcd", ["abc", "bcd"], "[abcd]"),
        ("die Straße hier", ["STRASSE"], "die [Straße] hier"),
        ("die Straße hier", ["tras"], "die S[traß]e hier"),
        ("die Straße hier", ["sse h"], "die Stra[ße h]ier"),
        ("Cafe\u0301s", ["café"], "[Cafe\u0301]s"),
        ("x 😀 y", ["😀"], "x [😀] y"),
        ("İstanbul", ["stan"], "İ[stan]bul"),
        ("日本語の文", ["本語"], "日[本語]の文"),
        ("word " * 40 + "needle " + "more " * 40, ["needle"], None),
    ],
)
def test_what_was_looked_for_is_marked(text: str, words: list[str], expected: str | None) -> None:
    """In the text as it stands, whatever case it has there; cut at words, with `…` where it is cut."""
    shown = marked(text, *words)
    if expected is not None:
        assert shown == expected
        return
    assert shown.startswith("…word ") and shown.endswith(" more…") and " [needle] more" in shown
    assert 140 <= len(shown) <= 166


@given(st.lists(texts, min_size=1, max_size=40), st.integers(0, 30), st.integers(1, 30))
def test_a_snippet_is_a_part_of_the_text_that_holds_the_match(
    parts: list[str], begin: int, size: int
) -> None:
    """About 160 characters of it, in parts of which no two neighbours are of a kind."""
    text = "".join(parts)
    word = text[begin : begin + size].strip().upper()
    assume(word and naive_has(text, [word]))
    snippet = snippet_of(text, (fold(word),))
    joined = "".join(part.text for part in snippet)
    assert len(joined) <= 162
    first, last = joined.startswith("…") and not text.startswith(joined), joined.endswith("…")
    assert joined[1 if first else 0 : -1 if last and joined not in text else None] in text
    assert all(part.text for part in snippet)
    assert all(one.match != other.match for one, other in pairwise(snippet))
    assert any(part.match for part in snippet)


def test_a_match_longer_than_the_snippet_is_marked_as_far_as_it_goes() -> None:
    """A phrase may have a thousand characters."""
    phrase = "word " * 150
    snippet = snippet_of("before " + phrase + "after", (fold(phrase.strip()),))
    assert snippet[0] == SnippetPart("before ", match=False)
    assert snippet[1].match
    assert snippet[-1] == SnippetPart("…", match=False)
