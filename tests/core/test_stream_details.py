"""Heartbeats, leases and deliveries to the second and to the byte, and what `log.debug_sse` shows of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from potoserver.engine.base import LogEntry, Replay
from potoserver.engine.presence import Cause
from potoserver.events import HEARTBEAT, EventId, Frame
from potoserver.heartbeat import PING, Heartbeat
from potoserver.metrics import Metrics
from potoserver.module.base import Connection
from potoserver.subscriptions import Subscription, Subscriptions
from tests.core.test_heartbeat import connect
from tests.core.test_subscriptions import RecordedStream
from tests.support.clock import ManualClock, settle


@pytest.fixture
def log() -> structlog.testing.CapturingLogger:
    return structlog.testing.CapturingLogger()


@pytest.fixture
async def heartbeat(clock: ManualClock, log: structlog.testing.CapturingLogger) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(clock, 20, 30, structlog.wrap_logger(log, processors=[]))
    heartbeat.start()
    yield heartbeat
    await heartbeat.stop()


def lines(log: structlog.testing.CapturingLogger, **fields: object) -> list[dict[str, object]]:
    """The lines that hold these fields."""
    return [call.kwargs for call in log.calls if fields.items() <= call.kwargs.items()]


async def test_heartbeats_are_spread_and_none_is_left_out_whatever_the_interval(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """Also where the interval has an even number of beats."""
    streams = [connect(heartbeat, number) for number in range(256 * 20)]
    for second in range(1, 21):
        await clock.advance(1)
        await settle(200)
        assert sum(len(stream.written) for stream in streams) == 256 * second
    assert {len(stream.written) for stream in streams} == {1}


async def test_a_lease_is_held_to_the_second(heartbeat: Heartbeat, clock: ManualClock) -> None:
    """Asked for at each third of it, ended when it is over."""
    stream = connect(heartbeat, lease_s=30)
    for at_s, pings in ((9, 0), (10, 1), (19, 1), (20, 2), (29, 2)):
        await clock.advance(at_s - clock.monotonic_s())
        assert stream.written.count(PING.raw) == pings
    assert stream.cause is None
    await clock.advance(1)
    assert stream.cause is Cause.LEASE


async def test_removing_a_connection_twice_or_a_stranger_is_harmless(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """A connection may be lost and closed at the same time."""
    gone, here = connect(heartbeat, 1, lease_s=30), connect(heartbeat, 2)
    for name in ("c1", "c1", "stranger"):
        heartbeat.remove(name)
    await clock.advance(60)
    assert (gone.written, gone.cause, len(here.written)) == ([], None, 3)


async def test_what_is_held_may_fill_the_outbox_and_no_more() -> None:
    """The byte after that ends the connection."""
    stream = RecordedStream()
    held = Subscription(Connection("c1", "a1", 1), stream, outbox_bytes=10, since_ms=0)
    held.deliver(None, Frame(b"12345"))
    held.deliver(None, Frame(b"67890"))
    assert stream.cause is None
    held.deliver(None, Frame(b"1"))
    assert stream.cause is Cause.SLOW


async def test_an_event_that_is_also_replayed_is_sent_once(log: structlog.testing.CapturingLogger) -> None:
    """Delivered while the replay was fetched, or told again later."""
    everyone = Subscriptions(Metrics(), structlog.wrap_logger(log, processors=[]))
    stream = RecordedStream()
    subscription = Subscription(Connection("c1", "a1", 1), stream, 1000, since_ms=0)
    everyone.add(subscription)
    entry = LogEntry(EventId("e", 1), "note", Frame(b"one"))
    everyone.deliver("a1", entry)
    subscription.open(Frame(b"open"), Replay((entry,), gap=False, resume_id=EventId("e", 0)))
    everyone.deliver("a1", entry)
    assert stream.written == [b"open", b"one"]


async def test_every_event_can_be_logged_but_never_its_data(
    heartbeat: Heartbeat, clock: ManualClock, log: structlog.testing.CapturingLogger
) -> None:
    """`log.debug_sse`: id, type and bytes of each event, heartbeat and ping, and to how many it went."""
    everyone = Subscriptions(Metrics(), structlog.wrap_logger(log, processors=[]))
    for name in ("c1", "c2"):
        subscription = Subscription(Connection(name, "a1", 1), RecordedStream(), 1000, since_ms=0)
        everyone.add(subscription)
        heartbeat.add(subscription, None)
    everyone.deliver("a1", LogEntry(EventId("e", 1), "note", Frame(b"secret")))
    everyone.broadcast("all", Frame(b"secret too"))
    assert [call.kwargs for call in log.calls] == [
        {"event": "SSE event", "type": "note", "id": "e-1", "bytes": 6, "connections": 2},
        {"event": "SSE event", "type": "all", "id": None, "bytes": 10, "connections": 2},
    ]
    connect(heartbeat, 3, lease_s=30)
    await clock.advance(20)
    beats = lines(log, event="SSE heartbeat", bytes=len(HEARTBEAT.raw))
    assert [beat["connections"] for beat in beats] == [3]
    ping = {"event": "SSE event", "type": "ping", "id": None, "bytes": len(PING.raw), "connections": 1}
    assert lines(log, type="ping") == [ping, ping]
