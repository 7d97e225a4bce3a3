"""Events on their way from the stream's reader to the caller."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from potoserver.client.events import StreamEvent

MAX_EVENTS = 1000
MAX_BYTES = 8 * 1024 * 1024


class Inbox:
    """Keeps what the caller has not taken yet, up to a limit.

    The reader must go on reading whatever the caller does, or it would miss the pings by which it keeps its
    lease, and with it the user's presence. So when the inbox is full it closes: nothing more is taken until
    the caller has emptied it, and then the stream is asked for anew, from the last event that was taken. The
    server's log, not this memory, keeps what lies between.

    Args:
        on_emptied: Called when a closed inbox is open again.
        max_events: How many events may wait.
        max_bytes: How many bytes of events may wait; a single larger one may, too.
    """

    def __init__(
        self, on_emptied: Callable[[], None], max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._on_emptied = on_emptied
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[StreamEvent, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._error: BaseException | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, event: StreamEvent, size_bytes: int) -> bool:
        """Takes an event; False when it is closed, and the event is not kept."""
        full = len(self._waiting) >= self._max_events or self._bytes + size_bytes > self._max_bytes
        if self._closed or (full and self._waiting):
            self._closed = True
            return False
        self._waiting.append((event, size_bytes))
        self._bytes += size_bytes
        self._changed.set()
        return True

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; whoever has taken the rest gets the error, if there is one."""
        self._ended = True
        self._error = error
        self._changed.set()

    async def get(self) -> StreamEvent:
        """The next event.

        Raises:
            StopAsyncIteration: It has ended.
            BaseException: What it was ended with.
        """
        while not self._waiting:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event, size_bytes = self._waiting.popleft()
        self._bytes -= size_bytes
        if self._closed and not self._waiting:
            self._closed = False
            self._on_emptied()
        return event
