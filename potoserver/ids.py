"""Random ids, drawn many at a time."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

HEX_32: Final = (secrets.token_hex, 16, 32)
"""32 of `0-9a-f`."""
HEX_10: Final = (secrets.token_hex, 5, 10)
"""10 of them."""
BASE64_12: Final = (secrets.token_urlsafe, 9, 12)
"""12 of `A-Za-z0-9_-`."""
BASE64_16: Final = (secrets.token_urlsafe, 12, 16)
"""16 of them."""
_AT_ONCE: Final = 64


class Ids:
    """Gives ids that nobody guesses. Each draw asks the kernel, and may let another thread go on first.

    Args:
        form: What they look like: who draws them, from how many bytes, to how many characters. The bytes of
            many must give the characters of many.
        prefix: What each begins with.
    """

    def __init__(self, form: tuple[Callable[[int], str], int, int], prefix: str = "") -> None:
        self._draw, self._bytes, self._chars = form
        self._prefix = prefix
        self._left: list[str] = []

    def next(self) -> str:
        """A new one."""
        if not self._left:
            text, chars = self._draw(self._bytes * _AT_ONCE), self._chars
            self._left = [self._prefix + text[at : at + chars] for at in range(0, len(text), chars)]
        return self._left.pop()
