"""A reply while it grows: several may follow it, from its beginning, and it doesn't need any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from potoserver import Clock, Done

from .wire import ChatReply, ReplyDelta

_DELTA_INTERVAL_S = 0.05


class ReplyStream:
    """The pieces of one reply and its outcome.

    What is kept is no more than the reply itself, however slowly it is read.
    """

    def __init__(self) -> None:
        self._deltas: list[ReplyDelta] = []
        self._outcome: ChatReply | Exception | None = None
        self._changed = asyncio.Event()

    def append(self, delta: ReplyDelta) -> None:
        """Adds a piece."""
        self._deltas.append(delta)
        self._wake()

    def finish(self, outcome: ChatReply | Exception) -> None:
        """Ends it with the answer, or the error that followers get raised."""
        self._outcome = outcome
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[ReplyDelta | Done[ChatReply]]:
        """Every piece from the first, each as it comes, then the answer."""
        position = 0
        while True:
            while position < len(self._deltas):
                position += 1
                yield self._deltas[position - 1]
            if self._outcome is not None:
                break
            await self._changed.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        yield Done(self._outcome)


class DeltaMerger:
    """Publishes a growing text piece by piece: the first at once, then what has gathered in each 50 ms.

    Args:
        clock: Measures the 50 ms.
        publish: Publishes one piece.
    """

    def __init__(self, clock: Clock, publish: Callable[[str], Awaitable[None]]) -> None:
        self._clock = clock
        self._publish = publish
        self._gathered: list[str] = []
        self._publishing = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None

    def append(self, text: str) -> None:
        """Adds to the text."""
        self._gathered.append(text)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="publish deltas")

    async def _run(self) -> None:
        while self._gathered:
            async with self._publishing:
                text = "".join(self._gathered)
                self._gathered.clear()
                await self._publish(text)
            await self._clock.sleep(_DELTA_INTERVAL_S)
        self._pump = None

    async def finish(self) -> None:
        """Ends it: no piece is published after this. What has gathered is not; the whole message follows."""
        self._gathered.clear()
        if self._pump is not None:
            # A piece on its way is not cut off: cut off, it might still arrive behind the whole message.
            async with self._publishing:
                self._pump.cancel()
            await asyncio.wait({self._pump})
