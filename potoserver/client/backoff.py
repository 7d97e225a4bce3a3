"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with full jitter: anything from nothing up to a bound that doubles with each try.

    A thousand clients that lost one server come back spread over the whole time, not in waves.

    Attributes:
        base_s: The bound of the first wait, in seconds.
        most_s: The bound never exceeds this, in seconds.
        chance: Gives numbers from 0 up to 1.
    """

    base_s: float = 0.5
    most_s: float = 30.0
    chance: Callable[[], float] = random.random

    def wait_s(self, tries: int, *, base_s: float | None = None, at_least_s: float = 0.0) -> float:
        """How long to wait after so many tries in a row that failed.

        Args:
            tries: 1 after the first.
            base_s: What the server gave in place of the own base.
            at_least_s: What the server asked for; the jitter comes on top.
        """
        doubled = float(base_s or self.base_s) * 2.0 ** min(max(tries - 1, 0), _MOST_DOUBLINGS)
        bound = min(self.most_s, doubled)
        return at_least_s + bound * self.chance()
