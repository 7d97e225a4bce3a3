"""Dialogs that a crash left open: taken over, and after a while archived when nobody went on with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from potoserver import ModuleContext, TimerHandle, User

from .journal.base import (
    DialogueJournal,
)
from .journal.errors import (
    JournalError,
)
from .notices import Notices
from .sessions import Session, Sessions

_RECOVERIES_AT_ONCE = 8
_RETRY_S = 5.0


class Adoption:
    """Finds each open dialog again and makes it its user's session.

    Users are recovered in the background; a user who comes meanwhile is recovered at once.

    Args:
        context: The clock, owned tasks and logs.
        journal: Where the dialogs are.
        sessions: Where adopted sessions go.
        notices: Told that what is archived of such a user is no news.
        end: Ends an adopted session that nobody went on with.
    """

    def __init__(
        self,
        context: ModuleContext,
        journal: DialogueJournal,
        sessions: Sessions,
        notices: Notices,
        end: Callable[[Session], object],
    ) -> None:
        self._context = context
        self._journal = journal
        self._sessions = sessions
        self._notices = notices
        self._end = end
        self._logger = context.logger("session:recovery")
        self._left_open: dict[str, asyncio.Task[JournalError | None] | None] = {}
        self._over = False
        self._timer: TimerHandle | None = None
        self.until_ms: int | None = None
        """When adopted sessions end, once that is known: wall time, milliseconds since 1970 UTC."""
        self._stopping = asyncio.Event()
        # Three times the client's reconnection time: with a short grace, nobody else could be back in time.
        self._lasts_s = max(context.grace_ms, 3 * context.retry_ms) / 1000 if context.grace_ms else 0.0

    @property
    def left_open(self) -> int:
        """How many dialogs have not been looked at yet."""
        return len(self._left_open)

    def start(self, left_open: Iterable[str]) -> None:
        """Begins: the users who left a dialog open can go on with it, until the time is over."""
        self._left_open = dict.fromkeys(left_open)
        if not self._left_open:
            return
        self._logger.debug("adoption begins", left_open=len(self._left_open), lasts_s=self._lasts_s)
        self._context.spawn(self._start_timer(), "time of adoption")
        self._context.spawn(self._recover_all(), "recover dialogs left open")

    async def _start_timer(self) -> None:
        # Before the server is ready nobody can come back.
        await self._context.until_started()
        if not self._context.started or self._stopping.is_set():
            return
        if self._lasts_s:
            self.until_ms = self._context.clock.now_ms() + round(self._lasts_s * 1000)
            self._timer = self._context.clock.call_later(self._lasts_s, self._finish)
        else:
            self._finish()

    def stop(self) -> None:
        """Ends the background work; what was not looked at is left for the next start."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()

    async def recovered(self, user_id: str) -> None:
        """Returns once the dialog that the user may have left open has been found again.

        Raises:
            JournalError: It can't be read at the moment.
        """
        if user_id not in self._left_open:
            return
        task = self._left_open[user_id]
        if task is None:
            task = self._left_open[user_id] = self._context.spawn(
                self._recover(user_id), f"recover dialog of {user_id}"
            )
        error = await asyncio.shield(task)
        if error is not None:
            raise error

    async def _recover(self, user_id: str) -> JournalError | None:
        """Finds one dialog again. A failure is returned: it is for those who wait, and comes up again."""
        if self._stopping.is_set():
            return None  # it stays among those left for the next start
        try:
            dialog = await self._journal.recover(User(user_id))
        except JournalError as error:
            self._logger.error(  # noqa: TRY400 - the cause says it; a traceback would tell of the journal's inside
                "dialog not recovered", user=user_id, error=repr(error.__cause__ or error)
            )
            self._left_open[user_id] = None
            return error
        if self._stopping.is_set():
            return None  # too late to be ended with the others: it stays among those left for the next start
        if dialog is None:
            self._logger.debug("nothing to adopt", user=user_id)
        else:
            now_s = self._context.clock.monotonic_s()
            self._sessions.adopt(user_id, dialog.conversation, dialog.last_activity_ms, now_s)
            self._notices.told(user_id)
            self._logger.info(
                "session adopted",
                user=user_id,
                conversation=dialog.conversation.id,
                messages=dialog.messages,
            )
        del self._left_open[user_id]
        return None

    async def _recover_all(self) -> None:
        remaining = list(self._left_open)
        while remaining and not self._stopping.is_set():
            waiting = iter(remaining)
            failed: list[str] = []
            await asyncio.gather(*(self._recover_each(waiting, failed) for _ in range(_RECOVERIES_AT_ONCE)))
            remaining = failed
            if remaining:
                with suppress(TimeoutError):
                    async with self._context.clock.timeout(_RETRY_S):
                        await self._stopping.wait()

    async def _recover_each(self, waiting: Iterator[str], failed: list[str]) -> None:
        for user_id in waiting:
            if self._stopping.is_set():
                return
            try:
                await self.recovered(user_id)
            except JournalError:  # logged there
                failed.append(user_id)
                continue
            session = self._sessions.get(user_id)
            if self._over and session is not None and session.adopted:
                self._end(session)

    def _finish(self) -> None:
        self._over = True
        adopted = self._sessions.adopted()
        self._logger.debug("adoption is over", ended=len(adopted), left_open=self.left_open)
        for session in adopted:
            self._end(session)
