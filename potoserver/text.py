"""Text from outside, on its way to a terminal."""

from __future__ import annotations

import re
from typing import Final

_COMMANDS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
"""Controls of terminals (C0 but tab and line feed, C1), what reorders a line, and what can't be encoded."""


def visible(text: str) -> str:
    r"""The text with every character that would command a terminal written out: `\x1b`, `\u202e`.

    Letters of any script, emoji, tabs and line feeds stay as they are.
    """
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
