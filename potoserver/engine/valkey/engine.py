"""The engine of several nodes: what they share stands in Valkey or Redis, which decides by its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver.engine.base import (
    MAX_STATES_PER_USER,
    Engine,
    EngineListener,
    Home,
    LogEntry,
    NodeInfo,
    Replay,
    check_payload,
)
from potoserver.engine.presence import Attachment, Cause, Departure, Leaving, Presence
from potoserver.engine.valkey.burial import Burial
from potoserver.engine.valkey.channel import Channel, broadcast_message, node_message
from potoserver.engine.valkey.connections import Connections
from potoserver.engine.valkey.delivery import Delivery
from potoserver.engine.valkey.departures import Departures
from potoserver.engine.valkey.fitness import judge
from potoserver.engine.valkey.homes import Homes
from potoserver.engine.valkey.keys import HELD_S, Keys
from potoserver.engine.valkey.life import Life
from potoserver.engine.valkey.link import Link, end
from potoserver.engine.valkey.local import Local
from potoserver.engine.valkey.logs import EventLogs
from potoserver.engine.valkey.registry import Registry
from potoserver.engine.valkey.scripts import decode, script
from potoserver.engine.valkey.users import Users
from potoserver.events import Event, EventId, Frame, to_json
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings


class ValkeyEngine(Engine):
    """Presence, logs, departures, state, nodes and homes in Valkey 7.2+ or Redis 6.2+, or a cluster of them.

    What it costs, in commands of this node: a publish is one script, and a message to each node that holds a
    connection of the user; attaching and detaching a connection one script each; a heartbeat (each second)
    one, which is the ping through the node's own channel, too. The nodes together look at each of the 64
    partitions four times a second, and each node at all every five seconds. A send is one script.

    Args:
        url: Where it is: `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`.
        grace_ms: From a user's last connection to the departure.
        backlog: The bounds of each user's log.
        metrics: Where events and departures are counted.
        logger: What happens to the nodes, and to the way to Valkey.
        departures_s: How long a departure that nobody acknowledges is kept.
        prefix: Before every name in Valkey, where several deployments share one.

    Raises:
        ValueError: The URL's scheme is another one.
    """

    def __init__(
        self,
        url: str,
        grace_ms: int,
        backlog: BacklogSettings,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        *,
        departures_s: float = 86_400,
        prefix: str = "poto",
    ) -> None:
        self._metrics = metrics
        self._logger = logger
        self._listener: EngineListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keys = keys = Keys(prefix)
        self._link = link = Link(url, logger)
        self._local = local = Local()
        self._held_s = held_s = HELD_S + round(departures_s)
        self._registry = registry = Registry(link, keys, local, held_s)
        self._users = Users(link, keys)
        self._logs = EventLogs(link, keys, backlog, held_s, metrics, registry.given_up_ms)
        self._delivery = Delivery(self._logs.read, self._tell_entry, self._tell_gap, self._spawn, logger)
        self._connections = Connections(
            link,
            keys,
            registry,
            local,
            self._delivery,
            grace_ms=grace_ms,
            held_s=held_s,
            on_dead=self._found_dead,
        )
        self._homes = Homes(link, keys, registry, local, held_s=held_s, on_dead=self._found_dead)
        self._departures = Departures(
            link,
            keys,
            registry,
            kept_ms=round(backlog.seconds * 1000),
            held_s=held_s,
            on_departure=self._tell_departure,
            on_orphan=self._tell_orphan,
            on_dead=self._found_dead,
        )
        self._channel = Channel(
            link,
            keys,
            lambda: registry.node_id,
            on_published=self._delivery.take,
            on_begun_anew=self._delivery.doubt,
            on_broadcast=self._tell_broadcast,
            on_message=self._tell_message,
            on_listening=self._found_listening,
            logger=logger,
        )
        self._life = Life(
            link=link,
            registry=registry,
            local=local,
            channel=self._channel,
            connections=self._connections,
            homes=self._homes,
            logs=self._logs,
            delivery=self._delivery,
            departures=self._departures,
            burial=Burial(link, keys, grace_ms, held_s),
            metrics=metrics,
            logger=logger,
        )

    @override
    async def start(self, listener: EngineListener) -> None:
        self._listener = listener
        try:
            await self._link.open()
            self._tell_fitness()
            await self._life.start(listener)
        except BaseException:
            self._listener = None
            await self._link.close()
            raise

    @override
    async def stop(self) -> None:
        self._listener = None
        await self._life.stop()
        await end(self._tasks)
        await self._link.close()

    def _tell_fitness(self) -> None:
        for found in judge(self._link.shown, self._link.about):
            if found.state != "ok":
                self._logger.warning("engine not as it should be", says=found.says)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("engine fault", exc_info=error)

    def _found_listening(self) -> None:
        self._life.listening()

    def _found_dead(self) -> None:
        self._life.suspect()

    # What the listener is told

    def _tell_entry(self, user_id: str, entry: LogEntry) -> None:
        if self._listener is not None:
            self._listener.on_entry(user_id, entry)

    def _tell_gap(self, user_id: str) -> None:
        if self._listener is not None:
            self._listener.on_gap(user_id)

    def _tell_broadcast(self, event_type: str, data_json: str) -> None:
        if self._listener is not None:
            self._listener.on_broadcast(event_type, Frame.encode(event_type, data_json))

    def _tell_message(self, sender_node_id: str, payload: bytes) -> None:
        if self._listener is not None:
            self._listener.on_message(sender_node_id, payload)

    def _tell_departure(self, departure: Departure) -> None:
        if self._listener is not None:
            self._metrics.departures.labels(departure.cause).inc()
            self._listener.on_departure(departure)

    def _tell_orphan(self, user_id: str) -> None:
        if self._listener is not None:
            self._listener.on_orphan(user_id)

    # Nodes

    @property
    @override
    def shared(self) -> bool:
        return True

    @property
    @override
    def node_id(self) -> str:
        return self._registry.node_id

    @property
    @override
    def trouble(self) -> str | None:
        return self._link.trouble or self._channel.trouble

    @override
    def nodes(self) -> Sequence[NodeInfo]:
        return self._registry.nodes

    @override
    async def find_nodes(self) -> Sequence[NodeInfo]:
        await self._life.renew()
        return self.nodes()

    @override
    async def ensure_lease(self) -> None:
        await self._life.ensure_lease()

    @override
    async def drain(self) -> bool:
        self._registry.draining = True
        return await self.has_successor()

    @override
    async def has_successor(self) -> bool:
        await self._life.renew()
        return bool(self._registry.successors)

    @override
    async def send(self, node_id: str, payload: bytes) -> None:
        check_payload(payload)
        await self._send(self._keys.channel(node_id), node_message(self.node_id, payload))

    async def _send(self, channel: str, message: bytes) -> None:
        route = self._keys.route(channel)
        await self._link.send(script("send").of_route(route, channel=channel, payload=message))

    # Homes

    @override
    async def home_of(self, user_id: str) -> Home | None:
        return await self._homes.of(user_id)

    @override
    async def claim_home(self, user_id: str, above: int = 0) -> Home:
        return await self._homes.claim(user_id, above)

    @override
    async def orphans(self) -> list[str]:
        await self._life.bury()
        return await self._homes.orphans()

    @override
    async def release_home(self, home: Home, *, orphan: bool) -> None:
        await self._homes.release(home, orphan=orphan)

    # Presence

    @override
    def now_ms(self) -> int:
        return self._registry.now_ms()

    @override
    async def attach(self, user_id: str, connection_id: str, most: int = 0) -> Attachment:
        return await self._connections.attach(user_id, connection_id, most)

    @override
    async def detach(self, user_id: str, connection_id: str, cause: Cause) -> int:
        return await self._connections.detach(user_id, connection_id, cause)

    @override
    async def node_of(self, user_id: str, connection_id: str) -> str | None:
        return await self._users.node_of(user_id, connection_id)

    @override
    async def presence_of(self, user_id: str) -> Presence:
        return await self._users.presence_of(user_id)

    @override
    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        return await self._users.presences_of(user_ids)

    @override
    async def online_users(self) -> list[str]:
        return await self._users.online()

    @override
    async def count_online(self) -> int:
        return await self._users.count_online()

    @override
    async def count_leaving(self) -> int:
        return await self._users.count_leaving()

    @override
    async def leaving(self, limit: int) -> Sequence[Leaving]:
        return await self._users.leaving(limit)

    @override
    async def acknowledge(self, departure: Departure) -> None:
        await self._departures.acknowledge(departure)

    # Event log

    @override
    async def publish(self, user_id: str, event: Event) -> EventId:
        return await self._logs.publish(user_id, event)

    @override
    async def replay(self, user_id: str, after: str | None) -> Replay:
        return await self._logs.replay(user_id, after)

    @override
    async def logged(self, user_id: str) -> list[Event]:
        return await self._logs.all_of(user_id)

    @override
    async def ensure_logged(self, user_id: str, event_type: str, text: str) -> bool:
        return await self._logs.ensure(user_id, event_type, text)

    @override
    async def broadcast(self, event: Event) -> int:
        message = broadcast_message(event.type, to_json(event.data))
        await self._send(self._keys.everybody, message)
        self._metrics.events_published.inc()
        elsewhere = (each.connections for each in self.nodes() if each.id != self.node_id)
        return self._local.connections + sum(elsewhere)

    # Small state

    @override
    async def get_state(self, user_id: str, name: str) -> str | None:
        found = await self._link.run(script("get_state").of_user(self._keys, user_id, "", name=name))
        return None if found is None else decode(found)

    @override
    async def swap_state(
        self, user_id: str, name: str, expected: str | None, value: str | None, lifetime_s: float
    ) -> bool:
        call = script("swap_state").of_user(
            self._keys,
            user_id,
            "",
            name=name,
            expected="" if expected is None else f"={expected}",
            value="" if value is None else f"={value}",
            lifetime_ms=max(1, round(lifetime_s * 1000)),
            most=MAX_STATES_PER_USER,
            held_s=self._held_s,
        )
        return bool(await self._link.run(call))
