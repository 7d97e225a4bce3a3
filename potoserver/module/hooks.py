"""Dispatch of events to modules' hooks: each module on its own, in order per user, departures until done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.presence import Cause, Departure
from potoserver.errors import UnavailableError
from potoserver.metrics import Metrics
from potoserver.module.base import Connection, ServerModule
from potoserver.module.departure_line import DepartureLine
from potoserver.module.fields import Fields
from potoserver.module.hook_lane import BACKOFF_FIRST_S, Lane
from potoserver.module.hook_tries import HookTries
from potoserver.module.oversight import FailingHook, HookTroubles, ParkedHook
from potoserver.module.turnstile import Turnstile
from potoserver.settings.model import HookSettings
from potoserver.tasks import OwnedTasks

FIELDS_TIMEOUT_S = 1.0
"""How long `connected` and `/health` wait for a module's fields."""
_OPENINGS_AT_ONCE = 64
"""For how many connections the modules are asked for their fields at the same time."""
_OPENING_S = 0.25
"""After which one whose modules take long counts no more among these."""
_IN_LINE_S = 5.0
"""How long a connection may wait for that at most."""
MOST_WAITING = 256
"""Departures of a user that a module has not taken; a client that comes and goes makes one in each grace."""
_PARKED_SHOWN = 100
"""How many of the departures that were given up are remembered, beside their count."""
_BACKOFF_LAST_S = 60.0


async def run_here(module: ServerModule, hook: str, _user_id: str, *arguments: Any) -> Any:
    """Runs a hook on this node."""
    return await getattr(module, hook)(*arguments)


class Hooks:
    """Runs the hooks of all modules.

    Args:
        settings: Time limits.
        clock: Measures them.
        metrics: Time, failures, parked departures.
        tasks: Owns the running hooks.
        logger: Gives a logger by name.
        acknowledge: Tells the engine that every module is done with a departure.
        run: Runs a hook about a user, where it belongs: the module, the hook's name, whom it is about, and
            what it is called with.
    """

    def __init__(
        self,
        settings: HookSettings,
        clock: Clock,
        metrics: Metrics,
        tasks: OwnedTasks,
        logger: Callable[[str], FilteringBoundLogger],
        acknowledge: Callable[[Departure], Awaitable[None]],
        run: Callable[..., Awaitable[Any]] = run_here,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._tasks = tasks
        self._logger = logger
        self._acknowledge = acknowledge
        self._run = run
        self._tries = HookTries(settings, clock, metrics, logger)
        self._connected_fields = Fields("connected_fields", FIELDS_TIMEOUT_S, clock, self._tries)
        self._health_fields = Fields("health_fields", FIELDS_TIMEOUT_S, clock, self._tries)
        self._turnstile = Turnstile(_OPENINGS_AT_ONCE, _OPENING_S, _IN_LINE_S, clock)
        self._departing: dict[str, DepartureLine] = {}
        """By module: one that is slow holds up no other."""
        self._modules: list[ServerModule] = []
        self._with_hook: dict[str, list[ServerModule]] = {}
        """The modules that have a hook, for those that were dispatched: asked for each connection."""
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._undone: dict[str, int] = {}
        self._stopping = False
        self.parked = 0
        """Departures that were given up since the start."""
        self._parked_last: deque[ParkedHook] = deque(maxlen=_PARKED_SHOWN)

    @property
    def failing(self) -> int:
        """Departures that a module has not taken yet and that are being repeated."""
        return sum(len(lane.failing) for lane in self._lanes.values())

    def troubles(self, limit: int) -> HookTroubles:
        """The departures that modules have not taken; of each kind at most so many."""
        failing = [
            FailingHook(
                module=module,
                user_id=user_id,
                departure_id=lane.failing[0].id,
                cause=lane.failing[0].cause,
                since_ms=lane.failing_since_ms,
                tries=lane.tries,
                next_try_ms=lane.retry_at_ms,
                gives_up_ms=lane.give_up_at_ms,
                waiting=len(lane.failing) - 1,
                error=lane.error,
            )
            for (module, user_id), lane in islice(
                ((key, lane) for key, lane in self._lanes.items() if lane.failing), limit
            )
        ]
        parked = tuple(islice(reversed(self._parked_last), limit))
        return HookTroubles(self.failing, self.parked, failing, parked)

    def add(self, module: ServerModule) -> None:
        """Takes a module in; hooks run in no particular order among modules."""
        self._modules.append(module)
        self._departing[module.name()] = DepartureLine(self._clock)
        self._with_hook.clear()

    # Presence

    def arrived(self, user_id: str) -> None:
        """Dispatches `on_sse_connect`; returns at once."""
        if self._stopping:
            return
        for module in self._overriding("on_sse_connect"):
            self._enqueue(module, user_id, None)

    def departed(self, departure: Departure) -> None:
        """Dispatches `on_sse_disconnect` until each module has taken it; returns at once."""
        if self._stopping:
            return
        modules = self._overriding("on_sse_disconnect")
        self._undone[departure.id] = len(modules)
        for module in modules:
            self._enqueue(module, departure.user_id, departure)
        if not modules:
            self._tasks.spawn(self._acknowledge_done(departure), f"acknowledge {departure.id}")

    def _overriding(self, hook: str) -> list[ServerModule]:
        """The modules that have such a hook: a base class's no-op costs nothing."""
        modules = self._with_hook.get(hook)
        if modules is None:
            base = getattr(ServerModule, hook)
            modules = [module for module in self._modules if getattr(type(module), hook) is not base]
            self._with_hook[hook] = modules
        return modules

    def _enqueue(self, module: ServerModule, user_id: str, item: Departure | None) -> None:
        key = (module.name(), user_id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane()
            begin = partial(self._begin_lane, module, user_id, lane)
            if item is None:
                begin()
            else:
                self._departing[module.name()].line_up(lane, begin)
        lane.pending.append(item)
        if lane.wake is not None:
            lane.wake.set()

    def _begin_lane(self, module: ServerModule, user_id: str, lane: Lane) -> None:
        self._tasks.spawn(self._run_lane(module, user_id, lane), f"hooks of {module.name()}")

    async def _run_lane(self, module: ServerModule, user_id: str, lane: Lane) -> None:
        try:
            # Nothing awaits between the last check and the removal, so no item can slip in.
            while lane.pending or (lane.failing and not self._stopping):
                await self._step(module, user_id, lane)
        finally:
            del self._lanes[module.name(), user_id]

    async def _step(self, module: ServerModule, user_id: str, lane: Lane) -> None:
        if lane.pending:
            item = lane.pending.popleft()
            if item is None:
                call = partial(self._run, module, "on_sse_connect", user_id, user_id)
                await self._tries.run(module, "on_sse_connect", call)
            elif len(lane.failing) >= MOST_WAITING:
                await self._park(module, item, "too many wait")
            elif lane.failing:
                lane.failing.append(item)
            elif error := await self._try_departure(module, lane, item):
                self._start_failing(lane, item, error)
        else:
            await self._wait_for_retry(lane)
            if self._clock.monotonic_s() >= lane.retry_at_s or self._stopping:
                await self._retry(module, lane)

    async def _try_departure(self, module: ServerModule, lane: Lane, departure: Departure) -> str:
        """What it failed with; empty when the module has taken it."""
        user_id = departure.user_id
        call = partial(self._run, module, "on_sse_disconnect", user_id, user_id, departure)
        line = self._departing[module.name()]
        async with line.passing():
            line.passed(lane)
            error = await self._tries.run(module, "on_sse_disconnect", call)
        if not error:
            await self._acknowledge_done(departure)
        return error

    def _start_failing(self, lane: Lane, departure: Departure, error: str = "") -> None:
        now_s = self._clock.monotonic_s()
        lane.failing.appendleft(departure)
        lane.error, lane.tries = error, 1 if error else 0
        lane.failing_since_ms = self._clock.now_ms()
        lane.give_up_at_s = now_s + self._settings.retry_for_s
        lane.give_up_at_ms = lane.failing_since_ms + round(self._settings.retry_for_s * 1000)
        self._pause(lane, BACKOFF_FIRST_S)

    def _pause(self, lane: Lane, backoff_s: float) -> None:
        lane.backoff_s = backoff_s
        lane.retry_at_s = self._clock.monotonic_s() + backoff_s
        lane.retry_at_ms = self._clock.now_ms() + round(backoff_s * 1000)

    async def _wait_for_retry(self, lane: Lane) -> None:
        wake = lane.wake = asyncio.Event()
        handle = self._clock.call_later(lane.retry_at_s - self._clock.monotonic_s(), wake.set)
        try:
            await wake.wait()
        finally:
            lane.wake = None
            handle.cancel()

    async def _retry(self, module: ServerModule, lane: Lane) -> None:
        departure = lane.failing[0]
        if error := await self._try_departure(module, lane, departure):
            lane.error = error
            lane.tries += 1
            if self._clock.monotonic_s() < lane.give_up_at_s:
                self._pause(lane, min(lane.backoff_s * 2, _BACKOFF_LAST_S))
                return
            why = f"not taken within {self._settings.retry_for_s:g} s"
            await self._park(module, departure, why, error)
        lane.failing.popleft()
        if lane.failing:  # the next one gets its own full time, beginning with a try at once
            self._start_failing(lane, lane.failing.popleft())
            lane.retry_at_s = self._clock.monotonic_s()

    async def _park(self, module: ServerModule, departure: Departure, why: str, error: str = "") -> None:
        self.parked += 1
        self._parked_last.append(
            ParkedHook(
                module=module.name(),
                user_id=departure.user_id,
                departure_id=departure.id,
                cause=departure.cause,
                at_ms=self._clock.now_ms(),
                why=why,
                error=error,
            )
        )
        self._metrics.hooks_parked.labels(module.name()).inc()
        self._logger("presence").error(
            "departure parked",
            module=module.name(),
            user=departure.user_id,
            departure=departure.id,
            why=why,
        )
        await self._acknowledge_done(departure)

    async def _acknowledge_done(self, departure: Departure) -> None:
        """Counts a module as done; the last one acknowledges the departure to the engine."""
        left = self._undone.get(departure.id, 1) - 1
        if left > 0:
            self._undone[departure.id] = left
            return
        self._undone.pop(departure.id, None)
        try:
            await self._acknowledge(departure)
        except UnavailableError as error:
            # The engine gives it to a node again once it is back; the hooks know it by its id.
            self._logger("presence").warning(
                "departure not acknowledged", departure=departure.id, error=str(error)
            )

    # Connections

    def connection_opened(self, connection: Connection) -> None:
        """Dispatches `on_connection_opened`; returns at once."""
        if self._stopping:
            return
        for module in self._overriding("on_connection_opened"):
            call = partial(self._run, module, "on_connection_opened", connection.user_id, connection)
            self._spawn_try(module, "on_connection_opened", call)

    async def connection_closed(self, connection: Connection, cause: Cause) -> None:
        """Runs `on_connection_closed`: the last module's in the caller's task, each other in its own."""
        if self._stopping:
            return
        modules = self._overriding("on_connection_closed")
        for module in modules:
            call = partial(self._run, module, "on_connection_closed", connection.user_id, connection, cause)
            if module is modules[-1]:
                await self._tries.run(module, "on_connection_closed", call)
            else:
                self._spawn_try(module, "on_connection_closed", call)

    def _spawn_try(self, module: ServerModule, hook: str, call: Callable[[], Awaitable[object]]) -> None:
        self._tasks.spawn(self._tries.run(module, hook, call), f"{hook} of {module.name()}")

    # Fields

    async def connected_fields(self, user_id: str) -> dict[str, Any]:
        """What the modules add to `connected`; a module that fails or is late adds nulls."""
        fields: dict[str, Any] = {}
        for module in self._modules:
            fields.update(dict.fromkeys(module.connected_field_names))
        async with self._turnstile.passing():
            return fields | await self._connected_fields.collect(
                self._overriding("connected_fields"),
                lambda module: self._run(module, "connected_fields", user_id, user_id),
            )

    async def health_fields(self) -> dict[str, Any]:
        """What the modules add to `/health`."""
        return await self._health_fields.collect(
            self._overriding("health_fields"), lambda module: module.health_fields()
        )

    # Lifecycle

    def stop(self) -> None:
        """The modules have stopped: no hook begins any more.

        A failing departure has one last try; the owned tasks then come to their end.
        """
        self._stopping = True
        for lane in self._lanes.values():
            if lane.wake is not None:
                lane.wake.set()

    def undone(self) -> Sequence[str]:
        """The ids of departures that some module has not taken."""
        return sorted(self._undone)
