"""Text as search compares it, and the way back from there to the text itself. Pure."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Final

_PIECE_CHARS: Final = 256
_LOOK_CHARS: Final = 32
"""How far behind that a piece may go on, to end where nothing combines."""

_BEGINNERS: Final = (
    ("\x00", "\u02ff"),  # Latin
    ("\u0370", "\u0482"),  # Greek, Cyrillic
    ("\u048a", "\u0523"),
    ("\u05d0", "\u05ea"),  # Hebrew, Arabic letters
    ("\u0620", "\u064a"),
    ("\u3041", "\u3096"),  # kana, ideographs, Hangul syllables
    ("\u30a1", "\u30fa"),
    ("\u3400", "\u9fff"),
    ("\uac00", "\ud7a3"),
    ("\U0001f300", "\U0001faff"),  # emoji
)
"""Characters that never combine with what stands before them, nor do those that they are folded to."""


def fold(text: str) -> str:
    """The text without what search does not tell apart: case (full case folding) and composition (NFC).

    So `ß` is `ss`, and `é` is the same whether it is one character or two; but `e` is not `é`.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class Folded:
    """A text and what it folds to, with the way back.

    Args:
        text: The text itself.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.folded = fold(text)

    def origin(self, begin: int, end: int) -> tuple[int, int]:
        """Where in the text that part of its folded form comes from, in whole characters.

        Args:
            begin: Where the part begins in `folded`.
            end: Where it ends, behind `begin`.
        """
        if self.text.isascii():
            return begin, end
        start = self._taken(begin + 1, bisect_left) - 1
        stop = max(self._taken(end, bisect_left), self._taken(end, bisect_right) - 1, start + 1)
        while stop < len(self.text) and unicodedata.combining(self.text[stop]):
            stop += 1
        return start, stop

    def _taken(self, count: int, bisect: Callable[..., int]) -> int:
        """How much of the text it takes to have so much of the folded form, or with `bisect_right` more."""
        taken = had = 0
        for piece in pieces(self.text):
            size = len(fold(piece))
            if had + size >= count:
                sizes = range(1, len(piece) + 1)
                return taken + 1 + bisect(sizes, count - had, key=lambda k: len(fold(piece[:k])))
            taken += len(piece)
            had += size
        return len(self.text)


def pieces(text: str) -> Iterator[str]:
    """Cuts a text so that each piece folds to its part of what the whole folds to.

    In scripts where no place for that is near, it is cut anywhere: positions may then be off by a few.
    """
    begin = 0
    while begin < len(text):
        end = begin + _PIECE_CHARS
        near = text[end : end + _LOOK_CHARS]
        end += next((offset for offset, each in enumerate(near) if _begins(each)), 0)
        yield text[begin:end]
        begin = end


def _begins(character: str) -> bool:
    return any(first <= character <= last for first, last in _BEGINNERS)
