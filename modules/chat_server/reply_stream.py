"""A reply while it grows: several may follow it, from its beginning, and it doesn't need any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from potoserver import Clock, Done, Encoded, TimerHandle

from .wire import ChatReply, ReplyDelta

_DELTA_INTERVAL_S = 0.05
_BLOCK_PIECES = 256
"""How many pieces are kept apart; models send them a few characters long."""


_Piece: TypeAlias = tuple[str, str]
"""A piece of the reply, and one of its reasoning. A plain tuple, as there are very many."""


class ReplyStream:
    """The pieces of one reply and its outcome.

    What is kept is no more than the reply itself, however slowly it is read: the newest pieces are kept as
    they came, those before them joined to blocks. Who follows late, or falls behind, gets blocks.
    """

    def __init__(self) -> None:
        self.length = 0
        """Of the reply as far as it got, in characters."""
        self._blocks: list[_Piece] = []
        self._pieces: list[_Piece] = []
        self._outcome: ChatReply | Exception | None = None
        self._finished = asyncio.Event()
        self._changed: asyncio.Event | None = None
        """There while somebody waits for what comes next."""
        self._passed_on_to: list[Callable[[Encoded], None]] = []
        """Who gets each piece where it is added, having had all before it."""

    @property
    def text(self) -> str:
        """The reply as far as it got."""
        return "".join([text for text, _ in (*self._blocks, *self._pieces)])

    @property
    def reasoning(self) -> str:
        """The reasoning as far as it got."""
        return "".join([reasoning for _, reasoning in (*self._blocks, *self._pieces)])

    def append(self, text: str, reasoning: str) -> None:
        """Adds a piece."""
        self.length += len(text)
        if len(self._pieces) == _BLOCK_PIECES:
            texts, reasonings = zip(*self._pieces, strict=True)
            self._blocks.append(("".join(texts), "".join(reasonings)))
            self._pieces = []
        self._pieces.append((text, reasoning))
        if self._passed_on_to and (text or reasoning):
            delta = ReplyDelta.encoded(text, reasoning)
            for pass_on in self._passed_on_to:
                pass_on(delta)
        if self._changed is not None:
            self._wake()

    def finish(self, outcome: ChatReply | Exception) -> None:
        """Ends it with the answer, or the error that followers get raised."""
        self._outcome = outcome
        self._finished.set()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def answer(self) -> ChatReply:
        """The answer, once it is there, or the error raised."""
        await self._finished.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None, "it has finished"
        return self._outcome

    async def follow(
        self, pass_on: Callable[[Encoded], None] | None = None
    ) -> AsyncIterator[ReplyDelta | Done[ChatReply]]:
        """All of it from the first piece, each as it comes, then the answer.

        Args:
            pass_on: Gets what comes once all that there is was yielded, at once: no task has to wake for it.
        """
        block = 0  # how many of the blocks have been passed, and what of the one behind them
        pieces = texts = reasonings = 0
        while True:
            piece: _Piece | None = None
            if block < len(self._blocks):
                text, reasoning = self._blocks[block]
                piece = text[texts:], reasoning[reasonings:]
                block += 1
                pieces = texts = reasonings = 0
            elif pieces < len(self._pieces):
                piece = self._pieces[pieces]
                pieces += 1
                texts += len(piece[0])
                reasonings += len(piece[1])
            elif self._outcome is not None:
                break
            elif pass_on is not None:
                self._passed_on_to.append(pass_on)
                try:
                    await self._finished.wait()
                finally:
                    self._passed_on_to.remove(pass_on)
                break
            else:
                self._changed = self._changed or asyncio.Event()
                await self._changed.wait()
            if piece is not None and any(piece):
                yield ReplyDelta(text=piece[0], reasoning=piece[1])
        yield Done(await self.answer())


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
        self._due: asyncio.Handle | TimerHandle | None = None
        """Until what has gathered is published: no timer runs while nothing has."""
        self._publishing: asyncio.Task[None] | None = None
        self._next_s = 0.0
        """When the next piece may be published."""

    def append(self, text: str) -> None:
        """Adds to the text."""
        self._gathered.append(text)
        if self._due is None and self._publishing is None:
            self._wait()

    def _wait(self) -> None:
        wait_s = self._next_s - self._clock.monotonic_s()
        if wait_s > 0:
            self._due = self._clock.call_later(wait_s, self._begin)
        else:
            # In the loop's next turn: of a reply that comes all at once there is no piece to be told.
            self._due = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._due = None
        self._publishing = asyncio.create_task(self._publish_gathered(), name="publish a delta")

    async def _publish_gathered(self) -> None:
        text = "".join(self._gathered)
        self._gathered.clear()
        try:
            if text:  # else the end has come first
                await self._publish(text)
        finally:
            self._publishing = None
            self._next_s = self._clock.monotonic_s() + _DELTA_INTERVAL_S
            if self._gathered:
                self._wait()

    async def finish(self) -> None:
        """Ends it: no piece is published after this. What has gathered is not; the whole message follows."""
        self._gathered.clear()
        if self._due is not None:
            self._due.cancel()
        if self._publishing is not None:
            # A piece on its way is not cut off: cut off, it might still arrive behind the whole message.
            await asyncio.wait({self._publishing})
