"""The life of this node: it joins, renews, looks for what is due, is declared dead and joins anew, leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from potoserver.engine.base import EngineListener, Home
from potoserver.engine.presence import Cause
from potoserver.engine.valkey.batches import away
from potoserver.engine.valkey.burial import Burial
from potoserver.engine.valkey.channel import Channel
from potoserver.engine.valkey.connections import Connections
from potoserver.engine.valkey.delivery import Delivery
from potoserver.engine.valkey.departures import Departures
from potoserver.engine.valkey.homes import Homes
from potoserver.engine.valkey.keys import LOOK_ALL_S, LOOK_S, OVERDUE_S, PARTITIONS, RENEWAL_S, TOUCH_S
from potoserver.engine.valkey.link import Link, end
from potoserver.engine.valkey.local import Local
from potoserver.engine.valkey.logs import EventLogs
from potoserver.engine.valkey.registry import Registry
from potoserver.errors import UnavailableError
from potoserver.metrics import Metrics

_LEAVE_S: Final = 5.0
"""How long leaving may take; what is not done then is done by the others once the lease has lapsed."""
_TOUCH_CHUNK: Final = 500
_ALL: Final = range(PARTITIONS)


class Life:
    """Runs what a node does by itself.

    Args:
        link: The way to Valkey.
        registry: This node among the others.
        local: What this node has.
        channel: Its ear.
        connections: Its connections.
        homes: Its homes.
        logs: The event logs.
        delivery: Where its users' events go on from.
        departures: What is due.
        burial: Takes from dead nodes what they had.
        metrics: Where the users online are counted.
        logger: Where it says what happens to the nodes.
    """

    def __init__(
        self,
        *,
        link: Link,
        registry: Registry,
        local: Local,
        channel: Channel,
        connections: Connections,
        homes: Homes,
        logs: EventLogs,
        delivery: Delivery,
        departures: Departures,
        burial: Burial,
        metrics: Metrics,
        logger: FilteringBoundLogger,
    ) -> None:
        self._link = link
        self._registry = registry
        self._local = local
        self._channel = channel
        self._connections = connections
        self._homes = homes
        self._logs = logs
        self._delivery = delivery
        self._departures = departures
        self._burial = burial
        self._metrics = metrics
        self._logger = logger
        self._listener: EngineListener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._renewing = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        """Renewals."""
        self._overdue: asyncio.Task[None] | None = None
        """The one for which all wait who find the lease overdue."""
        self._suspected = asyncio.Event()
        self._to_make_up = False
        """Valkey was away: what could not be told it is to be made up for."""
        self._lost = False
        """It has lost what it knew."""
        self._reattach = False
        """This node has a new name, by which not all of its connections are known yet."""
        self._forgotten: list[str] = []
        """Names of this node that Valkey has lost: what was told by one since, no other node takes back."""
        self._catching_up: asyncio.Task[None] | None = None
        self._reaping: asyncio.Task[None] | None = None
        link.on_away = self._away

    async def start(self, listener: EngineListener) -> None:
        """Joins.

        Raises:
            UnavailableError: Valkey can't be reached.
        """
        self._listener = listener
        await self._registry.join()
        self._channel.start()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._channel.until_listening()
        except TimeoutError:
            await self.stop()
            raise away() from None
        self._logger.info("node joined", node=self._registry.node_id, nodes=len(self._registry.nodes))
        self._tasks = [
            asyncio.create_task(self._repeat(self.renew, RENEWAL_S, self._suspected), name="engine renewal"),
            asyncio.create_task(self._look(), name="engine deadlines"),
            asyncio.create_task(self._repeat(self._touch, TOUCH_S), name="engine lifetimes"),
        ]

    async def stop(self) -> None:
        """Leaves, if Valkey can be reached in time."""
        self._listener = None
        await end([*self._tasks, *self._under_way, self._catching_up, self._reaping])
        self._tasks = []
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._connections.detach_ended()
                await self._burial.of(self._registry.node_id, Cause.SHUTDOWN, orphan=False)
                await self._registry.leave()
        except (UnavailableError, TimeoutError):
            self._logger.warning("node left without a word", node=self._registry.node_id)
        await self._channel.stop()

    def suspect(self) -> None:
        """This node may be dead: it renews at once, and learns."""
        self._suspected.set()

    def listening(self) -> None:
        """The channel is open (again): what was sent before is lost."""
        if self._tasks:
            self._away()
            self.suspect()

    def _away(self) -> None:
        self._to_make_up = True

    async def _repeat(
        self, work: Callable[[], Coroutine[Any, Any, None]], every_s: float, wake: asyncio.Event | None = None
    ) -> None:
        """Does something again and again; a failure is not its end."""
        while True:
            try:
                await work()
            except UnavailableError:
                pass  # said by the link, once
            except Exception:  # the node must go on renewing whatever happened
                self._logger.exception("engine fault", work=work.__name__)
            if wake is None:
                await asyncio.sleep(every_s)
                continue
            try:
                async with asyncio.timeout(every_s):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()

    # Renewal

    async def renew(self) -> None:
        """Renews the lease, and does what turns out to be due by it.

        Raises:
            UnavailableError: Valkey is away.
        """
        await self._outcome(self._begin_renewal())

    async def ensure_lease(self) -> None:
        """Renews the lease if that is overdue: this node may be dead to others. Nothing while Valkey is away.

        Raises:
            UnavailableError: It can't be renewed.
        """
        if self._registry.unrenewed_s < OVERDUE_S or self._link.trouble is not None:
            return
        if self._overdue is None or self._overdue.done():
            self._overdue = self._begin_renewal()
        await self._outcome(self._overdue)

    def _begin_renewal(self) -> asyncio.Task[None]:
        if self._listener is None:  # it has left, or does: a renewal now would have it join anew
            raise away()
        task = asyncio.create_task(self._renew(), name="engine lease")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, renewal: asyncio.Task[None]) -> None:
        self._under_way.discard(renewal)
        if not renewal.cancelled():
            renewal.exception()  # whoever waited for it may have gone

    async def _outcome(self, renewal: asyncio.Task[None]) -> None:
        """Waits for a renewal, which goes on when who waits is cancelled: no name is taken by halves."""
        await asyncio.wait((renewal,))
        if renewal.cancelled():  # by the stop
            raise away()
        renewal.result()

    async def _renew(self) -> None:
        async with self._renewing:
            state = await self._registry.renew()
            if state in ("lost", "unknown"):
                self._logger.warning("engine has lost what it knew")
                self._lost = True
            if state == "unknown":
                self._forgotten.append(self._registry.node_id)
            if state in ("dead", "unknown"):
                await self._rejoin()
            if not self._behind:
                self._logs.renewed()
        # In tasks of their own: with many users they take longer than a lease.
        if self._behind and (self._catching_up is None or self._catching_up.done()):
            self._catching_up = asyncio.create_task(self._catch_up(), name="engine catching up")
        if self._registry.lost and (self._reaping is None or self._reaping.done()):
            self._reaping = asyncio.create_task(self._reap(), name="engine burial")

    async def bury(self) -> None:
        """Returns once what the nodes had that are known to be dead is taken from them, as far as it can be.

        Raises:
            UnavailableError: Valkey is away.
        """
        await self.renew()
        if self._reaping is not None:
            await asyncio.shield(self._reaping)

    @property
    def _behind(self) -> bool:
        return self._to_make_up or self._lost or self._reattach or bool(self._forgotten)

    async def _catch_up(self) -> None:
        try:
            while self._behind:
                if self._to_make_up or self._lost:
                    await self._make_up()
                if self._reattach:
                    await self._attach_all()
                if self._forgotten:
                    await self._burial.of(self._forgotten[0], Cause.NODE_LOST, orphan=True)
                    del self._forgotten[0]
        except UnavailableError:
            return  # it goes on after the next renewal
        await self._delivery.catch_up(self._delivery.doubt_all())

    async def _make_up(self) -> None:
        """Valkey is back: does what could not be done meanwhile, and looks what is left of what was."""
        lost, self._lost, self._to_make_up = self._lost, False, False
        try:
            await self._logs.doubt(self._logs.lately_published(), certain=lost)
            if lost:
                await self._logs.doubt(self._delivery.places(), certain=True)
            await self._connections.detach_ended()
            await self._departures.acknowledge_done()
            await self._departures.claim_own()
        except UnavailableError:
            self._to_make_up, self._lost = True, self._lost or lost
            raise

    async def _rejoin(self) -> None:
        """This node was declared dead: it is another one from now on."""
        before = self._registry.node_id
        await self._registry.join()
        self._reattach = True
        self._logger.warning("node declared dead, joined anew", before=before, node=self._registry.node_id)
        self._tell_lost(self._homes.lose_all())
        await self._channel.move()

    def _tell_lost(self, homes: Sequence[Home]) -> None:
        for home in homes:
            if self._listener is not None:
                self._listener.on_home_lost(home)

    async def _attach_all(self) -> None:
        self._reattach = False
        try:
            attachments = await self._connections.attach_all()
            await self._connections.detach_ended()
        except UnavailableError:
            self._reattach = True
            raise
        if self._listener is not None:
            for user_id, attachment in attachments:
                self._listener.on_rejoined(user_id, attachment)

    async def _reap(self) -> None:
        for node_id in self._registry.lost:
            self._logger.warning("node lost", node=node_id)
            try:
                await self._burial.of_dead(node_id, self._registry.node_id)
            except UnavailableError:
                return  # the next renewal tells of it again

    # Deadlines

    async def _look(self) -> None:
        looked_at_s = 0.0

        async def look() -> None:
            nonlocal looked_at_s
            if self._link.trouble is not None:
                return
            if time.monotonic() - looked_at_s >= LOOK_ALL_S:
                looked_at_s = time.monotonic()
                self._metrics.users_online.set(await self._departures.look(_ALL))
                await self._delivery.retry()
            elif share := self._registry.share():
                await self._departures.look(share)

        await self._repeat(look, LOOK_S)

    async def _touch(self) -> None:
        users = self._local.known()
        pause_s = TOUCH_S / 2 / (len(users) // _TOUCH_CHUNK + 1)
        for start in range(0, len(users), _TOUCH_CHUNK):
            complete, lost = await self._connections.touch_all(users[start : start + _TOUCH_CHUNK])
            self._tell_lost(lost)
            if not complete:
                self._reattach = True
                self.suspect()
            if start + _TOUCH_CHUNK < len(users):
                await asyncio.sleep(pause_s)
        await self._connections.detach_ended()
