"""What the chat shows: Markdown that grows, and text that can't command the terminal."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from modules.chat_server.commands.chat.connection import ConnectionState
from modules.chat_server.commands.chat.markdown import GrowingMarkdown, SafeMarkdown, finished_part
from modules.chat_server.commands.chat.words import archived_notice, clock_of, clock_of_archive, why_archived
from modules.chat_server.journal.records import Reason
from potoserver.client import Disconnected

# What rich itself writes: colours and the like, and moving within what is drawn again.
OWN_CODES = re.compile(r"\x1b\[[\d;]*[mAK]|\x1b\[\?25[lh]|\r")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def rendered(text: str) -> str:
    """As it comes out on a terminal with colours."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=60, legacy_windows=False).print(SafeMarkdown(text))
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("one", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthr", "one\n\ntwo\n\n"),
        ("- one\n\n- two\n\n  more\n\nend", "- one\n\n- two\n\n  more\n\n"),
        ("1. one\n\n2. two", ""),
        ("one\n\n-", "one\n\n"[:0]),
        ("```\na\n\nb", ""),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```\n\n"),
        ("~~~~\n~~~\n\nb\n~~~~\n\nc", "~~~~\n~~~\n\nb\n~~~~\n\n"),
        ("one\n\n```py\na\n\nb", "one\n\n"),
    ],
)
def test_a_block_is_finished_when_nothing_can_change_it(text: str, finished: str) -> None:
    """A fence stays open until it is closed, and a list until something else begins."""
    assert text[: finished_part(text)] == finished


@settings(max_examples=100)
@given(st.text(alphabet="ab \n-`1.#*>|", max_size=80))
def test_a_text_in_two_parts_reads_as_in_one(text: str) -> None:
    """Printed up to where it is finished, and then the rest."""
    end = finished_part(text)
    parts = OWN_CODES.sub("", rendered(text[:end]) + rendered(text[end:]))
    assert "".join(parts.split()) == "".join(OWN_CODES.sub("", rendered(text)).split())


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_no_text_can_command_the_terminal(text: str) -> None:
    """Whatever Markdown makes of it."""
    assert CONTROLS.search(OWN_CODES.sub("", rendered(text))) is None


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x9b2J\x1b]0;title\x07",
        "&#27;[2J &#x1b;]8;;http://evil.example&#7; &#x9b;2J",
        "[text](<http://evil.example/\x1b[2J>) ![image](\x1b[2J)",
        "```\x1b[2J\n\x1b[2J\n```\n",
        "| a\x1b[2J | b |\n|---|---|\n| \x9b2J | \x07 |",
        "<b>\x1b[2J</b>",
        "[bold red]markup[/]",
    ],
)
def test_known_ways_to_command_a_terminal_are_shut(text: str) -> None:
    """Raw, as HTML entities, in links, code, tables and HTML; rich's own markup is text, too."""
    shown = rendered(text)
    assert CONTROLS.search(OWN_CODES.sub("", shown)) is None
    assert "\x1b]" not in shown
    assert "[bold red]markup" in shown or "markup" not in text


def test_html_is_text_and_links_show_where_they_lead() -> None:
    """Nothing that was said is left out."""
    shown = OWN_CODES.sub("", rendered("a <b>x</b> and [here](http://example.org)"))
    assert "a <b>x</b> and here (http://example.org)" in shown


def test_a_growing_text_stands_there_once_it_has_ended() -> None:
    """Each block once, in order, also when the reply was replaced."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=60)
    with GrowingMarkdown(console) as growing:
        for piece in ("one", " **two**\n", "\nthree\n\n", "fo", "ur"):
            growing.add(piece)
    assert out.getvalue().split() == ["one", "two", "three", "four"]
    with GrowingMarkdown(console) as growing:
        growing.add("never mind")
        growing.replace("five")
    assert out.getvalue().split()[4:] == ["five"]


def test_why_a_dialog_ended_is_said_in_words() -> None:
    """For every reason there is; one of a later server as it is."""
    for reason in Reason:
        assert why_archived(reason.value) != reason.value
    assert why_archived("\x1b[2J") == r"\x1b[2J"
    notice = archived_notice({"id": "2024-01-15-10-30-00-2", "reason": "disconnect", "conversation": "sse-1"})
    assert notice.startswith("Archived because you left at 2024-01-15 ")
    assert notice.endswith("/restore 2024-01-15-10-30-00-2 goes on with it.")
    assert "at" not in archived_notice({"id": "x", "reason": "request"})


@pytest.mark.parametrize(
    "stamp", ["", "soon", "9999-99-99-99-99-99", "0001-01-01T00:00:00Z", None, "\x1b[2J"]
)
def test_a_time_that_is_none_is_no_trouble(stamp: object) -> None:
    """A server of another version may say anything."""
    assert "\x1b" not in clock_of(stamp)
    assert clock_of_archive(str(stamp)) == ""


def test_the_connection_in_a_few_words() -> None:
    """Counted down; only the first loss is news."""
    now_s = 100.0
    state = ConnectionState(lambda: now_s)
    assert state.words() == "connected"
    lost = Disconnected("disconnected", {"reason": "lost", "detail": "", "retryInS": 3.2, "tries": 1})
    assert state.lost(lost)
    assert not state.lost(lost)
    assert state.words() == "not connected (lost), trying again in 3 s"
    now_s = 104.0
    assert state.words() == "not connected (lost), trying again"
    state.connected()
    assert state.words() == "connected"
