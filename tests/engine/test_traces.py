"""What the engine leaves in Valkey, for how long, and how many commands it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import redis

from potoserver.engine.presence import Cause
from potoserver.engine.valkey.keys import HELD_S, PARTITIONS, partition_of
from potoserver.engine.valkey.link import end
from potoserver.events import Event
from potoserver.settings.model import BacklogSettings
from tests.support.engines import Cluster
from tests.support.valkey import valkey_server


def everything(client: redis.Redis, prefix: str) -> dict[bytes, str]:
    """Each key below the prefix, with all that stands there as a text."""
    reads: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": client.xrange,
        b"none": lambda key: "",  # it has lapsed just now
    }
    return {key: str(reads[client.type(key)](key)) for key in client.scan_iter(f"{prefix}:*", 1000)}


async def test_every_key_has_a_lifetime_and_nothing_stays_of_who_has_gone(cluster: Cluster) -> None:
    """Neither a key nor a word in one, once the log and the values have lapsed."""
    cluster.backlog, cluster.grace_s = BacklogSettings(seconds=1), 0.3
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("stays-1", "c0")
    gone = [f"goes-{number}" for number in range(20)]
    for number, user in enumerate(gone):
        node, other = (one, two) if number % 2 else (two, one)
        await node.engine.attach(user, f"c-{user}")
        await other.engine.publish(user, Event("delta", "x", group="m"))
        await other.engine.publish(user, Event("message", "y", replaces="m"))
        home = await other.engine.claim_home(user)
        assert await node.engine.swap_state(user, "ticket", None, "used", lifetime_s=1)
        await node.engine.detach(user, f"c-{user}", Cause.CLOSED)
        await other.engine.release_home(home, orphan=False)
    with cluster.client() as client:
        assert any(b"goes-1" in key for key in client.scan_iter(f"{cluster.prefix}:*", 1000))
        await both_told(cluster, len(gone))
        for node in (one, two):
            for departure in node.told.departures:
                await node.engine.acknowledge(departure)
        lives = [client.ttl(key) for key in client.scan_iter(f"{cluster.prefix}:*", 1000)]
        assert lives
        # -2 has lapsed since it was listed; -1 would have no lifetime.
        assert all(life == -2 or 0 <= life <= HELD_S + 600 for life in lives)
        async with asyncio.timeout(20):
            while any(
                "goes-" in f"{key!r}{found}" for key, found in everything(client, cluster.prefix).items()
            ):
                await asyncio.sleep(0.1)
        assert any("stays-1" in found for found in everything(client, cluster.prefix).values())


async def both_told(cluster: Cluster, departures: int) -> None:
    async with asyncio.timeout(20):
        while sum(len(node.told.departures) for node in cluster.nodes) < departures:
            await asyncio.sleep(0.05)


async def test_the_keys_of_who_stays_are_held_on(cluster: Cluster) -> None:
    """By the node that has the connection or the home; and what Valkey has lost of them is told it again."""
    one = await cluster.node()
    await one.engine.attach("a1", "c1")
    home = await one.engine.claim_home("b2")
    names = [one.engine._keys.of_user("a1", name, one.id) for name in ("presence", "connections", "log")]
    names.append(one.engine._keys.of_user("b2", "home", one.id))
    await one.engine.publish("a1", Event("note"))
    with cluster.client() as client:
        for name in names:
            assert client.expire(name, 5)
        await one.engine._life._touch()
        assert all(client.ttl(name) > HELD_S - 60 for name in names)
        assert one.told.homes_lost == []
        client.delete(names[1], names[3])  # as an eviction would
        await one.engine._life._touch()
        await one.told.until(lambda: [user for user, _ in one.told.rejoined] == ["a1"])
        assert client.hlen(names[1]) == 1
        assert one.told.homes_lost == [home]


async def test_a_connection_that_the_node_has_no_more_is_taken_out(cluster: Cluster) -> None:
    """Whatever brought it there."""
    one = await cluster.node()
    await one.engine.attach("a1", "c1")
    with cluster.client() as client:
        client.hset(one.engine._keys.of_user("a1", "connections", one.id), "c-stale", one.id)
        assert (await one.engine.presence_of("a1")).connections == 2
        await one.engine._life._touch()
        assert (await one.engine.presence_of("a1")).connections == 1


async def test_what_each_thing_costs_in_commands(tmp_path: Path) -> None:
    """As the engine's docstring says."""
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(valkey_server(tmp_path))
        cluster = Cluster(valkey.url, "t", grace_s=0)
        stack.push_async_callback(cluster.stop)
        one, two, three = [await cluster.node() for _ in range(3)]
        for node in (one, two, three):  # what is done by itself is looked at by itself
            await end(node.engine._life._tasks)
        engine = one.engine
        with valkey.client() as client:

            async def cost(work: Callable[[], Awaitable[object]]) -> tuple[int, int]:
                await work()  # the scripts are known from here on
                client.config_resetstat()
                await work()
                found: Any = client.info("commandstats")
                calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()}
                return calls.get("evalsha", 0) + calls.get("eval", 0), calls.get("publish", 0)

            number = iter(range(100))
            assert await cost(lambda: engine.attach("a1", f"c{next(number)}")) == (1, 0)
            assert await cost(lambda: engine.publish("a1", Event("note"))) == (1, 1)
            await two.engine.attach("a1", "c-two")
            await three.engine.attach("a1", "c-three")
            await three.engine.attach("a1", "c-four")
            assert await cost(lambda: engine.publish("a1", Event("note"))) == (1, 3)
            assert await cost(lambda: engine.replay("a1", None)) == (1, 0)
            assert await cost(lambda: engine.detach("a1", "c0", Cause.CLOSED)) == (1, 0)
            assert await cost(engine._life.renew) == (1, 1)
            assert await cost(lambda: engine.send(two.id, b"x")) == (1, 1)
            assert await cost(lambda: engine.broadcast(Event("note"))) == (1, 1)
            assert await cost(lambda: engine.claim_home("a1")) == (1, 0)
            assert await cost(lambda: engine.presence_of("a1")) == (1, 0)
            many = [f"many-{each}" for each in range(300)]
            partitions = len({partition_of(user) for user in many})
            assert await cost(lambda: engine.presences_of(many)) == (partitions, 0)
            assert await cost(lambda: engine.node_of("a1", "c-two")) == (1, 0)
            shares = [len(node.engine._registry.share()) for node in (one, two, three)]
            assert sum(shares) == PARTITIONS
            look = engine._departures.look
            assert await cost(lambda: look(engine._registry.share())) == (shares[0], 0)
            assert await cost(lambda: engine.swap_state("a1", "x", None, "v", 1)) == (1, 0)
            assert await cost(lambda: engine.get_state("a1", "x")) == (1, 0)

            for user in ("b2", "b3"):
                await engine.attach(user, "c")
                await engine.detach(user, "c", Cause.CLOSED)
            users = iter(["b2", "b3"])
            assert await cost(lambda: engine._departures.claim([next(users)])) == (1, 0)
            departures = iter(one.told.departures)
            assert await cost(lambda: engine.acknowledge(next(departures))) == (1, 0)


async def test_a_log_of_which_the_events_are_gone_is_another_log(cluster: Cluster) -> None:
    """A Valkey that is allowed to evict took them: who comes back is told of a gap, not of nothing missed."""
    one = await cluster.node()
    first = await one.engine.publish("a1", Event("note", 0))
    await one.engine.publish("a1", Event("note", 1))
    with cluster.client() as client:
        client.delete(one.engine._keys.of_user("a1", "log", ""))
    replay = await one.engine.replay("a1", str(first))
    assert replay.gap
    assert replay.resume_id.epoch != first.epoch
    again = await one.engine.publish("a1", Event("note", 2))
    assert again.epoch == replay.resume_id.epoch


async def test_a_group_that_was_the_whole_log_leaves_a_log(cluster: Cluster) -> None:
    """Empty is not evicted."""
    one = await cluster.node()
    first = await one.engine.publish("a1", Event("delta", 0, group="m"))
    second = await one.engine.publish("a1", Event("delta", 1, group="m"))
    with cluster.client() as client:
        client.xdel(
            one.engine._keys.of_user("a1", "log", ""), f"{second.seq}-0"
        )  # the stream stays, if empty
    third = await one.engine.publish("a1", Event("message", 2, replaces="m"))
    assert third.epoch == first.epoch


async def test_no_number_is_given_twice_when_the_log_has_lost_its_end(cluster: Cluster) -> None:
    """So a client that has the lost event gets what came after it; nothing is taken for that."""
    one = await cluster.node()
    await one.engine.publish("a1", Event("note", 1))
    names = [one.engine._keys.of_user("a1", name, "") for name in ("log", "logmeta", "clock")]
    with cluster.client() as client:
        before = [client.dump(name) for name in names]
        lost = await one.engine.publish("a1", Event("note", 2))
        for name, value in zip(names, before, strict=True):
            client.restore(name, 60_000, value, replace=True)
    await asyncio.sleep(0.02)  # a restart takes longer than that
    after = await one.engine.publish("a1", Event("note", 3))
    assert after.seq > lost.seq
    replay = await one.engine.replay("a1", str(lost))
    assert (replay.gap, [entry.id for entry in replay.entries]) == (False, [after])
