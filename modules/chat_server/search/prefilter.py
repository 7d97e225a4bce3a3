"""Which files may hold what is looked for, told from their bytes: far cheaper than reading them as YAML.

It may take a file that holds nothing, never pass over one that does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ..journal.dialog_yaml import is_own_form
from .caseless import fold

_ESCAPED: Final = re.compile('[\x00-\x1f\x7f-\x9f"\\\\\u2028\u2029\ufeff\ufffe\uffff]+')
"""What a file may hold otherwise than as itself: line ends, controls, quotes and the like."""

_HIDING: Final = (b"\\x", b"\\u", b"\\U", b"\\ ", b"\\/", b"\\_")
"""Escapes that may stand for any other character. This server writes none of them, but people may."""


class Prefilter:
    """Tells which files may hold all of some words.

    In a file laid out as this server does it, each line of a text stands in one piece and, but for what is
    escaped, as it is; so a word's parts between what may be escaped must be found in the file's own text,
    folded as texts are. Any other file may hold anything.

    Args:
        words: Folded.
    """

    def __init__(self, words: Iterable[str]) -> None:
        parts = {part for word in words for part in _ESCAPED.split(word) if part}
        self._parts = sorted(parts, key=len, reverse=True)
        self._ascii = [part.encode() for part in self._parts] if all(map(str.isascii, self._parts)) else None

    def may_hold(self, data: bytes) -> bool:
        """Whether the file with these bytes must be read."""
        return self._has_parts(data) or not _stands_as_it_is(data)

    def _has_parts(self, data: bytes) -> bool:
        if data.isascii():
            if self._ascii is None:
                return False
            lower = data.lower()
            return all(part in lower for part in self._ascii)
        try:
            text = fold(data.decode())
        except UnicodeDecodeError:
            return True
        return all(part in text for part in self._parts)


def _stands_as_it_is(data: bytes) -> bool:
    if b"\\" in data:
        unpaired = data.replace(b"\\\\", b"")
        if any(escape in unpaired for escape in _HIDING):
            return False
    return is_own_form(data)
