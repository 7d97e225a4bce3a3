"""How often each user, or each address, may ask."""

from __future__ import annotations

import math
from collections import OrderedDict

from potoserver.clock import Clock, TimerHandle
from potoserver.errors import ProblemError
from potoserver.metrics import Metrics

WINDOW_S = 60.0
MAX_KEYS = 100_000
"""How many keys are remembered at most; beyond, the one that was longest silent is forgotten."""
_SWEEP_S = 5.0


class RateLimiter:
    """So many requests a minute for each key, by the generic cell rate algorithm.

    A burst of a whole minute's amount is let through; from then on one every `60 / per_minute` seconds. For
    each key it keeps one number, and drops it once the key is idle.

    Args:
        per_minute: The amount; 0 is off.
        clock: Measures.
        metrics: Counts refusals.
        detail: What is said to whoever is refused.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Clock,
        metrics: Metrics,
        detail: str = "Too many requests; wait a little.",
    ) -> None:
        self._detail = detail
        self._interval_s = WINDOW_S / per_minute if per_minute else 0.0
        self._clock = clock
        self._metrics = metrics
        # When each key's bucket will be full again; the key longest silent comes first.
        self._full_at_s: OrderedDict[str, float] = OrderedDict()
        self._sweep: TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._full_at_s)

    def check(self, key: str) -> None:
        """Raises if a request of this key would be one too many; takes nothing.

        Raises:
            ProblemError: 429, with the whole seconds until there is room.
        """
        if self._interval_s:
            self._full_at(key, self._clock.monotonic_s())

    def take(self, key: str) -> None:
        """Counts a request of this key.

        Raises:
            ProblemError: 429; then it is not counted.
        """
        if not self._interval_s:
            return
        now_s = self._clock.monotonic_s()
        self._full_at_s[key] = self._full_at(key, now_s)
        self._full_at_s.move_to_end(key)
        self._forget(now_s)
        self._sweep_later()

    def _full_at(self, key: str, now_s: float) -> float:
        """When the key's bucket will be full again once a request is taken now; raises as `take`."""
        full_at_s = max(self._full_at_s.get(key, now_s), now_s) + self._interval_s
        wait_s = full_at_s - WINDOW_S - now_s
        if wait_s > 1e-6:  # sums of floats: a rest of a microsecond is none
            self._metrics.rate_limited.inc()
            raise ProblemError(429, self._detail, retry_after_s=math.ceil(wait_s))
        return full_at_s

    def _sweep_later(self) -> None:
        """Forgets by itself too: after the last request there may be none for days."""
        if self._full_at_s and self._sweep is None:
            self._sweep = self._clock.call_later(_SWEEP_S, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        self._forget(self._clock.monotonic_s())
        self._sweep_later()

    def _forget(self, now_s: float) -> None:
        """Drops idle keys. None is kept for more than a minute of silence: then its bucket is full."""
        while self._full_at_s:
            key = next(iter(self._full_at_s))
            if self._full_at_s[key] > now_s and len(self._full_at_s) <= MAX_KEYS:
                return
            del self._full_at_s[key]
