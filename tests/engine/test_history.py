"""Three nodes, clients that come and go, and faults at random: no event is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from potoserver.engine.base import Home
from potoserver.engine.presence import Cause
from potoserver.errors import UnavailableError
from potoserver.events import Event, EventId
from potoserver.settings.model import BacklogSettings
from tests.engine.history import (
    Client,
    Ear,
    Published,
    departed_early,
    departed_while_here,
    faults_of,
    live,
    move_home,
    publish,
    twice_departed,
    unfenced,
)
from tests.faults.proxy import Proxy
from tests.support.engines import Cluster, Node
from tests.support.valkey import ValkeyProcess, valkey_server


@pytest.fixture(autouse=True)
def patient_calls() -> None:
    """A call has its own bounds here: they are what is tried."""


class Faults:
    """What goes wrong, chosen at random."""

    def __init__(
        self, chance: random.Random, valkey: ValkeyProcess, proxies: list[Proxy], cluster: Cluster
    ) -> None:
        self._chance = chance
        self._valkey = valkey
        self._proxies = proxies
        self._cluster = cluster
        self.done: list[str] = []

    async def one(self) -> None:
        """One fault, and its end."""
        kind = self._chance.choice(
            ["reset", "reset", "cut", "stall", "swallow", "long stall", "pause", "restart", "node"]
        )
        self.done.append(kind)
        proxy = self._chance.choice(self._proxies)
        if kind == "reset":
            proxy.reset()
        elif kind == "cut":
            proxy.cut()
        elif kind in ("stall", "swallow", "long stall"):
            flows = self._chance.choice(
                [(proxy.to_client,), (proxy.to_server,), (proxy.to_client, proxy.to_server)]
            )
            for flow in flows:
                flow.swallow() if kind == "swallow" else flow.stall()
            bounds = (4, 6) if kind == "long stall" else (0.2, 2.5)
            await asyncio.sleep(self._chance.uniform(*bounds))
            for flow in flows:
                flow.flow()
            if kind == "swallow":
                proxy.reset()
        elif kind == "pause":
            self._valkey.pause()
            await asyncio.sleep(self._chance.uniform(0.2, 5))
            self._valkey.go_on()
        elif kind == "restart":
            await asyncio.to_thread(self._valkey.kill)
            await asyncio.sleep(self._chance.uniform(0, 1))
            await asyncio.to_thread(self._valkey.start)
        elif kind == "node":
            nodes = [node for node in self._cluster.nodes if node.alive]
            if len(nodes) > 2:
                node = self._chance.choice(nodes)
                await node.vanish()
                assert isinstance(node.told, Ear)
                for clients in node.told.clients.values():
                    for client in tuple(clients):
                        client.end()


async def history(folder: Path, seed: int, seconds: float, *options: str) -> tuple[list[str], list[str], int]:
    """One run: what is wrong, which faults there were, how many events were acknowledged."""
    chance = random.Random(seed)
    published: dict[str, list[Published]] = {f"u{number}": [] for number in range(4)}
    with valkey_server(folder, *options) as valkey:
        cluster = Cluster(valkey.url, "t", grace_s=0.5, backlog=BacklogSettings(seconds=60, events=2000))
        proxies = [Proxy(valkey.port) for _ in range(3)]
        for proxy in proxies:
            await proxy.__aenter__()
        try:
            for proxy in proxies:
                await cluster.node(f"valkey://127.0.0.1:{proxy.port}", Ear())
            await cluster.node(told=Ear())
            clients = [Client(user, number) for user in published for number in range(3)]
            over = asyncio.Event()
            faults = Faults(chance, valkey, proxies, cluster)
            work = [asyncio.create_task(live(client, cluster, chance, over)) for client in clients]
            claimed: list[Home] = []
            for user, ids in published.items():
                work.append(asyncio.create_task(move_home(user, cluster, chance, over, claimed)))
                work.append(asyncio.create_task(publish(user, cluster, chance, over, ids)))
            loop = asyncio.get_running_loop()
            ends_s = loop.time() + seconds
            while loop.time() < ends_s:
                await asyncio.sleep(chance.uniform(0.1, 1.0))
                await faults.one()
            over.set()
            await asyncio.gather(*work)
            wrong = unfenced(claimed) + await at_rest(cluster, clients, published)
        finally:
            await cluster.stop()
            for proxy in proxies:
                await proxy.__aexit__()
    return wrong, faults.done, sum(map(len, published.values()))


async def at_rest(
    cluster: Cluster, clients: list[Client], published: dict[str, list[Published]]
) -> list[str]:
    """All is well again: everybody connects, gets the rest, and goes; then the history is looked at."""
    nodes = [node for node in cluster.nodes if node.alive]
    async with asyncio.timeout(40):
        while not all(node.engine.available for node in nodes):
            await asyncio.sleep(0.05)
    wrong = []
    for client in clients:
        async with asyncio.timeout(20):
            while not await client.connect(random.choice(nodes)):
                await asyncio.sleep(0.1)
    last: dict[str, EventId] = {}
    for user in published:
        async with asyncio.timeout(20):
            while user not in last:
                try:
                    last[user] = await nodes[0].engine.publish(user, Event("last"))
                except UnavailableError:
                    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        while any(client.last is None or client.last.seq < last[client.user_id].seq for client in clients):
            await asyncio.sleep(0.05)
            for client in clients:
                if client._ended.is_set():
                    await client.disconnect()
                    await client.connect(random.choice(nodes))
    for client in clients:
        wrong += faults_of(client, published[client.user_id])
        await client.disconnect(Cause.CLOSED)
    await all_departed(nodes, list(published))
    wrong += twice_departed(cluster.nodes) + departed_while_here(cluster.nodes, clients)
    return wrong + departed_early(cluster.nodes, cluster.grace_s)


async def all_departed(nodes: list[Node], users: list[str]) -> None:
    """Each user's last generation departs, and nobody is online."""
    async with asyncio.timeout(30):
        while await nodes[0].engine.count_online() or await nodes[0].engine.count_leaving():
            await asyncio.sleep(0.1)


async def checked(folder: Path, seed: int, seconds: float, *, durable: bool) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "everysec") if durable else ()
    wrong, faults, count = await history(folder, seed, seconds, *options)
    print(f"seed {seed}: {count} events, faults: {', '.join(faults)}")
    assert wrong == []


# Without a file, one of some twenty runs had left a user online, by a node's name that Valkey had forgotten.
# That is mended, but the long form has not been run often enough since. So that form is a long one.
@pytest.mark.parametrize(
    "durable",
    [pytest.param(True, id="with a file"), pytest.param(False, id="without", marks=pytest.mark.long)],
)
async def test_whatever_fails_no_event_is_lost_doubled_or_out_of_order(tmp_path: Path, durable: bool) -> None:
    """To any client that was not told of a gap. And nobody departs twice, or while a connection is there; and
    homes have tokens that grow. Also with a Valkey that forgets everything when it is restarted.

    `SEED=n` runs one again.
    """
    await checked(tmp_path, int(os.environ.get("SEED", random.randrange(10**6))), 6, durable=durable)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("durable", [True, False], ids=["with a file", "without"])
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_fails_for_longer_no_event_is_lost_doubled_or_out_of_order(
    tmp_path: Path, seed: int, durable: bool
) -> None:
    """The long form, with a minute of faults each."""
    await checked(tmp_path, seed, 60, durable=durable)
