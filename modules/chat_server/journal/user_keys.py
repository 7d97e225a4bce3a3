"""Which keys of an index are whose, so that one user's are found without looking through all of it."""

from __future__ import annotations


class UserKeys:
    """The keys by user; who has none takes no room. The index that has one holds its own lock."""

    def __init__(self) -> None:
        self._keys: dict[str, set[str]] = {}

    def add(self, user_id: str, key: str) -> None:
        """The index has this one now; harmless when it had."""
        self._keys.setdefault(user_id, set()).add(key)

    def remove(self, user_id: str, key: str) -> None:
        """The index has it no more; harmless when it had not."""
        keys = self._keys.get(user_id, set())
        keys.discard(key)
        if not keys:
            self._keys.pop(user_id, None)

    def of(self, user_id: str) -> list[str]:
        """All of one user's."""
        return list(self._keys.get(user_id, ()))
