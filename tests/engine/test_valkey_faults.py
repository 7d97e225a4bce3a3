"""Valkey is restarted, paused, killed; the way to it is cut, stalls, swallows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from potoserver.engine.presence import Cause, PresenceState
from potoserver.engine.valkey import registry
from potoserver.errors import UnavailableError
from potoserver.events import Event, EventId
from tests.faults.proxy import Proxy
from tests.support.engines import Cluster, Node
from tests.support.valkey import ValkeyProcess, valkey_cluster, valkey_server


@pytest.fixture(autouse=True)
def patient_calls() -> None:
    """A call has its own bounds here: they are what is tried."""


@pytest.fixture
def start_valkey(tmp_path: Path) -> Iterator[Callable[..., ValkeyProcess]]:
    """Starts a Valkey of the test's own."""
    started = []

    def start(*options: str) -> ValkeyProcess:
        process = ValkeyProcess(tmp_path, *options)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@asynccontextmanager
async def nodes_on(url: str, count: int, grace_s: float = 60) -> AsyncIterator[list[Node]]:
    cluster = Cluster(url, "t", grace_s=grace_s)
    try:
        yield [await cluster.node() for _ in range(count)]
    finally:
        await cluster.stop()


async def until_available(*nodes: Node) -> None:
    """Waits until events come through to each node and each has caught up."""
    async with asyncio.timeout(30):
        while not all(node.engine.available for node in nodes):
            await asyncio.sleep(0.05)


async def until_away(*nodes: Node) -> None:
    async with asyncio.timeout(30):
        while any(node.engine.available for node in nodes):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_restart_of_valkey_loses_nothing(
    start_valkey: Callable[..., ValkeyProcess], fsync: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its append-only file: nodes, connections, homes and ids stay; ends in between are made up for."""
    monkeypatch.setattr(registry, "LEASE_S", 15.0)  # nobody is to die here, however long the way back takes
    valkey = start_valkey("--appendonly", "yes", "--appendfsync", fsync)
    async with nodes_on(valkey.url, 2) as (one, two):
        names = [one.id, two.id]
        attachment = await one.engine.attach("a1", "c1")
        await two.engine.attach("a1", "c2")
        await one.engine.attach("b2", "c3")
        await one.engine.attach("d4", "c5")
        await one.engine.detach("d4", "c5", Cause.CLOSED)
        due = [
            one.engine._keys.of_user("d4", "leaving", ""),
            one.engine._keys.of_user("d4", "departures", ""),
        ]
        with valkey.client() as client:
            client.zadd(due[0], {"d4": 1})
        async with asyncio.timeout(20):
            while not (told := one.told.departures + two.told.departures):
                await asyncio.sleep(0.05)
        hooked = one if one.told.departures else two
        home = await one.engine.claim_home("a1")
        ids = [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
        await asyncio.to_thread(valkey.kill)
        await until_away(one, two)
        with pytest.raises(UnavailableError) as refused:
            await two.engine.publish("a1", Event("note", "lost"))
        assert refused.value.retry_after_s == 1
        with pytest.raises(UnavailableError):
            await one.engine.detach("b2", "c3", Cause.RESET)
        with pytest.raises(UnavailableError):
            await hooked.engine.acknowledge(told[0])
        await asyncio.to_thread(valkey.start)
        await until_available(one, two)
        ids += [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
        assert [one.id, two.id] == names
        for node in (one, two):
            await node.told.until(lambda node=node: len(node.told.entries) >= 6)
            assert [entry.id for _, entry in node.told.entries] == ids
            assert (node.told.gaps, node.told.rejoined, node.told.homes_lost) == ([], [], [])
        assert (await one.engine.attach("a1", "c4")).generation == attachment.generation
        assert await two.engine.claim_home("a1") == home
        async with asyncio.timeout(20):
            while (await two.engine.presence_of("b2")).state is not PresenceState.LEAVING:
                await asyncio.sleep(0.05)
            with valkey.client() as client:
                while client.exists(due[1]):
                    await asyncio.sleep(0.05)
        assert one.told.departures + two.told.departures == told


async def test_a_valkey_that_forgot_everything_is_told_again(
    start_valkey: Callable[..., ValkeyProcess],
) -> None:
    """Without its file: the nodes join anew, attach anew; clients are told of a gap; tokens still grow."""
    valkey = start_valkey()
    async with nodes_on(valkey.url, 2) as (one, two):
        names = {one.id, two.id}
        await one.engine.attach("a1", "c1")
        await two.engine.attach("a1", "c2")
        home = await one.engine.claim_home("a1")
        last = await two.engine.publish("a1", Event("note", 1))
        await one.told.until(lambda: len(one.told.entries) == 1)
        await asyncio.to_thread(valkey.kill)
        await until_away(one, two)
        await asyncio.to_thread(valkey.start)
        await until_available(one, two)
        for node in (one, two):
            await node.told.until(lambda node=node: [user for user, _ in node.told.rejoined] == ["a1"])
            await node.told.until(lambda node=node: node.told.gaps == ["a1"])
        assert not names & {one.id, two.id}
        assert one.told.homes_lost == [home]
        assert (await one.engine.presence_of("a1")).connections == 2
        assert (await two.engine.claim_home("a1")).token > home.token
        replay = await one.engine.replay("a1", str(last))
        assert replay.gap
        newest = await two.engine.publish("a1", Event("note", 2))
        assert newest.epoch != last.epoch
        await one.told.until(lambda: one.told.entries[-1][1].id == newest)
        assert sum(arrived for _, (_, arrived) in _rejoined(one, two)) == 1


def _rejoined(*nodes: Node) -> list[tuple[str, tuple[int, bool]]]:
    return [(user, (each.generation, each.arrived)) for node in nodes for user, each in node.told.rejoined]


async def test_a_cluster_that_goes_down_and_comes_back_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its servers at once, with their files: as one server."""
    monkeypatch.setattr(registry, "LEASE_S", 15.0)  # nobody is to die here, however long the way back takes
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with valkey_cluster(tmp_path, *options) as servers:
        async with nodes_on(servers[0].url, 2) as (one, two):
            names = [one.id, two.id]
            users = [f"u{number}" for number in range(9)]
            for user in users:
                await one.engine.attach(user, f"c-{user}")
                await two.engine.publish(user, Event("note", 0))
            for server in servers:
                await asyncio.to_thread(server.kill)
            await until_away(one, two)
            for user in users:
                with pytest.raises(UnavailableError):
                    await two.engine.publish(user, Event("note", "lost"))
            for server in servers:
                await asyncio.to_thread(server.start)
            await until_available(one, two)
            for user in users:
                async with asyncio.timeout(30):
                    while True:
                        try:
                            newest = await two.engine.publish(user, Event("note", 1))
                            break
                        except UnavailableError:
                            await asyncio.sleep(0.1)
                await one.told.until(lambda user=user, newest=newest: newest in one.told.ids_of(user))
            assert one.told.gaps == []
            assert [one.id, two.id] == names


async def test_an_event_that_valkey_lost_is_a_gap_to_those_who_did_not_get_it(
    start_valkey: Callable[..., ValkeyProcess], tmp_path: Path
) -> None:
    """Valkey came back as it was before its last writes: nobody goes on as if nothing had been."""
    valkey = start_valkey("--appendonly", "yes", "--appendfsync", "always")
    async with nodes_on(valkey.url, 2) as (one, two):
        await one.engine.attach("a1", "c1")
        kept = await two.engine.publish("a1", Event("note", 0))
        await two.engine.attach("quiet", "c2")
        quiet = await one.engine.publish("quiet", Event("note", 0))
        with valkey.client() as client:
            assert client.ping()
        (file,) = [*tmp_path.glob("appendonlydir/*.incr.aof"), *tmp_path.glob("appendonly.aof")]
        async with one.silent(), two.silent():  # a renewal that is lost, too, puts every log in doubt
            size = file.stat().st_size
            lost = await two.engine.publish("a1", Event("note", 1))
            await one.told.until(lambda: len(one.told.entries) == 2)
            await asyncio.to_thread(valkey.kill)
        with file.open("r+b") as aof:
            aof.truncate(size)
        await until_away(one, two)
        await asyncio.to_thread(valkey.start)
        await until_available(one, two)
        await one.told.until(lambda: one.told.gaps == ["a1"])
        for known in (kept, lost):  # who has the first alone has missed the second, and must hear of it
            assert (await two.engine.replay("a1", str(known))).gap
        newer = await two.engine.publish("a1", Event("note", 2))
        assert newer.epoch != lost.epoch
        replay = await two.engine.replay("quiet", str(quiet))
        assert (replay.gap, two.told.gaps) == (False, [])


async def test_a_pause_of_valkey_kills_nobody(start_valkey: Callable[..., ValkeyProcess]) -> None:
    """Longer than a lease: calls fail within their bound, and all go on as they were."""
    valkey = start_valkey()
    async with nodes_on(valkey.url, 2) as (one, two):
        names = [one.id, two.id]
        await one.engine.attach("a1", "c1")
        valkey.pause()
        began_s = time.monotonic()
        with pytest.raises(UnavailableError):
            await two.engine.publish("a1", Event("note", "not in time"))
        for _ in range(20):  # no further call waits
            with pytest.raises(UnavailableError):
                await two.engine.publish("a1", Event("note", "at once"))
        assert time.monotonic() - began_s < 8
        await asyncio.sleep(registry.LEASE_S + 1)
        valkey.go_on()
        await until_available(one, two)
        newest = await two.engine.publish("a1", Event("note", "after"))
        await one.told.until(lambda: one.told.entries != [] and one.told.entries[-1][1].id == newest)
        await asyncio.sleep(1)
        assert [one.id, two.id] == names
        assert {node.id for node in one.engine.nodes()} == set(names)
        assert (one.told.gaps, one.told.rejoined) == ([], [])


async def through(proxy: Proxy, cluster: Cluster) -> Node:
    """A node whose way to Valkey is the proxy."""
    return await cluster.node(f"valkey://127.0.0.1:{proxy.port}")


def port_of(cluster: Cluster) -> int:
    return int(cluster.url.rsplit(":", 1)[1])


async def test_no_event_is_lost_or_doubled_while_the_subscription_is_cut_again_and_again(
    cluster: Cluster,
) -> None:
    """In order, on the node that is cut off, and on the one that is not."""
    two = await cluster.node()
    async with Proxy(port_of(cluster)) as proxy:
        one = await through(proxy, cluster)
        for node in (one, two):
            for number in range(5):
                await node.engine.attach(f"u{number}", f"c{number}-{node.id}")
        published: dict[str, list[EventId]] = {f"u{number}": [] for number in range(5)}

        async def publish() -> None:
            for number in range(40):
                for user, ids in published.items():
                    ids.append(await two.engine.publish(user, Event("note", number)))
                await asyncio.sleep(0.02)

        publishing = asyncio.create_task(publish())
        while not publishing.done():
            proxy.reset()
            await asyncio.sleep(0.15)
        await publishing
        await until_available(one, two)
        for node in (one, two):
            for user, ids in published.items():
                await node.told.until(
                    lambda node=node, user=user, ids=ids: node.told.ids_of(user)[-1:] == ids[-1:]
                )
                assert node.told.ids_of(user) == ids
        assert one.told.gaps == two.told.gaps == []
        await one.engine.stop()


@pytest.mark.parametrize("fault", ["stall", "swallow"])
async def test_a_node_that_is_cut_off_is_dead_to_the_others_and_comes_back(
    cluster: Cluster, fault: str
) -> None:
    """A silent network: the node says that it can't reach the engine, and is another one after that."""
    cluster.grace_s = 60
    two = await cluster.node()
    async with Proxy(port_of(cluster)) as proxy:
        one = await through(proxy, cluster)
        before = await one.engine.attach("a1", "c1")
        await two.engine.attach("a1", "c2")
        first = await two.engine.publish("a1", Event("note", 0))
        await one.told.until(lambda: len(one.told.entries) == 1)
        old_id = one.id
        for flow in (proxy.to_server, proxy.to_client):
            flow.stall() if fault == "stall" else flow.swallow()
        await until_away(one)
        assert not one.engine.available
        assert one.engine.trouble
        await cluster.node_lost(old_id)
        assert (await two.engine.presence_of("a1")).connections == 1
        missed = await two.engine.publish("a1", Event("note", 1))
        for flow in (proxy.to_server, proxy.to_client):
            flow.flow()
        await until_available(one)
        await one.told.until(lambda: len(one.told.rejoined) == 1)
        assert one.told.rejoined[0][1].generation == before.generation
        assert one.id != old_id
        last = await two.engine.publish("a1", Event("note", 2))
        await one.told.until(lambda: len(one.told.entries) >= 3)
        assert one.told.ids_of("a1") == [first, missed, last]
        assert one.told.gaps == []
        await one.engine.stop()


async def test_a_node_that_hears_what_all_are_told_and_nothing_of_its_own_notices(cluster: Cluster) -> None:
    """However much it is that all are told."""
    one, two = [await cluster.node() for _ in range(2)]
    one.engine._channel._node_id = lambda: "another"
    await one.engine._channel.move()
    await one.engine._channel.until_listening()
    one.engine._channel._node_id = lambda: one.id
    own = one.engine._keys.channel(one.id)
    with cluster.client() as client:
        assert dict(client.pubsub_numsub(own)) == {own.encode(): 0}
        async with asyncio.timeout(20):
            while dict(client.pubsub_numsub(own)) == {own.encode(): 0}:
                await two.engine.broadcast(Event("tick", 0))
                await asyncio.sleep(0.1)


async def test_only_the_subscription_leads_nowhere(cluster: Cluster) -> None:
    """What is sent to the node does not arrive, though its calls do: it notices by its own pings."""
    two = await cluster.node()
    async with Proxy(port_of(cluster)) as proxy:
        one = await cluster.node()
        one.engine._link._url = f"redis://127.0.0.1:{proxy.port}"
        one.engine._channel._node_id = lambda: one.id
        await one.engine._channel.stop()
        one.engine._channel.start()
        await one.engine._channel.until_listening()
        await one.engine.attach("a1", "c1")
        proxy.to_client.swallow()
        ids = [await two.engine.publish("a1", Event("note", number)) for number in range(3)]
        await until_away(one)
        assert one.engine._link.trouble is None
        proxy.to_client.flow()
        await until_available(one)
        await one.told.until(lambda: len(one.told.entries) >= 3)
        assert one.told.ids_of("a1") == ids
        await one.engine.stop()


async def test_an_attachment_that_nobody_waited_for_leaves_no_connection(cluster: Cluster) -> None:
    """Its answer was lost on the way: the caller is told that it failed, and so it did."""
    two = await cluster.node()
    async with Proxy(port_of(cluster)) as proxy:
        one = await through(proxy, cluster)
        await one.engine.attach("b2", "c0")  # Valkey knows the script from here on
        proxy.to_client.swallow()
        with pytest.raises(UnavailableError):
            await one.engine.attach("a1", "c1")
        proxy.to_client.flow()
        proxy.reset()
        await until_available(one)
        async with asyncio.timeout(20):
            while (await two.engine.presence_of("a1")).connections:
                await asyncio.sleep(0.05)
        await one.engine.stop()


async def test_an_attachment_that_arrives_late_is_refused(cluster: Cluster) -> None:
    """Held up on its way for longer than its caller waited."""
    one = await cluster.node()
    now_ms = one.engine._registry.now_ms
    one.engine._registry.now_ms = lambda: now_ms() - 3000  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await one.engine.attach("a1", "c1")
    assert (await one.engine.presence_of("a1")).connections == 0


async def test_an_event_that_arrives_late_is_not_published(cluster: Cluster) -> None:
    """Its publisher was told that it failed, and somebody may have told the same since."""
    one = await cluster.node()
    now_ms = one.engine._registry.now_ms
    one.engine._registry.now_ms = lambda: now_ms() - 3000  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await one.engine.publish("a1", Event("note"))
    assert await one.engine.logged("a1") == []


async def test_a_valkey_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    """With its address."""
    with valkey_server(tmp_path) as valkey:
        port = valkey.port
    cluster = Cluster(f"valkey://127.0.0.1:{port}", "t")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        await cluster.node()
