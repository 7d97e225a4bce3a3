"""What a dialog is called: the title that was given to it, or its first words. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from .records import Dialog, Message

MAX_TITLE_CHARS: Final = 200
"""Of a title that is given."""
FIRST_WORDS_CHARS: Final = 60
"""Of one made of the dialog's first words, the `…` included."""
WORDLESS: Final = "…"
"""What a dialog is called whose first message says nothing that can be seen."""

_LINE_BREAKING: Final = frozenset({"Cc", "Zl", "Zp"})
"""Categories of control characters, line and paragraph separators."""
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These change the direction of what stands behind them, also of what is not the title's."""
_JOINER: Final = "\u200d"
_PAUSES: Final = ",;: "
"""Not left in front of the `…`."""
_LEAST_KEPT_CHARS: Final = 30
"""Of words so long that the last blank is further in front, a piece is kept."""


def title_of(dialog: Dialog) -> str:
    """The title given, else the first words."""
    return dialog.title or first_words(dialog.messages)


def first_words(messages: Iterable[Message]) -> str:
    """The first words of the dialog's first user message, else of its first message."""
    first: str | None = None
    for message in messages:
        if message.role == "user":
            return words_of(message.content)
        first = message.content if first is None else first
    return words_of(first or "")


def words_of(text: str) -> str:
    """A text's first words on one line: blanks folded, cut at a word's end with `…`."""
    size = 4 * FIRST_WORDS_CHARS
    # A message may be megabytes of blanks, and is mostly much longer than is needed of it.
    while len(folded := fold(text[:size])) <= FIRST_WORDS_CHARS and size < len(text):
        size *= 4
    if len(folded) <= FIRST_WORDS_CHARS:
        return folded or WORDLESS
    end = FIRST_WORDS_CHARS - 1
    blank = folded.rfind(" ", 0, end + 1)
    if blank >= _LEAST_KEPT_CHARS:
        end = blank
    else:
        # Not within what is drawn as one character.
        while end > 1 and (_joins(folded[end]) or folded[end - 1] == _JOINER):
            end -= 1
    return f"{folded[:end].rstrip(_PAUSES)}…"


def fold(text: str) -> str:
    """A text on one line: each run of blanks and of what can't be seen is one blank, none at either end."""
    shown = (" " if _breaks(each) else each for each in text if each not in _TURNING)
    return " ".join("".join(shown).split())


def as_title(text: str) -> str | None:
    """What a title in a file comes to, whatever a person has written there; None for nothing."""
    return fold(text[: 2 * MAX_TITLE_CHARS])[:MAX_TITLE_CHARS].rstrip() or None


def fault_of(title: str) -> str:
    """What keeps a text from being given as a title; empty where nothing does."""
    if len(title) > MAX_TITLE_CHARS:
        return f"must be at most {MAX_TITLE_CHARS} characters long"
    if any(_breaks(each) for each in title):
        return "must not contain line breaks or other control characters"
    return ""


def _breaks(character: str) -> bool:
    return unicodedata.category(character) in _LINE_BREAKING


def _joins(character: str) -> bool:
    return character == _JOINER or unicodedata.category(character).startswith("M")
