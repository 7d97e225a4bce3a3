"""From a session's end to its archive: in the user's order, again and again until it is done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from potoserver import Cause, ModuleContext, UnavailableError, User

from .announcer import Announcer
from .journal.base import DialogueJournal
from .journal.errors import FencedError, JournalUnavailableError
from .journal.records import Reason
from .lanes import Lanes, Ticket
from .latest import LatestArchives
from .notices import Notices
from .sessions import Session
from .user_tasks import UserTasks

_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 60.0
_ERROR_CHARS = 300
"""How much of an error is remembered."""


@dataclass(slots=True, eq=False)
class Ending:
    """A session that has ended, on its way to the archive.

    Attributes:
        session: Which one.
        reason: Why it ended.
        ended_ms: When: wall time, milliseconds since 1970 UTC.
        waiting: It has not had its turn yet.
        cause: Why the user's last connection ended, where that ended the session.
        begun_s: When it was queued, on the clock's monotonic time.
        tries: How often it could not be archived.
        error: What the last of these tries failed with.
        archive_id: Once it is archived; stays None where it holds no message.
    """

    session: Session
    reason: Reason
    ended_ms: int
    waiting: bool = True
    cause: Cause | None = None
    begun_s: float = 0.0
    tries: int = 0
    error: str = ""
    archive_id: str | None = None


@dataclass(slots=True)
class _Backlog:
    """What of one user is not archived yet.

    Attributes:
        running: First tries, waiting for their turn or under way, by their tasks.
        failed: What the journal could not archive, oldest first. Touched in the user's lane alone.
        retrying: The failed ones are being tried again.
        dropped: All of it is another node's.
        retry_ms: When that will be: wall time, milliseconds since 1970 UTC.
    """

    running: dict[asyncio.Task[None], Ending] = field(default_factory=dict)
    failed: deque[Ending] = field(default_factory=deque)
    retrying: bool = False
    retry_ms: int | None = None
    dropped: bool = False


class Archiver:
    """Archives the dialogs of sessions that have ended.

    An ending waits behind the calls that came before it. When the journal fails it is kept, and tried again:
    by this itself with backoff, by whoever asks to `finish`, and before another dialog of the user begins.

    Args:
        context: The clock and logs.
        announcer: Tells the users' connections.
        tasks: Where what takes time goes on.
        journal: Where dialogs are archived.
        lanes: Each user's order.
        notices: Told what a user's next connection is to be told.
        latest: Told of each dialog that was archived.
        on_archived: Told of each archive: user id, archive id.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        tasks: UserTasks,
        journal: DialogueJournal,
        lanes: Lanes,
        notices: Notices,
        latest: LatestArchives,
        on_archived: Callable[[str, str], None],
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._journal = journal
        self._lanes = lanes
        self._notices = notices
        self._latest = latest
        self._on_archived = on_archived
        self._announcer = announcer
        self._logger = context.logger("session:archive")
        self._by_user: dict[str, _Backlog] = {}
        self._stopping = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many ended sessions are not archived yet."""
        return sum(len(each.running) + len(each.failed) for each in self._by_user.values())

    @property
    def pending_users(self) -> Collection[str]:
        """The users whom these belong to."""
        return self._by_user.keys()

    def pending_of(self, user_id: str) -> int:
        """How many of them are the user's."""
        backlog = self._by_user.get(user_id)
        return len(backlog.running) + len(backlog.failed) if backlog else 0

    def ending_of(self, user_id: str) -> Ending | None:
        """The user's newest session that has ended and is not archived yet."""
        backlog = self._by_user.get(user_id)
        endings = [*backlog.failed, *backlog.running.values()] if backlog else []
        return endings[-1] if endings else None

    def endings(self) -> Iterator[Ending]:
        """Every one of them, a user's oldest first."""
        for backlog in list(self._by_user.values()):
            yield from (*backlog.failed, *backlog.running.values())

    def retry_ms(self, user_id: str) -> int | None:
        """When the user's failed ones are tried again, as far as that is known."""
        backlog = self._by_user.get(user_id)
        return backlog.retry_ms if backlog else None

    def waiting_session(self, user_id: str) -> Session | None:
        """The ended session whose ending waits next behind whoever has the turn in the user's lane."""
        return next((ending.session for ending in self.waiting(user_id)), None)

    def waiting(self, user_id: str) -> Iterator[Ending]:
        """The user's sessions that have ended and have not had their turn yet, the oldest first."""
        backlog = self._by_user.get(user_id)
        running = list(backlog.running.values()) if backlog else []
        return (ending for ending in running if ending.waiting)

    def begin(self, ending: Ending) -> None:
        """Queues an ending behind the calls that came before it, at once. `finish` awaits it."""
        user_id = ending.session.user_id
        ending.begun_s = self._context.clock.monotonic_s()
        ticket = self._lanes.join(user_id)
        task = self._tasks.spawn(
            user_id, self._first_try(ending, ticket), f"archive {ending.session.conversation.id}"
        )
        backlog = self._by_user.setdefault(user_id, _Backlog())
        backlog.running[task] = ending

        def ran(task: asyncio.Task[None]) -> None:
            backlog.running.pop(task)
            self._forget_when_done(user_id)

        task.add_done_callback(ran)

    async def finish(self, user_id: str) -> None:
        """Waits for the user's endings, and tries again those that have failed. Cancelling it stops none.

        Raises:
            JournalError: One could not be archived; it will be tried again.
        """
        backlog = self._by_user.get(user_id)
        if backlog is None:
            return
        if backlog.running:
            await asyncio.wait(set(backlog.running))
        if backlog.failed:
            async with self._lanes.join(user_id):
                await self.finish_failed(user_id)
        if backlog.dropped:
            raise FencedError

    def drop(self, user_id: str) -> None:
        """The user's dialogs are another node's: whoever waits for their archives is told so."""
        backlog = self._by_user.pop(user_id, None)
        if backlog is not None:
            backlog.dropped = True
            backlog.failed.clear()

    async def finish_failed(self, user_id: str) -> None:
        """Tries again what has failed, for whoever has the turn in the user's lane.

        Raises:
            JournalError: One could not be archived; it will be tried again.
        """
        backlog = self._by_user.get(user_id)
        while backlog is not None and backlog.failed:
            await self._archive(backlog.failed[0])
            backlog.failed.popleft()
            self._forget_when_done(user_id)

    def stop(self) -> None:
        """Ends the repetition by itself; what is left is for `finish`."""
        self._stopping.set()

    async def archive_now(self, ending: Ending) -> None:
        """Archives a session that has just ended, for whoever has the turn in the user's lane.

        Raises:
            JournalError: It could not be; it will be tried again.
        """
        ending.waiting = False
        user_id = ending.session.user_id
        try:
            await self.finish_failed(user_id)  # the older ones come first
            await self._archive(ending)
        except FencedError:
            raise  # it is another node's to archive
        except Exception:  # logged there; whatever it was, the dialog must not be forgotten
            backlog = self._by_user.setdefault(user_id, _Backlog())
            backlog.failed.append(ending)
            if not backlog.retrying:
                backlog.retrying = True
                self._tasks.spawn(user_id, self._retry(user_id, backlog), f"retry archives of {user_id}")
            raise

    async def _first_try(self, ending: Ending, ticket: Ticket) -> None:
        async with ticket:
            if not ending.waiting:
                return  # a restore has gone before
            with suppress(Exception):  # logged there, and tried again
                await self.archive_now(ending)

    async def _retry(self, user_id: str, backlog: _Backlog) -> None:
        pause_s = _BACKOFF_FIRST_S
        while backlog.failed:
            backlog.retry_ms = self._context.presence_now_ms() + round(pause_s * 1000)
            if await self._stopped_within(pause_s):
                break
            pause_s = min(pause_s * 2, _BACKOFF_LAST_S)
            async with self._lanes.join(user_id):
                with suppress(Exception):  # logged there
                    await self.finish_failed(user_id)
        backlog.retrying = False
        self._forget_when_done(user_id)

    async def _stopped_within(self, limit_s: float) -> bool:
        try:
            async with self._context.clock.timeout(limit_s):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    async def _archive(self, ending: Ending) -> None:
        user_id, conversation_id = ending.session.user_id, ending.session.conversation.id
        about = {"user": user_id, "conversation": conversation_id, "reason": ending.reason.value}
        try:
            await self._tell_all(user_id)
            archive_id = await self._journal.archive_conversation(
                User(user_id), conversation_id, reason=ending.reason, ended_ms=ending.ended_ms
            )
        except Exception as error:
            ending.tries += 1
            ending.error = repr(error.__cause__ or error)[:_ERROR_CHARS]
            self._logger.error(  # noqa: TRY400 - the cause says it, and it comes again with each try
                "dialog archive failed", **about, error=ending.error
            )
            raise
        ending.archive_id = archive_id
        if archive_id is None:
            return
        self._logger.info("dialog archived", **about, archive=archive_id)
        self._latest.add(
            user_id,
            archive_id,
            conversation_id,
            reason=ending.reason.value,
            cause=ending.cause,
            ended_ms=ending.ended_ms,
            took_s=self._context.clock.monotonic_s() - ending.begun_s,
        )
        notice = {"id": archive_id, "reason": ending.reason.value, "conversation": conversation_id}
        self._notices.put(user_id, notice)
        await self._announcer.archived(user_id, notice)
        self._on_archived(user_id, archive_id)

    async def _tell_all(self, user_id: str) -> None:
        """Nobody would look in an archive for what was not told: a dialog that has such stays open for it."""
        try:
            await self._announcer.settle(user_id)
        except UnavailableError as error:
            raise JournalUnavailableError(
                "The dialog can't be archived before your connections were told all of it."
            ) from error

    def _forget_when_done(self, user_id: str) -> None:
        backlog = self._by_user.get(user_id)
        if backlog is not None and not (backlog.running or backlog.failed or backlog.retrying):
            del self._by_user[user_id]
