"""What a user costs nodes and their Valkey: connected, idle, talking, gone.

Usage: scripts/bench/nodes [--nodes N] [--users N] [--calls N] [--idle SECONDS]

Starts real nodes and a real Valkey in a temporary folder, connects users to the nodes in turn, leaves them
alone for a while, lets each say something at a node drawn by chance, and lets all go. For each part: the time
of the processor that the nodes and Valkey took, and how much more memory they hold after it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

from scripts.bench.gauge import Gauge
from tests.support.cluster import ClusterProcess
from tests.support.lean_http import Caller, Feed
from tests.support.process import tokens_of
from tests.support.sse import Received

_AT_ONCE = 50
_MESSAGE = (
    "A message as people write them, of a line or two; some words more, and it has a hundred characters."
)
_ENVIRONMENT = {
    "POTO_LIMITS__CALLS_PER_MINUTE": "0",
    "POTO_CHAT__JOURNAL__FSYNC": "never",  # the disk is another question: docs/performance.md
    "SESSION_RECONNECT_GRACE": "1000",
}


class Bench:
    """The nodes under test, and what they and Valkey have used."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self._cluster = cluster
        self._nodes = [Gauge(node.pid) for node in cluster.nodes]
        self._valkey = Gauge(cluster.valkey.pid)

    def _valkey_bytes(self) -> int:
        with self._cluster.valkey.client() as client:
            return int(client.info("memory")["used_memory"])  # type: ignore[index]

    @asynccontextmanager
    async def part(self, name: str, per: int, unit: str) -> AsyncIterator[None]:
        """Measures a block, and prints what each of so many units cost."""
        gauges = [*self._nodes, self._valkey]
        held_before = self._valkey_bytes()
        for gauge in gauges:
            gauge.begin()
        begun_s = time.monotonic()
        yield
        took_s = time.monotonic() - begun_s
        nodes_s = sum(gauge.cpu_s() for gauge in self._nodes)
        grown = sum(gauge.grown_bytes() for gauge in self._nodes)
        valkey_s = self._valkey.cpu_s()
        held = self._valkey_bytes() - held_before
        print(
            f"{name:10} {took_s:7.1f} s   nodes {nodes_s / per * 1e6:9.1f} us {grown / per:9.0f} B   "
            f"valkey {valkey_s / per * 1e6:9.1f} us {held / per:9.0f} B   a {unit}",
            flush=True,
        )


class Users:
    """The users: their streams, and their calls.

    Args:
        cluster: The nodes.
        count: How many.
    """

    def __init__(self, cluster: ClusterProcess, count: int) -> None:
        self.names = [f"u{number}" for number in range(count)]
        self._ports = [node.port for node in cluster.nodes]
        self._feeds: list[Feed] = []
        self._events = 0
        self.call_ms: list[float] = []

    async def connect(self) -> None:
        """All of them, to the nodes in turn."""
        opened = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, name: str) -> None:
            connected = asyncio.Event()

            def on_event(event: Received) -> None:
                self._events += 1
                if event.type == "connected":
                    connected.set()

            async with opened:
                port = self._ports[number % len(self._ports)]
                self._feeds.append(await Feed.open(port, f"t-{name}", on_event))
                await connected.wait()

        await asyncio.gather(*(one(number, name) for number, name in enumerate(self.names)))

    async def talk(self, calls: int) -> None:
        """So many calls, of the users in turn, at any node."""
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> None:
            async with at_once:
                caller = Caller(random.choice(self._ports), f"t-{name}")  # noqa: S311 - spread, no secret
                begun_s = time.monotonic()
                answer = await caller.post("/ChatServerModule/chatWithHistory", {"message": _MESSAGE})
                self.call_ms.append((time.monotonic() - begun_s) * 1000)
                caller.close()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {answer.body!r}")

        await asyncio.gather(*(one(self.names[number % len(self.names)]) for number in range(calls)))

    def go(self) -> None:
        """All of them."""
        for feed in self._feeds:
            feed.close()


async def run(options: argparse.Namespace, folder: Path) -> None:
    environment = _ENVIRONMENT | tokens_of(f"u{number}" for number in range(options.users))
    cluster = ClusterProcess(folder, nodes=options.nodes, environment=environment, behind_nginx=False)
    async with cluster:
        users, bench = Users(cluster, options.users), Bench(cluster)
        async with bench.part("connect", options.users, "user"):
            await users.connect()
        async with bench.part("idle", options.idle * options.users, "user and second"):
            await asyncio.sleep(options.idle)
        async with bench.part("talk", options.calls, "call"):
            await users.talk(options.calls)
        async with bench.part("go", options.users, "user"):
            users.go()
            await cluster.until_logged("session ended", options.users, limit_s=300)
        median, *_, last = (quantiles(users.call_ms, n=100)[at] for at in (49, 98))
        print(f"calls: {median:.0f} ms in the median, {last:.0f} ms for the slowest of a hundred")
        print("exit status", await cluster.stop())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--idle", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(options, Path(folder)))


if __name__ == "__main__":
    main()
