"""What a module for operators may see of the server, and do to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from potoserver.engine.presence import Cause, Leaving


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """An open event stream.

    Attributes:
        id: The connection's.
        user_id: Whose it is.
        since_ms: When it opened: wall time, milliseconds since 1970 UTC.
        lease_s: The lease that the client asked for, in seconds; None without one.
        last_event_id: The newest log event that was sent on it, or None while it opens.
        waiting_bytes: How much of what was sent the client, or the proxy before it, has not taken yet.
    """

    id: str
    user_id: str
    since_ms: int
    lease_s: int | None
    last_event_id: str | None
    waiting_bytes: int


@dataclass(frozen=True, slots=True)
class FailingHook:
    """A departure that a module has not taken, and that is being repeated.

    Attributes:
        module: The module's name.
        user_id: Who has gone.
        departure_id: The departure's.
        cause: Why the user's last connection ended.
        since_ms: When it failed first: wall time, milliseconds since 1970 UTC.
        tries: How often it was tried.
        next_try_ms: When it is tried next.
        gives_up_ms: When it is parked unless it succeeds.
        waiting: How many further departures of the user wait behind it.
        error: What the last try failed with.
    """

    module: str
    user_id: str
    departure_id: str
    cause: Cause
    since_ms: int
    tries: int
    next_try_ms: int
    gives_up_ms: int
    waiting: int
    error: str


@dataclass(frozen=True, slots=True)
class ParkedHook:
    """A departure that was given up: that module was never told.

    Attributes:
        module: The module's name.
        user_id: Who has gone.
        departure_id: The departure's.
        cause: Why the user's last connection ended.
        at_ms: When it was given up: wall time, milliseconds since 1970 UTC.
        why: Why it was.
        error: What the last try failed with; empty where there was none.
    """

    module: str
    user_id: str
    departure_id: str
    cause: Cause
    at_ms: int
    why: str
    error: str


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Something that is wrong now.

    Attributes:
        name: Of a closed set.
        since_ms: Since when: wall time, milliseconds since 1970 UTC.
        times: How often its cause was met since.
        of_one_client: It is one client's own doing, felt by nobody else.
    """

    name: str
    since_ms: int
    times: int
    of_one_client: bool


@dataclass(frozen=True, slots=True)
class HookTroubles:
    """The departures that modules have not taken.

    Attributes:
        failing_count: How many are being repeated.
        parked_count: How many were given up since the start.
        failing: Some of the first kind, one for each user and module.
        parked: The newest of the second kind, newest first.
    """

    failing_count: int
    parked_count: int
    failing: Sequence[FailingHook]
    parked: Sequence[ParkedHook]


class Oversight(ABC):
    """The server as its operator sees it: this node, where nothing else is said.

    Each list is bounded by its `limit`, so that a look costs the same on a full server. A module that shows
    it on and on shares its looks by `Snapshots`.
    """

    @abstractmethod
    async def count_connections(self) -> int:
        """How many event streams are open."""

    @abstractmethod
    async def connections(self, search: str, limit: int) -> Sequence[OpenConnection]:
        """Open event streams, those of the users who came last first.

        Args:
            search: Part of a user's or a connection's id; empty for any.
            limit: At most so many.
        """

    @abstractmethod
    async def drop_connection(self, connection_id: str) -> str | None:
        """Ends an event stream with the cause `kicked`. Its client may come back.

        Returns:
            The id of the user whose it was; None where there is none of that id.
        """

    @abstractmethod
    async def count_leaving(self) -> int:
        """How many users are in the grace, on all nodes."""

    @abstractmethod
    async def leaving(self, limit: int) -> Sequence[Leaving]:
        """The users in the grace, on all nodes; those whose grace ends first."""

    @abstractmethod
    async def hook_troubles(self, limit: int) -> HookTroubles:
        """The departures that modules have not taken; of each kind at most so many."""

    @abstractmethod
    async def alarms(self) -> Sequence[AlarmState]:
        """What is wrong now, the oldest first."""
