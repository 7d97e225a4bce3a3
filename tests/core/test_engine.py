"""The engine contract: every engine runs these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from potoserver.engine.base import (
    MAX_STATES_PER_USER,
    Cause,
    Departure,
    Engine,
    EngineListener,
    Leaving,
    LogEntry,
    PresenceState,
)
from potoserver.engine.memory import MemoryEngine
from potoserver.events import Event, EventId, Frame
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings
from tests.support.clock import ManualClock

GRACE_MS = 5000


class Recorder(EngineListener):
    """What a node was told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, LogEntry]] = []
        self.broadcasts: list[str] = []
        self.departures: list[Departure] = []

    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        self.entries.append((user_id, entry))

    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        self.broadcasts.append(event_type)
        return 3

    def on_departure(self, departure: Departure) -> None:
        self.departures.append(departure)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> Recorder:
    return Recorder()


@pytest.fixture
async def engine(clock: ManualClock, node: Recorder) -> AsyncIterator[Engine]:
    backlog = BacklogSettings(events=5, bytes=10_000, seconds=60)
    engine = MemoryEngine(GRACE_MS, backlog, clock, Metrics())
    await engine.start(node)
    yield engine
    await engine.stop()


async def test_the_first_connection_is_an_arrival_and_the_second_is_not(engine: Engine) -> None:
    """One user, two tabs: one arrival, one generation."""
    first = await engine.attach("a1", "c1")
    second = await engine.attach("a1", "c2")
    assert first.arrived
    assert not second.arrived
    assert first.generation == second.generation
    presence = await engine.presence_of("a1")
    assert (presence.state, presence.connections) == (PresenceState.ONLINE, 2)


async def test_closing_one_of_two_connections_ends_nothing(
    engine: Engine, node: Recorder, clock: ManualClock
) -> None:
    """The user's last connection must be gone, not any."""
    await engine.attach("a1", "c1")
    await engine.attach("a1", "c2")
    assert await engine.detach("a1", "c1", Cause.CLOSED) == 1
    await clock.advance(3600)
    assert node.departures == []


async def test_a_departure_comes_once_when_the_grace_has_passed(
    engine: Engine, node: Recorder, clock: ManualClock
) -> None:
    """It names user, generation, cause and the time last seen."""
    attachment = await engine.attach("a1", "c1")
    await clock.advance(7)
    last_seen_ms = clock.now_ms()
    assert await engine.detach("a1", "c1", Cause.RESET) == 0
    assert (await engine.presence_of("a1")).state is PresenceState.LEAVING
    await clock.advance(4.999)
    assert node.departures == []
    await clock.advance(0.002)
    await clock.advance(60)
    (departure,) = node.departures
    assert departure.user_id == "a1"
    assert departure.generation == attachment.generation
    assert departure.cause is Cause.RESET
    assert departure.last_seen_ms == last_seen_ms
    assert departure.departed_ms == last_seen_ms + GRACE_MS
    assert (await engine.presence_of("a1")).state is PresenceState.ABSENT
    await engine.acknowledge(departure)
    await engine.acknowledge(departure)


async def test_a_return_within_the_grace_calls_the_departure_off(
    engine: Engine, node: Recorder, clock: ManualClock
) -> None:
    """Drop, return and a second drop within the first grace: one departure, a grace after the second drop."""
    before = await engine.attach("a1", "c1")
    await engine.detach("a1", "c1", Cause.RESET)
    await clock.advance(3)
    back = await engine.attach("a1", "c2")
    assert not back.arrived
    assert back.generation == before.generation
    await engine.detach("a1", "c2", Cause.CLOSED)
    await clock.advance(4.9)
    assert node.departures == []
    await clock.advance(0.2)
    assert [departure.cause for departure in node.departures] == [Cause.CLOSED]


async def test_a_return_after_the_departure_is_a_later_generation(engine: Engine, clock: ManualClock) -> None:
    """So a late event of the old one can be told from the new one."""
    first = await engine.attach("a1", "c1")
    await engine.detach("a1", "c1", Cause.CLOSED)
    await clock.advance(6)
    second = await engine.attach("a1", "c2")
    assert second.arrived
    assert second.generation > first.generation


async def test_detaching_twice_or_a_stranger_changes_nothing(engine: Engine, clock: ManualClock) -> None:
    """Detach is idempotent, also after the user has come back."""
    await engine.attach("a1", "c1")
    await engine.detach("a1", "c1", Cause.CLOSED)
    await engine.attach("a1", "c2")
    assert await engine.detach("a1", "c1", Cause.CLOSED) == 1
    assert await engine.detach("nobody", "c9", Cause.CLOSED) == 0
    await clock.advance(60)
    assert await engine.online_users() == ["a1"]
    assert await engine.count_online() == 1


async def test_ids_count_up_and_events_fan_out_in_order(engine: Engine, node: Recorder) -> None:
    """What is published is told to the node, once, in the log's order."""
    ids = [await engine.publish("a1", Event("note", {"n": n})) for n in range(3)]
    assert [each.seq for each in ids] == sorted({each.seq for each in ids})
    assert {each.epoch for each in ids} == {ids[0].epoch}
    assert [entry.id for _, entry in node.entries] == ids


async def test_replay_gives_what_came_after_once_each_in_order(engine: Engine) -> None:
    """From any id that the log still continues."""
    start = (await engine.replay("a1", None)).resume_id
    ids = [await engine.publish("a1", Event("note", n)) for n in range(4)]
    for position, after in enumerate([start, *ids]):
        replay = await engine.replay("a1", str(after))
        assert not replay.gap
        assert replay.resume_id == after
        assert [entry.id for entry in replay.entries] == ids[position:]


@pytest.mark.parametrize(
    "text", ["", "x", "abc-1", "abc-01", "-1", "abc-", "x" * 500, "é-1", "a-1\n", "a-99999999999999999999"]
)
async def test_an_id_that_is_none_is_a_gap(engine: Engine, text: str) -> None:
    """The client is told, and goes on from the newest."""
    newest = await engine.publish("a1", Event("note"))
    replay = await engine.replay("a1", text)
    assert (replay.gap, replay.entries, replay.resume_id) == (True, (), newest)


async def test_an_id_from_the_future_is_a_gap(engine: Engine) -> None:
    """It was never given out."""
    newest = await engine.publish("a1", Event("note"))
    assert (await engine.replay("a1", str(EventId(newest.epoch, newest.seq + 1)))).gap


async def test_an_id_older_than_the_log_is_a_gap(engine: Engine) -> None:
    """Beyond the bound of events nothing can be promised; within it everything."""
    ids = [await engine.publish("a1", Event("note", n)) for n in range(7)]
    assert (await engine.replay("a1", str(ids[0]))).gap
    replay = await engine.replay("a1", str(ids[1]))
    assert [entry.id for entry in replay.entries] == ids[2:]


async def test_the_log_is_bounded_in_bytes_and_in_time(engine: Engine, clock: ManualClock) -> None:
    """The oldest go first."""
    first = await engine.publish("a1", Event("note", "x" * 6000))
    second = await engine.publish("a1", Event("note", "y" * 6000))
    assert not (await engine.replay("a1", str(first))).gap
    assert (await engine.replay("a1", str(EventId(first.epoch, first.seq - 1)))).gap
    await engine.attach("a1", "c1")  # a user who is here keeps the log, so its ids stay good
    await clock.advance(61)
    third = await engine.publish("a1", Event("note", "z"))
    assert (await engine.replay("a1", str(first))).gap
    assert [entry.id for entry in (await engine.replay("a1", str(second))).entries] == [third]


async def test_a_finished_reply_replaces_its_deltas_in_the_log(engine: Engine) -> None:
    """Who comes back gets the finished message alone, and no gap for the deltas."""
    before = await engine.publish("a1", Event("note"))
    delta = await engine.publish("a1", Event("delta", "He", group="m-1"))
    other = await engine.publish("a1", Event("delta", "x", group="m-2"))
    finished = await engine.publish("a1", Event("message", "Hello", replaces="m-1"))
    for after in (before, delta):
        replay = await engine.replay("a1", str(after))
        assert not replay.gap
        assert [entry.id for entry in replay.entries] == [other, finished]


async def test_a_log_that_comes_back_has_another_epoch(engine: Engine, clock: ManualClock) -> None:
    """Nothing is kept of a user who is gone, and an old id is never taken for one of the new log."""
    old = await engine.publish("a1", Event("note"))
    await clock.advance(61)
    new = await engine.publish("a1", Event("note"))
    assert new.epoch != old.epoch
    assert (await engine.replay("a1", str(old))).gap


async def test_the_log_stays_while_the_user_is_here(engine: Engine, clock: ManualClock) -> None:
    """An idle connection's id is good after any time, and for the backlog's time after the departure."""
    await engine.attach("a1", "c1")
    last = (await engine.replay("a1", None)).resume_id
    await clock.advance(3600)
    assert not (await engine.replay("a1", str(last))).gap
    await engine.detach("a1", "c1", Cause.CLOSED)
    await clock.advance(GRACE_MS / 1000 + 30)
    assert not (await engine.replay("a1", str(last))).gap


async def test_an_event_that_is_no_json_changes_nothing(engine: Engine, node: Recorder) -> None:
    """The caller gets the error, the log keeps its place."""
    start = (await engine.replay("a1", None)).resume_id
    with pytest.raises((TypeError, ValueError)):
        await engine.publish("a1", Event("note", object()))
    with pytest.raises((TypeError, ValueError)):
        await engine.publish("a1", Event("note", float("nan")))
    assert (await engine.replay("a1", None)).resume_id == start
    assert node.entries == []


async def test_a_broadcast_reaches_the_node_and_no_log(engine: Engine, node: Recorder) -> None:
    """It carries no id and is not replayed."""
    start = (await engine.replay("a1", None)).resume_id
    assert await engine.broadcast(Event("announcement", {"text": "hi"})) == 3
    assert node.broadcasts == ["announcement"]
    assert (await engine.replay("a1", str(start))).entries == ()


async def test_state_changes_in_one_step_and_lapses(engine: Engine, clock: ManualClock) -> None:
    """Only who knows the value changes it; nothing stays for ever."""
    assert await engine.swap_state("a1", "ticket:1", None, "used", lifetime_s=30)
    assert not await engine.swap_state("a1", "ticket:1", None, "again", lifetime_s=30)
    assert await engine.get_state("a1", "ticket:1") == "used"
    assert await engine.get_state("a2", "ticket:1") is None
    await clock.advance(20)
    assert await engine.swap_state("a1", "ticket:1", "used", "opened", lifetime_s=30)
    await clock.advance(20)
    assert await engine.get_state("a1", "ticket:1") == "opened"
    await clock.advance(11)
    assert await engine.get_state("a1", "ticket:1") is None
    assert await engine.swap_state("a1", "x", None, "1", lifetime_s=30)
    assert await engine.swap_state("a1", "x", "1", None, lifetime_s=30)
    assert await engine.get_state("a1", "x") is None


async def test_the_embedded_engine_forgets_who_is_gone(clock: ManualClock, node: Recorder) -> None:
    """A thousand users come, talk and leave: nothing of them stays."""
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
    kept = (engine._here, engine._logs, engine._state, engine._lapses, engine._online)
    assert [len(each) for each in kept] == [0] * 5


async def test_small_state_is_bounded_for_each_user(engine: Engine) -> None:
    """However often a value is set, and however many there are; the oldest go first."""
    for number in range(1000):
        value = await engine.get_state("a1", "same")
        assert await engine.swap_state("a1", "same", value, str(number), lifetime_s=1000)
    for number in range(MAX_STATES_PER_USER):
        assert await engine.swap_state("a1", f"n{number}", None, "v", lifetime_s=1000)
    assert await engine.get_state("a1", "same") is None
    assert await engine.get_state("a1", "n0") == "v"
    assert isinstance(engine, MemoryEngine)
    assert len(engine._lapses) == 1


async def test_a_users_events_are_numbered_without_a_gap(engine: Engine) -> None:
    """So that each id up to the newest is that of an event; another user's count for nothing."""
    numbers = [(await engine.publish(user, Event("x", {}))).seq for user in ("a1", "a1", "b2", "a1")]
    assert numbers == [1, 2, 1, 3]


async def test_a_log_is_cut_until_it_is_within_its_bytes(engine: Engine) -> None:
    """A small event that goes makes no room for a large one."""
    small = await engine.publish("a1", Event("note", "x"))
    large = await engine.publish("a1", Event("note", "y" * 6000))
    newest = await engine.publish("a1", Event("note", "z" * 6000))
    assert (await engine.replay("a1", str(small))).gap
    replay = await engine.replay("a1", str(large))
    assert [entry.id for entry in replay.entries] == [newest]


async def test_the_users_in_the_grace_are_told_the_next_to_depart_first(
    engine: Engine, clock: ManualClock
) -> None:
    """With the moment; who comes back, and who has departed, is not among them."""
    for number in range(3):
        await engine.attach(f"a{number}", f"c{number}")
    began_ms = clock.now_ms()
    assert await engine.leaving(10) == []
    for number in (2, 0, 1):
        await engine.detach(f"a{number}", f"c{number}", Cause.RESET)
        await clock.advance(1)
    assert await engine.count_leaving() == 3
    assert await engine.leaving(2) == [
        Leaving("a2", Cause.RESET, began_ms, began_ms + GRACE_MS),
        Leaving("a0", Cause.RESET, began_ms + 1000, began_ms + 1000 + GRACE_MS),
    ]
    presence = await engine.presence_of("a1")
    assert (presence.state, presence.departs_ms) == (PresenceState.LEAVING, began_ms + 2000 + GRACE_MS)
    assert presence.connections == 0
    await engine.attach("a0", "c4")
    assert (await engine.presence_of("a0")).departs_ms is None
    assert [each.user_id for each in await engine.leaving(10)] == ["a2", "a1"]
    await clock.advance(2.5)
    assert [each.user_id for each in await engine.leaving(10)] == ["a1"]
    await clock.advance(5)
    assert await engine.count_leaving() == 0
