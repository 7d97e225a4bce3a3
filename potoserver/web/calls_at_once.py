"""How many calls may be in flight: of one user, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from potoserver.core import Core
from potoserver.errors import ProblemError


class CallsAtOnce:
    """Counts calls from before their body is read until their method has ended and their answer is sent.

    So the bodies, results and queued work that one user can make the server hold are bounded, also by
    callers that go away at once, and by those who never read an answer.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._of_users: Counter[str] = Counter()
        self._count = 0
        core.metrics.calls_in_flight.set_function(lambda: self._count)

    def __len__(self) -> int:
        return self._count

    def take(self, user_id: str) -> Callable[[], None]:
        """Counts a call in.

        Returns:
            What counts it out; harmless when called again.

        Raises:
            ProblemError: 429 when the user has too many calls in flight, 503 when all users have.
        """
        limits = self._core.settings.limits
        if self._of_users[user_id] >= limits.calls_at_once_per_user:
            self._core.metrics.calls_refused.labels("user").inc()
            raise ProblemError(
                429,
                f"You have {limits.calls_at_once_per_user} calls in flight; wait for an answer.",
                retry_after_s=1,
            )
        if self._count >= limits.calls_at_once:
            self._core.metrics.calls_refused.labels("all").inc()
            self._core.alarms.set("calls-full", lapses=True, limit=limits.calls_at_once)
            raise ProblemError(
                503, "The server has as many calls in flight as it takes; try again.", retry_after_s=1
            )
        self._of_users[user_id] += 1
        self._count += 1
        counted = True

        def release() -> None:
            nonlocal counted
            if not counted:
                return
            counted = False
            self._count -= 1
            self._of_users[user_id] -= 1
            if not self._of_users[user_id]:
                del self._of_users[user_id]

        return release
