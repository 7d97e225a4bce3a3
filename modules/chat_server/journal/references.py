"""The lines by which a message names something else: its idempotency key, the question that it answers."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Final

from .dialog_yaml import emit_field
from .user_keys import UserKeys

_LINE: Final = re.compile(rb"^  (?:idempotency_key|reply_to): \"[^\n]*\"$", re.MULTILINE)


def key_line(key: str) -> bytes:
    """The line of a question that came with this idempotency key, as it stands in a file."""
    return b"  " + emit_field("idempotency_key", key)


def reply_line(question_id: str) -> bytes:
    """The line of a reply that names its question, as it stands in a file."""
    return b"  " + emit_field("reply_to", question_id)


def lines_in(data: bytes) -> frozenset[bytes]:
    """All such lines of a file."""
    if b"\n  idempotency_key: " not in data and b"\n  reply_to: " not in data:
        return frozenset()  # many times faster than looking for the lines
    return frozenset(_LINE.findall(data))


class ReferenceIndex:
    """Which archive holds which of these lines, so that no archive is read twice for them.

    An archive's messages never change. What is kept is bounded, for all users together: the archives that
    were asked for least lately are forgotten, and read again when they are needed.

    Args:
        limit: How many archives and lines are kept; one archive with more lines than this is not.
    """

    def __init__(self, limit: int = 65_536) -> None:
        self._limit = limit
        self._size = 0
        self._lines: OrderedDict[tuple[str, str], frozenset[bytes]] = OrderedDict()
        self._keys = UserKeys()
        self._lock = threading.Lock()

    def find(self, user_id: str, archive_id: str) -> frozenset[bytes] | None:
        """The lines of an archive; None when they are not known."""
        with self._lock:
            lines = self._lines.get((user_id, archive_id))
            if lines is not None:
                self._lines.move_to_end((user_id, archive_id))
            return lines

    def add(self, user_id: str, archive_id: str, lines: frozenset[bytes]) -> None:
        """Keeps the lines of an archive that has been read."""
        if self._weight(lines) > self._limit:
            return
        with self._lock:
            self._size -= self._weight(self._lines.pop((user_id, archive_id), None))
            self._lines[user_id, archive_id] = lines
            self._keys.add(user_id, archive_id)
            self._size += self._weight(lines)
            while self._size > self._limit:
                key, oldest = self._lines.popitem(last=False)
                self._keys.remove(*key)
                self._size -= self._weight(oldest)

    def remove(self, user_id: str, archive_id: str) -> None:
        """Forgets an archive that is none any more."""
        with self._lock:
            self._size -= self._weight(self._lines.pop((user_id, archive_id), None))
            self._keys.remove(user_id, archive_id)

    def remove_user(self, user_id: str) -> None:
        """Forgets all of a user's: they may be others now."""
        with self._lock:
            archives = self._keys.of(user_id)
        for archive_id in archives:
            self.remove(user_id, archive_id)

    @staticmethod
    def _weight(lines: frozenset[bytes] | None) -> int:
        return 0 if lines is None else 1 + len(lines)
