"""Which files are read: every one that holds what is looked for."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modules.chat_server.journal.dialog_yaml import NotADialogError, parse_dialog
from modules.chat_server.search.caseless import fold
from modules.chat_server.search.prefilter import Prefilter
from tests.search.support import dialog_bytes, laid_out, naive_has, texts


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Messages, and words that are mostly parts of them, in another case or composition."""
    contents = draw(st.lists(texts, min_size=1, max_size=4))
    words = []
    for _ in range(draw(st.integers(1, 3))):
        source = draw(st.sampled_from(contents) | texts)
        begin = draw(st.integers(0, max(0, len(source) - 1)))
        word = source[begin : begin + draw(st.integers(1, 8))]
        words.append(draw(st.sampled_from([word, word.upper(), word.lower(), word.casefold()])))
    return contents, [word for word in words if word]


@settings(max_examples=400)
@given(cases(), st.none() | st.integers(0, 2**32))
@example((["a\nb"], ["a\nb"]), None)
@example((["\U0002f800"], ["丽"]), 1)
@example((["hello world and so on"], ["world and so"]), 2)
def test_no_file_that_holds_a_match_is_passed_over(
    case: tuple[list[str], list[str]], seed: int | None
) -> None:
    """Whatever the text, the words and the layout, the server's own or any other that YAML allows."""
    contents, words = case
    data = dialog_bytes(contents)
    if seed is not None:
        data = laid_out(data, seed)
    try:
        messages = parse_dialog(data).messages
    except NotADialogError:
        return
    found = any(naive_has(message.content, words) for message in messages)
    assert Prefilter(map(fold, words)).may_hold(data) or not found


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "B",
                '"',
                "\\",
                "\\u0041",
                "\\x41",
                "\\U0001F600",
                "\\ ",
                "\\/",
                "\\_",
                "\\n",
                "\\t",
                "\\N",
                "\\\\",
                " ",
                "#",
            ]
        ),
        max_size=10,
    ).map("".join),
    st.sampled_from(["a", "ab", "A b", "\xa0", "/", "😀", "a b", "bu0041", "x41"]),
)
def test_escapes_that_people_write_hide_nothing(escaped: str, word: str) -> None:
    """In lines that look like the server's own."""
    data = dialog_bytes(["XXX"]).replace(b'"XXX"', b'"' + escaped.encode() + b'"')
    try:
        (message,) = parse_dialog(data).messages
    except NotADialogError:
        return
    assert Prefilter([fold(word)]).may_hold(data) or not naive_has(message.content, [word])


@pytest.mark.parametrize("word", ["needle", "zß", "日本"])
def test_files_without_the_word_are_not_read(word: str) -> None:
    """Else each search would read every archive as YAML."""
    for content in (
        "nothing of it",
        "some\nlines",
        "größer: 한국어",
        'quotes " and \\ in it',
        "C:\\users\\x",
    ):
        assert not Prefilter([fold(word)]).may_hold(dialog_bytes([content, content]))
    assert Prefilter([fold(word)]).may_hold(dialog_bytes(["nothing", f"a {word} in it"]))


def test_all_the_words_must_be_there() -> None:
    """And what may be escaped splits a word into parts, of which each must."""
    prefilter = Prefilter(["one", 'tw"zz'])
    assert prefilter.may_hold(dialog_bytes(["one", 'tw"zz']))
    assert not prefilter.may_hold(dialog_bytes(["one"]))
    assert not prefilter.may_hold(dialog_bytes(["one", "tw"]))
    assert Prefilter(['"']).may_hold(dialog_bytes(["anything"]))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"\xff", b"{", b"a: &a [1]\nb: *a\n"])
def test_what_is_no_dialog_is_left_to_who_reads_it(data: bytes) -> None:
    """Nothing is told from bytes that this server did not write."""
    assert Prefilter(["word"]).may_hold(data) or data == b""
