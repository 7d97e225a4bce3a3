"""How much of the disk each user's dialogs take, and the limit of it. Called on threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from potoserver import Clock

from .disk import Disk
from .errors import (
    UserFullError,
)
from .layout import Layout

BLOCK_BYTES: Final = 4096
"""Each file counts in whole blocks, as a file system takes them: many small archives are not for nothing."""

_REST_PER_MEASURING: Final = 20
"""A user's folder is measured again after so many times of what that took, and no earlier."""


@dataclass(slots=True)
class _Known:
    """What a user's files take without `current.yaml`, whose size its own dialog knows.

    Attributes:
        others_bytes: Archives and what was set aside, in whole blocks.
        measured_at_s: When the folder was last measured, on the monotonic clock.
        took_s: How long that took.
    """

    others_bytes: int
    measured_at_s: float
    took_s: float


class Usage:
    """Refuses what would take a user's dialogs beyond the limit.

    A folder is measured when its user is first asked about, and from then on kept in step; a folder that
    seems full is measured again before anybody is refused, so who deletes files tells nobody. What is
    remembered is bounded: the user asked about least lately is measured again when it is needed.

    Args:
        limit_bytes: What one user's dialogs may take; 0 for no limit.
        disk: The system calls.
        layout: Where things lie.
        clock: Times the measuring.
        remembered: How many users are.
    """

    def __init__(
        self, limit_bytes: int, disk: Disk, layout: Layout, clock: Clock, remembered: int = 65_536
    ) -> None:
        self._limit_bytes = limit_bytes
        self._disk = disk
        self._layout = layout
        self._clock = clock
        self._remembered = remembered
        self._by_user: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, user_id: str) -> bool:
        """Whether `check` can tell; always where there is no limit."""
        with self._lock:
            return not self._limit_bytes or user_id in self._by_user

    def measure(self, user_id: str) -> None:
        """Measures a user's folder; the caller serializes the user.

        Raises:
            OSError: The disk refused.
        """
        paths = self._layout.user(user_id)
        begun_s = self._clock.monotonic_s()
        sizes = [
            *self._disk.sizes(paths.dialogs, leaving_out=paths.current.name),
            *self._disk.sizes(paths.archived),
        ]
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._by_user[user_id] = _Known(sum(map(in_blocks, sizes)), now_s, now_s - begun_s)
            self._by_user.move_to_end(user_id)
            if len(self._by_user) > self._remembered:
                self._by_user.popitem(last=False)

    def measure_again(self, user_id: str) -> bool:
        """Measures anew what seems full; False where that was done so lately that it would be all we do.

        Raises:
            OSError: The disk refused.
        """
        with self._lock:
            known = self._by_user.get(user_id)
        if known is not None:
            since_s = self._clock.monotonic_s() - known.measured_at_s
            if since_s < known.took_s * _REST_PER_MEASURING:
                return False
        self.measure(user_id)
        return True

    def check(self, user_id: str, current_bytes: int) -> None:
        """Whether the user's open dialog may grow to this size. One who was just forgotten may.

        Raises:
            UserFullError: It may not.
        """
        with self._lock:
            known = self._by_user.get(user_id)
            if known is None:
                return
            self._by_user.move_to_end(user_id)
            if known.others_bytes + in_blocks(current_bytes) > self._limit_bytes:
                raise UserFullError(self._limit_bytes)

    def archived(self, user_id: str, size: int) -> None:
        """The open dialog, of that size, is an archive now."""
        with self._lock:
            known = self._by_user.get(user_id)
            if known is not None:
                known.others_bytes += in_blocks(size)

    def removed(self, user_id: str, size: int) -> None:
        """An archive of that size is none any more."""
        with self._lock:
            known = self._by_user.get(user_id)
            if known is not None:
                known.others_bytes = max(0, known.others_bytes - in_blocks(size))

    def forget(self, user_id: str) -> None:
        """Something else has happened to the user's files: they are measured when it is next asked."""
        with self._lock:
            self._by_user.pop(user_id, None)


def in_blocks(size: int) -> int:
    """A file's size in whole blocks."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
