"""The journal in memory: the same behaviour, gone with the process."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver import Clock, User, folder_name

from .base import DialogueJournal
from .dialog_yaml import emit_footer, emit_head, emit_message
from .errors import (
    ArchiveIsCurrentError,
    ConversationEndedError,
    FencedError,
    JournalUnavailableError,
    UserFullError,
)
from .fencing import checked_token
from .keyed import find_question, with_reply
from .layout import archive_order, second_name, with_suffix
from .metrics import JournalMetrics
from .order import MOST_AHEAD_MS
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
from .scan import summarize_dialog
from .stored import StoredArchive, Visit
from .tools import FormerIds


@dataclass(slots=True)
class _Dialogs:
    """One user's dialogs: the open one, the archives by id, of which the user was told last; their size.

    `token` is the highest of the nodes that have had the user.
    """

    current: Dialog | None = None
    archives: dict[str, Dialog] = field(default_factory=dict)
    told: str | None = None
    bytes: int = 0
    token: int = -1


class MemoryStorage:
    """What several journals share, as nodes share a folder."""

    def __init__(self) -> None:
        self.users: dict[str, _Dialogs] = {}


class MemoryDialogueJournal(DialogueJournal):
    """Keeps dialogs for as long as the process lives. No call waits, so none can be cut half-way.

    Args:
        clock: Stamps archives.
        logger: Gives a logger by name: `journal:append`, `journal:archive`.
        registry: Where the metrics go.
        user_bytes: What one user's messages may take, as UTF-8; 0 for no limit.
        storage: What is shared with others; None for a storage of its own, where nobody need be taken.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        logger: Callable[[str], FilteringBoundLogger],
        registry: CollectorRegistry,
        user_bytes: int = 0,
        storage: MemoryStorage | None = None,
    ) -> None:
        self._clock = clock
        self._append_log = logger("journal:append")
        self._archive_log = logger("journal:archive")
        self._metrics = JournalMetrics(registry)
        self._user_bytes = user_bytes
        self._former = FormerIds()
        self._users = (storage or MemoryStorage()).users
        self._is_shared = storage is not None
        self._tokens: dict[str, int] = {}
        self._accepting = False

    @override
    async def start(self) -> Sequence[str]:
        self._accepting = True
        return await self.left_open()

    @override
    async def left_open(self) -> Sequence[str]:
        return [user_id for user_id, dialogs in self._users.items() if dialogs.current]

    @override
    async def close(self) -> None:
        self._accepting = False

    @override
    async def take(self, user: User, token: int) -> None:
        if self._is_shared:
            self._tokens[user.id] = checked_token(token)

    @override
    async def let_go(self, user: User) -> None:
        self._tokens.pop(user.id, None)

    @override
    async def recover(self, user: User) -> OpenDialog | None:
        dialog = self._of(user).current
        if dialog is None:
            return None
        return OpenDialog(dialog.conversation, dialog.messages[-1].timestamp_ms, len(dialog.messages))

    @override
    async def get_conversation(self, user: User) -> list[Message]:
        dialog = self._of(user).current
        return list(dialog.messages) if dialog else []

    @override
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        dialogs = self._of(user)
        size = len(message.content.encode())  # a lone surrogate is refused here as by a file
        if any(archive.conversation.id == conversation.id for archive in dialogs.archives.values()):
            raise ConversationEndedError
        if message.role == "user" and self._user_bytes and dialogs.bytes + size > self._user_bytes:
            raise UserFullError(self._user_bytes)
        current = dialogs.current
        if current is not None and current.conversation.id != conversation.id:
            self._archive(user, dialogs, current, Reason.SUPERSEDED, None)
            current = None
        if current is None:
            current = Dialog(conversation, user.id, ())
        last_ms = current.messages[-1].timestamp_ms if current.messages else conversation.started_ms
        kept = replace(message, timestamp_ms=max(message.timestamp_ms, last_ms))
        dialogs.current = replace(current, messages=(*current.messages, kept))
        dialogs.bytes += size
        self._metrics.append_seconds.observe(0)
        self._append_log.info(
            "session message added to dialogue journal",
            user=user.id,
            conversation=conversation.id,
            message=kept.id,
            role=kept.role,
            bytes=size,
        )
        return kept

    @override
    async def archive_conversation(
        self,
        user: User,
        conversation_id: str | None = None,
        *,
        reason: Reason = Reason.REQUEST,
        ended_ms: int | None = None,
    ) -> str | None:
        dialogs = self._of(user)
        current = dialogs.current
        if current is not None and conversation_id in {None, current.conversation.id}:
            return self._archive(user, dialogs, current, reason, ended_ms)
        for archive_id, archive in dialogs.archives.items():
            if archive.conversation.id == conversation_id:
                return archive_id
        return None

    def _archive(
        self, user: User, dialogs: _Dialogs, dialog: Dialog, reason: Reason, ended_ms: int | None
    ) -> str:
        ended = max(self._clock.now_ms() if ended_ms is None else ended_ms, dialog.messages[-1].timestamp_ms)
        ends = [each.ended_ms for each in dialogs.archives.values() if each.ended_ms is not None]
        ended = max([ended, *(each for each in ends if each <= ended + MOST_AHEAD_MS)])
        archive_id = self._free_id(user, dialogs.archives, dialog.conversation, ended)
        dialogs.archives[archive_id] = replace(dialog, ended_ms=ended, reason=reason)
        dialogs.current = None
        self._metrics.archives.labels(reason.value).inc()
        self._archive_log.info(
            "conversation archived",
            archive=archive_id,
            user=user.id,
            conversation=dialog.conversation.id,
            reason=reason.value,
            messages=len(dialog.messages),
        )
        return archive_id

    def _free_id(self, user: User, taken: Container[str], conversation: Conversation, ended_ms: int) -> str:
        number, archive_id = 1, second_name(ended_ms)
        while archive_id in taken or self._former.is_of_another(user.id, archive_id, conversation.id):
            number += 1
            archive_id = with_suffix(second_name(ended_ms), number)
        return archive_id

    @override
    async def list_archives(
        self, user: User, limit: int, cursor: str | None, *, pinned: bool | None = None
    ) -> ArchivePage:
        before = archive_order(cursor) if cursor is not None else None
        if limit < 1 or (cursor is not None and before is None):
            raise ValueError("the limit must be at least 1 and the cursor one that a page came with")
        older = [
            (archive_id, dialog)
            for archive_id, dialog in self._newest_archives(user)
            if (before is None or _order(archive_id) < before) and pinned in {None, dialog.pinned}
        ]
        page = tuple(summarize_dialog(archive_id, dialog) for archive_id, dialog in older[:limit])
        return ArchivePage(page, page[-1].id if len(older) > limit else None)

    @override
    async def get_archive(self, user: User, archive_id: str) -> Dialog | None:
        return self._of(user).archives.get(archive_id)

    @override
    async def rename_archive(
        self, user: User, archive_id: str, title: str | None, *, only_untitled: bool = False
    ) -> ArchiveSummary | None:
        dialog = self._of(user).archives.get(archive_id)
        if only_untitled and dialog is not None and dialog.title is not None:
            return None
        return self._change(user, archive_id, title=title)

    @override
    async def pin_archive(self, user: User, archive_id: str, *, pinned: bool) -> ArchiveSummary | None:
        return self._change(user, archive_id, pinned=pinned)

    def _change(self, user: User, archive_id: str, **changes: Any) -> ArchiveSummary | None:
        archives = self._of(user).archives
        if archive_id not in archives:
            return None
        archives[archive_id] = replace(archives[archive_id], **changes)
        return summarize_dialog(archive_id, archives[archive_id])

    @override
    async def find_restorable(self, user: User, archive_id: str) -> ArchiveSummary | None:
        dialogs = self._of(user)
        archive = dialogs.archives.get(archive_id)
        if archive is None:
            return None
        if dialogs.current is not None and dialogs.current.conversation.id == archive.conversation.id:
            raise ArchiveIsCurrentError
        return summarize_dialog(archive_id, archive)

    @override
    async def restore_archive(self, user: User, archive_id: str) -> Restored | None:
        if await self.find_restorable(user, archive_id) is None:
            return None
        dialogs = self._of(user)
        current, superseded = dialogs.current, None
        if current is not None:
            superseded = self._archive(user, dialogs, current, Reason.SUPERSEDED, None)
        dialogs.current = replace(dialogs.archives.pop(archive_id), ended_ms=None, reason=None)
        self._former.add(user.id, archive_id, dialogs.current.conversation.id)
        restored = await self.recover(user)
        assert restored is not None, "it is open"
        return Restored(restored, superseded)

    @override
    async def delete_archive(self, user: User, archive_id: str, *, unless_pinned: bool = False) -> bool:
        dialogs = self._of(user)
        if unless_pinned and archive_id in dialogs.archives and dialogs.archives[archive_id].pinned:
            return False
        dialog = dialogs.archives.pop(archive_id, None)
        if dialog is not None:
            self._former.add(user.id, archive_id, dialog.conversation.id)
            dialogs.bytes -= sum(len(message.content.encode()) for message in dialog.messages)
        return dialog is not None

    @override
    async def import_archives(self, user: User, dialogs: Sequence[ImportedDialog]) -> ImportOutcome:
        own = self._of(user)
        there = {each.conversation.id for each in own.archives.values()}
        there |= {own.current.conversation.id} if own.current else set()
        added: dict[str, Dialog] = {}
        for each in dialogs:
            assert each.dialog.ended_ms is not None, "it has ended"
            if each.dialog.conversation.id in there:
                continue
            there.add(each.dialog.conversation.id)
            names = {*own.archives, *added}
            archive_id = self._free_id(user, names, each.dialog.conversation, each.dialog.ended_ms)
            added[archive_id] = each.dialog
        own.archives |= added
        imported = tuple(summarize_dialog(archive_id, dialog) for archive_id, dialog in added.items())
        return ImportOutcome(imported, len(dialogs) - len(added))

    @override
    async def stored_users(self) -> Sequence[str]:
        return list(self._users)

    @override
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> Sequence[ArchiveSummary]:
        archives = [summarize_dialog(*each) for each in self._newest_archives(user) if not each[1].pinned]
        return [
            each
            for number, each in enumerate(archives, 1)
            if (keep is not None and number > keep) or (before_ms is not None and each.ended_ms < before_ms)
        ]

    @override
    async def find_keyed(self, user: User, key: str, since_ms: int) -> KeyedMessage | None:
        found = find_question(self._since(user, since_ms), key, since_ms)
        if found is None or found.reply is not None:
            return found
        return with_reply(found, self._since(user, since_ms))

    @override
    async def untold_archive(self, user: User) -> ArchiveSummary | None:
        told = self._of(user).told
        for archive_id, dialog in self._newest_archives(user)[:1]:
            if told is None or _order(archive_id) > _order(told):
                return summarize_dialog(archive_id, dialog)
        return None

    @override
    async def mark_told(self, user: User, archive_id: str) -> None:
        self._of(user).told = archive_id

    @override
    async def archive_ids(self, user: User) -> list[str]:
        return [archive_id for archive_id, _ in self._newest_archives(user)]

    @override
    async def visit_archives(self, user: User, ids: Sequence[str], visit: Visit) -> None:
        archives = self._of(user).archives
        for archive_id in ids:
            dialog = archives.get(archive_id)
            if dialog is not None and not visit(_stored(archive_id, dialog)):
                return

    def _of(self, user: User) -> _Dialogs:
        if not self._accepting:
            raise JournalUnavailableError("The journal is closed; nothing was kept.")
        folder_name(user.id)  # refuses the ids that a file system journal refuses
        dialogs = self._users.setdefault(user.id, _Dialogs())
        if self._is_shared:
            token = self._tokens.get(user.id)
            if token is None or token < dialogs.token:
                raise FencedError
            dialogs.token = token
        return dialogs

    def _newest_archives(self, user: User) -> list[tuple[str, Dialog]]:
        archives = self._of(user).archives.items()
        return sorted(archives, key=lambda item: _order(item[0]), reverse=True)

    def _since(self, user: User, since_ms: int) -> Iterator[Dialog]:
        current = self._of(user).current
        if current is not None:
            yield current
        for _, dialog in self._newest_archives(user):
            if dialog.ended_ms is None or dialog.ended_ms < since_ms:
                return
            yield dialog


def _order(archive_id: str) -> tuple[str, int]:
    order = archive_order(archive_id)
    assert order is not None, "only archive ids are compared"
    return order


def _stored(archive_id: str, dialog: Dialog) -> StoredArchive:
    """An archive as it would be stored in a file."""
    assert dialog.ended_ms is not None and dialog.reason is not None, "it was archived"
    head = emit_head(dialog.conversation, dialog.user_id, dialog.title, pinned=dialog.pinned)
    footer = emit_footer(dialog.ended_ms, dialog.reason, len(dialog.messages))
    data = b"".join((head, *map(emit_message, dialog.messages), footer))
    return StoredArchive(archive_id, data, lambda: dialog)
