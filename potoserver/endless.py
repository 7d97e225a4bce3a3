"""Calls that go on for as long as somebody looks: counted apart from others, and ended by the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from potoserver.errors import ProblemError
from potoserver.metrics import Metrics

_RETRY_AFTER_S = 10


class EndlessCalls:
    """The endless calls that are open on this node.

    They are no calls in flight: a page that stays open all day would else take its user's places for good.

    Args:
        most_per_user: How many one user may have open here; 0 for no limit. Event streams are counted on all
            nodes, since each costs the user's every event; what is endless costs the node that it is on.
        metrics: Where they are counted.
    """

    def __init__(self, most_per_user: int, metrics: Metrics) -> None:
        self._most_per_user = most_per_user
        self._metrics = metrics
        self._of_users: Counter[str] = Counter()
        self._open: dict[object, Callable[[ProblemError], None]] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def place(self, user_id: str, end: Callable[[ProblemError], None]) -> Iterator[None]:
        """Counts a call in for the length of a block.

        Args:
            user_id: Who asks.
            end: Ends the call at once and tells its reader why.

        Raises:
            ProblemError: 429, the user has too many open.
        """
        if self._most_per_user and self._of_users[user_id] >= self._most_per_user:
            self._metrics.calls_refused.labels("endless").inc()
            raise ProblemError(
                429,
                f"You have {self._most_per_user} endless calls open; close one.",
                retry_after_s=_RETRY_AFTER_S,
            )
        key = object()
        self._of_users[user_id] += 1
        self._open[key] = end
        self._metrics.endless_calls.set(len(self._open))
        try:
            yield
        finally:
            del self._open[key]
            self._of_users[user_id] -= 1
            if not self._of_users[user_id]:
                del self._of_users[user_id]
            self._metrics.endless_calls.set(len(self._open))

    def end_all(self, problem: ProblemError) -> None:
        """Ends every one of them."""
        for end in list(self._open.values()):
            end(problem)
