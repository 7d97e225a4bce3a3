"""One event stream of a user, over its drops and returns, to any node; it writes down all that it sees."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

from tests.cluster.checker.books import Books, now_ms
from tests.cluster.checker.history import Got, Stream
from tests.support.lean_http import Caller, Feed
from tests.support.sse import Received

_OPENS_WITHIN_S = 4.0
"""Who is not connected by then goes to another node."""
_RETRY_S = 0.3
_ACK_S = 3.0


class Tab:
    """A tab: while it is wanted, it returns whenever its stream ends.

    Args:
        books: Where its streams are written down.
        user: Whose.
        number: Which of the user's tabs.
        dice: Its chance.
    """

    def __init__(self, books: Books, user: str, number: int, dice: random.Random) -> None:
        self._books = books
        self._user = user
        self._number = number
        self._dice = dice
        self._feed: Feed | None = None
        self._stream: Stream | None = None
        self._opened = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._pings: set[asyncio.Task[None]] = set()
        self._retry_s = _RETRY_S
        self._leased = False
        self.last_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._opened.is_set()

    def come(self, *, resume: bool, leased: bool = False) -> None:
        """Connects, and stays until `leave`."""
        if not resume:
            self.last_id = None
        self._leased = leased
        self._keeping = asyncio.create_task(self._keep())

    async def until_open(self, limit_s: float, feed: Feed | None = None) -> bool:
        """Waits until it is connected, or `feed` has ended; whether it is."""
        opened = asyncio.ensure_future(self._opened.wait())
        waited_for: list[asyncio.Future[Any]] = [opened] if feed is None else [opened, feed.ended]
        try:
            await asyncio.wait(waited_for, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        return self.is_open

    def drop(self, *, reset: bool) -> None:
        """The connection breaks; the tab returns as soon as it may."""
        self._close(reset=reset)

    async def leave(self, *, reset: bool) -> None:
        """Goes."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
        self._close(reset=reset)

    async def fall_silent(self, limit_s: float) -> None:
        """Answers nothing any more, until the server has ended the stream, or its node has."""
        feed, stream = self._feed, self._stream
        if feed is None or stream is None or not self.is_open or not self._leased:
            await self.leave(reset=True)
            return
        stream.silent_ms = now_ms()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await asyncio.shield(feed.ended)
        self._close(reset=True)

    # Its streams

    async def _keep(self) -> None:
        while True:
            self._retry_s = _RETRY_S
            feed, stream = await self._open(), self._stream
            if feed is not None and stream is not None:
                if not await self.until_open(_OPENS_WITHIN_S, feed):
                    feed.close(reset=True)
                await asyncio.shield(feed.ended)
                if stream is self._stream:
                    self._note_end("ended" if stream.opened_ms else "never")
            await asyncio.sleep(self._retry_s * self._dice.uniform(0.5, 1.0))

    async def _open(self) -> Feed | None:
        node = self._books.any_node(self._dice)
        stream = Stream(self._user, self._number, node, now_ms(), self.last_id)
        self._books.history.streams.append(stream)
        self._stream = stream
        query = f"?lease={self._books.history.rules.lease_ms // 1000}" if self._leased else ""
        try:
            async with asyncio.timeout(_OPENS_WITHIN_S):
                feed = await Feed.open(
                    self._books.ports[node],
                    self._books.token(self._user),
                    lambda event: self._take(stream, event),
                    query=query,
                    last_event_id=self.last_id,
                )
        except (OSError, TimeoutError):
            self._note_end("never")
            return None
        if stream is not self._stream:
            feed.close(reset=True)  # the tab was dropped meanwhile
            return None
        self._feed = feed
        return feed

    def _close(self, *, reset: bool) -> None:
        if self._feed is not None:
            self._feed.close(reset=reset)
        if self._stream is not None:
            self._note_end("left" if self._stream.opened_ms else "never")
        self._feed = None

    def _note_end(self, why: str) -> None:
        if self._stream is not None:
            self._stream.closed_ms, self._stream.why = now_ms(), why
        self._stream = None
        self._opened.clear()

    def _take(self, stream: Stream, event: Received) -> None:
        if stream is not self._stream:
            return  # it was on its way when the tab went
        if event.retry_ms is not None:
            self._retry_s = event.retry_ms / 1000
        if event.type == "connected":
            data = event.data
            stream.opened_ms, stream.id = now_ms(), event.id or ""
            stream.connection, stream.conversation = data["connection"], data["conversation"]
            stream.resumed, stream.gap = data["resumed"], data["gap"]
            self.last_id = event.id
            self._opened.set()
            return
        if event.type == "refused":
            self._books.odd(f"{self._user}: {event.data} for a stream on node {stream.node}")
        elif event.type in ("unavailable", "shutdown"):
            self._retry_s = event.data["retryAfterMs"] / 1000
        elif event.type == "ping":
            task = asyncio.create_task(self._acknowledge(stream))
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)
        if event.id is not None:
            self.last_id = event.id
            data = event.data if isinstance(event.data, dict) else {}
            stream.got.append(Got(now_ms(), event.id, event.type, data.get("messageId")))

    async def _acknowledge(self, stream: Stream) -> None:
        if stream is not self._stream or stream.silent_ms is not None:
            return
        caller = Caller(self._books.ports[stream.node], self._books.token(self._user))
        try:
            async with asyncio.timeout(_ACK_S):
                await caller.post("/subscribe/ack", {"connection": stream.connection})
        except (OSError, EOFError, TimeoutError):
            pass  # the next ping is answered again
        finally:
            caller.close()
