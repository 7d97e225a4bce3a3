"""What a module for operators sees of a server, and does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from potoserver import Cause, Departure, Oversight, Rates, ServerModule, rpc
from tests.core.test_hooks import Failing, World, departure
from tests.support.clock import ManualClock, settle
from tests.support.server import RunningServer, RunServer
from tests.support.sse import open_stream


class Watching(ServerModule):
    """Knows how connections ended."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self.causes.append(departure.cause)

    @rpc
    async def fail(self) -> None:
        self.context.set_alarm("feed-away", lapses=True)

    @property
    def oversight(self) -> Oversight:
        return self.context.oversight


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, watching: Watching, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, [watching], clock=clock) as running:
        yield running


async def test_open_connections_are_seen(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """With their user, age, lease and the newest event on them; the users who came last first."""
    began_ms = clock.now_ms()
    first = await open_stream(running.session, f"{running.url}/subscribe", lease="90")
    connected = await first.next("connected")
    await clock.advance(2)
    second = await open_stream(running.session, f"{running.url}/subscribe", "admin-token")
    await second.next("connected")
    assert await watching.oversight.count_connections() == 2
    admin, a1 = await watching.oversight.connections("", 10)
    assert (admin.user_id, admin.since_ms, admin.lease_s) == ("admin", began_ms + 2000, None)
    assert (a1.id, a1.user_id, a1.since_ms) == (connected.data["connection"], "a1", began_ms)
    assert (a1.lease_s, a1.last_event_id, a1.waiting_bytes) == (90, connected.id, 0)
    assert await watching.oversight.connections("", 1) == [admin]
    assert await watching.oversight.connections("dmi", 10) == [admin]
    assert await watching.oversight.connections(a1.id, 10) == [a1]
    assert await watching.oversight.connections("nobody", 10) == []
    await first.close()
    await second.close()


async def test_a_connection_is_dropped(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """With the cause `kicked`; one that is not there is told apart."""
    reader = await open_stream(running.session, f"{running.url}/subscribe")
    connection = (await reader.next("connected")).data["connection"]
    assert await watching.oversight.drop_connection("c-nothing") is None
    assert await watching.oversight.drop_connection(connection) == "a1"
    await reader.end()
    await settle()
    (leaving,) = await watching.oversight.leaving(10)
    assert (leaving.user_id, leaving.cause) == ("a1", Cause.KICKED)
    assert leaving.departs_ms == leaving.since_ms + 5000
    assert await watching.oversight.count_leaving() == 1
    await clock.advance(6)
    assert watching.causes == [Cause.KICKED]
    assert await watching.oversight.drop_connection(connection) is None


async def test_alarms_are_seen(running: RunningServer, watching: Watching, clock: ManualClock) -> None:
    """Those that are on."""
    for _ in range(3):
        await running.call("Watching/fail")
    (alarm,) = await watching.oversight.alarms()
    assert (alarm.name, alarm.since_ms, alarm.times) == ("feed-away", clock.now_ms(), 3)
    assert not alarm.of_one_client


async def test_a_failing_departure_is_seen_until_it_is_parked() -> None:
    """Since when, how often tried, when again, until when, what waits behind it, and with what error."""
    world = World(retry_for_s=10)
    world.hooks.add(Failing(failures=1000))
    began_ms = world.clock.now_ms()
    for number in (1, 2):
        world.hooks.departed(departure(number))
    await settle()
    seen = world.hooks.troubles(10)
    assert (seen.failing_count, seen.parked_count, seen.parked) == (2, 0, ())
    (failing,) = seen.failing
    assert (failing.module, failing.user_id, failing.departure_id) == ("Failing", "a1", "d-1")
    assert (failing.tries, failing.waiting, failing.error) == (1, 1, "RuntimeError('not now')")
    assert failing.since_ms == began_ms
    assert (failing.next_try_ms, failing.gives_up_ms) == (began_ms + 500, began_ms + 10_000)
    await world.clock.advance(0.6)
    (failing,) = world.hooks.troubles(10).failing
    assert (failing.tries, failing.next_try_ms) == (2, began_ms + 1500)
    assert world.hooks.troubles(0).failing == []
    await world.clock.advance(100)
    seen = world.hooks.troubles(10)
    assert (seen.failing_count, seen.parked_count) == (0, 2)
    newest, oldest = seen.parked
    assert (oldest.departure_id, newest.departure_id) == ("d-1", "d-2")
    assert (oldest.module, oldest.why) == ("Failing", "not taken within 10 s")
    assert (oldest.cause, oldest.error) == (Cause.CLOSED, "RuntimeError('not now')")
    assert world.hooks.troubles(1).parked == (newest,)


async def test_how_fast_counters_grow(running: RunningServer, clock: ManualClock) -> None:
    """By the second since the look before; a look that comes at once is the same look."""
    metrics = running.core.metrics
    names = ("potoserver_events_published_total", "potoserver_departures_total")
    rates = Rates(metrics.registry, clock, names)
    assert rates.look() is None
    await clock.advance(2)
    metrics.events_published.inc(5)
    metrics.departures.labels("closed").inc()
    metrics.departures.labels("reset").inc()
    assert rates.look() == dict(zip(names, (2.5, 1.0), strict=True))
    metrics.events_published.inc(5)
    await clock.advance(0.1)
    assert rates.look() == dict(zip(names, (2.5, 1.0), strict=True))
    await clock.advance(0.9)
    assert rates.look() == dict(zip(names, (5.0, 0.0), strict=True))
    await clock.advance(3600)
    assert rates.look() is None
