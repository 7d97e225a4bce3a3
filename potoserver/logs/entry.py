"""One log line before it is text: taken on the caller's thread, safe to format on another."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any, NamedTuple

MAX_TEXT_CHARS = 16_384
"""A longer text is cut, so that the queue's bound in lines is one in memory too."""

_MAX_ITEMS = 100
_MAX_DEPTH = 4


class Entry(NamedTuple):
    """What a logger was told.

    Attributes:
        at_ms: Wall time, milliseconds since 1970 UTC.
        level: `debug`, `info`, `warning`, `error` or `critical`.
        logger: The logger's name.
        event: What happened, in words.
        fields: The rest, plain JSON values that nobody changes any more.
        error: An exception whose traceback belongs to the line, or None.
    """

    at_ms: int
    level: str
    logger: str
    event: str
    fields: Mapping[str, Any]
    error: BaseException | None = None

    @classmethod
    def capture(cls, logger: str, level: str, event: str, fields: dict[str, Any]) -> Entry:
        """Takes a line as it is now. Never raises, whatever the fields hold."""
        exc_info = fields.pop("exc_info", None)
        return cls(
            time.time_ns() // 1_000_000,
            level,
            logger,
            plain_text(event),
            {name: _plain(value, _MAX_DEPTH) for name, value in fields.items()},
            _error_of(exc_info) if exc_info else None,
        )


def plain_text(value: object) -> str:
    """A text of bounded length for any object, also one whose `str` fails."""
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception as error:  # noqa: BLE001 - a field that can't be shown must not cost the caller
        text = f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"
    return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is int or value is None or (kind is str and len(value) <= MAX_TEXT_CHARS):
        return value  # as nearly all are
    if isinstance(value, str):
        return plain_text(str(value))
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth > 0 and isinstance(value, Mapping):
        pairs = list(value.items())[:_MAX_ITEMS]
        return {plain_text(key): _plain(item, depth - 1) for key, item in pairs}
    if depth > 0 and isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray):
        return [_plain(item, depth - 1) for item in list(value)[:_MAX_ITEMS]]
    if isinstance(value, PurePath):
        return plain_text(value)
    try:
        return plain_text(repr(value))
    except Exception as error:  # noqa: BLE001 - as in plain_text
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


def _error_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    error = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else sys.exc_info()[1]
    return error if isinstance(error, BaseException) else None
