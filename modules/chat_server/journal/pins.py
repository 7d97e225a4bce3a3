"""Which of a user's archives may be pinned, remembered while nothing has come to their folder or gone."""

from __future__ import annotations

import time
from typing import Final

from typing_extensions import override

from .by_folder import ByFolder

_SETTLED_NS: Final = 1_000_000_000
"""Within a tick of the file system's clock a folder can change twice and bear one time."""
_MOST_IDS: Final = 1000
"""Of one user's that are remembered."""


class PinIndex(ByFolder[frozenset[str]]):
    """Spares a look into each of ten thousand archives at each view of a page.

    A pin is set by a rename. What a person writes into a file in its place is seen when the folder changes
    next.
    """

    @override
    def keep(self, user_id: str, changed_ns: int, found: frozenset[str]) -> None:
        """Remembers what was found in a folder that bore this time of change before it was looked through."""
        # Both are the system's own clock, which stamps files whatever clock this server goes by.
        if len(found) <= _MOST_IDS and time.time_ns() - changed_ns >= _SETTLED_NS:
            super().keep(user_id, changed_ns, found)
