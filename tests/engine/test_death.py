"""A node dies, or is taken for dead: what becomes of what it had."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from potoserver.engine.presence import Attachment, Cause, PresenceState
from potoserver.engine.valkey import connections, registry
from potoserver.engine.valkey.scripts import Call
from potoserver.errors import UnavailableError
from potoserver.events import Event
from tests.support.engines import Cluster


async def test_what_a_dead_node_had_goes_to_the_others(cluster: Cluster) -> None:
    """Its users are in the grace with the cause `node-lost`, its homes orphans, its departures told again."""
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("both", "c1")
    await two.engine.attach("both", "c2")
    await one.engine.attach("gone", "c3")
    home = await one.engine.claim_home("gone")
    closed = await one.engine.claim_home("other")
    await one.engine.attach("before", "c4")
    await one.engine._departures.claim([])
    two.engine._life._tasks[1].cancel()  # so that the departure is told to the node that dies
    await one.engine.detach("before", "c4", Cause.LEASE)
    await one.told.until(lambda: len(one.told.departures) == 1)
    await one.vanish()
    two.engine._life._tasks[1] = asyncio.create_task(two.engine._life._look())
    await cluster.node_lost(one.id)

    assert [node.id for node in two.engine.nodes()] == [two.id]
    both = await two.engine.presence_of("both")
    assert (both.state, both.connections) == (PresenceState.ONLINE, 1)
    await two.told.until(lambda: {"gone", "other"} <= set(two.told.orphans))
    for lost in (home, closed):
        taken = await two.engine.claim_home(lost.user_id, above=lost.token)
        assert (taken.node_id, taken.token > lost.token) == (two.id, True)
    await two.told.until(lambda: len(two.told.departures) == 2)
    causes = {each.user_id: each.cause for each in two.told.departures}
    assert causes == {"gone": Cause.NODE_LOST, "before": Cause.LEASE}
    assert one.told.departures[0] in two.told.departures
    with cluster.client() as client:
        named = [key for key in client.scan_iter(f"{cluster.prefix}:*", 1000) if one.id.encode() in key]
        assert all(b":dead:" in key and 0 < client.ttl(key) <= 3600 for key in named)


@pytest.mark.parametrize("grace_s", [60.0, 0.2], ids=["in the grace", "past the grace"])
async def test_a_node_that_was_taken_for_dead_joins_anew(cluster: Cluster, grace_s: float) -> None:
    """Under another name, without its homes, with its connections; and no event is lost or doubled."""
    cluster.grace_s = grace_s
    one, two = [await cluster.node() for _ in range(2)]
    before = await one.engine.attach("a1", "c1")
    await one.engine.attach("a1", "c2")
    await one.engine.attach("b2", "c3")
    home = await one.engine.claim_home("a1")
    old_id = one.id
    async with one.silent():
        await cluster.node_lost(old_id)
        with pytest.raises(UnavailableError):  # a dead node changes nothing any more
            await one.engine.attach("a1", "c4")
        with pytest.raises(UnavailableError):
            await one.engine.claim_home("b2")
        assert (await two.engine.presence_of("a1")).connections == 0
        assert await two.engine.detach("b2", "c3", Cause.CLOSED) == 0
        if grace_s < 1:
            await two.told.until(lambda: {each.user_id for each in two.told.departures} >= {"a1", "b2"})
        ids = [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
        with pytest.raises(UnavailableError):
            await one.engine.claim_home("a1")
        await one.engine.detach("b2", "c3", Cause.CLOSED)
    await one.told.until(lambda: [user for user, _ in one.told.rejoined] == ["a1"])
    assert one.id != old_id
    assert one.told.homes_lost == [home]
    ((_, attachment),) = one.told.rejoined
    assert attachment.arrived == (grace_s < 1)
    assert (attachment.generation == before.generation) == (grace_s > 1)
    presence = await two.engine.presence_of("a1")
    assert (presence.state, presence.connections) == (PresenceState.ONLINE, 2)
    ids.append(await two.engine.publish("a1", Event("note", 3)))
    await one.told.until(lambda: len(one.told.entries) >= len(ids))
    assert [entry.id for _, entry in one.told.entries] == ids
    assert one.told.gaps == []
    assert (await one.engine.claim_home("a1", above=home.token)).token > home.token
    assert "b2" not in await two.engine.online_users()


async def test_what_was_told_by_a_name_that_valkey_has_lost_is_taken_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that ends before it is attached by the node's new name leaves nobody online."""
    cluster.grace_s = 0.2
    one = await cluster.node()
    attach_all = one.engine._connections.attach_all

    async def end_before() -> list[tuple[str, Attachment]]:
        await one.engine.detach("a1", "c1", Cause.CLOSED)
        return await attach_all()

    monkeypatch.setattr(one.engine._connections, "attach_all", end_before)
    async with one.silent():
        with cluster.client() as client:
            client.delete(*client.scan_iter(f"{cluster.prefix}:*", 1000))
        await one.engine.attach("a1", "c1")
        lost = await one.engine.claim_home("a1")
    await one.told.until(lambda: [each.user_id for each in one.told.departures] == ["a1"])
    assert await one.engine.count_online() == 0
    claimed = await one.engine.claim_home("a1")
    assert (claimed.node_id, claimed.token > lost.token) == (one.id, True)


async def test_a_claimers_death_gives_a_departure_on_while_its_hooks_run(cluster: Cluster) -> None:
    """And a late acknowledgement by the one that was taken for dead is taken all the same."""
    cluster.grace_s = 0.2
    one = await cluster.node()
    await one.engine.attach("a1", "c1")
    await one.engine.detach("a1", "c1", Cause.CLOSED)
    await one.told.until(lambda: len(one.told.departures) == 1)
    two = await cluster.node()
    async with one.silent():
        await two.told.until(lambda: len(two.told.departures) == 1)
        assert two.told.departures == one.told.departures
        await one.engine.acknowledge(one.told.departures[0])
    await asyncio.sleep(0.5)
    await two.engine.acknowledge(two.told.departures[0])
    with cluster.client() as client:
        left = [key for key in client.scan_iter(f"{cluster.prefix}:*", 1000) if b"departures" in key]
        assert left == []
    assert len(one.told.departures) == len(two.told.departures) == 1


async def test_nobody_is_dead_while_somebody_renews_in_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is renewed often enough that half of the renewals may fail."""
    monkeypatch.setattr(registry, "LEASE_S", 8.0)
    one, two = [await cluster.node() for _ in range(2)]
    names = {one.id, two.id}
    for _ in range(2):
        async with one.silent():
            await asyncio.sleep(registry.LEASE_S / 2)
    await two.engine.has_successor()
    assert {node.id for node in two.engine.nodes()} == names


async def test_a_node_with_many_connections_is_back_without_dying_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on renewing while it attaches them anew, which takes longer than a lease."""
    cluster.grace_s = 60
    one, two = [await cluster.node() for _ in range(2)]
    users = [f"u{number}" for number in range(1500)]
    await asyncio.gather(*(one.engine.attach(user, f"c-{user}") for user in users))
    monkeypatch.setattr(connections, "CHUNK", 100)
    run_all = one.engine._link.run_all

    async def slowly(calls: Sequence[Call]) -> list[Any]:
        if calls[0].script.name == "attach":
            await asyncio.sleep(registry.LEASE_S / 12)
        return await run_all(calls)

    monkeypatch.setattr(one.engine._link, "run_all", slowly)
    async with one.silent():
        await cluster.node_lost(one.id)
    await one.told.until(lambda: len(one.told.rejoined) == len(users))
    name = one.id
    assert await two.engine.count_online() == len(users)
    assert not any(attachment.arrived for _, attachment in one.told.rejoined)
    newest = await two.engine.publish(users[-1], Event("note"))
    await one.told.until(lambda: one.told.ids_of(users[-1]) == [newest])
    assert (await two.engine.has_successor(), {node.id for node in two.engine.nodes()}) == (
        True,
        {name, two.id},
    )


async def test_an_attachment_is_dated_when_it_goes_out(cluster: Cluster) -> None:
    """When ten thousand come at once the last ones wait here, and are not late for that."""
    one = await cluster.node()
    call = one.engine._connections._attach("a1", "c1")
    before = call.wire()
    await asyncio.sleep(0.01)
    assert call.wire() != before


async def test_a_caller_that_goes_leaves_no_new_name_half_taken(cluster: Cluster) -> None:
    """It was its call by which the node learned that it had been taken for dead."""
    cluster.grace_s = 60
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    home = await one.engine.claim_home("a1")
    old_id = one.id
    one.engine._life._tasks[0].cancel()  # it renews by itself no more
    await cluster.node_lost(old_id)
    join, joined = one.engine._registry.join, asyncio.Event()

    async def join_slowly() -> None:
        await join()
        joined.set()
        await asyncio.sleep(0.1)

    one.engine._registry.join = join_slowly
    asking = asyncio.create_task(one.engine.find_nodes())
    await joined.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await one.told.until(lambda: bool(one.told.rejoined))
    assert one.told.homes_lost == [home]
    assert (await two.engine.presence_of("a1")).connections == 1
    await one.engine._channel.until_listening()
    published = await two.engine.publish("a1", Event("note", 1))
    await one.told.until(lambda: published in one.told.ids_of("a1"))
