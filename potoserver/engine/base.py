"""The abstract engine: what several nodes must agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from potoserver.engine.presence import Attachment, Cause, Departure, Leaving, Presence
from potoserver.events import Event, EventId, Frame

MAX_STATES_PER_USER = 256
MAX_PAYLOAD_BYTES = 1_048_576
"""What one node may send to another at once."""


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


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node that lives, as of its last renewal.

    Attributes:
        id: Its name; never given to another node.
        draining: It is on its way out, and no successor of anybody.
        connections: How many it holds.
    """

    id: str
    draining: bool
    connections: int


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything about a user's dialogs happens.

    Attributes:
        user_id: Whose home it is.
        node_id: The node.
        token: Grows with every change of the user's home, also when the engine has lost its data: who writes
            for the user with an older token than was seen already is refused. 0 where no change is possible.
    """

    user_id: str
    node_id: str
    token: int


class EngineListener(Protocol):
    """What the engine tells this node. Called on the loop; must neither block nor raise.

    What only happens among several nodes is nothing unless it is overridden.
    """

    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        """A log event of a user for this node's connections, in the log's order."""

    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        """An event for all of this node's connections. Returns how many got it."""

    def on_departure(self, departure: Departure) -> None:
        """This node has claimed a departure and must acknowledge it once every hook is done with it.

        It may come again, to this node or to another: the id tells.
        """

    def on_gap(self, user_id: str) -> None:
        """Events on their way to this node's connections of the user are lost for good.

        These connections must end, so that their clients return and are told of the gap.
        """
        return

    def on_rejoined(self, user_id: str, attachment: Attachment) -> None:
        """This node had been declared dead, and the user's connections here are attached as new ones."""
        return

    def on_home_lost(self, home: Home) -> None:
        """The user's home is here no more, though nobody released it. Its token says which one it was."""
        return

    def on_orphan(self, user_id: str) -> None:
        """The user's home is gone, a dialog was left open there, and this node is asked to take it over.

        It does so by claiming the home. Until somebody has, a node is asked again and again.
        """
        return

    def on_message(self, sender_node_id: str, payload: bytes) -> None:
        """A node has sent something to this one."""
        return


class TooManyConnectionsError(Exception):
    """The user has as many connections as one may have, on all nodes; another one was not attached."""


def check_payload(payload: bytes) -> None:
    """Raises ValueError for what is too large to be sent to a node."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"{len(payload)} bytes are too large to be sent, at most {MAX_PAYLOAD_BYTES} may be")


class Engine(ABC):
    """Presence, event logs, departures, small state, nodes and homes, behind one interface.

    Every coroutine may raise `potoserver.errors.UnavailableError` while the engine is away. Nothing above
    this interface knows which engine runs.
    """

    @abstractmethod
    async def start(self, listener: EngineListener) -> None:
        """Joins as a node. Called once, before anything else."""

    @abstractmethod
    async def stop(self) -> None:
        """Leaves. Departures that nobody acknowledged stay with the engine for as long as it lasts.

        The connections that this node still holds end with the cause `shutdown`; homes that it still has
        are free, as if they were released without an orphan.
        """

    # Nodes

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether there may be other nodes: then a user is at home on one of them."""

    @property
    @abstractmethod
    def node_id(self) -> str:
        """This node's name; another one after it was declared dead and has joined anew."""

    @property
    @abstractmethod
    def trouble(self) -> str | None:
        """Why events can't come through at the moment, in a few words; None while they do."""

    @property
    def available(self) -> bool:
        """Whether events come through, by the path that they really take."""
        return self.trouble is None

    @abstractmethod
    def nodes(self) -> Sequence[NodeInfo]:
        """All nodes that live, this one too, sorted by id; of this node's last renewal."""

    @abstractmethod
    async def find_nodes(self) -> Sequence[NodeInfo]:
        """As `nodes`, of this moment: whoever has joined before this is among them."""

    @abstractmethod
    async def ensure_lease(self) -> None:
        """Returns once this node's lease is known to hold, or the engine to be away (see `trouble`).

        That is at once, but where the process stood still for seconds.

        Raises:
            UnavailableError: It can't be renewed.
        """

    @abstractmethod
    async def drain(self) -> bool:
        """Marks this node as draining, for good.

        Returns:
            Whether a successor lives, as `has_successor`. Of several nodes that begin to drain at the same
            time, the last one gets False.
        """

    @abstractmethod
    async def has_successor(self) -> bool:
        """Whether another node lives that is not draining."""

    @abstractmethod
    async def send(self, node_id: str, payload: bytes) -> None:
        """Sends to a node, this one too: at most once, and in order from one node to another.

        To a node that is not there, and to one that can't be reached, nothing arrives, and nobody is told.

        Args:
            node_id: Who gets it, by `EngineListener.on_message`.
            payload: At most `MAX_PAYLOAD_BYTES`.

        Raises:
            ValueError: It is larger.
        """

    # Homes

    @abstractmethod
    async def home_of(self, user_id: str) -> Home | None:
        """The user's home; None while no living node is it."""

    @abstractmethod
    async def claim_home(self, user_id: str, above: int = 0) -> Home:
        """The user's home; this node becomes it when no living node is.

        Args:
            user_id: Whose.
            above: A token that was seen already: a new one is greater.

        Returns:
            The home there is now, perhaps another node's.
        """

    @abstractmethod
    async def orphans(self) -> list[str]:
        """The users of whom a dialog was left open at a home that is gone, and whom nobody has taken over."""

    @abstractmethod
    async def release_home(self, home: Home, *, orphan: bool) -> None:
        """Gives up this node's home of a user. One that is that no more, by its token, is left alone.

        Args:
            home: As it was claimed.
            orphan: A dialog is open there, and a node that is not draining shall take it over.
        """

    # Presence

    @abstractmethod
    def now_ms(self) -> int:
        """What time it is by the clock that presence and departures go by: the engine's, as far as known.

        What is compared with their times must be of this clock: the nodes' own may differ. In milliseconds
        since 1970 UTC.
        """

    @abstractmethod
    async def attach(self, user_id: str, connection_id: str, most: int = 0) -> Attachment:
        """Adds a connection; the first of an absent user begins a generation, one in the grace ends it.

        Args:
            user_id: Whose.
            connection_id: Names it; new for each one.
            most: How many the user may have with it, on all nodes; 0 for no limit.

        Raises:
            TooManyConnectionsError: It would be one too many; nothing was changed.
        """

    @abstractmethod
    async def detach(self, user_id: str, connection_id: str, cause: Cause) -> int:
        """Removes a connection. When it was the last, the grace begins.

        Idempotent: an unknown connection changes nothing. While the engine is away this raises, and is made
        up for when it is back.

        Returns:
            How many connections the user still has, on all nodes.
        """

    @abstractmethod
    async def node_of(self, user_id: str, connection_id: str) -> str | None:
        """The node that holds a connection of the user's; None where the user has no such connection."""

    @abstractmethod
    async def presence_of(self, user_id: str) -> Presence:
        """The user's presence now."""

    @abstractmethod
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        """The presence of several users, in their order; of many it costs less than to ask for each."""

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
    async def logged(self, user_id: str) -> list[Event]:
        """The events in the user's log, oldest first."""

    @abstractmethod
    async def ensure_logged(self, user_id: str, event_type: str, text: str) -> bool:
        """Makes sure that who goes on in the user's log gets an event, or is told of a gap. Idempotent.

        For what was to be published and perhaps was not: the engine was away, or who should have done it is
        gone.

        Args:
            user_id: Whose log.
            event_type: The event's.
            text: What stands in its data as JSON, and in that of no other of the type: an id.

        Returns:
            Whether it is in the log. If not, and there is a log, it was begun anew: an id from before is a
            gap, and who is connected is told of it.
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
