"""What stands between a streaming method and the reader of its reply."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from potoserver.errors import ProblemError
from potoserver.module.wire import encode_result


@dataclass(frozen=True, slots=True)
class End:
    """The end of the reply: its result as JSON (`result` is None where the method gave none)."""

    result: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a reply that failed."""

    problem: ProblemError


class ReplyOverflowError(Exception):
    """More was waiting for the reader than may."""


class ReplyBuffer:
    """Passes a reply on to one reader, and never makes the method wait for it.

    An item waits here only while the reader does not keep up. When too much waits, or the reader has gone,
    what comes is thrown away and the method goes on: its effects must not depend on who listens.

    Args:
        limit_bytes: How much may wait, in characters of JSON.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._waiting: deque[str] = deque()
        self._size = 0
        self._ending: End | Failure | None = None
        self._overflowed = False
        self._write_now: Callable[[str], bool] | None = None
        self._on_overflow: Callable[[], None] | None = None
        self._closed = False
        self._changed = asyncio.Event()

    def listen(self, write_now: Callable[[str], bool], on_overflow: Callable[[], None]) -> None:
        """Says who takes an item at once from now on, where none waits, and whom to tell when too much does.

        Args:
            write_now: Writes an item, or returns False: then that waits.
            on_overflow: Called at once: the reader may be busy with a write.
        """
        self._write_now = write_now
        self._on_overflow = on_overflow

    async def put(self, item: str) -> None:
        """Takes an item, as JSON, if there is still somebody to read it."""
        self._put(item)

    def pass_on(self, item: Any) -> None:
        """As `put`, from within the method: `Call.pass_on`."""
        self._put(encode_result(item))

    def _put(self, item: str) -> None:
        if self._closed or self._overflowed or self._ending is not None:
            return
        if not self._waiting and self._write_now is not None and self._write_now(item):
            return
        self._size += len(item)
        self._waiting.append(item)
        if self._size > self._limit:
            self._overflowed = True
            self._waiting.clear()
            if self._on_overflow is not None:
                self._on_overflow()
        self._changed.set()

    def finish(self, ending: End | Failure) -> None:
        """Takes the end of the reply; a further one changes nothing."""
        self._ending = self._ending or ending
        self._changed.set()

    def cut(self, ending: Failure) -> None:
        """Takes an end that comes before what still waits, which is thrown away."""
        self._waiting.clear()
        self._ending = ending
        self._changed.set()

    def close(self) -> None:
        """The reader has gone."""
        self._closed = True
        self._waiting.clear()

    async def wait(self) -> None:
        """Waits until there is something to take, or the end is next."""
        while not (self._waiting or self._ending or self._overflowed):
            self._changed.clear()
            await self._changed.wait()

    def take(self, most: int) -> list[str]:
        """Items that wait, as JSON: as many as have so many characters together, and one at least.

        Raises:
            ReplyOverflowError: Something was thrown away; a reply with a hole is worth nothing.
        """
        if self._overflowed:
            raise ReplyOverflowError
        items: list[str] = []
        while self._waiting and (not items or most >= len(self._waiting[0])):
            items.append(self._waiting.popleft())
            most -= len(items[-1])
            self._size -= len(items[-1])
        return items

    @property
    def ending(self) -> End | Failure | None:
        """The end of the reply where it is next; None where that is not yet known, or an item is."""
        return None if self._waiting or self._overflowed else self._ending


class ReplyOnItsWay(ReplyBuffer):
    """Passes a reply on to another node, which takes it as fast as the way there does, whoever reads it.

    So the method waits while too much is on the way, and nothing is thrown away. It waits for no reader: for
    the slow one the other node has a buffer of its own, and a node that takes nothing any more is soon known
    to be gone, with which this is closed.
    """

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._room = asyncio.Event()
        self._room.set()

    @override
    async def put(self, item: str) -> None:
        await self._room.wait()
        if not self._closed:
            self._size += len(item)
            self._waiting.append(item)
            if self._size >= self._limit:
                self._room.clear()
            self._changed.set()

    @override
    def close(self) -> None:
        super().close()
        self._room.set()

    def take_all(self) -> list[str]:
        """All items that wait, as JSON; none when the end is next. Only after `wait`."""
        items = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._room.set()
        return items
