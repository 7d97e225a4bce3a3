"""Departures of a crowd: a module is told of a few at a time, and the others wait in line."""

from __future__ import annotations

import asyncio

import pytest
from typing_extensions import override

from potoserver import Departure
from tests.core.test_hooks import Recording, World, departure
from tests.support.clock import settle


@pytest.fixture
def world() -> World:
    return World()


class Holding(Recording):
    """Returns from no departure before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    @override
    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        await super().on_sse_disconnect(user_id, departure)
        await self.goes_on.wait()


async def test_of_a_crowd_that_leaves_a_module_is_told_a_few_at_a_time(world: World) -> None:
    """So others have their turns; one that hangs holds up no other module, and its own for a moment."""
    hanging, recording = Holding(), Recording()
    world.hooks.add(hanging)
    world.hooks.add(recording)
    for number in range(200):
        world.hooks.departed(departure(number, f"u{number}"))
    await settle(100)
    assert len(recording.told) == 200
    assert len(hanging.told) == 16
    await world.clock.advance(0.05)
    assert len(hanging.told) == 32
    await world.clock.advance(0.55)
    assert hanging.told == recording.told == [f"d-{number}" for number in range(200)]


async def test_who_waits_long_to_be_told_of_has_no_task(world: World) -> None:
    """Of thousands who leave together: garbage is looked for among all that their tasks are made of."""
    module = Holding()
    world.hooks.add(module)
    for number in range(1000):
        world.hooks.departed(departure(number, f"u{number}"))
        await settle(2)
    assert len(module.told) == 16
    assert len(world.tasks) == 80
    await world.clock.advance(0.05)
    assert len(module.told) == 32
    assert len(world.tasks) == 96
    world.hooks.arrived("u900")
    world.hooks.departed(departure(1000, "u900"))
    module.goes_on.set()
    assert await world.tasks.drain(1) == []
    assert module.told[:900] == [f"d-{number}" for number in range(900)]
    of_returned = [told for told in module.told if told in {"d-900", "connect", "d-1000"}]
    assert of_returned == ["d-900", "connect", "d-1000"]
    assert len(module.told) == 1002
    assert world.hooks.undone() == []
