"""What a server module is: hooks to override, and a context that the server hands it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.presence import Cause, Departure, Presence
from potoserver.events import Event, EventId
from potoserver.module.nodes import Nodes
from potoserver.module.oversight import Oversight
from potoserver.module.user_homes import UserHomes

if TYPE_CHECKING:
    import asyncio

    import typer


@dataclass(frozen=True, slots=True)
class Connection:
    """One open event stream, as modules see it.

    Attributes:
        id: Names the connection; new for each one.
        user_id: Whose it is.
        generation: The user's generation that it belongs to.
    """

    id: str
    user_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `python -m potoserver check`.

    Attributes:
        subject: What it is about, such as `chat.responder`.
        says: What was found.
        state: `wrong` keeps a server from starting; a `note` deserves a look.
    """

    subject: str
    says: str
    state: Literal["ok", "note", "wrong"] = "ok"


class ModuleContext(ABC):
    """What a module may ask of the server. One per module, there from before `on_start`.

    Attributes:
        settings: The module's own section, an instance of its `settings_model` (None without one).
        clock: The server's clock; modules wait and stamp with it alone.
        data_dir: Where files of the deployment live.
        registry: Where the module adds its Prometheus metrics (names begin with `potoserver_`).
        grace_ms: The grace of presence, in milliseconds.
        retry_ms: The reconnection time that clients are told, in milliseconds.
        oversight: The server as its operator sees it.
        nodes: All nodes of the deployment, to be asked.
        homes: Which users are at home on this node.
        user_bytes: What a module may keep on the disk for one user, in bytes; 0 for no limit.
        stop_timeout_s: What `on_stop` gets, in seconds: of a shutdown's time all but the server's own part.
    """

    settings: Any
    clock: Clock
    data_dir: Path
    registry: CollectorRegistry
    oversight: Oversight
    nodes: Nodes
    homes: UserHomes
    grace_ms: int
    retry_ms: int
    user_bytes: int
    stop_timeout_s: float

    @abstractmethod
    def logger(self, name: str | None = None) -> FilteringBoundLogger:
        """A logger of that name (`session:lifecycle`); without one, `module:<the module's name>`."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs work that must finish: no client's going cancels it, shutdown awaits it."""

    @property
    @abstractmethod
    def draining(self) -> bool:
        """Whether the server is on its way out and refuses new work."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether the server has ever been ready; it never is when its start fails."""

    @abstractmethod
    async def until_started(self) -> None:
        """Waits until the server is ready, every module having started; or has to stop before that."""

    @abstractmethod
    def set_alarm(self, name: str, *, lapses: bool = False, **fields: Any) -> None:
        """Tells the operator that something is wrong now: in `/health`, the metrics and one log line.

        Called as often as the cause is met, on the event loop.

        Args:
            name: Of a closed set (`disk-full`): it becomes a label.
            lapses: It goes off by itself when the cause is quiet; else it stays until `clear_alarm`.
            fields: What the log line says, the first time.
        """

    @abstractmethod
    def clear_alarm(self, name: str) -> None:
        """The cause is gone. Harmless when the alarm is off."""

    @abstractmethod
    async def publish(self, user_id: str, event: Event) -> EventId:
        """Tells all connections of a user, now and (by replay) those that are away for a moment."""

    @abstractmethod
    async def published_of(self, user_id: str) -> list[Event]:
        """What the log of a user still holds of what was published, oldest first."""

    @abstractmethod
    async def ensure_published(self, user_id: str, event_type: str, text: str) -> bool:
        """Makes sure that a user's connections get an event that was published or not, which is not known.

        Args:
            user_id: Whose.
            event_type: The event's.
            text: What stands in its data as JSON, and in that of no other of the type: an id.

        Returns:
            Whether it was. If not, all of them are told of a gap, at the latest with the user's next event.
        """

    @abstractmethod
    async def broadcast(self, event: Event) -> int:
        """Tells every connection, unlogged. Returns how many were reached."""

    @abstractmethod
    async def count_online(self) -> int:
        """How many users are online."""

    @abstractmethod
    async def online_users(self) -> list[str]:
        """The ids of all users who are online, sorted."""

    @abstractmethod
    def presence_now_ms(self) -> int:
        """What time it is by the clock of presence and departures; among several nodes it is none of theirs.

        For what is compared with their times, or with another node's. In milliseconds since 1970 UTC.
        """

    @abstractmethod
    async def presence_of(self, user_id: str) -> Presence:
        """A user's presence now."""

    @abstractmethod
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        """That of several users, in their order; for many it costs less than to ask for each."""

    @abstractmethod
    async def get_state(self, user_id: str, name: str) -> str | None:
        """A small value that a module keeps for a user, on whichever node, or None."""

    @abstractmethod
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        """Sets such a value in one step if it still is `expected` (None: absent); None removes it.

        It lapses `lifetime_s` seconds after this, and when many others of the user were set since.

        Returns:
            Whether it was set.
        """


class ServerModule:
    """The base class of plugins. Override what you need; each hook does nothing by default.

    A hook that raises, hangs or is slow delays and breaks no other module and no connection. Methods
    marked with `rpc` are offered at `POST /<class name>/<methodName>`.

    Attributes:
        section: The name of the module's section in the settings, with `settings_model`.
        settings_model: A frozen pydantic model of that section, or None. A field may name an
            environment variable of its own: `Field(json_schema_extra={"env": "SESSION_TIMEOUT"})`.
        homed: Among several nodes, its hooks and methods about a user run on one at a time, the user's home,
            methods by who calls or as `rpc` says. So it may keep a user's state in memory.
        hook_timeout_s: One try of this module's hooks, in seconds; None for `hooks.timeout_s`.
        context: Set by the server before `on_start`.
    """

    section: ClassVar[str] = ""
    settings_model: ClassVar[type[BaseModel] | None] = None
    homed: ClassVar[bool] = False
    hook_timeout_s: float | None = None
    context: ModuleContext

    @classmethod
    def name(cls) -> str:
        """The module's name in URLs, logs and settings: its class name."""
        return cls.__name__

    async def on_start(self) -> None:
        """The server starts; it serves once every module has returned. An error stops the start."""

    async def on_stop(self) -> None:
        """The server stops; new work is refused already, connections are still open."""

    async def on_sse_connect(self, user_id: str) -> None:
        """The user came online: the first connection, on any node. One try."""

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        """The user has gone, past the grace. Repeated until it returns, with the same `departure.id`."""

    async def on_connection_opened(self, connection: Connection) -> None:
        """A connection opened on this node. At once, best effort."""

    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        """A connection of this node ended. At once, best effort."""

    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        """What this module adds to the `connected` event.

        When it takes over 1 s or fails, the fields of `connected_field_names` are null.
        """
        return {}

    connected_field_names: ClassVar[tuple[str, ...]] = ()

    # A homed module among several nodes

    async def on_home_gained(self, user_id: str, token: int) -> None:
        """This node is the user's home from now on; no hook or method about the user runs here before.

        Args:
            user_id: Whose.
            token: Greater than that of every home which the user has had: storage that refuses a smaller one
                keeps out a node that has not noticed yet.
        """

    def on_home_lost(self, user_id: str) -> None:
        """It is not any more, and another node may be: what is known of the user here holds no longer.

        Nothing may be written for the user from now on. Not called where the server just ends.
        """

    def needs_home(self, user_id: str) -> bool:
        """Whether this node must stay the user's home, though nobody asks for it: something goes on."""
        return False

    async def health_fields(self) -> Mapping[str, Any]:
        """What this module adds to `GET /health`."""
        return {}

    def startup_checks(self, settings: Any, data_dir: Path) -> Iterable[Check]:
        """What `python -m potoserver check` says of this module. Called without a running server.

        Args:
            settings: The module's own section, as `context.settings` would be.
            data_dir: As `context.data_dir` would be; it need not be there yet, and nothing may be changed.
        """
        return ()

    def commands(self) -> Mapping[str, Callable[..., None] | typer.Typer]:
        """Sub-commands of `python -m potoserver`, by name. Called without a running server.

        A command with a parameter of type `typer.Context` finds in its `obj` what was loaded:
        `obj.settings` (the core's, such as `obj.settings.data_dir`) and `obj.sections[self.section]`.
        """
        return {}
