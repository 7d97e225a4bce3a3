"""Looks that followers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from potoserver import Snapshots
from tests.support.clock import ManualClock, settle


class Seen:
    """What is looked at, and how often."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.value = 0
        self.looks: list[str] = []
        self.snapshots = Snapshots(self.clock, self.look)

    async def look(self, key: str) -> int:
        self.looks.append(key)
        await asyncio.sleep(0)
        return self.value

    @asynccontextmanager
    async def follower(self, key: str = "all") -> AsyncIterator[list[int]]:
        shown: list[int] = []

        async def follow() -> None:
            async for value in self.snapshots.follow(key):
                shown.append(value)

        task = asyncio.create_task(follow())
        await settle()
        try:
            yield shown
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def test_a_follower_is_shown_a_snapshot_at_once_and_then_what_differs(seen: Seen) -> None:
    """And the same again every five seconds, as a sign of life."""
    async with seen.follower() as shown:
        assert shown == [0]
        await seen.clock.advance(4)
        assert shown == [0]
        seen.value = 1
        await seen.clock.advance(1)
        assert shown == [0, 1]
        await seen.clock.advance(4)
        assert shown == [0, 1]
        await seen.clock.advance(1)
        assert shown == [0, 1, 1]


async def test_all_who_follow_the_same_cost_one_look_a_second(seen: Seen) -> None:
    """Whenever they came; and another thing is looked at apart."""
    async with seen.follower() as first:
        await seen.clock.advance(0.4)
        async with seen.follower() as second:
            await seen.clock.advance(0.2)
            async with seen.follower() as third:
                assert seen.looks == ["all"]
                for seen.value in range(1, 6):
                    await seen.clock.advance(1)
                assert first == second == third == [0, 1, 2, 3, 4, 5]
                assert seen.looks == ["all"] * 6
                async with seen.follower("one"):
                    await seen.clock.advance(1)
                    assert sorted(seen.looks[6:]) == ["all", "one", "one"]


async def test_while_nobody_follows_nothing_is_looked_at(seen: Seen) -> None:
    """Nor kept."""
    async with seen.follower(), seen.follower("one"):
        pass
    looks = len(seen.looks)
    await seen.clock.advance(60)
    assert len(seen.looks) == looks
    assert seen.snapshots._views == {}


async def test_a_follower_that_goes_in_the_middle_of_a_look_leaves_the_others_theirs(seen: Seen) -> None:
    """The next one takes it."""
    async with seen.follower() as staying:
        async with seen.follower():
            seen.value = 1
            advancing = asyncio.create_task(seen.clock.advance(1))
            await asyncio.sleep(0)
        await advancing
        assert staying == [0, 1]
