"""Modules' hooks: each on its own, in order, departures until done."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import structlog

from potoserver import Cause, Connection, Departure, ServerModule, UnavailableError
from potoserver.metrics import Metrics
from potoserver.module.hooks import FIELDS_TIMEOUT_S, Hooks
from potoserver.settings.model import HookSettings
from potoserver.tasks import OwnedTasks
from tests.support.clock import ManualClock, settle


def departure(generation: int, user_id: str = "a1") -> Departure:
    return Departure(f"d-{generation}", user_id, generation, Cause.CLOSED, 0, 0)


class Recording(ServerModule):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_sse_connect(self, user_id: str) -> None:
        self.told.append("connect")

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self.told.append(departure.id)


class Failing(Recording):
    """Fails as often as told."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("not now")
        await super().on_sse_disconnect(user_id, departure)


class Hanging(Recording):
    """Never returns."""

    async def on_sse_connect(self, user_id: str) -> None:
        await asyncio.Event().wait()

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        await asyncio.Event().wait()


class Cancelling(Recording):
    """Raises the loop's own cancellation."""

    async def on_sse_connect(self, user_id: str) -> None:
        raise asyncio.CancelledError


class Exiting(Recording):
    """Means to end the process."""

    async def on_sse_connect(self, user_id: str) -> None:
        sys.exit(3)


class World:
    """Hooks and what they are made of."""

    def __init__(self, retry_for_s: float = 100, **options: Any) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.acknowledged: list[str] = []
        self.away = False
        self.log = structlog.testing.CapturingLogger()
        logger = structlog.wrap_logger(self.log, processors=[])
        self.tasks = OwnedTasks(logger, self.clock)
        self.hooks = Hooks(
            HookSettings(timeout_s=10, retry_for_s=retry_for_s),
            self.clock,
            self.metrics,
            self.tasks,
            lambda name: logger.bind(name=name),
            self._acknowledge,
            **options,
        )

    async def _acknowledge(self, departure: Departure) -> None:
        if self.away:
            raise UnavailableError("The engine is away.")
        self.acknowledged.append(departure.id)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def world() -> World:
    return World()


async def test_hooks_run_in_order_and_each_departure_is_acknowledged_once(world: World) -> None:
    """Connect, departure, connect, departure: as they came."""
    module = Recording()
    world.hooks.add(module)
    world.hooks.arrived("a1")
    world.hooks.departed(departure(1))
    world.hooks.arrived("a1")
    world.hooks.departed(departure(2))
    await settle(40)
    assert module.told == ["connect", "d-1", "connect", "d-2"]
    assert world.acknowledged == ["d-1", "d-2"]
    assert await world.tasks.drain(0) == []
    assert world.hooks.undone() == []


async def test_a_failing_departure_is_repeated_until_it_succeeds(world: World) -> None:
    """With backoff; later departures of that user wait their turn, arrivals don't."""
    module = Failing(failures=3)
    world.hooks.add(module)
    world.hooks.departed(departure(1))
    world.hooks.departed(departure(2))
    world.hooks.arrived("a1")
    await settle()
    assert module.told == ["connect"]
    assert world.hooks.failing == 2
    await world.clock.advance(0.5 + 1.0 + 2.0 + 0.1)
    assert module.told == ["connect", "d-1", "d-2"]
    assert world.acknowledged == ["d-1", "d-2"]
    assert world.sample("potoserver_hook_failures_total", module="Failing", hook="on_sse_disconnect") == 3
    assert await world.tasks.drain(0) == []


async def test_one_modules_failure_is_its_own(world: World) -> None:
    """A module that raises, hangs or cancels neither delays nor prevents another's hooks."""
    good = Recording()
    for module in (Hanging(), Failing(failures=1000), Cancelling(), Exiting(), good):
        world.hooks.add(module)
    world.hooks.arrived("a1")
    world.hooks.departed(departure(1))
    await settle()
    assert good.told == ["connect", "d-1"]
    assert world.acknowledged == []
    for name in ("Cancelling", "Exiting"):
        assert world.sample("potoserver_hook_failures_total", module=name, hook="on_sse_connect") == 1


async def test_a_hook_that_hangs_is_cut_off_and_parked_in_the_end(world: World) -> None:
    """After `hooks.retry_for_s` it is reported, and a later departure gets its own tries."""
    module = Hanging()
    world.hooks.add(module)
    world.hooks.departed(departure(1))
    await world.clock.advance(9)
    assert world.sample("potoserver_hook_failures_total", module="Hanging", hook="on_sse_disconnect") is None
    await world.clock.advance(2)
    assert world.sample("potoserver_hook_failures_total", module="Hanging", hook="on_sse_disconnect") == 1
    await world.clock.advance(200)
    assert world.hooks.parked == 1
    assert world.acknowledged == ["d-1"]
    assert world.sample("potoserver_hooks_parked_total", module="Hanging") == 1
    world.hooks.departed(departure(2))
    await world.clock.advance(11)
    assert world.hooks.parked == 1
    assert world.hooks.failing == 1
    world.hooks.stop()
    await world.clock.advance(11)
    assert world.hooks.undone() == ["d-2"]
    assert await world.tasks.drain(0) == []


async def test_failures_of_one_user_delay_no_other_user(world: World) -> None:
    """Order is kept per user and module, not per module."""
    module = Failing(failures=1)
    world.hooks.add(module)
    world.hooks.departed(departure(1, "a1"))
    world.hooks.departed(departure(2, "a2"))
    await settle()
    assert module.told == ["d-2"]


async def test_the_stop_lets_a_failing_departure_have_one_last_try(world: World) -> None:
    """What succeeds then is not left."""
    module = Failing(failures=1)
    world.hooks.add(module)
    world.hooks.departed(departure(1))
    await settle()
    world.hooks.stop()
    await settle()
    assert module.told == ["d-1"]
    assert world.hooks.undone() == []


async def test_fields_of_a_failing_or_late_module_are_null(world: World) -> None:
    """`connected` waits a second for a module, not longer."""

    class Giving(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("good",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            return {"good": user_id}

    class Late(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("late",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if world.clock.monotonic_s() > 5:
                        raise

    class Raising(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("raised",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            raise ValueError("no")

    class Unfit(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("unfit",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            return {"unfit": object()}

    for module in (Late(), Raising(), Unfit(), Giving()):
        world.hooks.add(module)
    asked = asyncio.create_task(world.hooks.connected_fields("a1"))
    await world.clock.advance(1.6)
    assert asked.done()
    assert asked.result() == {"late": None, "raised": None, "unfit": None, "good": "a1"}
    for module in ("Late", "Raising", "Unfit"):
        assert world.sample("potoserver_hook_failures_total", module=module, hook="connected_fields") == 1, (
            module
        )
    await world.clock.advance(10)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()


async def test_one_timer_does_for_all_who_wait_for_fields(world: World) -> None:
    """A timer for each would cost a connection more than what its modules have to say."""

    class Late(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("late",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            await asyncio.Event().wait()
            return {}

    world.hooks.add(Late())
    asked = [asyncio.create_task(world.hooks.connected_fields(f"a{number}")) for number in range(20)]
    await settle()
    assert len(world.clock._timers) == 1
    await world.clock.advance(FIELDS_TIMEOUT_S)
    assert [each.result() for each in asked] == [{"late": None}] * 20


async def test_connection_hooks_are_best_effort(world: World) -> None:
    """One try each; a failure is counted and goes no further."""

    class Watching(ServerModule):
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def on_connection_opened(self, connection: Connection) -> None:
            self.seen.append(f"opened {connection.id}")
            raise RuntimeError("no")

        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            self.seen.append(f"closed {connection.id} {cause}")

    module = Watching()
    world.hooks.add(module)
    world.hooks.connection_opened(Connection("c1", "a1", 1))
    await settle()
    await world.hooks.connection_closed(Connection("c1", "a1", 1), Cause.RESET)
    await settle()
    assert module.seen == ["opened c1", "closed c1 reset"]
    assert world.sample("potoserver_hook_failures_total", module="Watching", hook="on_connection_opened") == 1


async def test_the_end_of_a_connection_is_told_in_the_task_that_sees_to_it(world: World) -> None:
    """Thousands may end at once: another task for each would be a third of what that costs."""

    class Watching(ServerModule):
        closed = 0

        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            self.closed += 1

    module = Watching()
    world.hooks.add(module)
    await world.hooks.connection_closed(Connection("c1", "a1", 1), Cause.RESET)
    assert module.closed == 1
    assert len(world.tasks) == 0


@pytest.mark.parametrize("hangs_first", [True, False])
async def test_a_module_that_hangs_keeps_the_end_of_a_connection_from_no_other(
    world: World, hangs_first: bool
) -> None:
    """Whichever of them is told in the caller's task."""
    told = asyncio.Event()

    class Hanging(ServerModule):
        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            await asyncio.Event().wait()

    class Watching(ServerModule):
        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            told.set()

    modules = [Hanging(), Watching()] if hangs_first else [Watching(), Hanging()]
    for module in modules:
        world.hooks.add(module)
    ending = asyncio.create_task(world.hooks.connection_closed(Connection("c1", "a1", 1), Cause.RESET))
    await settle()
    assert told.is_set()
    await world.clock.advance(10)
    await ending


async def test_after_the_stop_no_hook_begins(world: World) -> None:
    """A module that has stopped is told of nothing any more."""
    module = Recording()
    world.hooks.add(module)
    world.hooks.stop()
    world.hooks.arrived("a1")
    world.hooks.departed(departure(1))
    await settle()
    assert module.told == []
    assert world.hooks.undone() == []


async def test_an_engine_that_is_away_stops_no_lane(world: World) -> None:
    """The departure comes again from the engine; later events of the user go on."""
    module = Recording()
    world.hooks.add(module)
    world.away = True
    world.hooks.departed(departure(1))
    await settle()
    world.away = False
    world.hooks.arrived("a1")
    world.hooks.departed(departure(2))
    await settle()
    assert module.told == ["d-1", "connect", "d-2"]
    assert world.acknowledged == ["d-2"]


async def test_each_hook_is_run_where_its_user_belongs() -> None:
    """Whoever runs it is told whom it is about, before all that it is called with."""
    asked: list[tuple[Any, ...]] = []

    async def run(module: ServerModule, *of: Any) -> None:
        asked.append(of)

    class Everything(Recording):
        async def on_connection_opened(self, connection: Connection) -> None:
            raise NotImplementedError

        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            raise NotImplementedError

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            raise NotImplementedError

    world = World(run=run)
    world.hooks.add(Everything())
    connection, gone = Connection("c1", "a1", 1), departure(1)
    world.hooks.arrived("a1")
    world.hooks.connection_opened(connection)
    await world.hooks.connection_closed(connection, Cause.RESET)
    world.hooks.departed(gone)
    await settle()
    await world.hooks.connected_fields("a1")
    assert sorted(asked, key=lambda of: str(of[0])) == [
        ("connected_fields", "a1", "a1"),
        ("on_connection_closed", "a1", connection, Cause.RESET),
        ("on_connection_opened", "a1", connection),
        ("on_sse_connect", "a1", "a1"),
        ("on_sse_disconnect", "a1", "a1", gone),
    ]
