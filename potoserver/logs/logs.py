"""The loggers of one server."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver.logs.entry import Entry
from potoserver.logs.file import RotatingFile
from potoserver.logs.levels import DebugPatterns
from potoserver.logs.sinks import FileSink, MarkingSink, TerminalSink
from potoserver.logs.writer import Writer
from potoserver.settings.model import LogSettings

LOG_FILE_NAME = "server.log"
_WORKER_LOG_FILE_NAME = "server-{}.log"
QUEUE_LINES = 10_000
"""How many lines may wait for the file, and as many for the terminal."""

GATHERED_LINES = 1000
"""So many lines of one turn of the loop wait for its end at most."""
_STOP_LIMIT_S = 5.0
_PASSING_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class Logs:
    """Structured loggers on a file and a terminal. Nothing is global: each server has its own.

    Logging never waits and never raises: a thread each formats and writes for the file and for the
    terminal, so that a terminal on hold does not keep lines out of the file. Lines logged before `start`
    wait for it; those of one turn of an event loop are handed to the threads together, at its end. To wake
    them for each line takes longer than the line.

    Args:
        settings: Levels and rotation.
        log_dir: Where `server.log` is; None for no file.
        terminal: Where readable lines go; None for none.
        worker: The number of this process where several share the folder and the terminal: it has a file of
            its own, and stands in each line.

    Attributes:
        on_dropped: Called once for every line that could not be written, on any thread; set by who counts.
    """

    def __init__(
        self,
        settings: LogSettings,
        log_dir: Path | None,
        terminal: TextIO | None,
        worker: int | None = None,
    ) -> None:
        self.on_dropped: Callable[[], None] = lambda: None
        self._debug = DebugPatterns(settings.debug)
        self._loggers: dict[str, FilteringBoundLogger] = {}
        self._file: RotatingFile | None = None
        self._file_in_trouble = False
        self._file_watcher: Callable[[bool], None] = lambda _: None
        self._terminal: Writer | None = None
        self._worker = worker
        self._gathered: deque[Entry] = deque()
        """The lines of this turn of the loop."""
        # Reentrant: a finalizer may log while this thread is in it.
        self._handing_over = threading.RLock()
        self._writers: list[Writer] = []
        if log_dir is not None:
            name = LOG_FILE_NAME if worker is None else _WORKER_LOG_FILE_NAME.format(worker)
            self._file = RotatingFile(log_dir / name, settings.max_bytes, settings.backups)
            self._writers.append(self._writer(FileSink(self._file, self._tell_failure), self._tell_trouble))
        if terminal is not None:
            self._terminal = self._writer(TerminalSink(terminal))
            self._writers.append(self._terminal)

    def start(self) -> None:
        """Opens the file and starts writing.

        Raises:
            OSError: The file can't be opened, and not for a reason that passes by itself.
        """
        if self._file is not None:
            try:
                self._file.open()
            except OSError as error:
                if error.errno not in _PASSING_ERRORS:
                    raise
        for writer in self._writers:
            writer.start()

    def stop(self) -> None:
        """Writes what was logged and closes the file; gives up on each after 5 s. Idempotent."""
        self._hand_over()
        for writer in self._writers:
            writer.stop(_STOP_LIMIT_S)

    def get(self, name: str) -> FilteringBoundLogger:
        """The logger of that name, at info level, or at debug where `log.debug` says so."""
        logger = self._loggers.get(name)
        if logger is None:
            # Below its level a logger's methods do nothing at all, so the pattern is matched once.
            level = logging.DEBUG if self.is_debug(name) else logging.INFO
            made = _logger_class(level)(_Capture(name, self._put), [], {})
            logger = self._loggers[name] = cast(FilteringBoundLogger, made)
        return logger

    def is_debug(self, name: str) -> bool:
        """Whether the logger of that name is at debug level."""
        return self._debug.match(name)

    def _put(self, entry: Entry) -> None:
        gathered = self._gathered
        gathered.append(entry)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or no loop runs
            self._hand_over()
            return
        # Looked at once the line is in it: who else is just handing over takes this one along, or is done.
        if len(gathered) == 1:
            loop.call_soon(self._hand_over)
        elif len(gathered) >= GATHERED_LINES:
            self._hand_over()

    def _hand_over(self) -> None:
        """Gives the threads what was gathered, in order, whoever hands over."""
        with self._handing_over:
            while self._gathered:
                entry = self._gathered.popleft()
                for writer in self._writers:
                    writer.put(entry)

    def watch_file(self, watcher: Callable[[bool], None]) -> None:
        """Has somebody told when lines are kept out of the file, and when they go into it again.

        Args:
            watcher: Called with True or False, on any thread; at once where that is so already. It must not
                raise or wait.
        """
        self._file_watcher = watcher
        if self._file_in_trouble:
            watcher(True)

    def _tell_trouble(self, in_trouble: bool) -> None:
        self._file_in_trouble = in_trouble
        self._file_watcher(in_trouble)

    def _writer(
        self, sink: FileSink | TerminalSink, on_trouble: Callable[[bool], None] = lambda _: None
    ) -> Writer:
        marked = sink if self._worker is None else MarkingSink(sink, {"worker": self._worker})
        return Writer(marked, QUEUE_LINES, self._count_dropped, on_trouble)

    def _count_dropped(self) -> None:
        self.on_dropped()

    def _tell_failure(self, error: OSError) -> None:
        if self._terminal is not None:
            at_ms = time.time_ns() // 1_000_000
            fields = {"error": str(error)}
            self._terminal.put(Entry(at_ms, "error", "log", "log file can't be written", fields))


class _Capture:
    """What is behind a logger of structlog's: hands lines over."""

    def __init__(self, name: str, put: Callable[[Entry], None]) -> None:
        self._name = name
        self._put = put

    def __call__(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self._put(Entry.capture(self._name, level, event, fields))


class _Direct(structlog.BoundLoggerBase):
    """Goes past structlog's chain of processors: a line is formatted on another thread, so there are none."""

    _logger: _Capture

    @override
    def _proxy_to_logger(self, method_name: str, event: str | None = None, *_: Any, **fields: Any) -> None:
        self._logger(method_name, event or "", {**self._context, **fields})


@cache
def _logger_class(level: int) -> Any:
    """A class of structlog's loggers that does nothing below a level, with our end."""
    return type("Logger", (_Direct, structlog.make_filtering_bound_logger(level)), {})
