"""What a load of many users does, and what it tells of itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_KEPT_VIOLATIONS = 50


@dataclass(frozen=True)
class Plan:
    """What a load does, and what it knows of the server.

    Attributes:
        port: The server's, on 127.0.0.1.
        results: The file for what was acknowledged.
        users: How many.
        cycles: How often all of it is done; the first is the warm-up.
        grace_s: From a user's last connection to the end of the session.
        backlog_s: How long a missed event can be replayed.
        lease_s: What clients ask for that answer pings.
        idle_s: When the session of a user without connection ends by itself, at the latest.
        think_s: The mean pause of a user between two things that it does.
        ramp_s: How long the users take to arrive one after the other.
        steady_s: How long they come and go as they like, each time.
        storm_s: Within how long all of them connect at once.
        seed: Of every choice.
    """

    port: int
    results: str
    users: int
    cycles: int
    grace_s: float
    backlog_s: float
    lease_s: int
    idle_s: float
    think_s: float
    ramp_s: float
    steady_s: float
    storm_s: float
    seed: int


@dataclass
class Tally:
    """What all users together have done and met."""

    counts: Counter[str] = field(default_factory=Counter)
    online: int = 0
    connect_ms: list[float] = field(default_factory=list)
    call_ms: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def violate(self, what: str) -> None:
        """A promise was broken."""
        self.counts["violations"] += 1
        if len(self.violations) < _KEPT_VIOLATIONS:
            self.violations.append(what)
