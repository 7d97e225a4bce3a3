"""What the operations page is told. Times are ISO 8601, UTC."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from potoserver import (
    AlarmState,
    FailingHook,
    HookTroubles,
    Leaving,
    OpenConnection,
    ParkedHook,
    WireModel,
    iso_utc,
)


class OfNode(WireModel):
    """A row that is about one node."""

    node: str | None = Field(None, description="The node that it is on; null where there is one node alone.")


class ConnectionRow(OfNode):
    """An open event stream."""

    id: str
    user_id: str
    since: str
    lease_s: int | None = Field(description="The lease that the client asked for, in seconds.")
    last_event_id: str | None = Field(description="The newest log event that was sent on it.")
    waiting_bytes: int = Field(description="What was sent and is not taken yet.")

    @classmethod
    def of(cls, seen: OpenConnection) -> Self:
        """As the server sees it."""
        return cls(
            id=seen.id,
            user_id=seen.user_id,
            since=iso_utc(seen.since_ms),
            lease_s=seen.lease_s,
            last_event_id=seen.last_event_id,
            waiting_bytes=seen.waiting_bytes,
        )


class LeavingRow(WireModel):
    """A user in the grace."""

    user_id: str
    cause: str = Field(description="Why the last connection ended.")
    since: str
    until: str = Field(description="When the grace ends.")

    @classmethod
    def of(cls, seen: Leaving) -> Self:
        """As the engine sees it."""
        return cls(
            user_id=seen.user_id,
            cause=seen.cause,
            since=iso_utc(seen.since_ms),
            until=iso_utc(seen.departs_ms),
        )


class FailingRow(OfNode):
    """A departure that a module does not take and that is being repeated."""

    module: str
    user_id: str
    departure: str
    cause: str
    since: str
    tries: int
    next_try: str
    gives_up: str = Field(description="When it is parked unless it succeeds.")
    waiting: int = Field(description="How many of the user's further departures wait behind it.")
    error: str

    @classmethod
    def of(cls, seen: FailingHook) -> Self:
        """As the server sees it."""
        return cls(
            module=seen.module,
            user_id=seen.user_id,
            departure=seen.departure_id,
            cause=seen.cause,
            since=iso_utc(seen.since_ms),
            tries=seen.tries,
            next_try=iso_utc(seen.next_try_ms),
            gives_up=iso_utc(seen.gives_up_ms),
            waiting=seen.waiting,
            error=seen.error,
        )


class ParkedRow(OfNode):
    """A departure that was given up."""

    module: str
    user_id: str
    departure: str
    cause: str
    at: str
    why: str
    error: str

    @classmethod
    def of(cls, seen: ParkedHook) -> Self:
        """As the server sees it."""
        return cls(
            module=seen.module,
            user_id=seen.user_id,
            departure=seen.departure_id,
            cause=seen.cause,
            at=iso_utc(seen.at_ms),
            why=seen.why,
            error=seen.error,
        )


class HookRows(WireModel):
    """The departures that modules have not taken."""

    failing_count: int
    parked_count: int = Field(description="Since the server's start.")
    failing: tuple[FailingRow, ...]
    parked: tuple[ParkedRow, ...] = Field(description="The newest ones, newest first.")

    @classmethod
    def of(cls, seen: HookTroubles) -> Self:
        """As the server sees them."""
        return cls(
            failing_count=seen.failing_count,
            parked_count=seen.parked_count,
            failing=tuple(map(FailingRow.of, seen.failing)),
            parked=tuple(map(ParkedRow.of, seen.parked)),
        )


class AlarmRow(OfNode):
    """Something that is wrong now."""

    name: str
    since: str
    times: int = Field(description="How often its cause was met since.")
    of_one_client: bool = Field(description="It is one client's own doing, felt by nobody else.")

    @classmethod
    def of(cls, seen: AlarmState) -> Self:
        """As the server sees it."""
        return cls(
            name=seen.name,
            since=iso_utc(seen.since_ms),
            times=seen.times,
            of_one_client=seen.of_one_client,
        )


class EventRates(WireModel):
    """What was done with events since the look before, by the second."""

    published_per_s: float
    delivered_per_s: float
    replayed_per_s: float
    dropped_per_s: float = Field(description="They left a user's log by its bounds.")


class NodeView(WireModel):
    """One node at one moment, as it sees itself."""

    host: str
    pid: int
    started_at: str
    draining: bool
    connection_count: int
    connections: tuple[ConnectionRow, ...]
    events: EventRates | None
    calls_in_flight: int
    hooks: HookRows
    alarms: tuple[AlarmRow, ...]


class NodeRow(WireModel):
    """A node that lives."""

    id: str
    host: str | None = Field(description="The machine's name; null while the node does not answer.")
    pid: int | None
    started_at: str | None
    draining: bool
    connections: int = Field(description="Open event streams, of whatever user.")
    answers: bool = Field(description="False: of its rows nothing is known at the moment.")


class OperationsView(WireModel):
    """The server at one moment, all nodes together."""

    at: str = Field("", description="The server's time; count down from it.")
    started_at: str = Field(description="Of several nodes, when the one did that has run for longest.")
    draining: bool = Field(description="All nodes are on their way out.")
    nodes: tuple[NodeRow, ...] = Field(description="All that live, by id.")
    online: int | None = Field(description="Users with a connection; null while the engine is away.")
    leaving_count: int | None = Field(description="Users in the grace; null while the engine is away.")
    connection_count: int = Field(description="Open event streams, of whatever user.")
    connections: tuple[ConnectionRow, ...] = Field(description="Those that match, the newest first.")
    leaving: tuple[LeavingRow, ...] = Field(description="Those whose grace ends first.")
    events: EventRates | None = Field(description="Null at the first look.")
    calls_in_flight: int
    hooks: HookRows
    alarms: tuple[AlarmRow, ...]


class Dropped(WireModel):
    """Whether there was such a connection to drop."""

    dropped: bool
