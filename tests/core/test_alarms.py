"""Alarms: what is wrong now, in health, in the metrics and in one line."""

from __future__ import annotations

from typing import Any

import structlog
from structlog.testing import LogCapture

from potoserver.alarms import QUIET_S, Alarms
from potoserver.metrics import Metrics
from tests.support.clock import ManualClock


class Kit:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        capture = LogCapture()
        self.lines: list[Any] = capture.entries
        logger = structlog.wrap_logger(
            None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.alarms = Alarms(self.clock, self.metrics, logger)

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value("potoserver_alarm", {"alarm": name})


async def test_a_cause_met_a_thousand_times_makes_one_line() -> None:
    """The line comes with the first; the count stands in health, and in the line of the end."""
    kit = Kit()
    for _ in range(1000):
        kit.alarms.set("disk-full", error="no space")
    assert [(line["event"], line["alarm"], line["error"]) for line in kit.lines] == [
        ("alarm on", "disk-full", "no space")
    ]
    assert kit.gauge("disk-full") == 1
    [alarm] = kit.alarms.on()
    assert (alarm.name, alarm.since_ms, alarm.times) == ("disk-full", kit.clock.now_ms(), 1000)
    assert kit.alarms.degraded
    kit.alarms.clear("disk-full")
    await kit.clock.advance(QUIET_S)
    assert kit.alarms.on() == []
    assert not kit.alarms.degraded
    assert kit.gauge("disk-full") == 0
    assert (kit.lines[-1]["event"], kit.lines[-1]["times"]) == ("alarm off", 1000)


async def test_an_alarm_stays_until_it_is_cleared() -> None:
    """Silence is no proof that a disk has room again."""
    kit = Kit()
    kit.alarms.set("disk-full")
    await kit.clock.advance(3600)
    assert [alarm.name for alarm in kit.alarms.on()] == ["disk-full"]


async def test_a_lapsing_alarm_goes_off_when_its_cause_is_quiet() -> None:
    """Each time that the cause is met, the quiet begins anew."""
    kit = Kit()
    for _ in range(5):
        kit.alarms.set("calls-full", lapses=True)
        await kit.clock.advance(QUIET_S - 0.1)
        assert kit.alarms.on()
    await kit.clock.advance(0.1)
    assert kit.alarms.on() == []
    assert len(kit.lines) == 2


async def test_a_cause_that_comes_and_goes_makes_one_alarm() -> None:
    """Cleared and met again at once, it stays on: the log is not filled by a flapping disk."""
    kit = Kit()
    for _ in range(50):
        kit.alarms.set("disk-failing")
        await kit.clock.advance(1)
        kit.alarms.clear("disk-failing")
        await kit.clock.advance(1)
    assert len(kit.lines) == 1
    kit.alarms.set("disk-failing")
    await kit.clock.advance(3600)
    assert kit.alarms.on()
    kit.alarms.clear("disk-failing")
    await kit.clock.advance(0)
    assert kit.alarms.on() == []


async def test_a_limit_that_one_client_meets_degrades_nobody() -> None:
    """It is told, but the server is healthy: the others feel nothing."""
    kit = Kit()
    kit.alarms.set("slow-readers", lapses=True)
    assert kit.alarms.on()
    assert not kit.alarms.degraded
    kit.alarms.set("disk-full")
    assert kit.alarms.degraded


async def test_alarms_of_the_end_leave_no_timer() -> None:
    """After the stop nothing happens any more."""
    kit = Kit()
    kit.alarms.set("calls-full", lapses=True)
    kit.alarms.stop()
    await kit.clock.advance(100)
    assert len(kit.lines) == 1
