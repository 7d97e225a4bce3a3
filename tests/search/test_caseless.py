"""Text as search compares it."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.chat_server.search import caseless
from modules.chat_server.search.caseless import Folded, fold, pieces
from tests.search.support import naive_fold, texts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("Caf\u00e9", "CAFE\u0301"),
        ("\u1112\u1161\u11ab", "한"),
        ("ﬁn", "FIN"),
        ("\u2126", "ω"),
        ("\U00010400", "\U00010428"),
        ("\U0002f800", "丽"),
    ],
)
def test_case_and_composition_make_no_difference(one: str, other: str) -> None:
    """By Unicode's full case folding, and whatever form the accents come in."""
    assert fold(one) == fold(other)


def test_what_differs_otherwise_differs() -> None:
    """An accent is no matter of case."""
    assert len({fold(each) for each in ("e", "é", "è", "ё", "i", "ı", "İ")}) == 7


@given(texts | st.text(max_size=2000))
def test_a_text_is_cut_where_that_changes_nothing(text: str) -> None:
    """The pieces folded are the whole folded, wherever a place to cut is near."""
    assert fold(text) == naive_fold(text)
    cut = list(pieces(text))
    assert "".join(cut) == text
    if all(len(piece) <= 288 for piece in cut) and len(text) <= 256:
        assert len(cut) <= 1


@given(st.lists(texts, min_size=1, max_size=200))
def test_pieces_fold_to_their_parts(parts: list[str]) -> None:
    """Also in long texts with a place to cut here and there."""
    text = "word ".join(parts)
    assert "".join(map(fold, pieces(text))) == fold(text)


def test_nothing_combines_with_what_stands_before_a_place_to_cut() -> None:
    """Of all characters that a piece may begin with, and of what they fold to."""
    seconds = {
        chr(int(parts[1], 16))
        for code in range(sys.maxunicode + 1)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and not parts[0].startswith("<")
    } | {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for first, last in caseless._BEGINNERS:
        for code in range(ord(first), ord(last) + 1):
            for text in (chr(code), fold(chr(code))):
                assert not unicodedata.combining(text[0]) and text[0] not in seconds, hex(code)


@given(texts, texts, texts)
def test_the_way_back_leads_to_what_was_folded(before: str, word: str, after: str) -> None:
    """The part of the text that is told for a match holds it; at most a few characters more."""
    text = f"{before} {word}. {after}"
    folded = Folded(text)
    part = fold(word)
    at = folded.folded.find(part)
    if part and at >= 0:
        begin, end = folded.origin(at, at + len(part))
        assert 0 <= begin < end <= len(text)
        assert part in fold(text[begin:end])
        assert end - begin <= 3 * len(part) + 8


def test_the_way_back_in_a_long_text() -> None:
    """Behind thousands of characters that fold to more or fewer than they are."""
    text = "Straße e\u0301 İ ﬁ 日本\n" * 2000 + "the needle" + " ß" * 2000
    folded = Folded(text)
    at = folded.folded.index("needle")
    begin, end = folded.origin(at, at + 6)
    assert text[begin:end] == "needle"


def test_a_text_without_a_place_to_cut_is_cut_anywhere() -> None:
    """What it costs goes by its length; the way back stays inside of it."""
    text = "\u0301" * 100_000
    folded = Folded(text)
    begin, end = folded.origin(99_000, 99_001)
    assert 98_000 < begin < end <= 100_000
