"""The first words of a dialog, from the beginning of its file alone. Pure."""

from __future__ import annotations

import re
from typing import Final

from .dialog_yaml import NotADialogError, load_yaml
from .titles import FIRST_WORDS_CHARS, fold, words_of

# As `emit_message` begins each message; no text within another one can look like it.
_QUESTION: Final = re.compile(rb"^- role: \"user\"\n  content: ", re.MULTILINE)
_QUOTED: Final = re.compile(
    rb"\"(?:[^\"\\\n]|\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[^xuU\n]))*+"
)
_LITERAL: Final = re.compile(rb"\|-\n((?:(?:    [^\n]*+)?(?:\n|\Z))*+)")


def first_words_in(beginning: bytes) -> str:
    """What `titles.first_words` gives, from where a file's messages begin to somewhere behind it.

    Raises:
        NotADialogError: They can't be told from this.
    """
    question = _QUESTION.search(beginning)
    if not question:
        raise NotADialogError("its first words are not in its beginning")
    text, whole = _text_at(beginning, question.end())
    if not whole and len(fold(text)) <= FIRST_WORDS_CHARS:
        raise NotADialogError("its first words are longer than its beginning")
    return words_of(text)


def _text_at(data: bytes, begin: int) -> tuple[str, bool]:
    """The text of a scalar that begins there, as far as it goes; whether that is all of it."""
    quoted = _QUOTED.match(data, begin)
    if quoted:
        loaded = load_yaml(_whole_characters(quoted[0]) + b'"')
        if not isinstance(loaded, str):
            raise NotADialogError("its first words are no text")
        return loaded, data.startswith(b'"\n', quoted.end())
    literal = _LITERAL.match(data, begin)
    if literal:
        lines = _whole_characters(literal[1]).decode().split("\n")
        return "\n".join(line.removeprefix("    ") for line in lines), literal.end() < len(data)
    raise NotADialogError("its first words are not as they were written")


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character at its end."""
    return data.decode(errors="ignore").encode()
