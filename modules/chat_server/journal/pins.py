"""Which of a user's archives may be pinned, remembered while nothing has come to their folder or gone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

_SETTLED_NS: Final = 1_000_000_000
"""Within a tick of the file system's clock a folder can change twice and bear one time."""
_MOST_IDS: Final = 1000
"""Of one user's that are remembered."""


class PinIndex:
    """Spares a look into each of ten thousand archives at each view of a page.

    A folder's time of change tells whether a file in it was made, renamed or removed: a pin is set by a
    rename. What a person writes into a file in its place is seen when the folder changes next.

    Args:
        limit: Of how many users it is remembered; those asked about least lately are forgotten.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._by_user: OrderedDict[str, tuple[int, frozenset[str]]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, user_id: str, changed_ns: int) -> frozenset[str] | None:
        """The ids of those that may be; None where that is not known of a folder with this time of change."""
        with self._lock:
            stamp, ids = self._by_user.get(user_id, (None, frozenset()))
            if stamp != changed_ns:
                return None
            self._by_user.move_to_end(user_id)
            return ids

    def keep(self, user_id: str, changed_ns: int, ids: frozenset[str]) -> None:
        """Remembers what was found in a folder that bore this time of change before it was looked through."""
        # Both are the system's own clock, which stamps files whatever clock this server goes by.
        if len(ids) > _MOST_IDS or time.time_ns() - changed_ns < _SETTLED_NS:
            return
        with self._lock:
            self._by_user[user_id] = changed_ns, ids
            self._by_user.move_to_end(user_id)
            if len(self._by_user) > self._limit:
                self._by_user.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """A user's archives may be others now."""
        with self._lock:
            self._by_user.pop(user_id, None)
