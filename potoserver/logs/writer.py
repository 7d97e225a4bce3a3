"""The thread that formats and writes log lines, behind a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from potoserver.logs.entry import Entry

_BATCH = 1000
_RETRY_S = 1.0


class Sink(Protocol):
    """Where a writer's lines go."""

    def write(self, entries: Sequence[Entry]) -> int:
        """Writes the lines. Returns how many could be written, from the first on."""

    def close(self) -> None:
        """Nothing more will be written."""


class Writer:
    """Takes lines from any thread without waiting, writes them on a thread of its own.

    When the queue is full, or the sink can't write, lines are dropped and counted; as soon as lines go
    through again, one warning line says how many are missing.

    Args:
        sink: Used by the writer's thread alone, once it runs.
        capacity: How many lines may wait.
        on_dropped: Called once for every dropped line, on any thread.
        on_trouble: Told True when lines begin to be dropped, False when that is over and said in a line.
    """

    def __init__(
        self,
        sink: Sink,
        capacity: int,
        on_dropped: Callable[[], None],
        on_trouble: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._sink = sink
        self._capacity = capacity
        self._on_dropped = on_dropped
        self._on_trouble = on_trouble
        self._in_trouble = False
        # A SimpleQueue may be put to from a finalizer while this thread is inside put: Queue would deadlock.
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._dropped = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="potoserver-log", daemon=True)
        self._thread.start()

    def stop(self, limit_s: float) -> None:
        """Writes all that waits, and ends the thread; gives up after `limit_s` seconds. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(limit_s)

    def put(self, entry: Entry) -> None:
        """Takes a line, or drops it when too many wait."""
        if self._queue.qsize() >= self._capacity:
            self._drop(1)
        else:
            self._queue.put(entry)

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count
            if not self._in_trouble:
                self._in_trouble = True
                self._on_trouble(True)
        for _ in range(count):
            self._on_dropped()

    def _run(self) -> None:
        going = True
        while going:
            batch: list[Entry | None] = []
            try:
                # While lines are missing it is tried again without a new one: none may come for hours.
                batch.append(self._queue.get(timeout=_RETRY_S if self._dropped else None))
                while len(batch) < _BATCH:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            going = None not in batch
            entries = [entry for entry in batch if entry is not None]
            kept = self._write(entries) if entries else 0  # nothing to write tells nothing of the sink
            if kept < len(entries):
                self._drop(len(entries) - kept)
            elif self._dropped and self._queue.qsize() < self._capacity // 2:
                self._report()
        self._sink.close()

    def _write(self, entries: Sequence[Entry]) -> int:
        try:
            return self._sink.write(entries)
        except Exception:  # noqa: BLE001 - the thread must outlive a line that can't be written
            return 0

    def _report(self) -> None:
        with self._lock:
            count, self._dropped = self._dropped, 0
        entry = Entry(time.time_ns() // 1_000_000, "warning", "log", "log lines dropped", {"lines": count})
        written = self._write([entry])
        with self._lock:
            if not written:
                self._dropped += count
            elif not self._dropped:
                self._in_trouble = False
                self._on_trouble(False)
