"""Operations: what an operator sees of the server, live, and does to it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, NamedTuple

from pydantic import Field
from typing_extensions import override

from potoserver import Rates, ServerModule, Snapshots, UnavailableError, User, iso_utc, per_node, rpc

from .gathering import HOOK_ROWS, OfAll, put_together
from .wire import (
    AlarmRow,
    ConnectionRow,
    Dropped,
    EventRates,
    HookRows,
    LeavingRow,
    NodeView,
    OperationsView,
)

_EVENTS = {
    "published_per_s": "potoserver_events_published_total",
    "delivered_per_s": "potoserver_events_delivered_total",
    "replayed_per_s": "potoserver_events_replayed_total",
    "dropped_per_s": "potoserver_events_dropped_total",
}
_CALLS = "potoserver_calls_in_flight"


class _Wanted(NamedTuple):
    """What one reader wants to see of the connections."""

    search: str
    limit: int


class Operations(ServerModule):
    """The server for its operators: who is connected, what fails, what is wrong; all nodes of it."""

    @override
    async def on_start(self) -> None:
        clock = self.context.clock
        self._started_at = iso_utc(clock.now_ms())
        self._rates = Rates(self.context.registry, clock, _EVENTS.values())
        self._in_flight = self.context.registry.restricted_registry([_CALLS])
        self._views = Snapshots(clock, self._look)

    async def _look(self, wanted: _Wanted) -> OperationsView:
        """The server at this moment, but for the moment itself."""
        nodes = self.context.nodes
        gathered = await nodes.ask_all(self.look_here, wanted)
        return put_together(await self._of_all(wanted.limit), gathered, nodes.living(), wanted.limit)

    async def _of_all(self, limit: int) -> OfAll:
        context, oversight = self.context, self.context.oversight
        try:
            return OfAll(
                online=await context.count_online(),
                leaving_count=await oversight.count_leaving(),
                leaving=tuple(map(LeavingRow.of, await oversight.leaving(limit))),
            )
        except UnavailableError:
            return OfAll()

    @per_node
    async def look_here(self, wanted: _Wanted) -> NodeView:
        """This node at this moment."""
        oversight = self.context.oversight
        rates = self._rates.look()
        return NodeView(
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            draining=self.context.draining,
            connection_count=await oversight.count_connections(),
            connections=tuple(map(ConnectionRow.of, await oversight.connections(*wanted))),
            events=EventRates(**{field: rates[name] for field, name in _EVENTS.items()}) if rates else None,
            calls_in_flight=sum(
                int(each.value) for gauge in self._in_flight.collect() for each in gauge.samples
            ),
            hooks=HookRows.of(await oversight.hook_troubles(HOOK_ROWS)),
            alarms=tuple(map(AlarmRow.of, await oversight.alarms())),
        )

    @rpc(roles={"admin"}, endless=True)
    async def watch(
        self,
        search: Annotated[str, Field(max_length=200)] = "",
        limit: Annotated[int, Field(ge=1, le=1000)] = 200,
    ) -> AsyncIterator[OperationsView]:
        """The server as it is, again each second in which something has changed.

        Args:
            search: Part of a user's or a connection's id; only such connections are listed.
            limit: List so many connections at most.
        """
        async with aclosing(self._views.follow(_Wanted(search, limit))) as views:
            async for view in views:
                yield view.model_copy(update={"at": iso_utc(self.context.presence_now_ms())})

    @rpc(roles={"admin"})
    async def drop_connection(self, operator: User, connection: str) -> Dropped:
        """Ends an event stream, with the cause `kicked`. Its client may come back.

        Args:
            operator: Who asks.
            connection: The connection's id.
        """
        gathered = await self.context.nodes.ask_all(self.drop_here, connection, operator.id)
        return Dropped(dropped=any(gathered.answers.values()) or any(gathered.complete().values()))

    @per_node
    async def drop_here(self, connection: str, operator_id: str) -> bool:
        """Ends an event stream of this node; whether there is such a one."""
        user_id = await self.context.oversight.drop_connection(connection)
        if user_id is not None:
            self.context.logger().info(
                "SSE connection dropped by operator",
                operator=operator_id,
                user=user_id,
                connection=connection,
            )
        return user_id is not None
