"""A crowd passes a few at a time, and who hangs holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from potoserver import ServerModule
from potoserver.module.turnstile import Turnstile
from tests.core.test_hooks import World
from tests.support.clock import ManualClock, settle


class Crowd:
    """Tasks that want to pass; each stays inside until it is let out."""

    def __init__(self, turnstile: Turnstile, count: int) -> None:
        self._turnstile = turnstile
        self.inside: list[int] = []
        self.out = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.create_task(self._pass(number)) for number in range(count)]

    async def _pass(self, number: int) -> None:
        async with self._turnstile.passing():
            self.inside.append(number)
            await self.out[number].wait()
        self.inside.remove(number)


@pytest.fixture
def turnstile(clock: ManualClock) -> Turnstile:
    return Turnstile(3, hold_s=0.25, line_s=5, clock=clock)


async def test_so_many_pass_at_once_in_the_order_of_their_coming(
    turnstile: Turnstile, clock: ManualClock
) -> None:
    """Each that is through lets the next one in."""
    crowd = Crowd(turnstile, 7)
    await clock.advance(0.1)
    assert crowd.inside == [0, 1, 2]
    crowd.out[1].set()
    await clock.advance(0.1)
    assert crowd.inside == [0, 2, 3]
    for event in crowd.out:
        event.set()
    await asyncio.gather(*crowd.tasks)


async def test_without_a_line_no_time_is_measured(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who passes costs no timer while there is room."""
    monkeypatch.setattr(clock, "call_later", None)
    crowd = Crowd(Turnstile(3, hold_s=0.25, line_s=5, clock=clock), 3)
    await settle()
    assert crowd.inside == [0, 1, 2]
    for event in crowd.out:
        event.set()
    await asyncio.gather(*crowd.tasks)


async def test_who_takes_long_holds_nobody_up(turnstile: Turnstile, clock: ManualClock) -> None:
    """After a while a place is free again, once, whoever leaves later."""
    crowd = Crowd(turnstile, 7)
    await clock.advance(0.3)
    assert crowd.inside == [0, 1, 2, 3, 4, 5]
    for number in range(3):
        crowd.out[number].set()
    await clock.advance(0.1)
    assert crowd.inside == [3, 4, 5]
    await clock.advance(0.2)
    assert crowd.inside == [3, 4, 5, 6]
    for event in crowd.out:
        event.set()
    await asyncio.gather(*crowd.tasks)


async def test_who_is_cancelled_gives_the_place_back(turnstile: Turnstile, clock: ManualClock) -> None:
    """In line or inside."""
    crowd = Crowd(turnstile, 7)
    await clock.advance(0.1)
    for number in (0, 1, 2, 4):
        crowd.tasks[number].cancel()
    await clock.advance(0.1)
    assert crowd.inside[3:] == [3, 5, 6]
    for event in crowd.out:
        event.set()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)


async def test_nobody_waits_in_line_for_ever(clock: ManualClock) -> None:
    """A module that hangs for all of a crowd costs its last one no more than the line's time."""
    crowd = Crowd(Turnstile(1, hold_s=1, line_s=5, clock=clock), 50)
    await clock.advance(5.1)
    assert len(crowd.inside) == 50
    for event in crowd.out:
        event.set()
    await asyncio.gather(*crowd.tasks)


class OneAtATime(ServerModule):
    """What it adds to `connected` takes 3 ms of something that all users share, a disk for one."""

    connected_field_names: ClassVar[tuple[str, ...]] = ("shared",)

    def __init__(self, world: World) -> None:
        self._world = world
        self._shared = asyncio.Lock()

    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        async with self._shared:
            await self._world.clock.sleep(0.003)
        return {"shared": user_id}


async def test_in_a_storm_of_connections_no_module_is_taken_for_late() -> None:
    """A thousand users connect at once, and what one needs is 3 ms: each gets it, within 3 seconds."""
    world = World()
    world.hooks.add(OneAtATime(world))
    users = [f"user-{number}" for number in range(1000)]
    asked = [asyncio.create_task(world.hooks.connected_fields(user)) for user in users]
    await world.clock.advance(3.1)
    assert [task.result() for task in asked] == [{"shared": user} for user in users]
