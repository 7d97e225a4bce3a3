"""The engine contract: every engine runs these tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from potoserver.engine.base import MAX_PAYLOAD_BYTES, MAX_STATES_PER_USER, Engine, TooManyConnectionsError
from potoserver.engine.presence import Attachment, Cause, Leaving, PresenceState
from potoserver.events import Event, EventId
from tests.support.engines import Bench, MemoryBench, Recorder, ValkeyBench


@pytest.fixture(params=["memory", "valkey", "valkey_cluster"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    bench: Bench
    if request.param == "memory":
        bench = MemoryBench()
    else:
        bench = ValkeyBench(request.getfixturevalue(f"{request.param}_url"), f"t{uuid4().hex[:8]}")
    await bench.start()
    yield bench
    await bench.stop()


@pytest.fixture
def engine(bench: Bench) -> Engine:
    return bench.engine


@pytest.fixture
def node(bench: Bench) -> Recorder:
    return bench.node


async def test_the_first_connection_is_an_arrival_and_the_second_is_not(engine: Engine) -> None:
    """One user, two tabs: one arrival, one generation."""
    first = await engine.attach("a1", "c1")
    second = await engine.attach("a1", "c2")
    assert first.arrived
    assert not second.arrived
    assert first.generation == second.generation
    presence = await engine.presence_of("a1")
    assert (presence.state, presence.connections) == (PresenceState.ONLINE, 2)


async def test_the_node_of_a_connection_is_found_by_its_user(engine: Engine) -> None:
    """While it is open, and for nobody else."""
    assert await engine.node_of("a1", "c1") is None
    await engine.attach("a1", "c1")
    assert await engine.node_of("a1", "c1") == engine.node_id
    assert await engine.node_of("a1", "c2") is None
    assert await engine.node_of("b2", "c1") is None
    await engine.detach("a1", "c1", Cause.CLOSED)
    assert await engine.node_of("a1", "c1") is None


async def test_one_connection_too_many_is_refused_and_changes_nothing(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """However many ask at once; when one has gone there is room for another one."""
    first = await engine.attach("a1", "c1", 2)
    asking = [engine.attach("a1", f"c{number}", 2) for number in range(2, 6)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(each, TooManyConnectionsError) for each in answers) == 3
    assert [each.generation for each in answers if isinstance(each, Attachment)] == [first.generation]
    assert (await engine.presence_of("a1")).connections == 2
    assert (await engine.attach("b2", "c1", 2)).arrived
    (second,) = [f"c{number}" for number in range(2, 6) if await engine.node_of("a1", f"c{number}")]
    for connection in ("c1", second):
        await engine.detach("a1", connection, Cause.CLOSED)
    assert not (await engine.attach("a1", "c6", 1)).arrived
    await engine.detach("a1", "c6", Cause.CLOSED)
    await node.until_departed("a1", bench)
    assert (await engine.presence_of("a1")).state is PresenceState.ABSENT


async def test_closing_one_of_two_connections_ends_nothing(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """The user's last connection must be gone, not any."""
    await engine.attach("a1", "c1")
    await engine.attach("a1", "c2")
    assert await engine.detach("a1", "c1", Cause.CLOSED) == 1
    await bench.passes(bench.ages_s)
    assert node.departures == []


async def test_a_departure_comes_once_when_the_grace_has_passed(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """It names user, generation, cause and the time last seen."""
    attachment = await engine.attach("a1", "c1")
    await bench.passes(bench.unit_s)
    began_ms = bench.now_ms()
    assert await engine.detach("a1", "c1", Cause.RESET) == 0
    ended_ms = bench.now_ms()
    assert (await engine.presence_of("a1")).state is PresenceState.LEAVING
    assert node.departures == []
    await bench.passes(bench.grace_s)
    await node.until(lambda: len(node.departures) == 1)
    assert bench.now_ms() >= began_ms + bench.grace_s * 1000
    await bench.passes(bench.grace_s)
    (departure,) = node.departures
    assert departure.user_id == "a1"
    assert departure.generation == attachment.generation
    assert departure.cause is Cause.RESET
    assert began_ms <= departure.last_seen_ms <= ended_ms
    assert departure.departed_ms == departure.last_seen_ms + round(bench.grace_s * 1000)
    assert (await engine.presence_of("a1")).state is PresenceState.ABSENT
    await engine.acknowledge(departure)
    await engine.acknowledge(departure)


async def test_a_return_within_the_grace_calls_the_departure_off(
    engine: Engine, node: Recorder, bench: Bench
) -> None:
    """Drop, return and a second drop within the first grace: one departure, a grace after the second drop."""

    def causes(user_id: str) -> list[Cause]:
        return [departure.cause for departure in node.departures if departure.user_id == user_id]

    async def returns(user_id: str) -> None:
        before = await engine.attach(user_id, "c1")
        await engine.detach(user_id, "c1", Cause.RESET)
        await bench.passes(3 * bench.unit_s)
        back = await engine.attach(user_id, "c2")
        assert not back.arrived
        assert back.generation == before.generation
        await engine.detach(user_id, "c2", Cause.CLOSED)
        await bench.passes(2 * bench.unit_s)
        assert causes(user_id) == []

    user_id = await bench.in_time(bench.grace_s, returns)
    await bench.passes(9 * bench.unit_s)
    await node.until(lambda: causes(user_id) != [])
    assert causes(user_id) == [Cause.CLOSED]


async def test_a_return_after_the_departure_is_a_later_generation(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """So a late event of the old one can be told from the new one."""
    first = await engine.attach("a1", "c1")
    await engine.detach("a1", "c1", Cause.CLOSED)
    await bench.passes(bench.grace_s + bench.unit_s)
    await node.until(lambda: len(node.departures) == 1)
    second = await engine.attach("a1", "c2")
    assert second.arrived
    assert second.generation > first.generation


async def test_detaching_twice_or_a_stranger_changes_nothing(engine: Engine, bench: Bench) -> None:
    """Detach is idempotent, also after the user has come back."""
    await engine.attach("a1", "c1")
    await engine.detach("a1", "c1", Cause.CLOSED)
    await engine.attach("a1", "c2")
    assert await engine.detach("a1", "c1", Cause.CLOSED) == 1
    assert await engine.detach("nobody", "c9", Cause.CLOSED) == 0
    await bench.passes(2 * bench.grace_s)
    assert await engine.online_users() == ["a1"]
    assert await engine.count_online() == 1


async def test_ids_count_up_and_events_fan_out_in_order(engine: Engine, node: Recorder) -> None:
    """What is published is told to the node that holds the user's connections, once, in the log's order."""
    await engine.attach("a1", "c1")
    await engine.attach("a1", "c2")
    ids = [await engine.publish("a1", Event("note", {"n": n})) for n in range(3)]
    assert [each.seq for each in ids] == sorted({each.seq for each in ids})
    assert {each.epoch for each in ids} == {ids[0].epoch}
    await node.until(lambda: len(node.entries) >= 3)
    assert [(user, entry.id) for user, entry in node.entries] == [("a1", each) for each in ids]
    replayed = (await engine.replay("a1", str(EventId(ids[0].epoch, 0)))).entries
    for told, again in zip((entry for _, entry in node.entries), replayed, strict=True):
        assert (told.id, told.type, told.frame.raw) == (again.id, again.type, again.frame.raw)


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


async def test_the_log_can_be_looked_at(engine: Engine) -> None:
    """All of it, with what is not finished; another user's is another one's."""
    assert await engine.logged("a1") == []
    await engine.publish("a1", Event("delta", {"n": 1}, group="g1"))
    await engine.publish("a1", Event("delta", {"n": "\u00e4"}, group="g2"))
    await engine.publish("a1", Event("done", None, replaces="g1"))
    await engine.publish("a2", Event("note", 1))
    assert await engine.logged("a1") == [Event("delta", {"n": "\u00e4"}, group="g2"), Event("done", None)]


async def test_what_is_in_the_log_is_found_there_and_the_log_stays(engine: Engine) -> None:
    """By what stands in its data, whichever event it is in."""
    first = await engine.publish("a1", Event("note", {"id": "m-1"}))
    last = await engine.publish("a1", Event("note", {"id": "m-2"}))
    assert await engine.ensure_logged("a1", "note", "m-1")
    assert await engine.ensure_logged("a1", "note", "m-2")
    replay = await engine.replay("a1", str(first))
    assert ([each.id for each in replay.entries], replay.gap) == ([last], False)
    assert not await engine.ensure_logged("a1", "other", "m-1")


async def test_what_is_not_in_the_log_is_a_gap_for_who_goes_on_in_it(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """For who comes back with an id from before; who is connected is told by the next event at the latest."""
    assert not await engine.ensure_logged("nobody", "note", "m-1")
    await engine.attach("a1", "c1")
    before = await engine.publish("a1", Event("note", {"id": "m-1"}))
    await node.until(lambda: node.ids_of("a1") == [before])
    assert not await engine.ensure_logged("a1", "note", "m-2")
    assert (await engine.replay("a1", str(before))).gap
    after = await engine.publish("a1", Event("note", {"id": "m-3"}))
    await node.until(lambda: node.gaps == ["a1"])
    assert after.epoch != before.epoch
    assert await engine.ensure_logged("a1", "note", "m-3")
    assert not (await engine.replay("a1", str(after))).gap


async def test_the_log_is_bounded_in_bytes_and_in_time(engine: Engine, bench: Bench) -> None:
    """The oldest go first."""
    first = await engine.publish("a1", Event("note", "x" * 6000))
    second = await engine.publish("a1", Event("note", "y" * 6000))
    assert not (await engine.replay("a1", str(first))).gap
    assert (await engine.replay("a1", str(EventId(first.epoch, first.seq - 1)))).gap
    await engine.attach("a1", "c1")  # a user who is here keeps the log, so its ids stay good
    await bench.passes(bench.kept_s + bench.unit_s)
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


async def test_a_finished_reply_replaces_what_the_log_still_has_of_it(engine: Engine) -> None:
    """Also where its first deltas have left by a bound; nothing else goes with it, nor at another time."""
    for number in range(12):
        await engine.publish("a1", Event("delta", f"{number}" + "x" * 1000, group="m-1"))
        await engine.publish("a1", Event("delta", f"{number}", group="m-2"))
    note = Event("note", "in between")
    await engine.publish("a1", note)
    await engine.publish("a1", Event("delta", "last", group="m-1"))
    kept = [each for each in await engine.logged("a1") if each.group != "m-1"]
    assert note in kept
    finished = Event("message", "Hello")
    await engine.publish("a1", Event("message", "Hello", replaces="m-1"))
    assert await engine.logged("a1") == [*kept, finished]
    await engine.publish("a1", Event("message", "Hello", replaces="m-1"))
    assert (await engine.logged("a1"))[-3:] == [note, finished, finished]


async def test_a_log_that_comes_back_has_another_epoch(engine: Engine, bench: Bench) -> None:
    """Nothing is kept of a user who is gone, and an old id is never taken for one of the new log."""
    old = await engine.publish("a1", Event("note"))
    await bench.passes(bench.kept_s + bench.unit_s)
    new = await engine.publish("a1", Event("note"))
    assert new.epoch != old.epoch
    assert (await engine.replay("a1", str(old))).gap


async def test_the_log_stays_while_the_user_is_here(bench: Bench, engine: Engine, node: Recorder) -> None:
    """An idle connection's id is good after any time, and for the backlog's time after the departure."""
    await engine.attach("a1", "c1")
    last = (await engine.replay("a1", None)).resume_id
    await bench.passes(bench.ages_s)
    assert not (await engine.replay("a1", str(last))).gap

    async def departs(user_id: str) -> None:
        await engine.attach(user_id, "c1")
        last = (await engine.replay(user_id, None)).resume_id
        await engine.detach(user_id, "c1", Cause.CLOSED)
        await bench.passes(bench.grace_s)
        await node.until(lambda: user_id in [departure.user_id for departure in node.departures])
        await bench.passes(bench.kept_s / 2)
        assert not (await engine.replay(user_id, str(last))).gap

    await bench.in_time(bench.grace_s + bench.kept_s, departs)


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
    await engine.broadcast(Event("announcement", {"text": "hi"}))
    await node.until(lambda: node.broadcasts == ["announcement"])
    assert (await engine.replay("a1", str(start))).entries == ()


async def test_state_changes_in_one_step_and_lapses(bench: Bench, engine: Engine) -> None:
    """Only who knows the value changes it; nothing stays for ever."""
    lifetime_s = 15 * bench.unit_s

    async def changes(user_id: str) -> None:
        assert await engine.swap_state(user_id, "ticket:1", None, "used", lifetime_s)
        assert not await engine.swap_state(user_id, "ticket:1", None, "again", lifetime_s)
        assert not await engine.swap_state(user_id, "ticket:1", "other", "again", lifetime_s)
        assert await engine.get_state(user_id, "ticket:1") == "used"
        assert await engine.get_state("another", "ticket:1") is None
        await bench.passes(8 * bench.unit_s)
        assert await engine.swap_state(user_id, "ticket:1", "used", "opened", lifetime_s)
        await bench.passes(8 * bench.unit_s)
        assert await engine.get_state(user_id, "ticket:1") == "opened"

    user_id = await bench.in_time(lifetime_s, changes)
    await bench.passes(8 * bench.unit_s)
    assert await engine.get_state(user_id, "ticket:1") is None
    assert not await engine.swap_state(user_id, "ticket:1", "opened", "late", lifetime_s)
    ages_s = 1000.0
    assert await engine.swap_state("a1", "x", None, "", ages_s)
    assert await engine.get_state("a1", "x") == ""
    assert await engine.swap_state("a1", "x", "", None, ages_s)
    assert await engine.get_state("a1", "x") is None
    assert await engine.swap_state("a1", "x", None, None, ages_s)


async def test_a_value_that_lapses_takes_no_other_with_it(bench: Bench, engine: Engine) -> None:
    """Each of a user's values has its own time."""
    assert await engine.swap_state("a1", "long", None, "1", 400 * bench.unit_s)
    assert await engine.swap_state("a1", "short", None, "2", 5 * bench.unit_s)
    await bench.passes(6 * bench.unit_s)
    assert await engine.get_state("a1", "short") is None
    assert await engine.get_state("a1", "long") == "1"


async def test_small_state_is_bounded_for_each_user(engine: Engine) -> None:
    """However often a value is set, and however many there are; the oldest go first."""
    for number in range(MAX_STATES_PER_USER + 10):
        value = await engine.get_state("a1", "same")
        assert await engine.swap_state("a1", "same", value, str(number), lifetime_s=1000)
    for number in range(MAX_STATES_PER_USER):
        assert await engine.swap_state("a1", f"n{number}", None, "v", lifetime_s=1000)
    assert await engine.get_state("a1", "same") is None
    assert await engine.get_state("a1", "n0") == "v"
    assert await engine.swap_state("a1", "n0", "v", "set again", lifetime_s=1000)
    assert await engine.swap_state("a1", "one more", None, "v", lifetime_s=1000)
    assert await engine.get_state("a1", "n0") == "set again"
    assert await engine.get_state("a1", "n1") is None


async def test_ids_count_up_for_each_user_alone(engine: Engine) -> None:
    """Another user's events count for nothing, and each log has an epoch of its own."""
    ids = [await engine.publish(user, Event("x", {})) for user in ("a1", "a1", "b2", "a1")]
    of_a1 = [each for each in ids if each.epoch == ids[0].epoch]
    assert of_a1 == [ids[0], ids[1], ids[3]]
    assert ids[0].seq < ids[1].seq < ids[3].seq


async def test_a_log_is_cut_until_it_is_within_its_bytes(engine: Engine) -> None:
    """A small event that goes makes no room for a large one."""
    small = await engine.publish("a1", Event("note", "x"))
    large = await engine.publish("a1", Event("note", "y" * 6000))
    newest = await engine.publish("a1", Event("note", "z" * 6000))
    assert (await engine.replay("a1", str(small))).gap
    replay = await engine.replay("a1", str(large))
    assert [entry.id for entry in replay.entries] == [newest]


async def test_the_users_in_the_grace_are_told_the_next_to_depart_first(
    bench: Bench, engine: Engine, node: Recorder
) -> None:
    """With the moment; who comes back, and who has departed, is not among them."""
    for number in range(3):
        await engine.attach(f"a{number}", f"c{number}")
    assert await engine.leaving(10) == []
    began_ms = bench.now_ms()
    for number in (2, 0, 1):
        await engine.detach(f"a{number}", f"c{number}", Cause.RESET)
        await bench.passes(bench.unit_s / 10)
    assert await engine.count_leaving() == 3
    first, second = await engine.leaving(2)
    assert [first.user_id, second.user_id] == ["a2", "a0"]
    grace_ms = round(bench.grace_s * 1000)
    for each in (first, second):
        assert each == Leaving(each.user_id, Cause.RESET, each.since_ms, each.since_ms + grace_ms)
    assert began_ms <= first.since_ms < second.since_ms <= bench.now_ms()
    presence = await engine.presence_of("a0")
    assert (presence.state, presence.departs_ms) == (PresenceState.LEAVING, second.departs_ms)
    assert presence.connections == 0
    await engine.attach("a0", "c4")
    assert (await engine.presence_of("a0")).departs_ms is None
    assert [each.user_id for each in await engine.leaving(10)] == ["a2", "a1"]
    await node.until_departed("a2", bench)
    assert "a2" not in [each.user_id for each in await engine.leaving(10)]
    await node.until_departed("a1", bench)
    assert await engine.leaving(10) == []
    assert await engine.count_leaving() == 0


async def test_the_presence_of_several_users_is_that_of_each(engine: Engine) -> None:
    """In the order in which they are asked about; also of nobody, and of one twice."""
    users = [f"a{number}" for number in range(200)]
    for user_id in users[:3]:
        await engine.attach(user_id, f"c-{user_id}")
    await engine.attach("a0", "c2")
    await engine.detach("a2", "c-a2", Cause.CLOSED)
    asked = [*users, "a0"]
    presences = await engine.presences_of(asked)
    assert presences == [await engine.presence_of(user_id) for user_id in asked]
    assert [each.connections for each in presences[:4]] == [2, 1, 0, 0]
    assert await engine.presences_of([]) == []


async def test_a_node_alone_has_no_successor(engine: Engine) -> None:
    """It is among the nodes, and says so when it drains; twice is as once."""
    (alone,) = await engine.find_nodes()
    assert list(engine.nodes()) == [alone]
    assert (alone.id, alone.draining) == (engine.node_id, False)
    assert not await engine.has_successor()
    assert not await engine.drain()
    assert not await engine.drain()
    assert not await engine.has_successor()


async def test_an_engine_that_is_there_is_available(engine: Engine) -> None:
    """And has nothing to complain of."""
    assert engine.available
    assert engine.trouble is None


async def test_a_node_gets_what_it_sends_to_itself_in_order(engine: Engine, node: Recorder) -> None:
    """Any bytes, up to the largest; what goes to a node that is not there is lost without a word."""
    sent = [b"", b"\x00\r\n\xff", b"x" * MAX_PAYLOAD_BYTES, *(b"%d" % number for number in range(50))]
    await engine.send("n-nobody", b"lost")
    for payload in sent:
        await engine.send(engine.node_id, payload)
    await node.until(lambda: len(node.messages) >= len(sent))
    assert node.messages == [(engine.node_id, payload) for payload in sent]


async def test_what_is_too_large_is_not_sent(engine: Engine, node: Recorder) -> None:
    """The sender is told how large it may be."""
    with pytest.raises(ValueError, match=str(MAX_PAYLOAD_BYTES)):
        await engine.send(engine.node_id, b"x" * (MAX_PAYLOAD_BYTES + 1))
    await engine.send(engine.node_id, b"next")
    await node.until(lambda: node.messages != [])
    assert node.messages == [(engine.node_id, b"next")]


async def test_the_only_node_becomes_everybodys_home(engine: Engine, node: Recorder) -> None:
    """Claimed twice it is the same home; nobody is told that it was lost."""
    home = await engine.claim_home("a1")
    assert (home.user_id, home.node_id) == ("a1", engine.node_id)
    assert await engine.claim_home("a1", above=home.token) == home
    assert await engine.home_of("a1") == home
    assert (await engine.claim_home("a2")).node_id == engine.node_id
    await engine.release_home(home, orphan=False)
    await engine.release_home(home, orphan=False)
    again = await engine.claim_home("a1")
    assert again.node_id == engine.node_id
    assert again.token >= home.token
    assert node.homes_lost == []
    assert node.orphans == []
