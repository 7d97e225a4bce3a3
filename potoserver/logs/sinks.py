"""Where lines go: the file and the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from potoserver.logs.entry import Entry
from potoserver.logs.file import RotatingFile
from potoserver.logs.render import json_line, terminal_line


class FileSink:
    """JSON lines in a rotated file.

    Args:
        file: The file.
        on_failure: Told of the first error, and again after the file could be written in between.
    """

    def __init__(self, file: RotatingFile, on_failure: Callable[[OSError], None]) -> None:
        self._file = file
        self._on_failure = on_failure
        self._failing = False

    def write(self, entries: Sequence[Entry]) -> int:
        """Appends the lines; see `Sink`."""
        kept, error = self._file.write([json_line(entry) for entry in entries])
        if error is not None and not self._failing:
            self._on_failure(error)
        self._failing = error is not None
        return kept

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TerminalSink:
    """Readable lines on a terminal or a pipe, coloured on a terminal unless `NO_COLOR` is set."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._encoding = terminal.encoding or "utf-8"
        self._colour = terminal.isatty() and not os.environ.get("NO_COLOR")
        self._gone = False

    def write(self, entries: Sequence[Entry]) -> int:
        """Prints the lines; see `Sink`. A terminal that has gone away is left alone from then on."""
        if self._gone:
            return len(entries)
        text = "".join(terminal_line(entry, colour=self._colour) for entry in entries)
        text = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            self._terminal.write(text)
            self._terminal.flush()
        except BlockingIOError:
            return 0
        except (OSError, ValueError):
            self._gone = True
            return 0
        return len(entries)

    def close(self) -> None:
        """Leaves the terminal open: it isn't ours."""


class MarkingSink:
    """Adds fields to every line, also to those that the log writes of itself.

    Args:
        sink: Where the lines go.
        fields: Stand before a line's own, which win where one has the same name.
    """

    def __init__(self, sink: FileSink | TerminalSink, fields: Mapping[str, Any]) -> None:
        self._sink = sink
        self._fields = fields

    def write(self, entries: Sequence[Entry]) -> int:
        """Passes the lines on; see `Sink`."""
        return self._sink.write(
            [entry._replace(fields={**self._fields, **entry.fields}) for entry in entries]
        )

    def close(self) -> None:
        """Closes what is behind it."""
        self._sink.close()
