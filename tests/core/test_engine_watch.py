"""An engine that goes and comes back: one line each, and since when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import structlog
from structlog.testing import LogCapture

from potoserver.alarms import QUIET_S, Alarms
from potoserver.engine.base import Engine
from potoserver.engine_watch import EngineWatch
from potoserver.metrics import Metrics
from tests.support.clock import ManualClock


async def test_an_engine_that_goes_and_comes_back_is_told_once_each() -> None:
    """Within a second or two, with why; nobody has to ask, and nothing is said while all is well."""
    clock, metrics, lines = ManualClock(), Metrics(), LogCapture()
    logger = structlog.wrap_logger(
        None, processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    alarms = Alarms(clock, metrics, logger)
    engine: Any = SimpleNamespace(shared=True, trouble=None)
    watch = EngineWatch(cast(Engine, engine), clock, alarms)
    watch.start()
    await clock.advance(30)
    assert alarms.on() == []

    engine.trouble, went_ms = "silence", clock.now_ms()
    await clock.advance(60)
    [alarm] = alarms.on()
    assert alarm.name == "engine-away"
    assert 0 <= alarm.since_ms - went_ms <= 2000
    assert metrics.registry.get_sample_value("potoserver_alarm", {"alarm": "engine-away"}) == 1

    engine.trouble = None
    await clock.advance(QUIET_S + 2)
    assert alarms.on() == []
    assert [(line["event"], line["alarm"], line.get("error")) for line in lines.entries] == [
        ("alarm on", "engine-away", "silence"),
        ("alarm off", "engine-away", None),
    ]
    watch.stop()
    engine.trouble = "silence"
    await clock.advance(30)
    assert alarms.on() == []
