"""What a dialog is called: what was given, or its first words, from the whole of it or from its beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modules.chat_server.journal import Dialog, Message, Reason
from modules.chat_server.journal.dialog_yaml import (
    NotADialogError,
    emit_footer,
    emit_head,
    emit_message,
    parse_dialog,
)
from modules.chat_server.journal.first_words import first_words_in
from modules.chat_server.journal.scan import HEAD_BYTES, TAIL_BYTES, summarize
from modules.chat_server.journal.titles import (
    FIRST_WORDS_CHARS,
    MAX_TITLE_CHARS,
    as_title,
    fault_of,
    first_words,
    title_of,
    words_of,
)
from tests.faults.disk import FaultyDisk
from tests.journal.support import FIRST, USER, dialogs_of, message, opened

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello!", "Hello!"),
        ("  What\n\tis  this? ", "What is this?"),
        ("a\x00b\x1b[31m\u2028c\u202ed", "a b [31m cd"),
        ("", "…"),
        (" \n\u200a", "…"),
        ("word " * 12 + "end", "word " * 11 + "word…"),
        ("word " * 11 + "so, and more", "word " * 11 + "so…"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("one " + "x" * 100, "one " + "x" * 55 + "…"),
        ("字" * 100, "字" * 59 + "…"),
        ("x" * 57 + "e\u0301e\u0301" + "x", "x" * 57 + "e\u0301…"),
        ("x" * 58 + "e\u0301" + "xx", "x" * 58 + "…"),
        ("x" * 58 + "👩\u200d👩xx", "x" * 58 + "…"),
        ("x" * 57 + "👩\u200d👩xx", "x" * 57 + "…"),
        ("\u0301" * 100, "\u0301…"),
        ("x" * 30 + " " + "y" * 60, "x" * 30 + "…"),
        ("x" * 60 + " y", "x" * 59 + "…"),
        ("sentence " * 10, "sentence " * 5 + "sentence…"),
        ("x" * 60 + " " * 300 + "late", "x" * 59 + "…"),
        (" " * 5000 + "late", "late"),
    ],
)
def test_the_first_words_are_one_line_cut_at_a_word(text: str, expected: str) -> None:
    """Blanks are folded, what can't be seen is left out, and a cut one ends with an ellipsis."""
    assert words_of(text) == expected


@given(TEXTS)
def test_first_words_are_short_and_stay_as_they_are(text: str) -> None:
    """They never exceed their length, hold no line end, and their own first words are themselves."""
    words = words_of(text)
    assert 0 < len(words) <= FIRST_WORDS_CHARS
    assert words.splitlines() == [words]
    assert words_of(words) == words


def test_the_first_words_are_the_users() -> None:
    """A greeting of the assistant's does not name a dialog, unless nobody answered it."""
    greeting, question = message(1, "How can I help?"), message(2, "Tell me of trees")
    assert first_words([greeting, question]) == "Tell me of trees"
    assert first_words([greeting]) == "How can I help?"
    assert first_words([greeting, message(3, "Still there?")]) == "How can I help?"
    assert first_words([]) == "…"
    dialog = Dialog(FIRST, "a1", (greeting, question))
    assert title_of(dialog) == "Tell me of trees"
    assert title_of(replace(dialog, title="Trees")) == "Trees"


@pytest.mark.parametrize("text", ["Tell me", "Tell\nme", "x" * 60, "x" * 30 + "\n" + "x" * 29])
def test_a_beginning_tells_the_words_that_are_whole_in_it(text: str) -> None:
    """Of a text that is cut short it tells none, as long as more of it could be shown."""
    data = emit_head(FIRST, "a1") + emit_message(message(0, text))
    assert first_words_in(data) == words_of(text)
    longer = emit_head(FIRST, "a1") + emit_message(message(0, f"{text} and more"))
    with pytest.raises(NotADialogError, match="longer than its beginning"):
        first_words_in(longer[: longer.index(b" and more")])


@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(0, 1), st.integers(100, HEAD_BYTES))
@example(["a\nb" * 100], 0, 300)
@example(["😀" * 200], 0, 401)
@example(["\x85" * 300 + "x" * 70], 0, 1500)
def test_a_files_beginning_gives_the_same_words_or_none(texts: list[str], first: int, size: int) -> None:
    """Cut anywhere, what it tells is what the whole dialog tells."""
    messages = [message(number, text) for number, text in enumerate(texts, first)]
    data = b"".join(map(emit_message, messages))
    try:
        found = first_words_in(data[:size])
    except NotADialogError:
        return
    assert found == first_words(messages)


@pytest.mark.parametrize("text", ["word " * 5000, "line\n" * 5000 + "end", "😀 " * 5000, '\\" ' * 5000])
def test_a_long_first_message_is_named_from_the_head(text: str) -> None:
    """A list needs no more of a file than its first bytes, however long the first message is."""
    messages = [message(0, text), message(1)]
    data = emit_head(FIRST, "a1") + b"".join(map(emit_message, messages))
    data += emit_footer(FIRST.started_ms + 10, Reason.REQUEST, 2)
    summary = summarize("2024-01-15-10-12-03", data[:HEAD_BYTES], data[-TAIL_BYTES:])
    assert summary.shown_title == first_words(messages)


async def test_listing_reads_no_archive_whole(tmp_path: Path) -> None:
    """Whatever the first message's length, a list takes heads and tails alone."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        await journal.add_message(USER, message(0, "long " * 4000), FIRST)
        await journal.archive_conversation(USER)
        read: list[int] = []
        real = disk.read
        disk.read = lambda path, size, offset=0: read.append(size) or real(path, size, offset)  # type: ignore[method-assign, func-returns-value]
        page = await journal.list_archives(USER, 10, None)
    assert page.archives[0].shown_title == "long " * 11 + "long…"
    assert max(read) <= HEAD_BYTES


async def test_a_dialog_that_begins_with_a_long_greeting_is_named_by_its_user(tmp_path: Path) -> None:
    """Where the head does not reach the first question, the file is read on."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, Message("assistant", "hi " * 4000, "m-1", FIRST.started_ms), FIRST)
        await journal.add_message(USER, message(2, "Trees, please"), FIRST)
        await journal.archive_conversation(USER)
        page = await journal.list_archives(USER, 10, None)
    assert [each.shown_title for each in page.archives] == ["Trees, please"]


@pytest.mark.parametrize(
    ("title", "fault"),
    [
        ("x" * (MAX_TITLE_CHARS + 1), "must be at most 200 characters long"),
        ("a\nb", "must not contain line breaks or other control characters"),
        ("a\x1bb", "must not contain line breaks or other control characters"),
        ("a\u2028b", "must not contain line breaks or other control characters"),
        (" ", ""),
        ("", ""),
        ("x" * MAX_TITLE_CHARS, ""),
        ("Bäume 🌳 <b>", ""),
    ],
)
def test_what_cannot_be_a_title_is_named(title: str, fault: str) -> None:
    """A title is one line that can be seen, of 200 characters at most."""
    assert fault_of(title) == fault


def test_a_title_that_is_too_long_is_cut_without_a_blank_at_its_end() -> None:
    """As no title that is given has one."""
    assert as_title("x" * 199 + " yy") == "x" * 199
    assert as_title(" ") is None


@given(TEXTS)
def test_a_title_in_a_file_is_one_that_could_be_given(text: str) -> None:
    """Whatever a person writes into a file, and it comes back from the file as it is."""
    title = as_title(text)
    if title is not None:
        assert fault_of(title) == ""
        assert as_title(title) == title
        head = emit_head(FIRST, "a1", title, pinned=True)
        assert parse_dialog(head + emit_message(message(0))).title == title


def test_titles_and_pins_are_lines_of_the_head_alone_where_set() -> None:
    """A dialog with neither has the head that it always had."""
    plain = emit_head(FIRST, "a1")
    assert b"title" not in plain
    assert b"pinned" not in plain
    assert emit_head(FIRST, "a1", "Trees", pinned=True) == plain.replace(
        b"messages:\n", b'title: "Trees"\npinned: true\nmessages:\n'
    )


@pytest.mark.parametrize(
    ("marks", "title", "pinned"),
    [
        (b'title: "Trees"\npinned: true\n', "Trees", True),
        (b"title: null\npinned: false\n", None, False),
        (b'title: "a\\nb"\n', "a b", False),
        (b'title: ""\n', None, False),
        (b'pinned: true\ntitle: "by hand"\n', "by hand", True),
        (b"title: " + b"x" * 5000 + b"\n", "x" * 200, False),
    ],
)
async def test_titles_written_by_hand_are_taken(
    tmp_path: Path, marks: bytes, title: str | None, pinned: bool
) -> None:
    """In whatever order and length; listed and read alike."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        archive_id = await journal.archive_conversation(USER)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_bytes(path.read_bytes().replace(b"messages:\n", marks + b"messages:\n"))
        assert archive_id is not None
        dialog = await journal.get_archive(USER, archive_id)
        assert dialog is not None
        (summary,) = (await journal.list_archives(USER, 10, None)).archives
    assert (dialog.title, dialog.pinned) == (title, pinned)
    assert (summary.title, summary.pinned) == (title, pinned)


@pytest.mark.parametrize("marks", [b"title: [1]\n", b"title: 5\n", b'pinned: "yes"\n', b"pinned: 1\n"])
async def test_marks_of_another_kind_make_it_no_archive(tmp_path: Path, marks: bytes) -> None:
    """Like any other field of the wrong kind."""
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        archive_id = await journal.archive_conversation(USER)
        path = dialogs_of(tmp_path) / "archived" / f"{archive_id}.yaml"
        path.write_bytes(path.read_bytes().replace(b"messages:\n", marks + b"messages:\n"))
        assert archive_id is not None
        assert await journal.get_archive(USER, archive_id) is None
        assert (await journal.list_archives(USER, 10, None)).archives == ()
