"""What stands between a streaming method and the reader of its reply."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from typing_extensions import override

from potoserver.errors import ProblemError


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the reply, as JSON."""

    json: str


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

    When too much waits, or the reader has gone, what comes is thrown away and the method goes on: its effects
    must not depend on who listens.

    Args:
        limit_bytes: How much may wait, in characters of JSON.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._waiting: deque[Item] = deque()
        self._size = 0
        self._ending: End | Failure | None = None
        self._overflowed = False
        self._on_overflow: Callable[[], None] | None = None
        self._closed = False
        self._changed = asyncio.Event()

    def listen(self, on_overflow: Callable[[], None]) -> None:
        """Says whom to tell when too much waits from now on, at once: the reader may be busy with a write."""
        self._on_overflow = on_overflow

    async def put(self, item: Item) -> None:
        """Takes an item, if there is still somebody to read it."""
        if self._closed or self._overflowed or self._ending is not None:
            return
        self._size += len(item.json)
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
        """Waits until `take` has something."""
        while not (self._waiting or self._ending or self._overflowed):
            self._changed.clear()
            await self._changed.wait()

    def peek(self) -> Item | End | Failure:
        """The next item, or the end; it stays. Only after `wait`.

        Raises:
            ReplyOverflowError: Something was thrown away; a reply with a hole is worth nothing.
        """
        if self._overflowed:
            raise ReplyOverflowError
        if self._waiting:
            return self._waiting[0]
        assert self._ending is not None
        return self._ending

    def take(self) -> Item | End | Failure:
        """As `peek`, but an item is taken out."""
        part = self.peek()
        if isinstance(part, Item):
            self._waiting.popleft()
            self._size -= len(part.json)
        return part


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
    async def put(self, item: Item) -> None:
        await self._room.wait()
        if not self._closed:
            self._size += len(item.json)
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
        items = [item.json for item in self._waiting]
        self._waiting.clear()
        self._size = 0
        self._room.set()
        return items
