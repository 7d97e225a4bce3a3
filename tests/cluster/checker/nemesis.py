"""What goes wrong, chosen at random: nodes, the engine, the way from one to the other, clocks."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Collection

from tests.cluster.checker.books import Books, at_most
from tests.cluster.checker.cluster import Cluster
from tests.support.process import ServerProcess

KINDS = ("kill", "term", "pause", "cut", "reset", "skew", "engine-kill", "engine-pause")
_STORM_S = (15.0, 35.0)
_CALM_S = (16.0, 24.0)
"""Long enough for what is due to be due: see circumstances.SETTLE_MS."""
_AT_ONCE = 2
_STOP_S = 60.0
_MOST_SKEW_MS = 1_800_000


class Nemesis:
    """Storms of troubles, and calms between them.

    Args:
        cluster: What it is let loose on.
        books: Where it writes down what it does.
        dice: Every choice.
        kinds: Which troubles, of `KINDS`.
    """

    def __init__(
        self, cluster: Cluster, books: Books, dice: random.Random, kinds: Collection[str] = KINDS
    ) -> None:
        self._cluster = cluster
        self._books = books
        self._dice = dice
        self._skews_ms = [0] * len(cluster.clocks)
        self._busy: set[int | None] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        of_node = {
            "kill": self._kill,
            "term": self._terminate,
            "pause": self._pause,
            "cut": self._cut,
            "reset": self._reset,
            "skew": self._skew,
        }
        of_engine = {"engine-kill": self._restart_engine, "engine-pause": self._pause_engine}
        self._of_node = [way for kind, way in of_node.items() if kind in kinds]
        self._of_engine = [way for kind, way in of_engine.items() if kind in kinds]

    async def rage(self, over: asyncio.Event) -> None:
        """Until it is over and all is mended."""
        while not over.is_set():
            await self._storm(self._dice.uniform(*_STORM_S), over)
            if self._under_way:
                await asyncio.wait(self._under_way)
            await at_most(self._dice.uniform(*_CALM_S), over)
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _storm(self, seconds: float, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + seconds
        while loop.time() < ends_s and not over.is_set():
            await at_most(self._dice.uniform(0.2, 3), over)
            if len(self._busy) < _AT_ONCE:
                self._begin()

    def _begin(self) -> None:
        dice = self._dice
        if self._of_engine and None not in self._busy and dice.random() < 0.2:
            self._spawn(None, dice.choice(self._of_engine)())
        elif self._of_node:
            node, way = dice.randrange(len(self._cluster.nodes)), dice.choice(self._of_node)
            if node not in self._busy:
                self._spawn(node, way(node))

    def _spawn(self, whom: int | None, trouble: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await trouble
            finally:
                self._busy.discard(whom)

        self._busy.add(whom)
        task = asyncio.create_task(run())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    # Nodes

    def _node(self, number: int) -> ServerProcess:
        return self._cluster.nodes[number]

    async def _kill(self, number: int) -> None:
        with self._books.trouble("kill", number):
            await self._node(number).stop(signal.SIGKILL)
            await asyncio.sleep(self._dice.choice([0, 1, 7, 40]) * self._dice.uniform(0.7, 1))
            await self._cluster.restart(number)

    async def _terminate(self, number: int) -> None:
        with self._books.trouble("term", number) as trouble:
            try:
                trouble.about = f"exit {await self._node(number).stop(limit_s=_STOP_S)}"
            except TimeoutError:
                self._books.odd(f"node {number} did not stop within {_STOP_S:.0f} s of SIGTERM")
                await self._node(number).stop(signal.SIGKILL)
            await asyncio.sleep(self._dice.uniform(0, 2))
            await self._cluster.restart(number)

    async def _pause(self, number: int) -> None:
        seconds = self._length()
        with self._books.trouble("pause", number, f"{seconds:.1f} s"):
            self._node(number).send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            self._node(number).send_signal(signal.SIGCONT)

    def _length(self) -> float:
        """Shorter than the lease, or longer."""
        return self._dice.uniform(0.2, 3) if self._dice.random() < 0.5 else self._dice.uniform(5.5, 12)

    async def _cut(self, number: int) -> None:
        """The way to the engine leads nowhere, in both directions or in one."""
        proxy, seconds = self._cluster.proxies[number], self._length()
        name, flows = self._dice.choice(
            [
                ("to it", [proxy.to_server]),
                ("from it", [proxy.to_client]),
                ("both ways", [proxy.to_server, proxy.to_client]),
            ]
        )
        stalls = self._dice.random() < 0.4  # what was on its way arrives, late; else never
        about = f"{name}, {'stalled' if stalls else 'lost'}, {seconds:.1f} s"
        with self._books.trouble("cut", number, about):
            for flow in flows:
                flow.stall() if stalls else flow.swallow()
            await asyncio.sleep(seconds)
            for flow in flows:
                flow.flow()
            if not stalls:
                proxy.reset()

    async def _reset(self, number: int) -> None:
        with self._books.trouble("reset", number):
            self._cluster.proxies[number].reset()

    async def _skew(self, number: int) -> None:
        """Steps the node's wall time by up to half an hour from the right one; so it stays."""
        skew_ms = self._dice.choice([0, self._dice.randint(-_MOST_SKEW_MS, _MOST_SKEW_MS)])
        self._books.counts["skew"] += 1
        self._cluster.clocks[number].step(skew_ms - self._skews_ms[number])
        self._skews_ms[number] = skew_ms

    # The engine

    async def _pause_engine(self) -> None:
        seconds = self._dice.uniform(0.2, 7)
        with self._books.trouble("pause", None, f"{seconds:.1f} s"):
            self._cluster.valkey.pause()
            await asyncio.sleep(seconds)
            self._cluster.valkey.go_on()

    async def _restart_engine(self) -> None:
        with self._books.trouble("kill", None):
            await asyncio.to_thread(self._cluster.valkey.kill)
            await asyncio.sleep(self._dice.choice([0, 1, 6]) * self._dice.random())
            await asyncio.to_thread(self._cluster.valkey.start)
