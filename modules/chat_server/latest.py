"""The dialogs that were archived last, and how long that took."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from potoserver import Cause, Clock

_KEPT = 100
_TIMED = 512
_OF_LATE_S = 300.0


@dataclass(slots=True)
class LatestArchive:
    """One of them.

    Attributes:
        cause: Why the user's last connection ended, where that ended the session.
        counted: Somebody has looked up how many messages it holds.
        message_count: What came of that.
    """

    user_id: str
    archive_id: str
    conversation_id: str
    reason: str
    cause: Cause | None
    ended_ms: int
    counted: bool = False
    message_count: int | None = None


class LatestArchives:
    """Remembers so much of what was archived that an operator can be told. Bounded, and cheap to add to.

    Args:
        clock: Tells what was of late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._archives: deque[LatestArchive] = deque(maxlen=_KEPT)
        self._took: deque[tuple[float, float]] = deque(maxlen=_TIMED)

    def add(
        self,
        user_id: str,
        archive_id: str,
        conversation_id: str,
        *,
        reason: str,
        cause: Cause | None,
        ended_ms: int,
        took_s: float,
    ) -> None:
        """A dialog has been archived, `took_s` seconds after its session ended."""
        self._archives.append(LatestArchive(user_id, archive_id, conversation_id, reason, cause, ended_ms))
        self._took.append((self._clock.monotonic_s(), took_s))

    def newest(self) -> Sequence[LatestArchive]:
        """The archives, oldest first."""
        return tuple(self._archives)

    def seconds(self) -> Sequence[float]:
        """How long each of the last five minutes took, the shortest first."""
        since_s = self._clock.monotonic_s() - _OF_LATE_S
        return sorted(took_s for at_s, took_s in self._took if at_s >= since_s)
