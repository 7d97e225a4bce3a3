"""One event stream of a user of a load, over its drops and returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.lean_http import Feed
from tests.support.load_plan import Plan, Tally
from tests.support.sse import Received

LIMIT_S = 60.0
"""How long a user waits for what must come."""


class Tab:
    """One event stream of a user, over its drops and returns: each event comes once, in order.

    Args:
        name: The user's.
        plan: The load's.
        tally: Where it counts.
        admission: Gives the token, or None, and the query to subscribe with.
        on_ping: Told that the server asks for a proof of life.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        tally: Tally,
        admission: Callable[[], Awaitable[tuple[str | None, str]]],
        on_ping: Callable[[Tab], None],
    ) -> None:
        self._name = name
        self._plan = plan
        self._tally = tally
        self._admission = admission
        self._on_ping = on_ping
        self._feed: Feed | None = None
        self._opened: asyncio.Future[Received] | None = None
        self._epoch = ""
        self._position = 0
        self._more = asyncio.Event()
        self.connection = ""
        self.last_id: str | None = None
        self.closed_at_s: float | None = None
        """When it ended that was known to be open."""
        self.left_at_s: float | None = None
        """When it ended last, open or not yet."""
        self.seen: set[str] = set()
        self.owed: set[str] = set()
        """Replies that this tab must be told of."""

    async def open(self, *, resume: bool) -> dict[str, Any]:
        """Connects; returns what `connected` says. Forgets what was before unless it resumes.

        Raises:
            OSError: There is no connection to be had.
            TimeoutError: No `connected` came.
        """
        last_id = self.last_id if resume else None
        self._opened = asyncio.get_running_loop().create_future()
        begun_s = time.monotonic()
        token, query = await self._admission()
        if last_id is None:
            self.seen.clear()
            self.owed.clear()
        feed = self._feed = await Feed.open(
            self._plan.port, token, self._on_event, query=query, last_event_id=last_id
        )
        self._tally.online += 1
        feed.ended.add_done_callback(lambda _: self._ended(feed))
        async with asyncio.timeout(LIMIT_S):
            event = await self._opened
        now_s = time.monotonic()
        self._tally.connect_ms.append((now_s - begun_s) * 1000)
        self._tally.counts["connects"] += 1
        self._check_opening(event, last_id, now_s)
        data: dict[str, Any] = event.data
        self.connection = data["connection"]
        return data

    def _check_opening(self, event: Received, last_id: str | None, now_s: float) -> None:
        plan, tally = self._plan, self._tally
        assert event.id is not None
        gap = event.data["gap"]
        away_s = now_s - self.closed_at_s if self.closed_at_s is not None else 1e9
        if last_id is not None:
            tally.counts["gaps" if gap else "resumes"] += 1
            if gap and away_s < 0.8 * min(plan.grace_s, plan.backlog_s):
                tally.violate(f"{self._name}: gap {away_s:.2f} s after {last_id}, now {event.id}")
            if not gap and event.id != last_id:
                tally.violate(f"{self._name}: resumed from {last_id}, the stream goes on from {event.id}")
        if last_id is None or gap:
            self.seen.clear()
            self.owed.clear()

    def close(self, *, reset: bool) -> None:
        """Goes; what was missed is asked for at the next opening."""
        if self._feed is not None and not self._feed.ended.done():
            self._feed.close(reset=reset)
            self._note_end()
        self._feed = None

    def _note_end(self) -> None:
        self.left_at_s = time.monotonic()
        assert self._opened is not None
        if not self._opened.done():
            self._opened.set_exception(EOFError("the stream ended before it was open"))
            self._opened.exception()  # whoever waits may have been cancelled
        elif not self._opened.cancelled() and self._opened.exception() is None:
            self.closed_at_s = self.left_at_s

    def _ended(self, feed: Feed) -> None:
        self._tally.online -= 1
        self._more.set()
        if feed is self._feed and self._opened is not None and not self._opened.done():
            self._note_end()

    async def end(self, limit_s: float) -> None:
        """Waits for the server to cut the stream.

        Raises:
            TimeoutError: It did not.
        """
        assert self._feed is not None
        async with asyncio.timeout(limit_s):
            await asyncio.shield(self._feed.ended)
        self._note_end()

    async def until_told(self) -> None:
        """Waits until the replies that were acknowledged have been told here too."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while self.owed - self.seen:
                    if self._feed is None or self._feed.ended.done():
                        self._tally.violate(f"{self._name}: the server ended the stream")
                        return
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            self._tally.violate(f"{self._name} was never told of {self.owed - self.seen}")
        self.owed.clear()

    def _on_event(self, event: Received) -> None:
        tally = self._tally
        tally.counts["events"] += 1
        if event.type == "connected":
            assert event.id is not None
            self.last_id = event.id
            self._epoch, self._position = _id_of(event.id)
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(event)
            return
        if event.type == "ping":
            self._on_ping(self)
        elif event.type in ("refused", "unavailable", "failed", "shutdown"):
            tally.violate(f"{self._name}: {event.type} {event.data}")
        if event.id is not None:
            epoch, position = _id_of(event.id)
            if epoch != self._epoch or position <= self._position:
                tally.violate(f"{self._name}: event {event.id} after {self.last_id}")
            self._position, self.last_id = position, event.id
        if event.type == "message":
            message_id = event.data["messageId"]
            if message_id in self.seen:
                tally.violate(f"{self._name}: message {message_id} came twice")
            self.seen.add(message_id)
            self._more.set()


def _id_of(text: str) -> tuple[str, int]:
    epoch, _, position = text.rpartition("-")
    return epoch, int(position)
