"""What was found out about users' folders, for as long as nothing has come to them or gone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

_T = TypeVar("_T")


class ByFolder(Generic[_T]):
    """Remembers something of each user's folder, together with the folder's time of change.

    That tells whether a file in it was made, renamed or removed.

    Args:
        limit: Of how many users it is remembered; those asked about least lately are forgotten.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._by_user: OrderedDict[str, tuple[int, _T]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, user_id: str) -> bool:
        """Whether anything is known, of whatever time."""
        with self._lock:
            return user_id in self._by_user

    def find(self, user_id: str, changed_ns: int) -> _T | None:
        """What is known of a folder with this time of change; None for nothing."""
        with self._lock:
            known = self._by_user.get(user_id)
            if known is None or known[0] != changed_ns:
                return None
            self._by_user.move_to_end(user_id)
            return known[1]

    def keep(self, user_id: str, changed_ns: int, found: _T) -> None:
        """Remembers what is so of a folder that bears this time of change."""
        with self._lock:
            self._by_user[user_id] = changed_ns, found
            self._by_user.move_to_end(user_id)
            if len(self._by_user) > self._limit:
                self._by_user.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """What is in a user's folder may be something else now."""
        with self._lock:
            self._by_user.pop(user_id, None)
