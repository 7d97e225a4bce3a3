"""What all users' dialogs on one disk share."""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from potoserver import Clock

from .disk import Disk, Handle
from .errors import (
    JournalFullError,
    JournalUnavailableError,
)
from .fencing import Fences
from .layout import Layout
from .metrics import JournalMetrics
from .order import ArchiveOrder
from .recovery import Recovery
from .usage import Usage
from .user_keys import UserKeys

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Disk full, over quota, or past what the process may write in one file."""


class DiskWatch(Protocol):
    """Told what is met on the disk; on the event loop."""

    def failed(self, error: OSError) -> None:
        """A call of the journal failed, a reading one or a writing one."""

    def wrote(self) -> None:
        """A message or an archive is on disk."""

    def fenced(self, user_id: str, token: int) -> None:
        """A user's dialogs were found to be another node's, by that token."""


class RecentArchives:
    """Which conversations were archived lately, and as what; bounded, for all users together."""

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._keys = UserKeys()
        self._lock = threading.Lock()

    def add(self, user_id: str, conversation_id: str, archive_id: str) -> None:
        """Remembers an archive, and forgets the oldest beyond the limit."""
        with self._lock:
            self._ids[user_id, conversation_id] = archive_id
            self._keys.add(user_id, conversation_id)
            if len(self._ids) > self._limit:
                self._keys.remove(*self._ids.popitem(last=False)[0])

    def forget(self, user_id: str, conversation_id: str) -> None:
        """A conversation is open again."""
        with self._lock:
            self._ids.pop((user_id, conversation_id), None)
            self._keys.remove(user_id, conversation_id)

    def forget_user(self, user_id: str) -> None:
        """Another node may have had the user since."""
        with self._lock:
            conversations = self._keys.of(user_id)
        for conversation_id in conversations:
            self.forget(user_id, conversation_id)

    def find(self, user_id: str, conversation_id: str) -> str | None:
        """The archive's id; None when the conversation was not archived lately."""
        with self._lock:
            return self._ids.get((user_id, conversation_id))


class FormerIds:
    """Ids of archives that are gone: no archive of another conversation gets one in this life of the server.

    A client may still show one, and delete or restore what it names. Within the second that it is made of it
    would be given out again. Bounded, for all users together: far more than can go in a second.
    """

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._conversations: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, user_id: str, archive_id: str, conversation_id: str) -> None:
        """Remembers which conversation it was, and forgets the oldest beyond the limit."""
        with self._lock:
            self._conversations[user_id, archive_id] = conversation_id
            if len(self._conversations) > self._limit:
                self._conversations.popitem(last=False)

    def is_of_another(self, user_id: str, archive_id: str, conversation_id: str) -> bool:
        """Whether it was the id of another conversation than this."""
        with self._lock:
            return self._conversations.get((user_id, archive_id), conversation_id) != conversation_id


@dataclass(frozen=True, slots=True)
class Tools:
    """What all users' dialogs share."""

    disk: Disk
    layout: Layout
    clock: Clock
    recovery: Recovery
    fences: Fences
    recent: RecentArchives
    former: FormerIds
    order: ArchiveOrder
    usage: Usage
    metrics: JournalMetrics
    archive_log: FilteringBoundLogger
    recovery_log: FilteringBoundLogger

    def flush_and_close(self, handle: Handle) -> None:
        """Makes what was written durable, counts how long that took, and gives the file back."""
        if self.disk.flushes:
            begun_s = self.clock.monotonic_s()
            self.disk.flush(handle)
            self.metrics.flush_seconds.observe(self.clock.monotonic_s() - begun_s)
        self.disk.close(handle)


class journal_errors:  # noqa: N801 - it is read as a function is, such as `contextlib.suppress`
    """Turns what the system says into what the caller is told; without texts, the errors' own.

    A class, since each append goes through two.

    Args:
        full: What is told where there is no room.
        failing: What is told of anything else.

    Raises:
        JournalFullError: No room.
        JournalUnavailableError: Anything else that the system refused.
    """

    __slots__ = ("_failing", "_full")

    def __init__(self, full: str | None = None, failing: str | None = None) -> None:
        self._full = full
        self._failing = failing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in NO_ROOM:
            raise (JournalFullError(self._full) if self._full else JournalFullError()) from error
        raise (
            JournalUnavailableError(self._failing) if self._failing else JournalUnavailableError()
        ) from error


def archive_errors() -> AbstractContextManager[None]:
    """The same for an archive."""
    return journal_errors(
        "The disk is full; the dialog could not be archived yet. Nothing of it is lost.",
        "The dialog could not be archived at the moment. Nothing of it is lost.",
    )
