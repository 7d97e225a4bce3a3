"""What one module still has to be told of one user."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from potoserver.engine.presence import Departure

BACKOFF_FIRST_S = 0.5
"""From a departure's first failure to its next try."""


@dataclass(slots=True)
class Lane:
    """Arrivals and departures, oldest first.

    A departure that fails moves to `failing` and is repeated there; those after it queue up behind it, while
    connect hooks go on, since a user must not stay unknown to a module for as long as a hook may fail.
    """

    pending: deque[Departure | None] = field(default_factory=deque)
    """None stands for an arrival."""
    failing: deque[Departure] = field(default_factory=deque)
    error: str = ""
    """What the last try of the first of these failed with."""
    tries: int = 0
    failing_since_ms: int = 0
    backoff_s: float = BACKOFF_FIRST_S
    retry_at_s: float = 0.0
    retry_at_ms: int = 0
    give_up_at_s: float = 0.0
    give_up_at_ms: int = 0
    near: bool = False
    """Its first departure is among those whose turn is next."""
    wake: asyncio.Event | None = None
    """Set while one that fails waits for its next try."""
