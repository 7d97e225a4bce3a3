"""The part of a message that shows why it was found. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .caseless import Folded

_BEFORE_CHARS: Final = 60
_CHARS: Final = 160
_CUT: Final = "…"
_WORD_CHARS: Final = 20
"""So much may be left out at an edge for the sake of whole words."""


@dataclass(frozen=True, slots=True)
class SnippetPart:
    """A part of a snippet; joined, the texts are about 160 characters of the message, `…` where it is cut.

    Attributes:
        text: The text.
        match: Whether it is what was looked for.
    """

    text: str
    match: bool


def snippet_of(text: str, words: tuple[str, ...]) -> tuple[SnippetPart, ...]:
    """What stands around the first match in a text that holds each of some folded words.

    Without any, its beginning.
    """
    folded = Folded(text)
    at, word = min(((folded.folded.find(word), word) for word in words), default=(0, ""))
    first = folded.origin(at, at + len(word))
    begin, end = _window(text, first)
    shown = Folded(text[begin:end])
    spans = [(first[0] - begin, min(first[1], end) - begin), *_spans(shown, words)]
    parts = list(_parts(shown.text, sorted(spans)))
    if begin:
        parts.insert(0, SnippetPart(_CUT, match=False))
    if end < len(text):
        parts.append(SnippetPart(_CUT, match=False))
    return tuple(_joined(parts))


def _window(text: str, first: tuple[int, int]) -> tuple[int, int]:
    """Where the snippet begins and ends in the text, at words' edges where there are any near."""
    begin = max(0, first[0] - _BEFORE_CHARS)
    if begin:
        near = text[begin : min(begin + _WORD_CHARS, first[0])]
        begin += next((offset + 1 for offset, each in enumerate(near) if each.isspace()), 0)
    end = begin + _CHARS
    if end < len(text):
        near = text[max(end - _WORD_CHARS, first[1]) : end]
        end -= next((offset for offset, each in enumerate(reversed(near), 1) if each.isspace()), 0)
    return begin, min(end, len(text))


def _spans(shown: Folded, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for word in words:
        at = shown.folded.find(word)
        while at >= 0:
            yield shown.origin(at, at + len(word))
            at = shown.folded.find(word, at + len(word))


def _parts(text: str, spans: list[tuple[int, int]]) -> Iterator[SnippetPart]:
    done = 0
    for begin, end in spans:
        if begin > done:
            yield SnippetPart(text[done:begin], match=False)
        if end > done:
            yield SnippetPart(text[max(begin, done) : end], match=True)
            done = end
    if done < len(text):
        yield SnippetPart(text[done:], match=False)


def _joined(parts: list[SnippetPart]) -> Iterator[SnippetPart]:
    """Without two neighbours of a kind."""
    last: SnippetPart | None = None
    for part in parts:
        if last is not None and last.match == part.match:
            last = SnippetPart(last.text + part.text, match=part.match)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last
