"""The abstract engine: what several nodes must agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from potoserver.events import Event, EventId, Frame

MAX_STATES_PER_USER = 256


class Cause(StrEnum):
    """Why a connection ended."""

    CLOSED = "closed"
    """The client closed it in order."""
    RESET = "reset"
    """The client's side reset it."""
    UNREACHABLE = "unreachable"
    """The network no longer acknowledged what was sent."""
    LEASE = "lease"
    """No ack came within the lease that the client asked for."""
    SLOW = "slow"
    """The client read nothing for too long, or so slowly that its outbox was full."""
    EXPIRED = "expired"
    """The token it came with has expired."""
    KICKED = "kicked"
    """The server or its operator ended it, or the client sent what nobody reads."""
    NODE_LOST = "node-lost"
    """The node that held it is gone."""
    SHUTDOWN = "shutdown"
    """The server stopped."""


class PresenceState(StrEnum):
    """Where a user stands."""

    ABSENT = "absent"
    ONLINE = "online"
    LEAVING = "leaving"
    """The last connection is gone, the grace is running."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A user's presence at one moment.

    Attributes:
        state: Absent, online or leaving.
        generation: Grows with each arrival of the user; 0 while absent.
        connections: How many are open, on all nodes.
        departs_ms: When the grace ends, while the user is leaving: wall time, milliseconds since 1970 UTC.
    """

    state: PresenceState
    generation: int
    connections: int
    departs_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    """A user in the grace.

    Attributes:
        user_id: Who may be going.
        cause: Why the last connection ended.
        since_ms: When it did: wall time, milliseconds since 1970 UTC.
        departs_ms: When the grace ends, likewise.
    """

    user_id: str
    cause: Cause
    since_ms: int
    departs_ms: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """What attaching a connection did.

    Attributes:
        generation: The generation that the connection belongs to.
        arrived: The user was absent: a new generation began and the connect hooks are due. Otherwise the
            user was here already, or came back within the grace.
    """

    generation: int
    arrived: bool


@dataclass(frozen=True, slots=True)
class Departure:
    """A user has gone, past the grace.

    Attributes:
        id: The idempotency key: one departure, one id, however often a hook sees it.
        user_id: Who has gone.
        generation: The generation that ended.
        cause: Why the last connection ended.
        last_seen_ms: When the last connection ended: wall time, milliseconds since 1970 UTC.
        departed_ms: When the grace had passed, likewise.
    """

    id: str
    user_id: str
    generation: int
    cause: Cause
    last_seen_ms: int
    departed_ms: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event of a user's log, encoded once.

    Attributes:
        id: Its place in the log.
        type: The event's type, for logs.
        frame: Its bytes.
    """

    id: EventId
    type: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Replay:
    """What a client missed.

    Attributes:
        entries: Oldest first, none older than the client's last id.
        gap: The client named an id from which the log can't be continued; then `entries` is empty.
        resume_id: The id from which the stream goes on: the client's own when it resumed, else the newest.
    """

    entries: tuple[LogEntry, ...]
    gap: bool
    resume_id: EventId


class EngineListener(Protocol):
    """What the engine tells this node. Called on the loop; must neither block nor raise."""

    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        """A log event of a user for this node's connections, in the log's order."""

    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        """An event for all of this node's connections. Returns how many got it."""

    def on_departure(self, departure: Departure) -> None:
        """This node has claimed a departure and must acknowledge it once every hook is done with it."""


class Engine(ABC):
    """Presence, event logs, departures and small state, behind one interface.

    Every method may raise `potoserver.errors.UnavailableError` while the engine is away. Nothing above
    this interface knows which engine runs.
    """

    @abstractmethod
    async def start(self, listener: EngineListener) -> None:
        """Joins as a node. Called once, before anything else."""

    @abstractmethod
    async def stop(self) -> None:
        """Leaves. Departures that nobody acknowledged stay with the engine for as long as it lasts."""

    # Presence

    @abstractmethod
    async def attach(self, user_id: str, connection_id: str) -> Attachment:
        """Adds a connection; the first of an absent user begins a generation, one in the grace ends it."""

    @abstractmethod
    async def detach(self, user_id: str, connection_id: str, cause: Cause) -> int:
        """Removes a connection. When it was the last, the grace begins.

        Idempotent: an unknown connection changes nothing.

        Returns:
            How many connections the user still has, on all nodes.
        """

    @abstractmethod
    async def presence_of(self, user_id: str) -> Presence:
        """The user's presence now."""

    @abstractmethod
    async def online_users(self) -> list[str]:
        """The ids of all users who are online (not those in the grace), sorted."""

    @abstractmethod
    async def count_online(self) -> int:
        """How many users are online."""

    @abstractmethod
    async def count_leaving(self) -> int:
        """How many users are in the grace."""

    @abstractmethod
    async def leaving(self, limit: int) -> Sequence[Leaving]:
        """At most so many of the users in the grace, those first whose grace ends first."""

    @abstractmethod
    async def acknowledge(self, departure: Departure) -> None:
        """Every hook is done with the departure (or parked): forget it. Idempotent."""

    # Event log

    @abstractmethod
    async def publish(self, user_id: str, event: Event) -> EventId:
        """Appends to the user's bounded log and fans out to the user's connections on every node."""

    @abstractmethod
    async def replay(self, user_id: str, after: str | None) -> Replay:
        """What came after the id that the client names; None for a client that names none.

        An id that is malformed, unknown, of another epoch, in the future or older than the log is a gap.
        """

    @abstractmethod
    async def broadcast(self, event: Event) -> int:
        """Tells every connection on every node, unlogged. Returns how many connections were reached."""

    # Small state

    @abstractmethod
    async def get_state(self, user_id: str, name: str) -> str | None:
        """A small value kept for a user, or None."""

    @abstractmethod
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        """Sets a value in one step if it still is `expected` (None: absent). A new value of None removes it.

        The value lapses `lifetime_s` seconds after this. Of one user's values at most
        `MAX_STATES_PER_USER` are kept; the one that was set longest ago goes first.

        Returns:
            Whether it was set.
        """
