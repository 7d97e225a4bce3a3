"""The journal on a file system: one YAML file for each dialog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver import Clock, User

from .archive_changes import ArchiveChanges
from .archive_import import ArchiveImport
from .archives import Archives
from .base import DialogueJournal
from .data_folder import DataFolder
from .disk import Disk
from .errors import JournalError, UserFullError
from .grouping import GroupedAppends
from .keyed import find_question, with_reply
from .layout import Layout, archive_order, user_of
from .metrics import JournalMetrics
from .records import (
    ArchivePage,
    ArchiveSummary,
    Conversation,
    Dialog,
    ImportedDialog,
    ImportOutcome,
    KeyedMessage,
    Message,
    OpenDialog,
    Reason,
    Restored,
)
from .recovery import Recovery
from .references import key_line, reply_line
from .scan import summarize_dialog
from .stored import Visit
from .threads import Threads
from .tools import DiskWatch, FormerIds, RecentArchives, Tools, journal_errors
from .usage import Usage
from .user_calls import UserCalls
from .user_dialogs import UserDialogs

_THREADS: Final = 4
_VISIT_THREADS: Final = 2
"""Others than those: whoever looks through archives, by whatever number, is in nobody else's way."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class FileSystemDialogueJournal(DialogueJournal):
    """Keeps dialogs under a folder that this process owns.

    Each call runs to its end, whoever asked for it, and everything that blocks runs on threads.

    Args:
        data_dir: The folder; made if it is not there.
        clock: Stamps archives.
        fsync: Whether a message is flushed to the medium before it counts as kept.
        logger: Gives a logger by name: `journal:append`, `journal:archive`, `journal:recovery`.
        registry: Where the metrics go.
        user_bytes: What one user's dialogs may take on the disk; 0 for no limit.
        watch: Told how the disk does.
        disk: The system calls; for fault injection.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        clock: Clock,
        fsync: bool,
        logger: Callable[[str], FilteringBoundLogger],
        registry: CollectorRegistry,
        user_bytes: int = 0,
        watch: DiskWatch | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._clock = clock
        self._append_log = logger("journal:append")
        self._recovery_log = logger("journal:recovery")
        self._disk = disk or Disk(fsync=fsync)
        self._layout = Layout(data_dir)
        self._folder = DataFolder(self._disk, self._layout)
        self._metrics = JournalMetrics(registry)
        archive_log = logger("journal:archive")
        usage = Usage(user_bytes, self._disk, self._layout, clock)
        recovery = Recovery(self._disk, self._layout.open, clock, self._recovery_log, self._metrics, usage)
        self._tools = Tools(
            disk=self._disk,
            layout=self._layout,
            clock=clock,
            recovery=recovery,
            recent=RecentArchives(),
            former=FormerIds(),
            usage=usage,
            metrics=self._metrics,
            archive_log=archive_log,
            recovery_log=self._recovery_log,
        )
        self._archives = Archives(self._disk, self._layout, archive_log)
        self._changes = ArchiveChanges(self._tools, self._archives)
        self._import = ArchiveImport(self._tools, self._archives)
        self._calls = UserCalls(self._tools, watch)
        self._threads = Threads(_THREADS, "journal")
        self._visits = Threads(_VISIT_THREADS, "journal-visit")
        self._appends = GroupedAppends(clock, self._append_log)

    @override
    async def start(self) -> Sequence[str]:
        names = await self._threaded(self._folder.take_over)
        self._calls.accepting = True
        users = []
        for name in sorted(names):
            user_id = user_of(name)
            if user_id is not None:
                users.append(user_id)
            else:
                self._recovery_log.warning("marker of no user", file=str(self._layout.open / name))
        return users

    @override
    async def close(self) -> None:
        await self._calls.close()
        await asyncio.to_thread(self._give_back)

    def _give_back(self) -> None:
        self._appends.close()
        self._threads.close()
        self._visits.close()
        self._folder.give_back()

    @override
    async def recover(self, user: User) -> OpenDialog | None:
        return await self._calls.alone(user, lambda dialogs: self._threaded(dialogs.recover))

    @override
    async def get_conversation(self, user: User) -> list[Message]:
        dialog = await self._calls.alone(user, lambda dialogs: self._threaded(dialogs.read))
        return list(dialog.messages) if dialog else []

    @override
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        return await self._calls.alone(
            user, lambda dialogs: self._append(dialogs, user.id, message, conversation)
        )

    async def _append(
        self, dialogs: UserDialogs, user_id: str, message: Message, conversation: Conversation
    ) -> Message:
        begun_s = self._clock.monotonic_s()
        about = {
            "user": user_id,
            "conversation": conversation.id,
            "message": message.id,
            "role": message.role,
        }
        self._append_log.debug("append begun", **about, chars=len(message.content))
        try:
            if not dialogs.is_ready(conversation):
                await self._threaded(dialogs.make_ready, conversation)
            if message.role == "user" and not self._tools.usage.knows(user_id):
                await self._threaded(self._measure, user_id)
            try:
                kept = await self._appends.append(dialogs, message, conversation)
            except UserFullError:
                # Somebody may have deleted archives since they were counted.
                if not await self._threaded(self._measure, user_id):
                    raise
                kept = await self._appends.append(dialogs, message, conversation)
        except JournalError as error:
            self._append_log.warning("message not kept", **about, error=repr(error.__cause__ or error))
            raise
        took_s = self._clock.monotonic_s() - begun_s
        self._metrics.append_seconds.observe(took_s)
        size = len(kept.content.encode())
        self._append_log.debug("append flushed", **about, bytes=size, ms=round(took_s * 1000, 1))
        self._append_log.info("session message added to dialogue journal", **about, bytes=size)
        return kept

    def _measure(self, user_id: str) -> bool:
        """Measures a user's folder; False where that was done only now."""
        with journal_errors(failing="Your dialogs can't be measured now, so the message was not kept."):
            return self._tools.usage.measure_again(user_id)

    @override
    async def archive_conversation(
        self,
        user: User,
        conversation_id: str | None = None,
        *,
        reason: Reason = Reason.REQUEST,
        ended_ms: int | None = None,
    ) -> str | None:
        return await self._calls.alone(
            user, lambda dialogs: self._threaded(dialogs.archive, conversation_id, reason, ended_ms)
        )

    @override
    async def list_archives(
        self, user: User, limit: int, cursor: str | None, *, pinned: bool | None = None
    ) -> ArchivePage:
        if limit < 1 or (cursor is not None and archive_order(cursor) is None):
            raise ValueError("the limit must be at least 1 and the cursor one that a page came with")

        def read(dialogs: UserDialogs) -> ArchivePage:
            dialogs.recover()
            with _reading():
                return self._archives.page(user.id, limit, cursor, pinned=pinned)

        return await self._calls.alone(user, lambda dialogs: self._threaded(read, dialogs))

    @override
    async def get_archive(self, user: User, archive_id: str) -> Dialog | None:
        def read(dialogs: UserDialogs) -> Dialog | None:
            dialogs.recover()
            with _reading():
                return self._archives.get(user.id, archive_id)

        return await self._calls.alone(user, lambda dialogs: self._threaded(read, dialogs))

    @override
    async def rename_archive(
        self, user: User, archive_id: str, title: str | None, *, only_untitled: bool = False
    ) -> ArchiveSummary | None:
        return await self._changing(
            user, lambda: self._changes.rename(user.id, archive_id, title, only_untitled=only_untitled)
        )

    @override
    async def pin_archive(self, user: User, archive_id: str, *, pinned: bool) -> ArchiveSummary | None:
        return await self._changing(user, lambda: self._changes.pin(user.id, archive_id, pinned=pinned))

    @override
    async def find_restorable(self, user: User, archive_id: str) -> ArchiveSummary | None:
        def look(dialogs: UserDialogs) -> ArchiveSummary | None:
            dialogs.recover()
            with _reading():
                found = self._archives.file(user.id, archive_id)
            if found is None:
                return None
            dialogs.openable(*found)
            return summarize_dialog(archive_id, found[1])

        return await self._calls.alone(user, lambda dialogs: self._threaded(look, dialogs))

    @override
    async def restore_archive(self, user: User, archive_id: str) -> Restored | None:
        def restore(dialogs: UserDialogs) -> Restored | None:
            dialogs.recover()
            with _reading():
                found = self._archives.file(user.id, archive_id)
            if found is None:
                return None
            try:
                return dialogs.restore(archive_id, *found)
            finally:
                self._archives.forget(user.id, archive_id)

        return await self._calls.alone(user, lambda dialogs: self._threaded(restore, dialogs))

    @override
    async def delete_archive(self, user: User, archive_id: str, *, unless_pinned: bool = False) -> bool:
        return await self._changing(
            user, lambda: self._changes.delete(user.id, archive_id, unless_pinned=unless_pinned)
        )

    @override
    async def stored_users(self) -> Sequence[str]:
        def look() -> list[str]:
            with _reading():
                names = sorted(self._disk.names(self._layout.users))
            return [user_id for name in names if (user_id := user_of(name)) is not None]

        return await self._calls.looking(lambda: self._visits.run(look))

    @override
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> Sequence[ArchiveSummary]:
        def look() -> list[ArchiveSummary]:
            with _reading():
                self._tools.recovery.refuse_links(self._layout.user(user.id))
                return self._archives.expired(user.id, before_ms, keep)

        return await self._calls.looking(lambda: self._visits.run(look))

    @override
    async def import_archives(self, user: User, dialogs: Sequence[ImportedDialog]) -> ImportOutcome:
        def work(own: UserDialogs) -> ImportOutcome:
            current = own.read()
            with journal_errors(
                "The disk is full, so nothing was imported.",
                "The disk fails at the moment, so nothing was imported.",
            ):
                outcome = self._import.add(user.id, dialogs, current, own.size)
            own.wrote = bool(outcome.imported)
            return outcome

        return await self._calls.alone(user, lambda own: self._threaded(work, own))

    async def _changing(self, user: User, change: Callable[[], _R]) -> _R:
        """Changes a user's archives, once what a crash has left is in order."""

        def work(dialogs: UserDialogs) -> _R:
            dialogs.recover()
            with journal_errors(
                "The disk is full, so the archive was not changed.",
                "The archive can't be changed at the moment; it is as it was.",
            ):
                changed = change()
            dialogs.wrote = True
            return changed

        return await self._calls.alone(user, lambda dialogs: self._threaded(work, dialogs))

    @override
    async def find_keyed(self, user: User, key: str, since_ms: int) -> KeyedMessage | None:
        def search(dialogs: UserDialogs) -> KeyedMessage | None:
            with _reading():
                found = find_question(self._newest(dialogs, user.id, since_ms, key_line(key)), key, since_ms)
                if found is None or found.reply is not None:
                    return found
                # Not from the question on: the clock may have been put back by days since.
                line = reply_line(found.question.id)
                return with_reply(found, self._newest(dialogs, user.id, since_ms, line))

        return await self._calls.alone(user, lambda dialogs: self._threaded(search, dialogs))

    def _newest(self, dialogs: UserDialogs, user_id: str, since_ms: int, line: bytes) -> Iterator[Dialog]:
        """The dialogs that may hold a line, newest first."""
        dialog = dialogs.read(line)
        if dialog is not None:
            yield dialog
        yield from self._archives.since(user_id, since_ms, line)

    @override
    async def untold_archive(self, user: User) -> ArchiveSummary | None:
        def read(dialogs: UserDialogs) -> ArchiveSummary | None:
            dialogs.recover()
            with _reading():
                return self._archives.untold(user.id)

        return await self._calls.alone(user, lambda dialogs: self._threaded(read, dialogs))

    @override
    async def mark_told(self, user: User, archive_id: str) -> None:
        def write(_: UserDialogs) -> None:
            with journal_errors(failing="What the user was told can't be kept at the moment."):
                self._tools.recovery.refuse_links(self._layout.user(user.id))
                self._archives.mark_told(user.id, archive_id)

        await self._calls.alone(user, lambda dialogs: self._threaded(write, dialogs))

    @override
    async def archive_ids(self, user: User) -> list[str]:
        def read(dialogs: UserDialogs) -> list[str]:
            dialogs.recover()
            with _reading():
                return self._archives.ids(user.id)

        return await self._calls.alone(user, lambda dialogs: self._threaded(read, dialogs))

    @override
    async def visit_archives(self, user: User, ids: Sequence[str], visit: Visit) -> None:
        def walk() -> None:
            for archive_id in ids:
                with _reading():
                    stored = self._archives.stored(user.id, archive_id)
                if stored is not None and not visit(stored):
                    return

        await self._calls.looking(lambda: self._visits.run(walk))

    async def _threaded(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await self._threads.run(function, *args, **kwargs)


def _reading() -> AbstractContextManager[None]:
    return journal_errors(failing="The dialogs can't be read at the moment.")
