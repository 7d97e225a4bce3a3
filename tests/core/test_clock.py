"""Stamps that never go back, timers that follow wall time, and what is told of a step."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture
from typing_extensions import override

from potoserver import SystemClock
from potoserver.alarms import Alarms
from potoserver.clock_watch import ClockWatch
from potoserver.metrics import Metrics
from tests.support.clock import ManualClock

HOUR_MS = 3_600_000
HOUR_S = 3600
DAY_MS = 24 * HOUR_MS


class LedClock(SystemClock):
    """Wall and monotonic time are what a test sets."""

    def __init__(self, wall_ms: int = 1_000_000_000) -> None:
        super().__init__()
        self.wall = wall_ms
        self.monotonic = 1000.0

    @override
    def wall_ms(self) -> int:
        return self.wall

    @override
    def monotonic_s(self) -> float:
        return self.monotonic

    def run(self, seconds: float) -> None:
        """Time passes, the ordinary way."""
        self.monotonic += seconds
        self.wall += round(seconds * 1000)


def test_stamps_are_wall_time() -> None:
    """As long as nobody steps it."""
    clock = LedClock()
    for seconds in (0, 0.001, 0.5, 7, 100_000):
        clock.run(seconds)
        assert clock.now_ms() == clock.wall
    assert abs(SystemClock().now_ms() - SystemClock().wall_ms()) < 1000


@pytest.mark.parametrize("by_ms", [1, 5, 2000, HOUR_MS, DAY_MS])
def test_after_a_step_back_stamps_go_on_at_half_speed_until_wall_time_has_caught_up(by_ms: int) -> None:
    """They never go back, and are wall time again once twice the step has passed, no sooner."""
    clock = LedClock()
    before_ms = clock.now_ms()
    clock.wall -= by_ms
    assert clock.now_ms() == before_ms
    clock.run(by_ms / 1000)
    assert clock.now_ms() == before_ms + by_ms // 2
    clock.run(by_ms / 1000 - 0.002)
    assert clock.now_ms() >= clock.wall
    assert clock.now_ms() - clock.wall <= 2
    clock.run(0.004)
    assert clock.now_ms() == clock.wall


def test_asking_often_does_not_hold_them_up() -> None:
    """Half of a millisecond is not rounded away, however many times in it somebody asks."""
    clock = LedClock()
    before_ms = clock.now_ms()
    clock.wall -= HOUR_MS
    for _ in range(20_000):
        clock.run(0)
        clock.monotonic += 0.0001
        clock.now_ms()
    assert clock.now_ms() - before_ms in {999, 1000}


def test_a_step_forward_is_followed_at_once() -> None:
    """What happens after it is stamped with the time as it is now."""
    clock = LedClock()
    clock.now_ms()
    clock.wall += HOUR_MS
    assert clock.now_ms() == clock.wall


def test_a_step_forward_and_back_is_slewed() -> None:
    """What was stamped in between stays before what comes after."""
    clock = LedClock()
    clock.wall += HOUR_MS
    stamped_ms = clock.now_ms()
    clock.wall -= HOUR_MS
    assert clock.now_ms() == stamped_ms
    clock.run(1)
    assert clock.now_ms() == stamped_ms + 500
    clock.run(2 * HOUR_S)
    assert clock.now_ms() == clock.wall


def test_further_steps_back_while_it_catches_up_add_up() -> None:
    """Still never back, still caught up in twice their sum."""
    clock = LedClock()
    last_ms = clock.now_ms()
    for _ in range(3):
        clock.wall -= 10_000
        clock.run(2)
        assert clock.now_ms() == last_ms + 1000
        last_ms += 1000
    clock.run(60)
    assert clock.now_ms() == clock.wall


def test_a_wall_time_that_stands_still_is_passed() -> None:
    """A stopped clock gives new stamps at half speed; once it is right again they are, too."""
    clock = LedClock()
    before_ms = clock.now_ms()
    clock.monotonic += 100
    assert clock.now_ms() == before_ms + 50_000
    clock.wall += 100_000
    assert clock.now_ms() == clock.wall


def test_a_wildly_wrong_time_that_is_put_right_is_not_carried_on() -> None:
    """More than a day back is followed at once: at half speed it would take years."""
    clock = LedClock()
    clock.wall += 3650 * DAY_MS
    assert clock.now_ms() == clock.wall
    clock.wall -= 3650 * DAY_MS
    assert clock.now_ms() == clock.wall
    clock.wall -= DAY_MS + 1
    assert clock.now_ms() == clock.wall
    clock.run(5)
    assert clock.now_ms() == clock.wall


def test_threads_get_stamps_that_never_go_back() -> None:
    """Also while others step the clock both ways: each stamp is at least any that was given out before."""
    clock = LedClock()
    newest_ms = 0
    order = threading.Lock()
    wrong: list[tuple[int, int]] = []

    def ask(number: int) -> None:
        nonlocal newest_ms
        for turn in range(300):
            with order:
                least_ms = newest_ms
            stamp_ms = clock.now_ms()
            if stamp_ms < least_ms:
                wrong.append((stamp_ms, least_ms))
            with order:
                newest_ms = max(newest_ms, stamp_ms)
            if number == 0:
                clock.run(0.01)
                clock.wall += HOUR_MS if turn % 2 else -HOUR_MS

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert wrong == []


# Timers that follow wall time


@pytest.mark.parametrize(("step_s", "fires_after_s"), [(0, 600), (HOUR_S, 60), (-300, 900), (590, 60)])
async def test_a_timer_at_a_wall_time_follows_its_steps(step_s: int, fires_after_s: int) -> None:
    """Never before that time is reached, and within a minute after a step over it."""
    clock = ManualClock()
    fired: list[float] = []
    clock.call_at_wall(clock.wall_ms() + 600_000, lambda: fired.append(clock.monotonic_s()))
    clock.step_wall(step_s * 1000)
    await clock.advance(HOUR_S)
    assert fired == [fires_after_s]


async def test_a_timer_at_a_wall_time_can_be_called_off() -> None:
    """Before it looks for the first time, and later."""
    clock = ManualClock()
    fired: list[int] = []
    for wait_s in (0, 100):
        timer = clock.call_at_wall(clock.wall_ms() + 600_000, lambda: fired.append(1))
        await clock.advance(wait_s)
        timer.cancel()
    await clock.advance(HOUR_S)
    assert fired == []


# What is told


class Watched:
    def __init__(self) -> None:
        self.clock = ManualClock()
        capture = LogCapture()
        self.lines: list[Any] = capture.entries
        logger = structlog.wrap_logger(
            None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.alarms = Alarms(self.clock, Metrics(), logger)
        self.watch = ClockWatch(self.clock, self.alarms)
        self.watch.start()

    def told(self) -> list[tuple[float, float]]:
        """By how much, and how far stamps are ahead, in the order of the lines."""
        return [
            (line["by_s"], line["stamps_ahead_s"])
            for line in self.lines
            if (line["event"], line["alarm"]) == ("alarm on", "clock-stepped")
        ]


async def test_each_step_is_told_once_and_the_alarm_lapses() -> None:
    """One line says by how much, and how far the stamps are ahead of the machine's time."""
    kit = Watched()
    await kit.clock.advance(100)
    assert kit.lines == []
    kit.clock.step_wall(HOUR_MS)
    await kit.clock.advance(10)
    assert kit.told() == [(3600.0, 0.0)]
    assert [alarm.name for alarm in kit.alarms.on()] == ["clock-stepped"]
    kit.clock.step_wall(-HOUR_MS)
    await kit.clock.advance(10)
    assert kit.told() == [(3600.0, 0.0), (-3600.0, 3595.0)]
    await kit.clock.advance(10)
    assert kit.alarms.on() == []
    await kit.clock.advance(3 * HOUR_S)
    assert len(kit.told()) == 2


async def test_small_corrections_are_not_told() -> None:
    """NTP's are far below two seconds in ten."""
    kit = Watched()
    for _ in range(100):
        kit.clock.step_wall(1500)
        await kit.clock.advance(10)
        kit.clock.step_wall(-1500)
        await kit.clock.advance(10)
    assert kit.lines == []


async def test_a_step_forth_and_back_between_two_looks_is_told_where_stamps_were_taken() -> None:
    """They run ahead from then on, for twice as long."""
    kit = Watched()
    await kit.clock.advance(3)
    kit.clock.step_wall(HOUR_MS)
    kit.clock.now_ms()
    kit.clock.step_wall(-HOUR_MS)
    await kit.clock.advance(7)
    [(by_s, ahead_s)] = kit.told()
    assert (by_s, ahead_s) == (0.0, 3596.5)


async def test_a_watch_that_was_stopped_says_nothing() -> None:
    """Also one that never began."""
    kit = Watched()
    kit.watch.stop()
    kit.clock.step_wall(HOUR_MS)
    await kit.clock.advance(100)
    assert kit.lines == []
    ClockWatch(kit.clock, kit.alarms).stop()


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
async def test_what_takes_too_long_is_cancelled_and_told_as_a_timeout(
    clock: SystemClock | ManualClock,
) -> None:
    """And what is done in time is left alone, whatever runs after it."""
    async with clock.timeout(3600):
        await asyncio.sleep(0)

    async def endless() -> None:
        async with clock.timeout(0.001):
            await asyncio.get_running_loop().create_future()

    late = asyncio.create_task(endless())
    if isinstance(clock, ManualClock):
        await clock.advance(0.001)
    with pytest.raises(TimeoutError):
        await late
