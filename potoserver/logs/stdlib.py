"""Lines of libraries that log through the standard library's `logging`."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from typing_extensions import override

from potoserver.clock import Clock, SystemClock
from potoserver.logs.logs import Logs

REPEAT_S = 10.0
"""A line that comes again and again is written once in this time."""
_LINES_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class _Line:
    """What makes two lines the same.

    Attributes:
        error: The exception's last line: two of one text are one.
    """

    logger: str
    source: str
    level: int
    event: str
    error: str


@dataclass(slots=True)
class _Written:
    """When a line was written last, and how many like it were left out since."""

    at_s: float
    left_out: int = 0


class StdlibBridge(logging.Handler):
    """Sends what libraries log, from warning up, into a server's logs. Used as a context manager.

    aiohttp's lines come from the logger `http`, others from their own top-level name. `logging` is the
    process's, so only the command line installs this, never a server inside another program.

    The event loop logs each connection that it can't accept, by the ten thousand in a second. So a line
    that is repeated is written once in `REPEAT_S`, with the number of those left out before it.

    Args:
        logs: Where the lines go.
        clock: Tells how long ago a line was written; the machine's unless a test moves it.
    """

    def __init__(self, logs: Logs, clock: Clock | None = None) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs
        self._clock = clock or SystemClock()
        self._written: dict[_Line, _Written] = {}

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self)
        for line in list(self._written):
            self._forget(line)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that don't fit are the library's mistake, not ours
            event = str(record.msg)
        top = record.name.partition(".")[0]
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            # A request that is no HTTP: the client's mistake, and its text quotes headers, tokens included.
            event, error = "request refused, it is not HTTP", None
        elif isinstance(error, RequestPayloadError):
            # As when it is not compressed as it says: the client's mistake too, and it was told.
            level, event, error = logging.WARNING, "request refused, its body can't be read", None
        shown = "".join(traceback.format_exception_only(error)) if error is not None else ""
        line = _Line("http" if top == "aiohttp" else top, record.name, level, event, shown)
        written = self._written.get(line)
        now_s = self._clock.monotonic_s()
        if written is not None and now_s < written.at_s + REPEAT_S:
            written.left_out += 1
            return
        self._write(line, written.left_out if written is not None else 0, error)
        self._written.pop(line, None)
        self._written[line] = _Written(now_s)
        if len(self._written) > _LINES_REMEMBERED:
            self._forget(next(iter(self._written)))

    def _forget(self, line: _Line) -> None:
        """Drops what is known of a line, whose last repetition is written, so that none goes uncounted."""
        left_out = self._written.pop(line).left_out
        if left_out:
            self._write(line, left_out - 1)

    def _write(self, line: _Line, left_out: int, error: BaseException | None = None) -> None:
        fields: dict[str, object] = {"source": line.source}
        if left_out:
            fields["left_out"] = left_out
        if error is not None:
            fields["exc_info"] = error
        elif line.error:
            fields["error"] = line.error.strip()
        self._logs.get(line.logger).log(line.level, line.event, **fields)
