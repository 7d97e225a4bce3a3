"""One timer for many that all wait equally long."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from potoserver.clock import TimerHandle
from potoserver.delays import Delays
from tests.support.clock import ManualClock


async def test_each_is_due_after_its_own_delay_in_the_order_of_beginning() -> None:
    """Those that begin later are told of later, however the timer comes to know of them."""
    clock = ManualClock()
    due: list[tuple[str, float]] = []
    delays = Delays(5.3, clock, lambda key: due.append((key, round(clock.monotonic_s(), 3))))
    for number in range(3):
        delays.begin(f"u{number}")
        await clock.advance(1.1)
    assert list(delays) == ["u0", "u1", "u2"]
    await clock.advance(10)
    assert due == [("u0", 5.3), ("u1", 6.4), ("u2", 7.5)]
    assert len(delays) == 0


async def test_what_is_called_off_is_not_told_and_holds_up_nobody() -> None:
    """It may begin again, and waits as long as any other then."""
    clock = ManualClock()
    due: list[tuple[str, float]] = []
    delays = Delays(5, clock, lambda key: due.append((key, clock.monotonic_s())))
    for key in ("a", "b", "c"):
        delays.begin(key)
    delays.call_off("a")
    delays.call_off("nobody")
    await clock.advance(1)
    delays.begin("a")
    await clock.advance(10)
    assert due == [("b", 5), ("c", 5), ("a", 6)]


async def test_who_is_told_may_call_off_another_one_and_begin_anew() -> None:
    """Also one that is due in the same moment."""
    clock = ManualClock()
    due: list[tuple[str, float]] = []

    def tell(key: str) -> None:
        due.append((key, clock.monotonic_s()))
        delays.call_off("b")
        if len(due) == 1:
            delays.begin(key)

    delays = Delays(2, clock, tell)
    for key in ("a", "b", "c"):
        delays.begin(key)
    await clock.advance(10)
    assert due == [("a", 2), ("c", 2), ("a", 4)]


async def test_ten_thousand_have_one_timer_and_leave_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as leave at once: no timer for each, and some of them in each turn of the loop."""
    clock = ManualClock()
    due: list[str] = []
    due_at_timers: list[int] = []
    call_later = clock.call_later

    def count(delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        due_at_timers.append(len(due))
        return call_later(delay_s, callback)

    monkeypatch.setattr(clock, "call_later", count)
    delays = Delays(1, clock, due.append)
    for number in range(10_000):
        delays.begin(str(number))
    assert due_at_timers == [0]
    await clock.advance(1)
    assert due == [str(number) for number in range(10_000)]
    assert max(after - before for before, after in pairwise(due_at_timers)) <= 32


async def test_one_that_can_not_be_told_keeps_nothing_from_the_others() -> None:
    """Else who departs behind it would never have departed."""
    clock = ManualClock()
    due: list[str] = []

    def tell(key: str) -> None:
        if key == "a":
            raise ValueError(key)
        due.append(key)

    delays = Delays(1, clock, tell)
    for key in ("a", "b"):
        delays.begin(key)
    with pytest.raises(ValueError, match="a"):
        await clock.advance(1)
    await clock.advance(1)
    assert due == ["b"]


async def test_once_stopped_nothing_is_told() -> None:
    """Of whatever waits."""
    clock = ManualClock()
    due: list[str] = []
    delays = Delays(1, clock, due.append)
    delays.begin("a")
    delays.stop()
    await clock.advance(5)
    assert due == []
