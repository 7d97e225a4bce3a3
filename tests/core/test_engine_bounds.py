"""The embedded engine at its limits: what exactly fits, for how long exactly, and what is counted."""

from __future__ import annotations

import pytest

from potoserver.engine.base import Engine
from potoserver.engine.memory import MemoryEngine
from potoserver.engine.presence import Cause, Presence, PresenceState
from potoserver.events import Event, EventId
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings
from tests.support.clock import ManualClock
from tests.support.engines import Recorder

GRACE_MS = 5000


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


async def started(clock: ManualClock, metrics: Metrics, **bounds: int) -> MemoryEngine:
    engine = MemoryEngine(GRACE_MS, BacklogSettings(**bounds), clock, metrics)
    await engine.start(Recorder())
    return engine


async def replayed(engine: Engine, start: EventId) -> list[int] | None:
    """What can be replayed from there; None for a gap."""
    replay = await engine.replay("a1", str(start))
    return None if replay.gap else [entry.id.seq for entry in replay.entries]


async def test_a_log_holds_just_as_many_bytes_as_it_may(clock: ManualClock, metrics: Metrics) -> None:
    """An event goes only when the rest would be too large, however large those were that went before."""
    probe = await started(clock, metrics)
    recorder = Recorder()
    await probe.start(recorder)
    for size in (800, 300, 300):
        await probe.publish("a1", Event("note", "x" * size))
    large, small, _ = (len(entry.frame.raw) for _, entry in recorder.entries)

    engine = await started(clock, metrics, bytes=large + small)
    start = (await engine.replay("a1", None)).resume_id
    first = await engine.publish("a1", Event("note", "x" * 800))
    second = await engine.publish("a1", Event("note", "x" * 300))
    assert await replayed(engine, start) == [first.seq, second.seq]
    third = await engine.publish("a1", Event("note", "x" * 300))
    fourth = await engine.publish("a1", Event("note", "x" * 300))
    assert await replayed(engine, start) is None
    assert await replayed(engine, first) == [second.seq, third.seq, fourth.seq]
    assert metrics.registry.get_sample_value("potoserver_events_dropped_total") == 1


async def test_an_event_can_be_replayed_for_just_as_long_as_it_may(
    clock: ManualClock, metrics: Metrics
) -> None:
    """The backlog's seconds, to the millisecond."""
    engine = await started(clock, metrics, seconds=60)
    await engine.attach("a1", "c1")
    start = (await engine.replay("a1", None)).resume_id
    event_id = await engine.publish("a1", Event("note"))
    await clock.advance(60)
    assert await replayed(engine, start) == [event_id.seq]
    await clock.advance(0.002)
    assert await replayed(engine, start) is None


async def test_a_log_that_was_only_asked_for_is_forgotten_too(clock: ManualClock, metrics: Metrics) -> None:
    """A user who never connects leaves no log behind."""
    engine = await started(clock, metrics, seconds=60)
    await engine.replay("a1", None)
    await clock.advance(61)
    assert not engine._logs


async def test_a_log_is_forgotten_after_its_last_event_has_lapsed(
    clock: ManualClock, metrics: Metrics
) -> None:
    """Events for a user who is absent keep it as long as they can be replayed, and no longer."""
    engine = await started(clock, metrics, seconds=60)
    start = (await engine.replay("a1", None)).resume_id
    await clock.advance(50)
    event_id = await engine.publish("a1", Event("note"))
    await clock.advance(59)
    assert await replayed(engine, start) == [event_id.seq]
    await clock.advance(65)
    assert not engine._logs


async def test_values_lapse_each_at_their_own_time(clock: ManualClock, metrics: Metrics) -> None:
    """Also the short-lived ones of a user who has long-lived ones; at that moment, not later."""
    engine = await started(clock, metrics)
    assert await engine.swap_state("a1", "long", None, "1", lifetime_s=100)
    assert await engine.swap_state("a1", "short", None, "2", lifetime_s=10)
    await clock.advance(9.5)
    assert await engine.get_state("a1", "short") == "2"
    await clock.advance(0.5)
    assert await engine.get_state("a1", "short") is None
    assert await engine.swap_state("a1", "short", None, "3", lifetime_s=200)
    await clock.advance(90)
    assert await engine.get_state("a1", "long") is None
    assert await engine.get_state("a1", "short") == "3"


async def test_departures_are_counted_by_their_cause(clock: ManualClock, metrics: Metrics) -> None:
    """So an operator sees why people go."""
    engine = await started(clock, metrics)
    for number, cause in enumerate((Cause.RESET, Cause.RESET, Cause.LEASE)):
        await engine.attach(f"u{number}", "c")
        await engine.detach(f"u{number}", "c", cause)
    await clock.advance(6)
    counted = [
        metrics.registry.get_sample_value("potoserver_departures_total", {"cause": cause})
        for cause in ("reset", "lease", "closed")
    ]
    assert counted == [2, 1, None]


async def test_who_is_absent_has_neither_generation_nor_connection(
    clock: ManualClock, metrics: Metrics
) -> None:
    """Before the arrival and after the departure; generations themselves begin at 1."""
    engine = await started(clock, metrics)
    nobody = Presence(PresenceState.ABSENT, 0, 0)
    assert await engine.presence_of("a1") == nobody
    assert (await engine.attach("a1", "c1")).generation == 1
    await engine.detach("a1", "c1", Cause.CLOSED)
    await clock.advance(6)
    assert await engine.presence_of("a1") == nobody


async def test_an_engine_that_has_stopped_tells_nobody_anything(clock: ManualClock, metrics: Metrics) -> None:
    """No departure of a user who goes later, and a broadcast reaches no one."""
    engine = await started(clock, metrics)
    await engine.attach("a1", "c1")
    await engine.stop()
    await engine.detach("a1", "c1", Cause.SHUTDOWN)
    await clock.advance(6)
    assert await engine.broadcast(Event("announcement")) == 0
    assert metrics.registry.get_sample_value("potoserver_departures_total", {"cause": "shutdown"}) is None


async def test_the_embedded_engine_forgets_who_is_gone(clock: ManualClock) -> None:
    """A thousand users come, talk and leave: nothing of them stays."""
    node = Recorder()
    engine = MemoryEngine(GRACE_MS, BacklogSettings(seconds=60), clock, Metrics())
    await engine.start(node)
    for number in range(1000):
        user = f"u{number}"
        await engine.attach(user, "c")
        await engine.publish(user, Event("note"))
        await engine.swap_state(user, "s", None, "v", lifetime_s=10)
        await engine.detach(user, "c", Cause.CLOSED)
    await clock.advance(120)
    for departure in node.departures:
        await engine.acknowledge(departure)
    await engine.get_state("u1", "s")
    assert len(node.departures) == 1000
    kept = (engine._here, engine._logs, engine._state, engine._lapses, engine._leaving)
    assert [len(each) for each in kept] == [0] * 5


async def test_the_users_with_state_are_remembered_once_each(clock: ManualClock, metrics: Metrics) -> None:
    """However often their values are set."""
    engine = await started(clock, metrics)
    for number in range(100):
        assert await engine.swap_state("a1", f"n{number}", None, "v", lifetime_s=1000)
    assert len(engine._lapses) == 1


async def test_the_node_counts_its_connections(clock: ManualClock, metrics: Metrics) -> None:
    """Those that are open, of all users."""
    engine = await started(clock, metrics)
    for number in range(3):
        await engine.attach(f"u{number % 2}", f"c{number}")
    assert [each.connections for each in engine.nodes()] == [3]
    await engine.detach("u0", "c0", Cause.CLOSED)
    assert [(each.connections, each.draining) for each in engine.nodes()] == [(2, False)]
    await engine.drain()
    assert [each.draining for each in engine.nodes()] == [True]


async def test_a_users_events_are_numbered_without_a_gap(clock: ManualClock, metrics: Metrics) -> None:
    """So that each id up to the newest is that of an event; another user's count for nothing."""
    engine = await started(clock, metrics)
    numbers = [(await engine.publish(user, Event("x", {}))).seq for user in ("a1", "a1", "b2", "a1")]
    assert numbers == [1, 2, 1, 3]
