"""Text in pieces: reasoning told from reply, characters kept whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.chat_server.responders.think import ThinkSplitter, WholeCharacters


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    parts = [*map(splitter.feed, pieces), splitter.flush()]
    return "".join(text for text, _ in parts), "".join(thought for _, thought in parts)


@pytest.mark.parametrize(
    ("text", "reply", "reasoning"),
    [
        ("<think>a b</think>\n\nhello <think>x</think>", "hello <think>x</think>", "a b"),
        (" \n<think>never closed", "", "never closed"),
        ("plain", "plain", ""),
        ("<thi", "<thi", ""),
        ("  <thing> x", "  <thing> x", ""),
        ("<think></think>ok", "ok", ""),
        ("<think>a</th</think>b  ", "b  ", "a</th"),
        ("<think>a</thi", "", "a</thi"),
        ("<think>a</think>", "", "a"),
        (" ", " ", ""),
    ],
)
def test_a_leading_block_is_reasoning_however_it_is_cut(text: str, reply: str, reasoning: str) -> None:
    """Whole, in single characters, and at every place in two."""
    assert split([text]) == (reply, reasoning)
    assert split(list(text)) == (reply, reasoning)
    for place in range(len(text)):
        assert split([text[:place], text[place:]]) == (reply, reasoning)


@given(st.text(), st.integers(0, 50))
def test_characters_split_between_pieces_come_out_whole(text: str, place: int) -> None:
    """Surrogate pairs are joined, lone ones replaced: what comes out can be written to a file."""
    units = text.encode("utf-16-le", "surrogatepass")
    pairs = [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
    whole = WholeCharacters()
    out = whole.feed("".join(pairs[:place])) + whole.feed("".join(pairs[place:])) + whole.flush()
    assert out == "".join(pairs).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    out.encode()


def test_blanks_without_end_are_a_reply() -> None:
    """Nothing is held back for ever in case that a block begins behind them."""
    splitter = ThinkSplitter()
    pieces = [splitter.feed(" " * 1000) for _ in range(100)]
    assert pieces[0] == ("", "")
    assert sum(len(text) for text, _ in pieces) == 100_000


def test_reasoning_that_came_apart_ends_with_the_blanks_behind_it() -> None:
    """As behind a block; blanks further on are the reply's own, and so are tags."""
    splitter = ThinkSplitter()
    assert splitter.feed("", "a ") == ("", "a ")
    assert splitter.feed("\n", "b") == ("", "b")
    assert splitter.feed("\n ", "") == ("", "")
    assert splitter.feed("<think> yes\n") == ("<think> yes\n", "")
    assert splitter.feed("\n", "late") == ("\n", "late")
    assert splitter.flush() == ("", "")
