"""Work with a limit: what waits for nothing costs no timer, and what began goes on in its own task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from potoserver.tasks import within
from tests.support.clock import ManualClock, settle


class CountingClock(ManualClock):
    """Counts the timers that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    @override
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        self.timers += 1
        return super().call_later(delay_s, callback)


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


async def test_what_waits_for_nothing_costs_no_timer(clock: CountingClock) -> None:
    """Its result and its error come as from any call."""

    async def done() -> int:
        return 3

    async def failing() -> None:
        raise LookupError("no")

    assert await within(clock, 1, done()) == 3
    with pytest.raises(LookupError):
        await within(clock, 1, failing())
    assert clock.timers == 0


async def test_what_waits_goes_on_until_its_time_is_over(clock: CountingClock) -> None:
    """It is done in time, fails after a wait, or is cancelled and told as late."""
    seen: list[str] = []

    async def wait(seconds: float, after: str) -> str:
        try:
            await clock.sleep(seconds)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        if after == "fails":
            raise LookupError(after)
        return after

    asked = [
        asyncio.create_task(within(clock, 2, wait(1, "done"))),
        asyncio.create_task(within(clock, 2, wait(1, "fails"))),
        asyncio.create_task(within(clock, 2, wait(3, "late"))),
    ]
    await clock.advance(2.5)
    assert asked[0].result() == "done"
    assert isinstance(asked[1].exception(), LookupError)
    assert isinstance(asked[2].exception(), TimeoutError)
    assert seen == ["cancelled"]


async def test_all_of_the_work_is_in_one_task(clock: CountingClock) -> None:
    """A limit that the work sets for itself before its first wait cuts off that work, after it."""

    async def work() -> asyncio.Task[None] | None:
        before = asyncio.current_task()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        assert asyncio.current_task() is before
        return before

    assert await within(clock, 5, work()) is asyncio.current_task()


async def test_a_cancellation_reaches_work_that_waits(clock: CountingClock) -> None:
    """And goes through to who cancelled."""
    waits = asyncio.Event()
    asked = asyncio.create_task(within(clock, 5, waits.wait()))
    await settle()
    asked.cancel()
    await settle()
    assert asked.cancelled()
