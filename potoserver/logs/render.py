"""A log line as text: JSON for the file, words for the terminal. Neither can be forged from inside."""

from __future__ import annotations

import json
import re
import traceback
from typing import Any

from potoserver.clock import iso_utc
from potoserver.logs.entry import MAX_TEXT_CHARS, Entry

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "))
_RESERVED = frozenset({"timestamp", "level", "logger", "event", "exception"})
_QUOTED = re.compile(r'[ ="\\]')
"""What a text is put in quotes for on a terminal."""
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31;1m"}
_RESET = "\x1b[0m"


def json_line(entry: Entry) -> bytes:
    """One JSON object and a line feed. A field can't replace what the server says: it gets a `_`."""
    content: dict[str, Any] = {
        "timestamp": iso_utc(entry.at_ms),
        "level": entry.level,
        "logger": entry.logger,
        "event": entry.event,
    }
    for name, value in entry.fields.items():
        content[f"{name}_" if name in _RESERVED else name] = value
    if entry.error is not None:
        content["exception"] = _traceback(entry.error)
    text = _ENCODER.encode(content)
    return (escape_controls(text) + "\n").encode("utf-8")


def terminal_line(entry: Entry, *, colour: bool) -> str:
    """A line for people: time, level, logger, event, `name=value` fields; a traceback follows indented."""
    fields = "".join(f" {escape_controls(name)}={_field(value)}" for name, value in entry.fields.items())
    level = f"{entry.level:<8}"
    if colour and entry.level in _COLOURS:
        level = f"{_COLOURS[entry.level]}{level}{_RESET}"
    logger, event = escape_controls(entry.logger), escape_controls(entry.event)
    line = f"{iso_utc(entry.at_ms)} {level} [{logger}] {event}{fields}\n"
    if entry.error is not None:
        # A mark before every line: what an exception says can't pass for a line of its own.
        line += "".join(f"    | {escape_controls(each)}\n" for each in _traceback(entry.error).split("\n"))
    return line


def escape_controls(text: str) -> str:
    r"""The text with everything that is not printable as JSON escapes (`\u001b`), blanks apart.

    This covers line breaks of every kind, terminal sequences, bidirectional overrides and lone
    surrogates. Text that is JSON already stays the same JSON value.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _field(value: Any) -> str:
    if isinstance(value, str) and value and not _QUOTED.search(value):
        return escape_controls(value)
    return escape_controls(_ENCODER.encode(value))


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception as failure:  # noqa: BLE001 - an exception may fail to say what it is
        text = f"{type(error).__name__} that can't be shown: {type(failure).__name__}"
    # The end names the error itself; the outermost frames are worth least.
    return text if len(text) <= MAX_TEXT_CHARS else "…" + text[-MAX_TEXT_CHARS:]
