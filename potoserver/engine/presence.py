"""A user's presence: whether somebody is here, in the grace or gone, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
