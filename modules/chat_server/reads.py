"""Reading of dialogs: one call of a user at a time, with a rest in proportion to what it took."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from potoserver import Clock

from .journal.spent import Spent, counting
from .lanes import Lanes, Ticket

_REST_PER_READING = 4
_MOST_REST_S = 5.0
_SHORT_S = 0.05
"""A shorter rest is none: `limits.calls_per_minute` holds readings so cheap to an eighth of a processor."""


class Reads:
    """Holds what reading costs for one user to a fifth of one thread's time, however often it is asked for.

    A dialog of many megabytes takes tenths of a second to read and parse, and its answer as much memory; and
    nobody else may feel that. A dialog of the usual length is read in milliseconds, and there is no wait.
    What counts is the time of the processor: that a disk is slow is no reader's doing.

    Args:
        clock: Times the rest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lanes = Lanes()

    @asynccontextmanager
    async def turn(self, user_id: str) -> AsyncIterator[None]:
        """Waits until the user's reading before this one is done and rested from; what is inside reads."""
        ticket = self._lanes.join(user_id)
        await ticket.__aenter__()
        with counting() as spent:
            try:
                yield
            finally:
                self._rest(user_id, ticket, spent)

    async def all_done(self, user_id: str) -> None:
        """Waits until the user's readings so far are done and rested from."""
        async with self._lanes.join(user_id):
            pass

    @contextmanager
    def out_of_turn(self, user_id: str) -> Iterator[None]:
        """What is inside reads now, since others would wait with it; the user's next readings rest from it.

        Await `all_done` before whatever others wait for: else so much is read as there are calls at once.
        """
        with counting() as spent:
            try:
                yield
            finally:
                ticket = self._lanes.join(user_id)
                ticket.turn.add_done_callback(lambda _: self._rest(user_id, ticket, spent))

    def _rest(self, user_id: str, ticket: Ticket, spent: Spent) -> None:
        rest_s = min(_MOST_REST_S, _REST_PER_READING * spent.seconds)
        if rest_s < _SHORT_S:
            self._lanes.leave(user_id, ticket)
        else:
            self._clock.call_later(rest_s, lambda: self._lanes.leave(user_id, ticket))
