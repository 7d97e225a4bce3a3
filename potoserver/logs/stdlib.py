"""Lines of libraries that log through the standard library's `logging`."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from potoserver.logs.logs import Logs


class StdlibBridge(logging.Handler):
    """Sends what libraries log, from warning up, into a server's logs. Used as a context manager.

    aiohttp's lines come from the logger `http`, others from their own top-level name. `logging` is the
    process's, so only the command line installs this, never a server inside another program.

    Args:
        logs: Where the lines go.
    """

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that don't fit are the library's mistake, not ours
            event = str(record.msg)
        top = record.name.partition(".")[0]
        logger = self._logs.get("http" if top == "aiohttp" else top)
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            # A request that is no HTTP: the client's mistake, and its text quotes headers, tokens included.
            event, error = "request refused, it is not HTTP", None
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        logger.log(level, event, source=record.name, exc_info=error)
