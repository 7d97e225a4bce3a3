"""Whether another node goes on when this one stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from potoserver.clock import Clock
from potoserver.engine.base import Engine
from potoserver.errors import UnavailableError

_SETTLED_S: Final = 10.0
"""Longer than it takes until a node that died is known to be dead."""


class Succession:
    """Who goes on with the users of a node that stops.

    A node that died seems to live until its lease has lapsed. Users who were handed over to it would be
    nobody's; so each node that seems to live must answer once, or be found dead, before one counts on any.

    Args:
        engine: Knows the nodes.
        reaches: Whether a node answers.
        clock: Limits the wait for that.

    Attributes:
        last: Every other node that lives is on its way out, too, and this one takes over what they leave.
    """

    def __init__(self, engine: Engine, reaches: Callable[[str], Awaitable[bool]], clock: Clock) -> None:
        self._engine = engine
        self._reaches = reaches
        self._clock = clock
        self._draining: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[bool] | None = None
        self.last = False

    def begin(self) -> None:
        """This node is on its way out; returns at once."""
        self._draining = asyncio.create_task(self._drain(), name="drain")

    async def end(self) -> None:
        """It has stopped."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait({self._draining})

    async def _drain(self) -> None:
        with suppress(UnavailableError):  # then nobody can be told, and all ends here
            with suppress(TimeoutError):
                async with self._clock.timeout(_SETTLED_S):
                    await self._settle()
            self.last = not await self._engine.drain()

    async def _settle(self) -> None:
        answered = {self._engine.node_id}
        while True:
            nodes = await self._engine.find_nodes()
            asked = [node.id for node in nodes if not node.draining and node.id not in answered]
            if not asked:
                return
            found = await asyncio.gather(*map(self._reaches, asked))
            answered.update(node_id for node_id, answers in zip(asked, found, strict=True) if answers)

    async def lives(self) -> bool:
        """Whether another node goes on, as of now; once this one is on its way out, and all have answered."""
        if self._draining is not None:
            await asyncio.shield(self._draining)
        if self.last:
            return False
        # It is asked for each user who is handed over; those who ask at the same time share the answer.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="ask for a successor")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        try:
            return await self._engine.has_successor()
        except UnavailableError:
            return False
