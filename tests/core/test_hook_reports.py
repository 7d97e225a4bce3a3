"""Hooks to the second: when a failing one is tried again, how long each may take, and what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from potoserver import Cause, Connection, Departure, ServerModule
from potoserver.module.hooks import MOST_WAITING
from tests.core.test_hooks import Failing, Hanging, Recording, World, departure
from tests.support.clock import settle


@pytest.fixture
def world() -> World:
    return World()


def reported(world: World, event: str) -> list[tuple[str, dict[str, Any]]]:
    """The level and the fields of each such line."""
    return [
        (call.method_name, {name: value for name, value in call.kwargs.items() if name != "event"})
        for call in world.log.calls
        if call.kwargs["event"] == event
    ]


async def test_a_failing_departure_is_tried_at_growing_intervals_up_to_a_minute() -> None:
    """After half a second, then after twice the time before; at last it is given up."""
    world = World(retry_for_s=300)

    class Timed(ServerModule):
        tries_s: ClassVar[list[float]] = []

        async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
            self.tries_s.append(world.clock.monotonic_s())
            raise RuntimeError("no")

    world.hooks.add(Timed())
    world.hooks.departed(departure(1))
    await world.clock.advance(1000)
    pauses_s = [later - earlier for earlier, later in zip(Timed.tries_s, Timed.tries_s[1:], strict=False)]
    assert pauses_s == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert world.acknowledged == ["d-1"]


async def test_what_is_given_up_is_reported(world: World) -> None:
    """Each one by a line that names it, and by the count."""
    world.hooks.add(Failing(failures=1000))
    world.hooks.departed(departure(1, "a1"))
    world.hooks.departed(departure(2, "a2"))
    await world.clock.advance(1000)
    fields = {"name": "presence", "module": "Failing", "why": "not taken within 100 s"}
    assert reported(world, "departure parked") == [
        ("error", {**fields, "user": "a1", "departure": "d-1"}),
        ("error", {**fields, "user": "a2", "departure": "d-2"}),
    ]
    assert world.hooks.parked == 2


async def test_what_waits_behind_one_that_is_given_up_begins_anew() -> None:
    """At once, when the time of the first is over to the second; with its own cause and no try yet."""

    class Picky(ServerModule):
        async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
            if departure.generation == 1:
                raise RuntimeError("no")
            await asyncio.Event().wait()

    world = World(retry_for_s=0.5)
    world.hooks.add(Picky())
    world.hooks.departed(departure(1))
    world.hooks.departed(replace(departure(2), cause=Cause.RESET))
    await settle()
    (first,) = world.hooks.troubles(5).failing
    assert (first.departure_id, first.cause, first.tries, first.waiting) == ("d-1", Cause.CLOSED, 1, 1)
    await world.clock.advance(0.5)
    assert world.hooks.parked == 1
    (second,) = world.hooks.troubles(5).failing
    assert (second.departure_id, second.cause, second.waiting) == ("d-2", Cause.RESET, 0)
    assert (second.tries, second.error) == (0, "")


async def test_a_user_has_so_many_departures_waiting(world: World) -> None:
    """A client comes and goes behind a failing module: the newest beyond the limit are parked at once."""
    module = Failing(failures=2)
    world.hooks.add(module)
    for number in range(MOST_WAITING + 3):
        world.hooks.departed(departure(number))
        await settle(3)
    assert world.hooks.failing == MOST_WAITING
    assert [fields["why"] for _, fields in reported(world, "departure parked")] == ["too many wait"] * 3
    assert [(each.why, each.error) for each in world.hooks.troubles(5).parked] == [("too many wait", "")] * 3
    await world.clock.advance(5)
    assert module.told == [f"d-{number}" for number in range(MOST_WAITING)]
    assert world.hooks.undone() == []


async def test_of_what_was_parked_the_last_hundred_are_shown(world: World) -> None:
    """All are counted; what is kept of them for operators has an end."""
    world.hooks.add(Failing(failures=1000))
    for number in range(MOST_WAITING + 103):
        world.hooks.departed(departure(number))
        await settle(3)
    shown = world.hooks.troubles(1000).parked
    assert (world.hooks.parked, len(shown)) == (103, 100)
    assert [each.departure_id for each in (shown[0], shown[-1])] == [
        f"d-{MOST_WAITING + 102}",
        f"d-{MOST_WAITING + 3}",
    ]


async def test_a_departure_is_acknowledged_when_every_module_has_taken_it(world: World) -> None:
    """Not before, and once."""
    world.hooks.add(Recording())
    world.hooks.add(Failing(failures=1))
    world.hooks.departed(departure(1))
    await settle()
    assert (world.acknowledged, world.hooks.undone()) == ([], ["d-1"])
    await world.clock.advance(0.6)
    assert (world.acknowledged, world.hooks.undone()) == (["d-1"], [])


async def test_a_departure_that_comes_twice_leaves_nothing_undone(world: World) -> None:
    """An engine may give it to a node again."""
    module = Recording()
    world.hooks.add(module)
    world.hooks.departed(departure(1))
    world.hooks.departed(departure(1))
    await settle(40)
    assert module.told == ["d-1", "d-1"]
    assert (world.acknowledged, world.hooks.undone()) == (["d-1", "d-1"], [])
    assert reported(world, "task failed") == []


async def test_an_acknowledgement_that_fails_is_reported(world: World) -> None:
    """With the departure's id and what the engine said."""
    world.hooks.add(Recording())
    world.away = True
    world.hooks.departed(departure(1))
    await settle()
    assert reported(world, "departure not acknowledged") == [
        ("warning", {"name": "presence", "departure": "d-1", "error": "The engine is away."})
    ]


async def test_a_module_without_a_hook_costs_nothing(world: World) -> None:
    """Nothing of it is run or timed."""
    world.hooks.add(ServerModule())
    world.hooks.arrived("a1")
    world.hooks.departed(departure(1))
    world.hooks.connection_opened(Connection("c1", "a1", 1))
    await settle()
    assert world.acknowledged == ["d-1"]
    assert not [
        sample
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("potoserver_hook_seconds_")
    ]


async def test_each_try_of_a_hook_is_timed_under_its_module_and_name(world: World) -> None:
    """So a slow one is found."""
    world.hooks.add(Recording())
    world.hooks.arrived("a1")
    await settle()
    labels = {"module": "Recording", "hook": "on_sse_connect"}
    assert world.sample("potoserver_hook_seconds_count", **labels) == 1
    took_s = world.sample("potoserver_hook_seconds_sum", **labels)
    assert took_s is not None
    assert 0 <= took_s < 5


async def test_a_failed_hook_is_reported_with_its_error(world: World) -> None:
    """A late one with its limit, another one with its traceback; also that of one connection."""

    class Raising(ServerModule):
        async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
            raise ValueError("odd")

    world.hooks.add(Hanging())
    world.hooks.add(Raising())
    world.hooks.arrived("a1")
    await world.hooks.connection_closed(Connection("c1", "a1", 1), Cause.RESET)
    await world.clock.advance(10)
    (level, raised), (_, late) = reported(world, "hook failed")
    error = raised.pop("exc_info")
    assert isinstance(error, ValueError)
    about = {"name": "module:Raising", "hook": "on_connection_closed"}
    assert (level, raised) == ("error", {**about, "error": "ValueError('odd')"})
    about = {"name": "module:Hanging", "hook": "on_sse_connect"}
    assert late == {**about, "error": "not done within 10 s", "exc_info": None}
    failures = world.sample("potoserver_hook_failures_total", module="Raising", hook="on_connection_closed")
    assert failures == 1


async def test_a_module_sets_its_own_limit_for_its_hooks(world: World) -> None:
    """`hook_timeout_s` goes before the setting."""

    class Brief(Hanging):
        hook_timeout_s = 3.0

    world.hooks.add(Brief())
    world.hooks.arrived("a1")
    await world.clock.advance(2.9)
    assert reported(world, "hook failed") == []
    await world.clock.advance(0.1)
    assert len(reported(world, "hook failed")) == 1


async def test_fields_have_one_second_and_no_more(world: World) -> None:
    """Also of a module whose hooks may take longer."""

    class Slow(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("slow",)
        takes_s = 0.9
        hook_timeout_s = 30.0

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            await world.clock.sleep(self.takes_s)
            return {"slow": user_id}

    module = Slow()
    world.hooks.add(module)
    for takes_s, given in ((0.9, "a1"), (1.1, None)):
        module.takes_s = takes_s
        asked = asyncio.create_task(world.hooks.connected_fields("a1"))
        await world.clock.advance(1)
        assert asked.done()
        assert asked.result() == {"slow": given}
