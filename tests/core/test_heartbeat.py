"""One timer keeps connections alive and finds the dead ones."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator

import pytest

from potoserver.engine.base import Replay
from potoserver.engine.presence import Cause
from potoserver.events import EventId, Frame
from potoserver.heartbeat import Heartbeat
from potoserver.module.base import Connection
from potoserver.subscriptions import Subscription
from tests.core.test_subscriptions import RecordedStream
from tests.support.clock import ManualClock, settle


@pytest.fixture
async def heartbeat(clock: ManualClock) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(clock, heartbeat_s=15, send_timeout_s=20)
    heartbeat.start()
    yield heartbeat
    await heartbeat.stop()


def connect(
    heartbeat: Heartbeat, number: int = 1, lease_s: int | None = None, stream: RecordedStream | None = None
) -> RecordedStream:
    stream = stream or RecordedStream()
    subscription = Subscription(Connection(f"c{number}", "a1", 1), stream, 1000, since_ms=0)
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
    """No beat wakes everyone; those who came one after the other have the same: they are close in memory."""
    streams = [connect(heartbeat, number) for number in range(512 * 15)]
    for beat in range(1, 16):
        await clock.advance(1)
        await settle(200)
        assert sum(len(stream.written) for stream in streams) == 512 * beat
    assert {len(stream.written) for stream in streams} == {1}
    await clock.advance(1)
    await settle(200)
    assert [number for number, stream in enumerate(streams) if len(stream.written) == 2] == [
        *range(256),
        *range(15 * 256, 16 * 256),
    ]


async def test_others_have_their_turns_while_many_have_their_heartbeat(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """Those of a second would keep them waiting for 20 ms if there are fifty thousand; so would the looks."""
    looked: list[RecordedStream] = []

    class LookedAt(RecordedStream):
        @property
        def all_taken(self) -> bool:
            looked.append(self)
            return True

    streams = [connect(heartbeat, number, stream=LookedAt()) for number in range(512 * 15)]
    done = [0]

    def count() -> None:
        done.append(sum(len(stream.written) for stream in streams) + len(looked))
        if done[-1] < 4 * 512:
            asyncio.get_running_loop().call_soon(count)

    count()
    while done[-1] < 4 * 512:
        await clock.advance(1)  # also where a beat took so long that the next one is due already
    assert max(later - sooner for sooner, later in itertools.pairwise(done)) <= 10


async def test_there_is_one_wake_up_for_all_heartbeats_of_a_second(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """To wake up costs more than a hundred heartbeats."""
    streams = [connect(heartbeat, number) for number in range(256 * 15)]
    await clock.advance(0.99)
    assert sum(len(stream.written) for stream in streams) == 0
    await clock.advance(0.01)
    await settle(200)
    assert sum(len(stream.written) for stream in streams) == 256


async def test_the_ends_of_heartbeats_are_looked_for_only_where_they_are_missing(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """Nothing is remembered of a client that has what it was sent: there may be fifty thousand."""
    streams = [connect(heartbeat, number) for number in range(30)]
    streams[7].taken = 0
    await clock.advance(16)
    assert [stream for _, stream, _ in heartbeat._expected] == [streams[7]]
    await clock.advance(20)
    assert streams[7].cause is None  # it is heard, and only takes nothing


async def test_a_connection_that_has_ended_is_let_go(heartbeat: Heartbeat, clock: ManualClock) -> None:
    """Nothing of it is held until the next one comes, which may be never."""
    streams = [weakref.ref(connect(heartbeat, number, lease_s=30)) for number in range(30)]
    await clock.advance(15)
    for number in range(30):
        heartbeat.remove(f"c{number}")
    await clock.advance(1)
    gc.collect()
    assert [stream for stream in streams if stream() is not None] == []


async def test_no_lease_lapses_while_no_ack_can_come_and_then_each_begins_anew(clock: ManualClock) -> None:
    """A client whose acks go to another node must not pay for an engine that is away."""
    acks_come = True
    heartbeat = Heartbeat(clock, 15, 20, acks_come=lambda: acks_come)
    heartbeat.start()
    stream = connect(heartbeat, lease_s=30)
    await clock.advance(29)
    acks_come = False
    await clock.advance(300)
    assert stream.cause is None
    acks_come = True
    await clock.advance(29)
    assert stream.cause is None
    await clock.advance(2)
    assert stream.cause is Cause.LEASE
    await heartbeat.stop()


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


async def test_a_heartbeat_that_is_not_taken_ends_the_connection(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """Within `heartbeat_s` + `send_timeout_s` of the last that was taken, whenever that was."""
    for number in range(30):
        stream = connect(heartbeat, number)
        await clock.advance(45)
        assert stream.cause is None
        stream.taken, stream.silent = stream.sent_bytes, True
        await clock.advance(20)
        assert stream.cause is None
        await clock.advance(15)
        assert stream.cause is Cause.UNREACHABLE
        heartbeat.remove(f"c{number}")


async def test_a_lease_waits_for_a_ping_that_is_still_on_its_way(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """A client that takes what it is sent, if slowly, is given the lease anew; one that could answer not."""
    slow, stalled, dead = (connect(heartbeat, number, lease_s=30) for number in range(3))
    slow.taken = stalled.taken = 0
    slow.write(Frame(b"x" * 5000))  # each ping reaches the client only behind that
    for _ in range(20):
        slow.taken += 100
        await clock.advance(10)
    assert (slow.cause, stalled.cause, dead.cause) == (None, Cause.LEASE, Cause.LEASE)
    slow.taken = None
    await clock.advance(29)
    assert slow.cause is None
    await clock.advance(2)
    assert slow.cause is Cause.LEASE


async def test_a_lease_begins_anew_when_the_ping_has_come_behind_much(
    heartbeat: Heartbeat, clock: ManualClock
) -> None:
    """It is taken just before the next one: who has got it has a lease's time from about then."""
    slow, dead = (connect(heartbeat, number, lease_s=30) for number in range(2))
    slow.taken = 0
    for stream in (slow, dead):
        stream.write(Frame(b"x" * 5000))
    await clock.advance(10)
    for _ in range(9):
        slow.taken += 500
        await clock.advance(1)
    slow.taken = None  # all of it, 19 s after it came
    await clock.advance(12)
    assert (slow.cause, dead.cause) == (None, Cause.LEASE)
    await clock.advance(18)
    assert slow.cause is None
    await clock.advance(1)
    assert slow.cause is Cause.LEASE


@pytest.mark.parametrize(("heartbeat_s", "late_s"), [(15, 1.2), (15, 2.5), (2, 0.15), (0.5, 0.05)])
async def test_what_a_proxy_takes_late_for_a_dead_client_keeps_no_lease(
    clock: ManualClock, heartbeat_s: float, late_s: float
) -> None:
    """However often it is looked meanwhile: an acknowledgement by the next hop is no ack."""
    heartbeat = Heartbeat(clock, heartbeat_s=heartbeat_s, send_timeout_s=20)
    heartbeat.start()
    stream = connect(heartbeat, lease_s=30)
    stream.taken = 0
    sent: list[int] = []
    for _ in range(round(31 / 0.05)):
        sent.append(stream.sent_bytes)
        stream.taken = sent[max(0, len(sent) - 1 - round(late_s / 0.05))]
        await clock.advance(0.05)
    assert stream.cause is Cause.LEASE
    await heartbeat.stop()


async def test_what_a_tick_takes_does_not_lengthen_the_interval(clock: ManualClock) -> None:
    """Heartbeats come when they are due, or the bound for a dead client would not hold under load."""

    class SlowStream(RecordedStream):
        def write(self, frame: Frame) -> None:
            super().write(frame)
            clock.pass_time(0.5)

    heartbeat = Heartbeat(clock, heartbeat_s=15, send_timeout_s=20)
    heartbeat.start()
    stream = SlowStream()
    subscription = Subscription(Connection("c1", "a1", 1), stream, 1000, since_ms=0)
    heartbeat.add(subscription, None)
    await clock.advance(600)
    assert len(stream.written) == 40
    await heartbeat.stop()


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
