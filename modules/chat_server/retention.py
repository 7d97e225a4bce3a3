"""Retention: archives that are too old, or too many, go by themselves; pinned ones stay."""

from __future__ import annotations

import asyncio

from potoserver import ModuleContext, TimerHandle, UnavailableError, User

from .announcer import Announcer
from .journal.base import DialogueJournal
from .journal.errors import JournalError
from .journal.records import ArchiveSummary
from .metrics import RetentionMetrics
from .notices import Notices
from .settings import RetentionSettings

_EVERY_S = 24 * 60 * 60.0
_DAY_MS = 24 * 60 * 60 * 1000


class Retention:
    """Goes through all users after the start and then daily, one archive after the other.

    Args:
        context: The clock, owned tasks and logs.
        announcer: Tells the users' connections.
        settings: What is too old and too many. With none of both this does nothing.
        journal: Where archives are.
        notices: Told that nobody is to hear of an archive that has gone.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        settings: RetentionSettings,
        journal: DialogueJournal,
        notices: Notices,
    ) -> None:
        self._context = context
        self._settings = settings
        self._journal = journal
        self._notices = notices
        self._announcer = announcer
        self._metrics = RetentionMetrics(context.registry)
        self._logger = context.logger("session:retention")
        self._timer: TimerHandle | None = None
        self._stopping = False
        self._offset_ms = self._measure()

    def start(self) -> None:
        """Has it begin once the server serves, where anything is set."""
        if self._settings.max_age_days or self._settings.max_count:
            self._context.spawn(self._begin(), "retention")

    def stop(self) -> None:
        """Ends it before the next archive."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()

    async def _begin(self) -> None:
        await self._context.until_started()
        if self._context.started and not self._stopping:
            await self._run()

    def _again(self) -> None:
        self._context.spawn(self._run(), "retention")

    async def _run(self) -> None:
        """Once through all users."""
        settings = self._settings
        begun_s = self._context.clock.monotonic_s()
        before_ms = self._before_ms()
        users = gone = 0
        try:
            for user_id in await self._journal.stored_users():
                if self._stopping:
                    return
                if not await self._is_ours(user_id):
                    continue
                users += 1
                try:
                    gone += await self._look_at(User(user_id), before_ms)
                except JournalError as error:
                    self._metrics.archives.labels("failed").inc()
                    self._logger.warning(
                        "retention failed", user=user_id, error=repr(error.__cause__ or error)
                    )
                await asyncio.sleep(0)
        except JournalError as error:
            self._logger.warning("retention failed", error=repr(error.__cause__ or error))
        finally:
            if not self._stopping:
                self._timer = self._context.clock.call_later(_EVERY_S, self._again)
        self._logger.info(
            "retention finished",
            users=users,
            archives=gone,
            dry_run=settings.dry_run,
            s=round(self._context.clock.monotonic_s() - begun_s, 1),
        )

    async def _is_ours(self, user_id: str) -> bool:
        try:
            return await self._context.homes.are_ours(user_id)
        except UnavailableError as error:
            self._logger.warning("retention failed", user=user_id, error=str(error))
            return False

    def _before_ms(self) -> int | None:
        """What ended earlier is too old, in ms since 1970 UTC; None where nothing is.

        Where the machine's clock has gone ahead by more than a day since the last run, nothing is until the
        next one: by a wrong clock everything would be, and what is deleted does not come back.
        """
        before_ms, self._offset_ms = self._offset_ms, self._measure()
        if not self._settings.max_age_days:
            return None
        ahead_ms = self._offset_ms - before_ms
        if ahead_ms > _DAY_MS:
            self._logger.warning("retention by age put off", clock_ahead_s=ahead_ms // 1000)
            return None
        return self._context.clock.now_ms() - self._settings.max_age_days * _DAY_MS

    def _measure(self) -> int:
        """From monotonic time to stamps, in ms."""
        clock = self._context.clock
        return clock.now_ms() - int(clock.monotonic_s() * 1000)

    async def _look_at(self, user: User, before_ms: int | None) -> int:
        """Deletes one user's archives, or tells which; returns how many."""
        expired = await self._journal.expired_archives(user, before_ms, self._settings.max_count or None)
        gone = 0
        for archive in expired:
            if self._stopping:
                break
            if self._settings.dry_run:
                self._metrics.archives.labels("would").inc()
                self._log("retention would delete archive", user, archive)
                gone += 1
            elif await self._journal.delete_archive(user, archive.id, unless_pinned=True):
                self._metrics.archives.labels("deleted").inc()
                self._log("retention deleted archive", user, archive)
                self._notices.withdraw(user.id, archive.id)
                await self._tell(user, archive)
                gone += 1
        return gone

    async def _tell(self, user: User, archive: ArchiveSummary) -> None:
        try:
            presence = await self._context.presence_of(user.id)
        except UnavailableError:
            return
        if presence.connections:
            await self._announcer.archives(user.id, "deleted", archive.id)

    def _log(self, event: str, user: User, archive: ArchiveSummary) -> None:
        self._logger.info(event, user=user.id, archive=archive.id, conversation=archive.conversation.id)
