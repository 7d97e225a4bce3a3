"""Looks at something that changes all the time, shared by all who follow it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from potoserver.clock import Clock

LOOK_S = 1.0
"""From one look to the next."""
REPEAT_S = 5.0
"""After which the same is shown again: who follows knows by that that it is still so."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(slots=True)
class _View(Generic[_V]):
    """What is seen under one key, while somebody follows it.

    Attributes:
        tick: Of the look that `value` comes from.
    """

    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    followers: int = 0
    tick: int = -1
    value: _V | None = None


class Snapshots(Generic[_K, _V]):
    """A look a second at what several readers want to see, for an endless stream of each.

    Whoever follows the same key sees the same look, taken once. While nobody does, nothing is looked at.

    Args:
        clock: Measures the second.
        look: Takes a snapshot: a value that is equal to the one before if nothing has changed.
    """

    def __init__(self, clock: Clock, look: Callable[[_K], Awaitable[_V]]) -> None:
        self._clock = clock
        self._look = look
        self._views: dict[_K, _View[_V]] = {}

    async def follow(self, key: _K) -> AsyncGenerator[_V, None]:
        """A snapshot at once, then each that differs, and every few seconds one in any case.

        Close it (`contextlib.aclosing`) when it is not read to its end.
        """
        view = self._views.setdefault(key, _View())
        view.followers += 1
        try:
            shown: _V | None = None
            shown_s = -math.inf
            while True:
                value = await self._newest(key, view)
                now_s = self._clock.monotonic_s()
                if value != shown or now_s - shown_s >= REPEAT_S:
                    shown, shown_s = value, now_s
                    yield value
                now_s = self._clock.monotonic_s()
                await self._clock.sleep((math.floor(now_s / LOOK_S) + 1) * LOOK_S - now_s)
        finally:
            view.followers -= 1
            if not view.followers:
                del self._views[key]

    async def _newest(self, key: _K, view: _View[_V]) -> _V:
        """The look of this second; taken by who comes first, whom the others await."""
        async with view.looking:
            tick = math.floor(self._clock.monotonic_s() / LOOK_S)
            if tick != view.tick or view.value is None:
                view.value = await self._look(key)
                view.tick = tick
            return view.value
