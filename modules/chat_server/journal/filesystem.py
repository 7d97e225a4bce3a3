"""The journal on a file system: one YAML file for each dialog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver import Clock, User

from .appending import Appending
from .archive_changes import ArchiveChanges
from .archive_import import ArchiveImport
from .archives import Archives
from .base import DialogueJournal
from .batches import Batches
from .data_folder import DataFolder
from .disk import Disk
from .fencing import Fences
from .keyed import find_question, with_reply
from .layout import Layout, archive_order, user_of
from .metrics import JournalMetrics
from .newcomers import Newcomers
from .order import ArchiveOrder
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
from .token_fences import TokenFences
from .tools import DiskWatch, FormerIds, RecentArchives, Tools, journal_errors
from .usage import Usage
from .user_calls import UserCalls
from .user_dialogs import UserDialogs

_THREADS: Final = 4
"""As many again archive: each flush is waited for."""
APPEND_THREADS: Final = 4
"""Where they wait for the medium; what only writes is done sooner by one, with fewer changes of threads."""
_VISIT_THREADS: Final = 2
"""Others than those: whoever looks through archives, by whatever number, is in nobody else's way."""

_R = TypeVar("_R")


class FileSystemDialogueJournal(DialogueJournal):
    """Keeps dialogs under a folder that this process owns, or that several nodes share.

    Each call runs to its end, whoever asked for it, and everything that blocks runs on threads.

    Args:
        data_dir: The folder; made if it is not there.
        clock: Stamps archives.
        fsync: Whether a message is flushed to the medium before it counts as kept.
        logger: Gives a logger by name: `journal:append`, `journal:archive`, `journal:recovery`.
        registry: Where the metrics go.
        shared: Other nodes have the folder too. Then each user must be taken before anything else is asked
            about that user, and the node with the highest token has the user's dialogs.
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
        shared: bool = False,
        user_bytes: int = 0,
        watch: DiskWatch | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._clock = clock
        append_log = logger("journal:append")
        self._recovery_log = logger("journal:recovery")
        self._disk = disk or Disk(fsync=fsync)
        self._layout = Layout(data_dir)
        self._folder = DataFolder(self._disk, self._layout, shared=shared)
        self._metrics = JournalMetrics(registry)
        archive_log = logger("journal:archive")
        usage = Usage(user_bytes, self._disk, self._layout, clock)
        recovery = Recovery(self._disk, self._layout.open, clock, self._recovery_log, self._metrics, usage)
        self._tools = Tools(
            disk=self._disk,
            layout=self._layout,
            clock=clock,
            recovery=recovery,
            fences=(
                TokenFences(self._disk, self._layout, recovery, self._forget, logger("journal:fence"))
                if shared
                else Fences()
            ),
            recent=RecentArchives(),
            former=FormerIds(),
            order=ArchiveOrder(self._disk),
            usage=usage,
            metrics=self._metrics,
            archive_log=archive_log,
            recovery_log=self._recovery_log,
        )
        self._archives = Archives(self._disk, self._layout, archive_log)
        self._changes = ArchiveChanges(self._tools, self._archives)
        self._import = ArchiveImport(self._tools, self._archives)
        self._threads = Threads(_THREADS, "journal")
        self._calls = UserCalls(self._tools, self._threads, watch)
        # Of several nodes, another one may have made a folder that this one's file system does not show yet.
        self._newcomers = None if shared else Newcomers(self._disk, self._layout, self._calls, self._threads)
        self._visits = Threads(_VISIT_THREADS, "journal-visit")
        self._ends = Batches(clock, archive_log, "archives", _THREADS, "journal-archive")
        threads = APPEND_THREADS if self._disk.flushes else 1
        self._appends = Batches(clock, append_log, "appends", threads, "journal-append")
        self._appending = Appending(self._tools, self._calls, self._appends, append_log)

    @override
    async def start(self) -> Sequence[str]:
        names = await self._threads.run(self._folder.take_over)
        self._calls.accepting = True
        return self._users_of(names)

    @override
    async def left_open(self) -> Sequence[str]:
        with journal_errors(failing="What is open can't be read at the moment."):
            return self._users_of(await self._threads.run(self._folder.left_open))

    def _users_of(self, names: Iterable[str]) -> Sequence[str]:
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
        self._ends.close()
        self._threads.close()
        self._visits.close()
        self._tools.fences.close()
        self._folder.give_back()

    @override
    async def take(self, user: User, token: int) -> None:
        await self._calls.alone(user, lambda dialogs: self._threads.run(dialogs.fence.take, token))

    @override
    async def let_go(self, user: User) -> None:
        await self._calls.alone(user, lambda dialogs: self._threads.run(dialogs.fence.let_go))

    def _forget(self, user_id: str) -> None:
        """Another node may have changed the user's files."""
        self._tools.usage.forget(user_id)
        self._tools.recent.forget_user(user_id)
        self._tools.order.forget(user_id)
        self._archives.forget_user(user_id)

    @override
    async def recover(self, user: User) -> OpenDialog | None:
        return await self._calls.blocking(user, UserDialogs.recover)

    @override
    async def get_conversation(self, user: User) -> list[Message]:
        dialog = await self._calls.blocking(user, UserDialogs.read)
        return list(dialog.messages) if dialog else []

    @override
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        return await self._appending.append(user, message, conversation)

    @override
    async def archive_conversation(
        self,
        user: User,
        conversation_id: str | None = None,
        *,
        reason: Reason = Reason.REQUEST,
        ended_ms: int | None = None,
    ) -> str | None:
        return await self._calls.in_steps(
            user, self._ends, lambda dialogs: dialogs.archive(conversation_id, reason, ended_ms)
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

        return await self._calls.blocking(user, read)

    @override
    async def get_archive(self, user: User, archive_id: str) -> Dialog | None:
        def read(dialogs: UserDialogs) -> Dialog | None:
            dialogs.recover()
            with _reading():
                return self._archives.get(user.id, archive_id)

        return await self._calls.blocking(user, read)

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

        return await self._calls.blocking(user, look)

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

        return await self._calls.blocking(user, restore, making=True)

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
            self._tools.fences.check(user.id)
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

        return await self._calls.blocking(user, work, making=True)

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

        return await self._calls.blocking(user, work, making=True)

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

        return await self._calls.blocking(user, search)

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

        if self._newcomers is not None and not await self._newcomers.has_folder(user.id):
            return None
        return await self._calls.blocking(user, read)

    @override
    async def mark_told(self, user: User, archive_id: str) -> None:
        def write(_: UserDialogs) -> None:
            with journal_errors(failing="What the user was told can't be kept at the moment."):
                self._tools.recovery.refuse_links(self._layout.user(user.id))
                self._archives.mark_told(user.id, archive_id)

        await self._calls.blocking(user, write, making=True)

    @override
    async def archive_ids(self, user: User) -> list[str]:
        def read(dialogs: UserDialogs) -> list[str]:
            dialogs.recover()
            with _reading():
                return self._archives.ids(user.id)

        return await self._calls.blocking(user, read)

    @override
    async def visit_archives(self, user: User, ids: Sequence[str], visit: Visit) -> None:
        def walk() -> None:
            self._tools.fences.check(user.id)
            for archive_id in ids:
                with _reading():
                    stored = self._archives.stored(user.id, archive_id)
                if stored is not None and not visit(stored):
                    return

        await self._calls.looking(lambda: self._visits.run(walk))


def _reading() -> AbstractContextManager[None]:
    return journal_errors(failing="The dialogs can't be read at the moment.")
