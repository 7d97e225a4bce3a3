"""Two and three nodes on one Valkey: what they tell each other, and who does what."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from potoserver.engine.presence import Cause, PresenceState
from potoserver.engine.valkey.channel import Published
from potoserver.engine.valkey.keys import PARTITIONS, Keys
from potoserver.engine.valkey.registry import share_of
from potoserver.errors import UnavailableError
from potoserver.events import Event, EventId
from tests.support.engines import Cluster

on_both = pytest.mark.parametrize("cluster", ["valkey_url", "valkey_cluster_url"], indirect=True)
"""Also where Valkey is a cluster of three servers."""


@on_both
async def test_an_event_reaches_the_users_connections_on_every_node(cluster: Cluster) -> None:
    """Once each, in the log's order, whoever publishes; who has no connection of the user is not troubled."""
    one, two, three = [await cluster.node() for _ in range(3)]
    await one.engine.attach("a1", "c1")
    await one.engine.attach("a1", "c2")
    await two.engine.attach("a1", "c3")
    ids = []
    for number in range(10):
        for node in cluster.nodes:
            ids.append(await node.engine.publish("a1", Event("note", number)))
    for node in (one, two):
        await node.told.until(lambda node=node: len(node.told.entries) >= len(ids))
        assert [entry.id for _, entry in node.told.entries] == ids
    assert three.told.entries == []
    assert [entry.frame.raw for _, entry in one.told.entries] == [
        entry.frame.raw for _, entry in two.told.entries
    ]


async def test_what_was_missed_is_replayed_on_whichever_node_the_client_returns_to(cluster: Cluster) -> None:
    """The log is the engine's, not a node's."""
    one, two = [await cluster.node() for _ in range(2)]
    ids = [await one.engine.publish("a1", Event("note", number)) for number in range(3)]
    replay = await two.engine.replay("a1", str(ids[0]))
    assert (replay.gap, [entry.id for entry in replay.entries]) == (False, ids[1:])


async def test_presence_is_that_of_all_nodes(cluster: Cluster) -> None:
    """The last connection on any node decides; the grace is one, and ends with the return on another node."""
    cluster.grace_s = 60
    one, two = [await cluster.node() for _ in range(2)]
    first = await one.engine.attach("a1", "c1")
    second = await two.engine.attach("a1", "c2")
    assert (first.arrived, second.arrived) == (True, False)
    assert first.generation == second.generation
    assert (await one.engine.presence_of("a1")).connections == 2
    assert await one.engine.detach("a1", "c1", Cause.CLOSED) == 1
    assert await two.engine.detach("a1", "c2", Cause.RESET) == 0
    assert (await one.engine.presence_of("a1")).state is PresenceState.LEAVING
    back = await one.engine.attach("a1", "c3")
    assert (back.arrived, back.generation) == (False, first.generation)
    assert await two.engine.online_users() == ["a1"]
    assert await two.engine.count_online() == 1


@on_both
async def test_a_departure_is_told_to_one_node_once(cluster: Cluster) -> None:
    """Of many users, whatever node looks first."""
    nodes = [await cluster.node() for _ in range(3)]
    users = [f"u{number}" for number in range(100)]
    await asyncio.gather(*(nodes[0].engine.attach(user, f"c-{user}") for user in users))
    await asyncio.gather(*(nodes[0].engine.detach(user, f"c-{user}", Cause.CLOSED) for user in users))
    async with asyncio.timeout(20):
        while sum(len(node.told.departures) for node in nodes) < len(users):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    told = Counter(departure.user_id for node in nodes for departure in node.told.departures)
    assert told == Counter(users)
    assert len({departure.id for node in nodes for departure in node.told.departures}) == len(users)


async def test_a_users_departures_go_to_one_node_until_they_are_acknowledged(cluster: Cluster) -> None:
    """So that hooks see them in order; then any node may have the next one."""
    cluster.grace_s = 0
    one, two = [await cluster.node() for _ in range(2)]
    two.engine._life._tasks[1].cancel()  # it looks when this test has it look
    for number in range(4):
        await one.engine.attach("a1", f"c{number}")
        await one.engine.detach("a1", f"c{number}", Cause.CLOSED)
        if number in (1, 2):
            await two.engine._departures.claim(["a1"])
        await one.told.until(lambda number=number: len(one.told.departures) > number)
    assert two.told.departures == []
    generations = [departure.generation for departure in one.told.departures]
    assert generations == sorted(set(generations))
    for departure in one.told.departures:
        await one.engine.acknowledge(departure)
    one.engine._life._tasks[1].cancel()
    await one.engine.attach("a1", "c9")
    await one.engine.detach("a1", "c9", Cause.CLOSED)
    await two.engine._departures.claim(["a1"])
    assert len(two.told.departures) == 1


@on_both
async def test_a_broadcast_reaches_every_node_and_says_to_how_many_connections(cluster: Cluster) -> None:
    """By what the nodes have said of themselves."""
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    await two.engine.attach("a1", "c2")
    await two.engine.attach("b2", "c3")
    await two.engine.has_successor()
    await one.engine.has_successor()
    assert await one.engine.broadcast(Event("announcement", "x")) == 3
    for node in (one, two):
        await node.told.until(lambda node=node: node.told.broadcasts == ["announcement"])


@on_both
async def test_messages_between_two_nodes_stay_in_order(cluster: Cluster) -> None:
    """Also of many tasks at once, small and large, and both ways."""
    one, two = [await cluster.node() for _ in range(2)]
    sent = [b"%d " % number + b"x" * (number % 7 * 10_000) for number in range(200)]
    for here, there in ((one, two), (two, one)):
        await asyncio.gather(*(here.engine.send(there.id, payload) for payload in sent))
        await there.told.until(lambda there=there: len(there.told.messages) >= len(sent))
        assert there.told.messages == [(here.id, payload) for payload in sent]


async def test_a_home_is_one_nodes_and_its_token_grows(cluster: Cluster) -> None:
    """Whoever asks gets the same answer; after a release the next claim has a greater token."""
    one, two = [await cluster.node() for _ in range(2)]
    assert await one.engine.home_of("a1") is None
    homes = await asyncio.gather(one.engine.claim_home("a1"), two.engine.claim_home("a1"))
    assert homes[0] == homes[1] == await one.engine.home_of("a1")
    holder, other = (one, two) if homes[0].node_id == one.id else (two, one)
    await other.engine.release_home(homes[0], orphan=False)  # by its token, whoever calls
    assert await one.engine.home_of("a1") is None
    again = await other.engine.claim_home("a1")
    assert (again.node_id, again.token > homes[0].token) == (other.id, True)
    await holder.engine.release_home(homes[0], orphan=False)
    assert await one.engine.home_of("a1") == again


async def test_a_token_is_greater_than_one_that_was_seen(cluster: Cluster) -> None:
    """Also when the engine has forgotten it; a node's own home gets a new one then, another's stays."""
    one, two = [await cluster.node() for _ in range(2)]
    home = await one.engine.claim_home("a1")
    above = home.token + 10**9
    assert await two.engine.claim_home("a1", above=above) == home
    renewed = await one.engine.claim_home("a1", above=above)
    assert (renewed.node_id, renewed.token) == (one.id, above + 1)
    await one.engine.release_home(home, orphan=False)  # that token is no more
    assert await two.engine.home_of("a1") == renewed


@on_both
async def test_an_orphan_is_given_to_a_node_that_is_not_draining(cluster: Cluster) -> None:
    """Again and again until one has claimed the home."""
    one, two = [await cluster.node() for _ in range(2)]
    home = await one.engine.claim_home("a1")
    assert await one.engine.drain()
    await two.engine.has_successor()
    await one.engine.release_home(home, orphan=True)
    assert await one.engine.orphans() == ["a1"]
    await two.told.until(lambda: two.told.orphans.count("a1") >= 2)
    taken = await two.engine.claim_home("a1")
    assert taken.token > home.token
    assert one.told.orphans == []
    assert await two.engine.orphans() == []


async def test_the_last_node_to_drain_has_no_successor(cluster: Cluster) -> None:
    """Of three that begin at once just one; and it takes the orphans."""
    nodes = [await cluster.node() for _ in range(3)]
    home = await nodes[0].engine.claim_home("a1")
    successors = await asyncio.gather(*(node.engine.drain() for node in nodes))
    assert sorted(successors) == [False, True, True]
    assert [await node.engine.has_successor() for node in nodes] == [False] * 3
    await nodes[0].engine.release_home(home, orphan=True)
    async with asyncio.timeout(20):
        while not any("a1" in node.told.orphans for node in nodes):
            await asyncio.sleep(0.05)


@on_both
async def test_a_node_that_stops_leaves_nothing_behind(cluster: Cluster) -> None:
    """Its connections end with the cause `shutdown`, its homes are free, its departures go to another."""
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    await one.engine.claim_home("a1")
    await one.engine.stop()
    presence = await two.engine.presence_of("a1")
    # Leaving, or gone by now: the departure's cause shows that the grace began with the stop.
    assert (presence.connections, presence.state is PresenceState.ONLINE) == (0, False)
    assert await two.engine.home_of("a1") is None
    await two.told.until(lambda: len(two.told.departures) == 1)
    assert two.told.departures[0].cause is Cause.SHUTDOWN
    await two.engine.has_successor()
    assert [node.id for node in two.engine.nodes()] == [two.id]
    assert two.told.orphans == []


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_the_partitions_are_shared_out(count: int) -> None:
    """Each is one node's, each node has some, and when one goes only its own move."""
    workers = tuple(f"n-{number}" for number in range(count))
    owner = {each: worker for worker in workers for each in share_of(worker, workers)}
    assert sorted(owner) == list(range(PARTITIONS))
    assert max(Counter(owner.values()).values()) < PARTITIONS / count * 3 + 3
    left = workers[:-1]
    after = {each: worker for worker in left for each in share_of(worker, left)}
    assert all(after[each] == was for each, was in owner.items() if was in left and left)


def test_a_users_keys_are_one_slot() -> None:
    """Whatever the user is called."""
    keys = Keys("poto")
    for user in ("a1", "{x}", "}{", "ü:é", "a b\n", ""):
        names = [keys.of_user(user, name, "n-1") for name in ("presence", "log", "online", "index", "state")]
        assert len({name.split("{")[1].split("}")[0] for name in names}) == 1
        assert len(set(names)) == len(names)


@on_both
async def test_a_hole_in_the_channel_is_filled_from_the_log(cluster: Cluster) -> None:
    """What was lost on the way comes before what came after it, once each."""
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    first = await two.engine.publish("a1", Event("note", 0))
    await one.told.until(lambda: len(one.told.entries) == 1)
    lose = one.engine._delivery.take
    one.engine._channel._on_published = lambda published: None
    lost = [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
    await two.engine.send(one.id, b"now")
    await one.told.until(lambda: one.told.messages != [])
    one.engine._channel._on_published = lose
    after = [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
    await one.told.until(lambda: len(one.told.entries) >= 7)
    assert [entry.id for _, entry in one.told.entries] == [first, *lost, *after]
    assert one.told.gaps == []


async def test_what_comes_twice_or_late_through_the_channel_is_delivered_once(cluster: Cluster) -> None:
    """The log was read meanwhile, and had it already."""
    one = await cluster.node()
    await one.engine.attach("a1", "c1")
    seen: list[Published] = []
    take = one.engine._channel._on_published
    one.engine._channel._on_published = lambda published: (seen.append(published), take(published))[-1]
    ids = [await one.engine.publish("a1", Event("note", number)) for number in range(3)]
    await one.told.until(lambda: len(one.told.entries) == 3)
    for published in seen:
        take(published)
    ids.append(await one.engine.publish("a1", Event("note", 3)))
    await one.told.until(lambda: len(one.told.entries) >= 4)
    assert one.told.ids_of("a1") == ids


async def test_a_connection_that_comes_while_another_goes_gets_its_events(cluster: Cluster) -> None:
    """The other may be the last one there was, or one that could not be attached."""
    one, two = [await cluster.node() for _ in range(2)]
    for user in ("a1", "b2"):
        await one.engine.attach(user, "c1")
    await asyncio.gather(one.engine.attach("a1", "c2"), one.engine.detach("a1", "c1", Cause.CLOSED))
    await asyncio.gather(one.engine.detach("b2", "c1", Cause.CLOSED), one.engine.attach("b2", "c2"))
    now_ms, once = one.engine._registry.now_ms, iter([-5000])
    one.engine._registry.now_ms = lambda: now_ms() + next(once, 0)  # type: ignore[method-assign]
    late, _ = await asyncio.gather(
        one.engine.attach("d4", "c1"), one.engine.attach("d4", "c2"), return_exceptions=True
    )
    assert isinstance(late, UnavailableError)
    for user in ("a1", "b2", "d4"):
        event_id = await two.engine.publish(user, Event("note"))
        await one.told.until(lambda user=user, event_id=event_id: one.told.ids_of(user) == [event_id])


async def test_a_hole_that_the_log_can_not_fill_is_told(cluster: Cluster) -> None:
    """More was lost than the log holds, or the log itself: the node hears of a gap, and goes on."""
    cluster.backlog = cluster.backlog.model_copy(update={"events": 3})
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    take = one.engine._delivery.take
    one.engine._channel._on_published = lambda published: None
    for number in range(5):
        await two.engine.publish("a1", Event("note", number))
    await two.engine.send(one.id, b"now")
    await one.told.until(lambda: one.told.messages != [])
    one.engine._channel._on_published = take
    await two.engine.publish("a1", Event("note", 5))
    await one.told.until(lambda: one.told.gaps == ["a1"])
    newest = await two.engine.publish("a1", Event("note", 6))
    await one.told.until(lambda: newest in [entry.id for _, entry in one.told.entries])

    with cluster.client() as client:
        client.delete(*(one.engine._keys.of_user("a1", name, "") for name in ("log", "logmeta")))
    another = await two.engine.publish("a1", Event("note", 7))
    await one.told.until(lambda: len(one.told.gaps) == 2)
    assert another.epoch != newest.epoch
    assert EventId(newest.epoch, newest.seq) not in [another]
