"""The end of all sessions at the server's stop: here, or on another node that goes on with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from potoserver import ModuleContext, UnavailableError

from .journal.errors import JournalError
from .journal.records import Reason
from .lanes import Lanes
from .lifecycle import SessionLife
from .restorer import Restorer

_AT_ONCE = 32


class Stopping:
    """Ends sessions or hands them over, once no further call begins.

    Args:
        context: The clock and the homes of users.
        lanes: Each user's order: what runs there comes to its end first.
        life: The sessions.
        restorer: Finishes the restores that have begun.
    """

    def __init__(self, context: ModuleContext, lanes: Lanes, life: SessionLife, restorer: Restorer) -> None:
        self._context = context
        self._homes = context.homes
        self._lanes = lanes
        self._life = life
        self._restorer = restorer

    async def run(self, for_others_s: float) -> None:
        """Returns once nothing is left to be done, or to be done here.

        Args:
            for_others_s: How long the last one of several nodes waits for what the others hand over.
        """
        if await self._homes.has_successor():
            self._life.stop(hand_over=True)
            await self._hand_over_all()
            return
        self._life.stop(hand_over=False)
        await self._finish_all()
        if self._homes.shared and self._context.started:
            last = True
            with suppress(TimeoutError, UnavailableError):
                async with self._context.clock.timeout(for_others_s):
                    last = await self._homes.take_what_is_left()
            await self._life.adoption.finish(last=last)
            await self._finish_all()

    async def _finish_all(self) -> None:
        archiver = self._life.archiver
        await asyncio.gather(*map(archiver.finish, archiver.pending_users), return_exceptions=True)
        await self._restorer.finish()

    async def _hand_over_all(self) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)
        users = self._life.users_at_home()
        await asyncio.gather(*(self._hand_over(user_id, gate) for user_id in users))
        await self._restorer.finish()

    async def _hand_over(self, user_id: str, gate: asyncio.Semaphore) -> None:
        async with self._lanes.join(user_id):
            pass  # behind the reply in flight
        async with gate:
            archiver, sessions = self._life.archiver, self._life.sessions
            with suppress(JournalError):  # it stays open, for the other node to find
                await archiver.finish(user_id)
            session = sessions.get(user_id)
            try:
                # The last one may have begun to stop meanwhile, and what is ended here it need not.
                if await self._homes.has_successor():
                    if session is not None:
                        await self._life.records.hand_over(session)
                    await self._homes.hand_over(user_id)
                    return
            except UnavailableError:
                pass
            if session is not None:
                self._life.end(session, Reason.SHUTDOWN)
            with suppress(JournalError):
                await archiver.finish(user_id)
