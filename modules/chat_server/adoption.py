"""Dialogs that were left open: taken over, and after a while archived when nobody went on with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

from potoserver import ModuleContext, ProblemError, TimerHandle, UnavailableError, User

from .journal.base import DialogueJournal
from .journal.records import Conversation, OpenDialog
from .sessions import Session, Sessions
from .user_tasks import UserTasks

_AT_ONCE = 8
_RETRY_S = 5.0


class Adoption:
    """Finds each open dialog again and makes it its user's session.

    Where no other node is, a crash left them open: users are recovered in the background, and who comes
    meanwhile is recovered at once. Among several nodes each user who comes to be at home here is.

    Args:
        context: The clock, owned tasks and logs.
        tasks: Where what goes on for one user does.
        journal: Where the dialogs are.
        sessions: Where adopted sessions go.
        adopt: Makes what was left of a user a session, if it is to be one: the user, and the dialog that is
            open. May raise UnavailableError.
        end: Ends an adopted session that nobody went on with.
    """

    def __init__(
        self,
        context: ModuleContext,
        tasks: UserTasks,
        journal: DialogueJournal,
        sessions: Sessions,
        adopt: Callable[[str, OpenDialog | None], Awaitable[None]],
        end: Callable[[Session], object],
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._journal = journal
        self._sessions = sessions
        self._adopt = adopt
        self._end = end
        self._logger = context.logger("session:recovery")
        self._left_open: dict[str, asyncio.Task[ProblemError | None] | None] = {}
        self._homeless: set[str] = set()
        """Among several nodes: who left a dialog open, and whose home has not been looked for."""
        self._elsewhere: set[str] = set()
        """Whose home is another node, which sees to it, if it lives."""
        self._over = False
        self._timer: TimerHandle | None = None
        self.until_ms: int | None = None
        """When adopted sessions end, once that is known: wall time, milliseconds since 1970 UTC."""
        self._stopping = asyncio.Event()
        self._to_the_last = False
        # Three times the client's reconnection time: with a short grace, nobody else could be back in time.
        self._lasts_s = max(context.grace_ms, 3 * context.retry_ms) / 1000 if context.grace_ms else 0.0

    @property
    def left_open(self) -> int:
        """How many dialogs have not been looked at yet."""
        return len(self._left_open) + len(self._homeless)

    def has(self, user_id: str) -> bool:
        """Whether the user's is one of them."""
        return user_id in self._left_open

    def start(self, left_open: Iterable[str]) -> None:
        """Begins: the users who left a dialog open can go on with it, until the time is over."""
        users = list(left_open)
        if not users:
            return
        self._logger.debug("adoption begins", left_open=len(users), lasts_s=self._lasts_s)
        if self._context.homes.shared:
            self._homeless.update(users)
            self._context.spawn(self._find_homes(), "homes of dialogs left open")
            return
        self._left_open = dict.fromkeys(users)
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

    def stop(self, *, to_the_last: bool) -> None:
        """Ends the background work; what was not looked at is left for the next start.

        Args:
            to_the_last: It isn't: this is the last of several nodes, and ends everything.
        """
        self._to_the_last = to_the_last
        if not to_the_last:
            self._homeless.clear()  # others see to them
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()

    async def finish(self, *, last: bool) -> None:
        """Sees to those who are left, if it was not stopped before.

        Args:
            last: No other node does: also to all else that is open, whatever became of the node that had it.
                What can't be taken over counts as left.
        """
        if self._is_left():
            return
        if last:
            with suppress(ProblemError):  # what is known of is seen to all the same
                self._homeless.update(await self._journal.left_open())
            self._homeless |= self._elsewhere
            self._elsewhere.clear()
            await asyncio.gather(*map(self._find_home, list(self._homeless)), return_exceptions=True)
            self._homeless |= self._elsewhere
        else:
            self._homeless.clear()
        await asyncio.gather(*map(self.recovered, list(self._left_open)), return_exceptions=True)

    async def recovered(self, user_id: str) -> None:
        """Returns once the dialog that the user may have left open has been found again.

        Raises:
            ProblemError: It can't be read at the moment, or the engine is away.
        """
        if user_id not in self._left_open:
            return
        task = self._left_open[user_id]
        if task is None:
            task = self._left_open[user_id] = self._tasks.spawn(
                user_id, self._recover(user_id), f"recover dialog of {user_id}"
            )
        try:
            error = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _is_cancelled():
                raise UnavailableError("Your dialogs have moved to another node; try again.") from None
            raise
        if error is not None:
            raise error

    async def _recover(self, user_id: str) -> ProblemError | None:
        """Finds one dialog again. A failure is returned: it is for those who wait, and comes up again."""
        if self._is_left():
            return None  # it stays among those left for the next start
        try:
            dialog = await self._journal.recover(User(user_id))
            if self._is_left():
                return None  # too late to be ended with the others: it stays among those left
            if dialog is None:
                self._logger.debug("nothing to adopt", user=user_id)
            await self._adopt(user_id, dialog)
        except ProblemError as error:
            self._logger.error(  # noqa: TRY400 - the cause says it; a traceback would tell of the journal's inside
                "dialog not recovered", user=user_id, error=repr(error.__cause__ or error)
            )
            if self._is_mine(user_id):
                self._left_open[user_id] = None
            return error
        if not self._is_mine(user_id):
            return None
        del self._left_open[user_id]
        session = self._sessions.get(user_id)
        if self._to_the_last and session is not None:
            self._end(session)
        return None

    def _is_mine(self, user_id: str) -> bool:
        """Whether the task that runs is still to recover this user's dialog; the user may have moved."""
        return self._left_open.get(user_id) is asyncio.current_task()

    def _is_left(self) -> bool:
        return self._stopping.is_set() and not self._to_the_last

    async def _recover_all(self) -> None:
        remaining = list(self._left_open)
        while remaining and not self._stopping.is_set():
            failed: list[str] = []
            await self._for_each(remaining, self._recover_in_turn, failed)
            remaining = failed
            if remaining:
                await self._pause()

    async def _recover_in_turn(self, user_id: str) -> None:
        await self.recovered(user_id)
        session = self._sessions.get(user_id)
        if self._over and session is not None and session.adopted:
            self._end(session)

    async def _for_each(
        self, user_ids: Iterable[str], work: Callable[[str], Awaitable[object]], failed: list[str]
    ) -> None:
        """Does something for each user, for some at once; adds those for whom it fails to `failed`."""
        waiting = iter(user_ids)

        async def one_by_one(waiting: Iterator[str]) -> None:
            for user_id in waiting:
                if self._stopping.is_set():
                    return
                try:
                    await work(user_id)
                except ProblemError:  # logged there
                    failed.append(user_id)

        await asyncio.gather(*(one_by_one(waiting) for _ in range(_AT_ONCE)))

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with self._context.clock.timeout(_RETRY_S):
                await self._stopping.wait()

    def _finish(self) -> None:
        self._over = True
        adopted = self._sessions.adopted()
        self._logger.debug("adoption is over", ended=len(adopted), left_open=self.left_open)
        for session in adopted:
            self._end(session)

    # Among several nodes

    async def _find_homes(self) -> None:
        """Has each of these users be at home somewhere: on another node, or else here."""
        await self._context.until_started()
        while self._homeless and not self._stopping.is_set():
            await self._for_each(list(self._homeless), self._find_home, [])
            if self._homeless:
                await self._pause()

    async def _find_home(self, user_id: str) -> None:
        here = await self._context.homes.are_here(user_id)
        self._homeless.discard(user_id)
        if not here:
            self._elsewhere.add(user_id)

    def gained(self, user_id: str) -> None:
        """The user is at home here from now on: what was left open elsewhere is found again, at once."""
        self._left_open[user_id] = None
        self._tasks.spawn(user_id, self._see_to(user_id), f"adopt dialog of {user_id}")

    def lost(self, user_id: str) -> None:
        """The user is at home elsewhere."""
        self._left_open.pop(user_id, None)

    async def _see_to(self, user_id: str) -> None:
        while user_id in self._left_open:
            try:
                await self.recovered(user_id)
            except ProblemError:  # logged there
                await self._pause()
            else:
                break
            if self._is_left():
                return
        session = self._sessions.get(user_id)
        if session is not None and session.adopted:
            conversation = session.conversation
            self._context.clock.call_later(self._lasts_s, lambda: self._end_adopted(user_id, conversation))

    def _end_adopted(self, user_id: str, conversation: Conversation) -> None:
        session = self._sessions.get(user_id)
        if session is not None and session.adopted and session.conversation == conversation:
            self._end(session)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
