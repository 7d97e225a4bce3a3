"""One timer keeps connections alive and finds the dead ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from potoserver.engine.base import Cause, Replay
from potoserver.events import EventId, Frame
from potoserver.heartbeat import Heartbeat
from potoserver.module.base import Connection
from potoserver.subscriptions import Subscription
from tests.core.test_subscriptions import RecordedStream
from tests.support.clock import ManualClock


class StallingStream(RecordedStream):
    """A wire whose reader may stop reading."""

    since_s: float | None = None

    @property
    def stalled_since_s(self) -> float | None:
        return self.since_s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def heartbeat(clock: ManualClock) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(clock, heartbeat_s=15, send_timeout_s=20)
    heartbeat.start()
    yield heartbeat
    await heartbeat.stop()


def connect(heartbeat: Heartbeat, number: int = 1, lease_s: int | None = None) -> StallingStream:
    stream = StallingStream()
    subscription = Subscription(Connection(f"c{number}", "a1", 1), stream, 1000)
    subscription.open(Frame(b""), Replay((), gap=False, resume_id=EventId("e", 0)))
    stream.written.clear()
    heartbeat.add(subscription, lease_s)
    return stream


async def test_every_connection_has_a_heartbeat_in_every_interval(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """However many there are, and while others come and go."""
    streams = [connect(heartbeat, number) for number in range(100)]
    for number in range(0, 100, 3):
        heartbeat.remove(f"c{number}")
    for rounds in (1, 2, 3):
        await clock.advance(15)
        beats = [len(stream.written) for stream in streams]
        assert beats == [0 if number % 3 == 0 else rounds for number in range(100)]


async def test_heartbeats_are_spread_over_the_interval(heartbeat: Heartbeat, clock: ManualClock) -> None:
    """No tick wakes everyone."""
    streams = [connect(heartbeat, number) for number in range(150)]
    before = 0
    for _ in range(15):
        await clock.advance(1)
        written = sum(len(stream.written) for stream in streams)
        assert written - before <= 11
        before = written
    assert before == 150


async def test_a_lease_is_asked_for_and_lapses_without_an_ack(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """The client gets `ping` events; when it answers none for the lease, the connection ends."""
    stream = connect(heartbeat, lease_s=30)
    await clock.advance(29)
    assert sum(b"event: ping" in raw for raw in stream.written) == 2
    assert stream.cause is None
    await clock.advance(2)
    assert stream.cause is Cause.LEASE


async def test_acks_keep_a_lease(heartbeat: Heartbeat, clock: ManualClock) -> None:
    """A healthy client is never cut off."""
    stream = connect(heartbeat, lease_s=30)
    for _ in range(20):
        await clock.advance(25)
        heartbeat.acknowledge("c1")
    assert stream.cause is None
    heartbeat.acknowledge("c-unknown")


async def test_a_reader_that_stalls_is_cut_off(heartbeat: Heartbeat, clock: ManualClock) -> None:
    """Within a heartbeat of the send timeout."""
    stream = connect(heartbeat)
    stream.since_s = clock.monotonic_s()
    await clock.advance(19)
    assert stream.cause is None
    await clock.advance(16)
    assert stream.cause is Cause.SLOW


async def test_a_lease_is_held_to_the_second_however_long_the_heartbeat(clock: ManualClock) -> None:
    """And the client is asked before it is cut off."""
    heartbeat = Heartbeat(clock, heartbeat_s=600, send_timeout_s=20)
    heartbeat.start()
    stream = connect(heartbeat, lease_s=10)
    await clock.advance(9.5)
    assert sum(b"event: ping" in raw for raw in stream.written) == 2
    assert stream.cause is None
    await clock.advance(1.5)
    assert stream.cause is Cause.LEASE
    await heartbeat.stop()
